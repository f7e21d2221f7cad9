import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import picture
from grouped import grouped
from PIL import Image

from datamodules import DataError, ImageFolder, Photos, Reading, Splitting


def everything(batches):
    batches = list(batches)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def same(left, right):
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(left, right, strict=True)
    )


def spoil(root, *names):
    for name in names:
        (root / name).write_bytes((root / name).read_bytes()[:-60])


def test_pictures_labels_and_classes_are_those_of_the_folders(photos):
    data = ImageFolder(photos(5), canvas=20, batch_size=4)
    assert data.classes == ["cat", "dog"]
    train, test = everything(data.ordered("train")), everything(data.ordered("test"))
    assert train["y"].tolist() == test["y"].tolist() == [0] * 5 + [1] * 5
    assert train["index"].tolist() == list(range(10))
    assert train["x"].dtype == torch.uint8
    for k in range(10):  # the centre square at its own size: the very pixels of the file
        assert np.array_equal(train["x"][k].permute(1, 2, 0), picture(1 + k)[:, 4:24])
        assert np.array_equal(test["x"][k].permute(1, 2, 0), picture(11 + k)[:, 4:24])


@pytest.mark.parametrize("name", ["test", "testing", "val", "valid", "validation", "validate", "Valid"])
@pytest.mark.parametrize("train", ["train", "Training"])
def test_the_test_folder_may_have_any_of_its_names(photos, train, name):
    root = photos(3, splits=(train, name))
    (root / "annotations").mkdir()  # a folder without images is in nobody's way
    (root / "annotations/notes.txt").write_text("none")
    data = ImageFolder(root, canvas=8)
    assert len(everything(data.ordered("test"))["x"]) == 6
    assert len(everything(data.ordered("train"))["x"]) == 6


def test_of_several_test_folders_the_first_by_name_counts(photos):
    data = ImageFolder(photos(1, splits=("train", "valid", "val")), canvas=8)
    assert data.open("test").names == ["val/cat/000.png", "val/dog/000.png"]


def test_images_beside_the_training_set_that_nobody_would_use_are_refused(photos):
    with pytest.raises(
        DataError, match=r"data/extra holds images beside .* train, .* call it one of test, testing, val"
    ):
        ImageFolder(photos(3, splits=("train", "extra")), canvas=8).setup("fit")


def test_class_folders_alone_hold_out_a_fixed_share_for_the_test(photos):
    root = photos(20, splits=("",))
    one, other = (ImageFolder(root, canvas=8, seed=seed, split=Splitting(test=0.25)) for seed in (0, 1))
    train, test = everything(one.ordered("train")), everything(one.ordered("test"))
    assert (len(train["x"]), len(test["x"])) == (30, 10)
    together = {image.numpy().tobytes() for image in torch.cat([train["x"], test["x"]])}
    assert len(together) == 40  # no picture in both
    assert [one.fingerprint(split) for split in ("train", "test")] == [
        other.fingerprint(split) for split in ("train", "test")
    ]


def test_a_class_called_train_is_a_class(photos):
    assert ImageFolder(photos(3, splits=("",), classes=("car", "train")), canvas=8).classes == ["car", "train"]


def test_photos_takes_any_nested_folder_and_knows_no_labels(photos):
    data = Photos(photos(5), canvas=8, split=Splitting(test=0.1))
    assert data.classes == []
    train, test = everything(data.ordered("train")), everything(data.ordered("test"))
    assert "y" not in train
    assert (len(train["x"]), len(test["x"])) == (18, 2)
    assert sum(len(batch["x"]) for batch in data.val_dataloader()) == 2


def test_a_limit_is_a_fixed_choice_among_the_training_files_alone(photos):
    root = photos(10)
    small, large = (
        everything(ImageFolder(root, 8, seed=n, split=Splitting(limit=n)).ordered("train"))["x"] for n in (4, 9)
    )
    assert (len(small), len(large)) == (4, 9)
    assert {x.numpy().tobytes() for x in small} < {x.numpy().tobytes() for x in large}
    assert len(everything(ImageFolder(root, 8, split=Splitting(limit=4)).ordered("test"))["x"]) == 20


@pytest.mark.parametrize("bad", [(), ("train/cat/003.png", "train/dog/001.png")])
def test_kept_and_streamed_batches_are_the_same_in_every_epoch(photos, bad):
    root = photos(30)
    spoil(root, *bad)
    kept, streamed = (
        ImageFolder(root, 12, 8, cache=cache, reading=Reading(workers=3, max_bad=0.1)) for cache in ("memory", 0)
    )
    loaders = [data.train_dataloader() for data in (kept, streamed)]
    for epoch in range(3):
        for loader in loaders:
            loader.set_epoch(epoch)
        assert same(*map(list, loaders))
    assert same(list(kept.val_dataloader()), list(streamed.val_dataloader()))
    assert same(list(kept.ordered("train")), list(streamed.ordered("train")))


