import numpy as np
import pytest
import torch
from conftest import picture
from grouped import grouped
from PIL import Image
from torch.nn.functional import interpolate

from datamodules import Challenge, DataError, Reading, Splitting
from datamodules.images.voc import VOC07

CLASSES = ("bird", "cat", "potted_plant")
LABELS = {
    "trainval": {"000005": (1, 0, 0), "000009": (0, 1, -1), "000012": (0, -1, 1), "000007": (1, 1, 0)},
    "test": {"000001": (0, 0, 1), "000002": (-1, 1, 0)},
}
THEIRS = {1: " 1", 0: "-1", -1: " 0"}  # what we call so, in their lists


def lists(root, name):
    return root / "ImageSets" / "Main" / name


@pytest.fixture
def voc(tmp_path):
    """Write a small VOC2007 with real JPEG files, its lists as the real ones are, and return the folder above."""
    root = tmp_path / "VOCdevkit" / "VOC2007"
    (root / "JPEGImages").mkdir(parents=True)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for name, labels in LABELS.items():
        lists(root, f"{name}.txt").write_text("".join(f"{photo}\n" for photo in labels))  # of no class
        for k, kind in enumerate(CLASSES):
            text = "".join(f"{photo} {THEIRS[says[k]]}\n" for photo, says in labels.items())
            lists(root, f"{kind}_{name}.txt").write_text(text)
        for photo in labels:
            Image.fromarray(picture(int(photo))).save(root / "JPEGImages" / f"{photo}.jpg", quality=95, subsampling=0)
    (root / "JPEGImages" / "000099.jpg").write_bytes(b"on no list")
    return tmp_path


def folder(voc):
    return voc / "VOCdevkit" / "VOC2007"


def everything(batches):
    batches = list(batches)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_lists_mean_present_absent_and_not_judged(voc):
    data = VOC07(voc, canvas=20, batch_size=3)
    assert data.classes == list(CLASSES)
    for split, name in (("train", "trainval"), ("test", "test")):
        found = everything(data.ordered(split))
        assert found["y"].dtype == torch.int8
        assert found["y"].tolist() == [list(LABELS[name][photo]) for photo in sorted(LABELS[name])]
        assert found["index"].tolist() == list(range(len(LABELS[name])))
        for x, photo in zip(found["x"], sorted(LABELS[name]), strict=True):  # the photo of these labels
            square = picture(int(photo))[:, 4:24].astype(int)
            assert np.abs(x.permute(1, 2, 0).numpy() - square).max() < 30  # JPEG


