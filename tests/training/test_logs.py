import pytest

from pretext.training.logs import Logs


@pytest.mark.parametrize(
    ("curves", "last"),
    [
        ({"train/turn/accuracy": {9: 0.9}, "val/turn/loss": {4: 1.5, 8: 1.0}}, ("val", "loss", 8, 1.0)),
        ({"val/turn/loss": {8: 1.0}, "val/turn/accuracy": {4: 0.25, 8: 0.5}}, ("val", "accuracy", 8, 0.5)),
        ({"train/turn/loss": {4: 1.5}, "val/order/accuracy": {8: 0.5}}, ("train", "loss", 4, 1.5)),
        ({"val/order/accuracy": {8: 0.5}}, None),
    ],
)
def test_a_last_score_is_of_validation_and_an_accuracy_where_there_is_one(curves, last, tmp_path):
    assert Logs(tmp_path, curves, {}, {}, {}, {}, {}).last_score("turn") == last


def test_skipped_files_have_their_causes(tmp_path):
    logs = Logs(tmp_path, {}, {}, {}, {}, {}, {})
    assert logs.skipped == {}
    (tmp_path / "skipped.txt").write_text("a.jpg\ttruncated\nb.jpg\tempty: 0 bytes\n")
    assert logs.skipped == {"a.jpg": "truncated", "b.jpg": "empty: 0 bytes"}