def test_a_kept_canvas_is_decoded_once_and_a_set_above_the_cache_is_not_kept(photos):
    root = photos(4)
    size = 3 * 8 * 8 * 16  # bytes, both splits
    kept, streamed = (ImageFolder(root, 8, cache=cache) for cache in (size, size - 1))
    before = [everything(data.ordered("train"))["x"] for data in (kept, streamed)]
    for file in (root / "train").rglob("*.png"):
        Image.fromarray(picture(99)).save(file)
    after = [everything(data.ordered("train"))["x"] for data in (kept, streamed)]
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_a_bad_file_is_replaced_by_a_good_one_of_training_and_left_out_in_order(photos):
    root = photos(30)
    spoil(root, "train/cat/003.png", "train/dog/029.png")
    for cache in ("memory", 0):
        data = ImageFolder(root, 12, 9, cache=cache, reading=Reading(max_bad=0.1))
        in_order = everything(data.ordered("train"))
        assert in_order["index"].tolist() == [k for k in range(60) if k not in (3, 59)]
        held = set(everything(data.val_dataloader())["index"].tolist())
        batches = list(data.train_dataloader())
        assert {len(batch["x"]) for batch in batches} == {9}
        train = everything(batches)
        assert not set(train["index"].tolist()) & ({3, 59} | held)
        where = {index: k for k, index in enumerate(in_order["index"].tolist())}
        rows = torch.tensor([where[index] for index in train["index"].tolist()])
        assert torch.equal(train["x"], in_order["x"][rows])  # the picture and label of the index it names
        assert torch.equal(train["y"], in_order["y"][rows])
        assert set(data.skipped) == {"train/cat/003.png", "train/dog/029.png"}


def test_resuming_behind_a_bad_file_changes_nothing(photos):
    root = photos(30)
    spoil(root, "train/cat/003.png", "train/dog/001.png", "train/dog/002.png")
    whole = list(ImageFolder(root, 12, 8, cache=0, reading=Reading(max_bad=0.1)).train_dataloader())
    for stop in range(len(whole)):
        loader = ImageFolder(root, 12, 8, reading=Reading(max_bad=0.1)).train_dataloader()
        loader.load_state_dict({"epoch": 0, "batch": stop})
        assert same(list(loader), whole[stop:])


def test_bad_files_are_listed_once_with_their_cause_also_by_a_resumed_run(photos, tmp_path):
    root = photos(30)
    (root / "train/cat/003.png").write_bytes(b"")
    (root / "train/dog/tab\tand\nline.jpg").write_text("no image")
    (root / "train/dog/lost.jpg").symlink_to("nowhere")
    trainer = SimpleNamespace(default_root_dir=str(tmp_path / "run"), overfit_batches=0, current_epoch=0)
    for resumed in (False, True):
        data = ImageFolder(root, 12, 8, cache=0, reading=Reading(max_bad=0.1), split=Splitting(val=0))
        list(data.ordered("train"))  # before a trainer is there
        data.trainer = trainer
        data.setup("fit")
        for _ in range(2):
            list(data.train_dataloader())
        if not resumed:
            assert not (tmp_path / "run").exists()  # which is not the data's to make
            (tmp_path / "run").mkdir()
            assert data.state_dict() == {}  # for the run's first checkpoint
    assert sorted((tmp_path / "run/skipped.txt").read_text().splitlines()) == [
        "train/cat/003.png\tempty file",
        "train/dog/lost.jpg\tNo such file or directory",
        "train/dog/tab\\tand\\nline.jpg\tnot a JPEG, PNG or WebP image",
    ]


@pytest.mark.parametrize("cache", ["memory", 0])
def test_too_many_bad_files_stop_with_a_list(photos, cache):
    root = photos(30)
    names = [f"train/cat/{k:03}.png" for k in range(30)]
    spoil(root, *names)
    with pytest.raises(DataError) as caught:
        list(ImageFolder(root, 12, 60, cache=cache, reading=Reading(max_bad=0.4)).ordered("train"))
    message = str(caught.value)
    assert "at least 30 of 60 files" in message
    assert "max_bad=0.4" in message
    assert all(name in message for name in names[:20])
    assert names[20] not in message
    assert message.endswith("and 10 more")
    assert len(everything(ImageFolder(root, 12, reading=Reading(max_bad=0.5)).ordered("train"))["x"]) == 30