def test_lists_in_different_orders_are_joined_by_photo(voc):
    before = everything(VOC07(voc, canvas=8).ordered("train"))
    file = lists(folder(voc), "cat_trainval.txt")
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    after = everything(VOC07(voc, canvas=8).ordered("train"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_labels_stay_with_their_photos_when_shuffled_limited_and_held_out(voc):
    data = VOC07(voc, canvas=8, batch_size=1, split=Splitting(val=0.5))
    whole = everything(data.ordered("train"))
    parts = [everything(loader) for loader in (data.train_dataloader(), data.val_dataloader())]
    assert sorted(torch.cat([part["index"] for part in parts]).tolist()) == [0, 1, 2, 3]
    for part in parts:
        assert torch.equal(part["x"], whole["x"][part["index"]])
        assert torch.equal(part["y"], whole["y"][part["index"]])
    few = everything(VOC07(voc, canvas=8, split=Splitting(limit=2)).ordered("train"))
    assert len(few["x"]) == 2
    for x, y in zip(few["x"], few["y"], strict=True):
        row = [torch.equal(x, other) for other in whole["x"]].index(True)
        assert torch.equal(y, whole["y"][row])


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2007"])
def test_the_root_may_be_any_of_three_folders(voc, below):
    assert len(everything(VOC07(voc / below, canvas=8).ordered("train"))["x"]) == 4


def test_another_year_has_lists_of_its_own(voc):
    folder(voc).rename(voc / "VOCdevkit" / "VOC2012")
    for file in list((voc / "VOCdevkit/VOC2012/ImageSets/Main").glob("*.txt")):
        file.rename(file.with_name(file.name.replace("trainval", "train").replace("test", "val")))
    data = VOC07(voc, canvas=8, challenge=Challenge(year=2012, train_list="train", test_list="val"))
    assert data.classes == list(CLASSES)
    assert len(everything(data.ordered("test"))["x"]) == 2
    with pytest.raises(DataError, match="holds neither VOCdevkit/VOC2007 nor VOC2007"):
        VOC07(voc, canvas=8).setup()


def test_the_fingerprint_changes_with_a_label(voc):
    before = VOC07(voc, canvas=8).fingerprint("train")
    assert VOC07(voc, canvas=8, seed=3).fingerprint("train") == before
    file = lists(folder(voc), "cat_trainval.txt")
    file.write_text(file.read_text().replace("000012  0", "000012 -1"))
    assert VOC07(voc, canvas=8).fingerprint("train") != before


def test_a_photo_that_cannot_be_read_is_left_out_with_its_labels(voc):
    (folder(voc) / "JPEGImages" / "000007.jpg").write_bytes(b"")
    data = VOC07(voc, canvas=8, reading=Reading(max_bad=0.3))
    found = everything(data.ordered("train"))
    assert found["index"].tolist() == [0, 2, 3]
    assert found["y"].tolist() == [list(LABELS["trainval"][photo]) for photo in ("000005", "000009", "000012")]
    assert data.skipped == {"JPEGImages/000007.jpg": "empty file"}


def refused(voc, match, split="train", **options):
    with pytest.raises(DataError, match=match):
        VOC07(voc, canvas=8, **grouped(VOC07, **options)).open(split)


def test_errors_say_what_is_wrong_with_the_folder(voc, tmp_path):
    refused(tmp_path / "nowhere", "there is no folder .*nowhere")
    refused(folder(voc) / "JPEGImages", "holds neither VOCdevkit/VOC2007 nor VOC2007 with a folder ImageSets/Main")
    refused(voc, "holds no list <class>_train.txt", train_list="train")
    refused(voc, "'test' to train and to test on", train_list="test")
    (folder(voc) / "JPEGImages" / "000009.jpg").unlink()
    refused(voc, r"1 of 4 photos on the lists of 'trainval' are not in .*JPEGImages, for instance 000009.jpg")


def test_photos_and_lists_of_the_test_are_missed_where_only_training_was_unpacked(voc):
    for file in list((folder(voc) / "ImageSets" / "Main").glob("*_test.txt")):
        file.unlink()
    refused(voc, "holds no list <class>_test.txt; unpack the archive that does", split="test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda text: text + "000010 -1\n",
            r"cat_trainval.txt lists 5 photos, bird_trainval.txt 4; '000010' is in one",
        ),
        (lambda text: text.replace("000012", "000013"), r"lists 4 photos, bird_trainval.txt 4; '000012' is in one"),
        (lambda text: text.replace(" 0\n", " 2\n"), r"cat_trainval.txt, line 3 is '000012  2'; wanted is"),
        (lambda text: text + "000005 -1\n", r"line 5 is '000005 -1'; wanted is a photo that was not listed yet"),
        (lambda text: text.replace("000005 -1", "000005"), r"line 1 is '000005'; wanted is"),
    ],
)
def test_errors_say_what_is_wrong_with_a_list(voc, change, message):
    file = lists(folder(voc), "cat_trainval.txt")
    file.write_text(change(file.read_text()))
    refused(voc, message)


def test_classes_must_be_those_of_both_splits(voc):
    lists(folder(voc), "cat_test.txt").unlink()
    refused(voc, r"for training or for the test alone: \['cat'\]", split="test")


def test_the_whole_photo_may_be_squeezed_into_the_canvas(voc):
    cut, whole = (VOC07(voc, canvas=10, whole=asked) for asked in (False, True))
    photo = torch.from_numpy(picture(5).copy()).permute(2, 0, 1)[None]  # 20 x 28
    expected = interpolate(photo, (10, 10), mode="bilinear", antialias=True)[0].int()
    seen, part = (everything(data.ordered("train"))["x"][0].int() for data in (whole, cut))
    assert (seen - expected).abs().max() < 30 < (part - expected).abs().max()  # JPEG
    assert whole.fingerprint("train") != cut.fingerprint("train")
