import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from pretext.core.rng import rng
from pretext.evaluation.segment import IGNORED, Colours, confusion, constant, interval, iou, mean_iou


def masks(classes=4, items=6, side=12, ignored=0.1):
    chance = rng("cpu", 0, "masks", classes)
    answer = torch.randint(classes, (items, side, side), generator=chance)
    prediction = torch.where(
        torch.rand(answer.shape, generator=chance) < 0.6,
        answer,
        torch.randint(classes, answer.shape, generator=chance),
    )
    answer[torch.rand(answer.shape, generator=chance) < ignored] = IGNORED
    return prediction, answer.byte()


def test_two_squares_that_overlap_by_half():
    """Of 2 columns each, 1 shared: intersection 1, union 3; of the background 5 of 7 columns."""
    answer, prediction = torch.zeros(2, 1, 8, 8)
    answer[..., 2:4] = 1
    prediction[..., 3:5] = 1
    counts = confusion(prediction, answer, 2)
    assert counts.tolist() == [[[40, 8], [8, 8]]]
    assert torch.allclose(iou(counts[0]), torch.tensor([5 / 7, 1 / 3], dtype=torch.float64))
    assert float(mean_iou(counts[0])) == pytest.approx((5 / 7 + 1 / 3) / 2)


def test_a_perfect_prediction_gives_1_and_the_opposite_0():
    _, answer = masks(2)
    said = torch.where(answer == IGNORED, 0, answer)
    assert float(mean_iou(confusion(said, answer, 2).sum(0))) == 1
    assert float(mean_iou(confusion(1 - said.int(), answer, 2).sum(0))) == 0


def test_pixels_that_are_not_judged_count_nowhere_whatever_is_said_of_them():
    prediction, answer = masks()
    counts = confusion(prediction, answer, 4)
    assert int(counts.sum()) == int((answer != IGNORED).sum())
    other = torch.where(answer == IGNORED, 3 - prediction, prediction)
    assert torch.equal(counts, confusion(other, answer, 4))
    nothing = confusion(prediction, torch.full_like(answer, IGNORED), 4)
    assert not nothing.any()
    assert iou(nothing.sum(0)).isnan().all()


def test_each_image_is_counted_by_itself():
    prediction, answer = masks()
    counts = confusion(prediction, answer, 4)
    assert counts.shape == (6, 4, 4)
    for n in range(6):
        assert torch.equal(counts[n], confusion(prediction[n : n + 1], answer[n : n + 1], 4)[0])
        for a in range(4):
            for p in range(4):
                assert counts[n, a, p] == ((answer[n] == a) & (prediction[n] == p)).sum()


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_mean_iou_is_torchmetrics(classes):
    prediction, answer = masks(classes)
    counts = confusion(prediction, answer, classes).sum(0)
    for average, mine in (("none", iou(counts)), ("macro", mean_iou(counts))):
        theirs = MulticlassJaccardIndex(classes, average=average, ignore_index=IGNORED)
        assert torch.allclose(theirs(prediction, answer.long()).double(), mine, atol=1e-6)


def test_a_class_that_is_neither_there_nor_predicted_is_left_out_of_the_mean():
    prediction, answer = masks(3)
    counts = confusion(prediction, answer, 5).sum(0)
    assert iou(counts)[3:].isnan().all()
    assert float(mean_iou(counts)) == float(mean_iou(counts[:3, :3]))
    theirs = MulticlassJaccardIndex(5, average="macro", ignore_index=IGNORED)
    assert float(theirs(prediction, answer.long())) == pytest.approx(float(mean_iou(counts)))
    prediction[0, 0, 0], answer[0, 0, 0] = 4, 0  # said once where it is not: it counts, with 0
    assert float(iou(confusion(prediction, answer, 5).sum(0))[4]) == 0


@pytest.mark.parametrize(("share", "named", "wanted"), [(0.25, 0, 0.75 / 2), (0.25, 1, 0.25 / 2), (0.0, 0, 1.0)])
def test_naming_one_class_always_scores_its_share_of_the_pixels_over_the_classes(share, named, wanted):
    answer = torch.zeros(1, 10, 10)
    answer.flatten()[: round(100 * share)] = 1
    prediction, _ = masks(2, 1, 10)
    counts = confusion(prediction, answer, 2).sum(0)
    assert constant(counts, named) == pytest.approx(wanted)
    blind = confusion(torch.full_like(answer, named), answer, 2).sum(0)
    assert constant(counts, named) == pytest.approx(float(mean_iou(blind)))


def test_the_interval_covers_what_it_promises():
    """Of 150 sets of 40 images from one known source, about 95 % have the truth in their interval."""
    chance = rng("cpu", 0, "images")

    def images(count):
        """Images of 100 pixels, half of each class, an image's own share of them wrong (a third on average)."""
        wrong = (torch.rand(count, generator=chance) * 2 / 3 * 50).round().long()
        return torch.stack([50 - wrong, wrong, wrong, 50 - wrong], 1).view(-1, 2, 2)

    truth = float(mean_iou(images(200_000).sum(0)))
    inside = 0
    for trial in range(150):
        low, high = interval(images(40), rng("cpu", trial), 300)
        inside += low <= truth <= high
    assert 0.88 <= inside / 150 <= 0.99


def test_the_interval_has_no_width_where_all_images_are_alike_and_follows_its_key():
    alike = torch.tensor([[[40, 8], [8, 8]]]).repeat(5, 1, 1)
    low, high = interval(alike, rng("cpu", 0))
    assert low == pytest.approx(high) == pytest.approx(float(mean_iou(alike[0])))
    counts = confusion(*masks(), 4)
    assert interval(counts, rng("cpu", 1), 50) == interval(counts, rng("cpu", 1), 50)
    assert interval(counts, rng("cpu", 1), 50) != interval(counts, rng("cpu", 2), 50)
    assert interval(counts, rng("cpu", 1))[0] < float(mean_iou(counts.sum(0))) < interval(counts, rng("cpu", 1))[1]


def test_colours_are_the_picture_itself():
    x = torch.rand(2, 3, 4, 4, generator=rng("cpu", 0))
    assert torch.equal(Colours()(x).stages["colours"], x)
    assert Colours().stages == {"colours": 3}


def test_wrong_shapes_and_classes_are_named():
    prediction, answer = masks(3)
    with pytest.raises(ValueError, match=r"predictions \(6, 12, 12\) but answers \(5, 12, 12\)"):
        confusion(prediction, answer[1:], 3)
    with pytest.raises(ValueError, match=r"answers from 0 to 2; it wants 0 to 1, and 255"):
        confusion(prediction.clamp(max=1), answer, 2)
    with pytest.raises(ValueError, match="predictions from 0 to 2"):
        confusion(prediction, answer.clamp(max=1), 2)
    with pytest.raises(ValueError, match="0 images and draws=1000"):
        interval(torch.zeros(0, 2, 2), rng("cpu", 0))