def test_a_training_set_without_any_good_file_says_so(photos):
    root = photos(2, classes=("cat",))
    spoil(root, "train/cat/000.png", "train/cat/001.png")
    with pytest.raises(DataError, match="none of 2 files"):
        list(ImageFolder(root, 8, reading=Reading(max_bad=1), split=Splitting(val=0)).train_dataloader())


def test_leaving_a_pass_early_leaves_the_data_whole(photos):
    data = ImageFolder(photos(30), 12, 4)
    early = next(iter(data.train_dataloader()))
    again = list(data.train_dataloader())
    assert same([early], again[:1])
    assert same(again, list(ImageFolder(data.root, 12, 4, cache=0).train_dataloader()))


def test_what_validation_decodes_in_inference_mode_can_be_trained_on(photos):
    data = ImageFolder(photos(10), 12, 4)
    with torch.inference_mode():
        list(data.ordered("train"))
    x = next(iter(data.train_dataloader()))["x"].float().requires_grad_()
    x.square().sum().backward()
    assert x.grad is not None


def test_a_fingerprint_tells_files_canvas_and_limit_apart(photos):
    root = photos(10)
    first = ImageFolder(root, 12).fingerprint("train")
    assert first == ImageFolder(root, 12, batch_size=3, cache=0, seed=7, reading=Reading(workers=1)).fingerprint(
        "train"
    )
    others = [
        ImageFolder(root, 13).fingerprint("train"),
        ImageFolder(root, 12, split=Splitting(limit=9)).fingerprint("train"),
    ]
    file = root / "train/cat/000.png"
    os.utime(file, (1, 1))
    others.append(ImageFolder(root, 12).fingerprint("train"))
    file.unlink()
    others.append(ImageFolder(root, 12).fingerprint("train"))
    assert len({first, *others}) == 5


def misplaced(tmp_path, kind):
    root = tmp_path / "data"
    if kind == "file":
        root.write_text("")
    elif kind != "missing":
        root.mkdir()
    if kind == "no images":
        (root / "notes").mkdir()
        (root / "notes/readme.txt").write_text("nothing here")
    return root


@pytest.mark.parametrize("module", [ImageFolder, Photos])
@pytest.mark.parametrize(
    ("kind", "message"),
    [("missing", "there is no folder"), ("file", "is a file"), ("empty", "is empty"), ("no images", "holds no images")],
)
def test_a_root_without_images_says_what_is_wrong(tmp_path, module, kind, message):
    root = misplaced(tmp_path, kind)
    with pytest.raises(DataError, match=message) as caught:
        module(root).setup("fit")
    assert str(root) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_class_folders_that_do_not_fit_are_named(photos):
    root = photos(3)
    (root / "train/bird").mkdir()
    with pytest.raises(DataError, match="train/bird holds no images"):
        ImageFolder(root).setup("fit")
    (root / "train/bird").rmdir()
    (root / "test/dog").rename(root / "test/bird")
    with pytest.raises(DataError, match="test/bird has no counterpart"):
        ImageFolder(root).setup("fit")


def test_loose_photos_point_to_the_class_that_reads_them(photos):
    with pytest.raises(DataError, match=r"no class folders; .* datamodules\.Photos"):
        ImageFolder(photos(3, classes=("",), splits=("",))).setup("fit")


def test_an_empty_test_set_is_refused_when_it_is_asked_for(photos):
    data = Photos(photos(3), 8, split=Splitting(test=0))
    data.setup("fit")
    with pytest.raises(DataError, match="the test set in"):
        data.ordered("test")


@pytest.mark.parametrize("wrong", [{"canvas": 0}, {"workers": -1}, {"max_bad": 2}, {"max_pixels": 0}, {"test": 1.0}])
def test_an_image_option_out_of_range_is_named(tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(DataError, match=f"{name}="):
        ImageFolder(tmp_path, **grouped(ImageFolder, **wrong))


def test_validation_mixes_the_classes_always_alike(photos):
    root = photos(20)
    one, other = (ImageFolder(root, canvas=8, batch_size=5, seed=seed, split=Splitting(val=0.5)) for seed in (0, 1))
    batches = list(one.val_dataloader())
    assert all(len(batch["y"].unique()) == 2 for batch in batches)  # the folders come one after the other
    assert same(batches, list(other.val_dataloader()))
