import numpy as np
import pytest
import torch
from grouped import grouped
from pets import BACKGROUND, BORDER, PET, ellipse, painted, pets_folder, write_list, write_pair
from PIL import Image

from datamodules import DataError, Reading, Splitting
from datamodules.images.pets import IGNORED, Pets, read_mask


def everything(batches):
    batches = list(batches)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


@pytest.fixture
def root(tmp_path):
    return pets_folder(tmp_path / "pets")


def trimap_of(root, name):
    return np.asarray(Image.open(root / f"annotations/trimaps/{name}.png"))


def test_masks_are_the_files_pixels_renamed(root):
    """On a canvas as large as the square, nothing is resized."""
    data = Pets(root, canvas=48, batch_size=5, split=Splitting(val=0.25))
    assert data.classes == ["background", "pet"]
    for split, first, count in (("train", 0, 12), ("test", 12, 4)):
        batch = everything(data.ordered(split))
        assert batch["x"].dtype == batch["y"].dtype == torch.uint8
        assert batch["x"].shape == (count, 3, 48, 48)
        assert batch["y"].shape == (count, 48, 48)
        assert batch["index"].tolist() == list(range(count))
        for k in range(count):
            trimap = trimap_of(root, f"Beagle_{first + k}")[:, 6:54]  # the centre square of 48 x 60
            renamed = np.select([trimap == PET, trimap == BACKGROUND, trimap == BORDER], [1, 0, IGNORED])
            assert np.array_equal(batch["y"][k], renamed)


@pytest.mark.parametrize(("height", "width"), [(48, 60), (61, 47), (40, 40)])
@pytest.mark.parametrize("canvas", [16, 24, 57, 80])
def test_photo_and_mask_are_the_same_square(tmp_path, height, width, canvas):
    """A disc that is white in the photo lies where the mask says: enlarged or made smaller, upright or wide."""
    trimap = ellipse(height, width, (0.4 * height, 0.55 * width), (11, 8))
    white = np.where(trimap[..., None] == PET, 255, 0).repeat(3, 2).astype(np.uint8)
    write_pair(tmp_path, "disc", white, trimap)
    write_list(tmp_path, "test.txt", ["disc"])
    batch = everything(Pets(tmp_path, canvas=canvas).ordered("test"))
    bright, mask = batch["x"][0].float().mean(0) / 255, batch["y"][0]
    assert bright[mask == 1].mean() > 0.8  # its edge is grey
    assert bright[mask == 0].mean() < 0.02
    places = torch.arange(canvas, dtype=torch.float32) + 0.5
    for axis in (0, 1):  # both centres of mass, in pixels of the canvas, agree to a third of a pixel of the file
        centre, wanted = ((part.sum(1 - axis) * places).sum() / part.sum() for part in (bright, (mask == 1).float()))
        assert abs(centre - wanted) < 0.35 * max(1, canvas / min(height, width))


def test_a_resized_mask_says_nothing_that_was_not_there(root):
    """A mean of 0 and 255 would be neither; and a mask that is shrunk is the file's, sampled."""
    name = "Beagle_3"
    paths = (root / f"images/{name}.jpg", root / f"annotations/trimaps/{name}.png")
    whole, half, third, twice = (read_mask(*paths, canvas=c, max_pixels=10**6) for c in (48, 24, 16, 96))
    assert set(whole.unique().tolist()) == set(twice.unique().tolist()) == {0, 1, IGNORED}
    assert torch.equal(third, whole[1::3, 1::3])  # the middle one of three
    assert torch.equal(twice[::2, ::2], whole)
    assert torch.equal(twice[1::2, 1::2], whole)
    assert torch.equal(half, whole[1::2, 1::2])


def test_training_batches_carry_the_mask_of_their_own_photo_kept_or_streamed(root):
    kept, streamed = (Pets(root, canvas=48, batch_size=4, cache=cache) for cache in ("memory", 0))
    wanted = everything(kept.ordered("train"))
    for data in (kept, streamed):
        for batch in (everything(data.train_dataloader()), everything(data.val_dataloader())):
            assert torch.equal(batch["y"], wanted["y"][batch["index"]])
            assert torch.equal(batch["x"], wanted["x"][batch["index"]])
    indices = [everything(loader)["index"].tolist() for loader in (kept.train_dataloader(), kept.val_dataloader())]
    assert not set(indices[0]) & set(indices[1])


def test_pairs_that_cannot_be_used_are_left_out_with_their_cause(root):
    masks = root / "annotations/trimaps"
    (masks / "Beagle_0.png").unlink()
    (root / "images/Beagle_1.jpg").unlink()
    Image.fromarray(trimap_of(root, "Beagle_2")[:, :-1]).save(masks / "Beagle_2.png")
    Image.fromarray(trimap_of(root, "Beagle_3") - 1).save(masks / "Beagle_3.png")
    Image.fromarray(painted(trimap_of(root, "Beagle_4"), np.random.default_rng(0))).save(masks / "Beagle_4.png")
    (masks / "Beagle_5.png").write_bytes((masks / "Beagle_5.png").read_bytes()[:60])
    sideways = Image.Exif()
    sideways[0x0112] = 6
    trimap = trimap_of(root, "Beagle_6")
    write_pair(root, "Beagle_6", painted(trimap, np.random.default_rng(0)), trimap, exif=sideways)
    (root / "images/Beagle_7.jpg").write_text("no image")
    data = Pets(root, canvas=48, reading=Reading(max_bad=0.7))
    batch = everything(data.ordered("train"))
    assert len(batch["x"]) == 4
    for k, name in enumerate(("Beagle_8", "Beagle_9", "Beagle_10", "Beagle_11")):
        assert np.array_equal(batch["y"][k] == 1, trimap_of(root, name)[:, 6:54] == PET)
    causes = {name.removeprefix("annotations/trimaps/"): cause for name, cause in data.skipped.items()}
    assert causes["Beagle_0.png"] == "No such file or directory"
    assert causes["Beagle_1.png"] == "there is no photo Beagle_1.jpg for it"
    assert causes["Beagle_2.png"] == "59 x 48 pixels, but its photo has 60 x 48"
    assert causes["Beagle_3.png"] == causes["Beagle_4.png"]
    assert "not all 1 (pet), 2 (background) or 3 (border)" in causes["Beagle_3.png"]
    assert "EXIF" in causes["Beagle_6.png"]
    assert "Beagle_7.jpg" in causes["Beagle_7.png"]
    assert len(causes) == 8


def test_too_many_unusable_pairs_stop_with_a_list(root):
    (root / "annotations/trimaps/Beagle_0.png").unlink()
    with pytest.raises(DataError, match=r"1 of 12 files .* max_bad=0\.01") as caught:
        Pets(root).setup("fit")
    assert "annotations/trimaps/Beagle_0.png: No such file" in str(caught.value)


def test_a_bad_photo_behind_a_good_header_is_replaced_together_with_its_mask(root):
    file = root / "images/Beagle_5.jpg"
    file.write_bytes(file.read_bytes()[:1000])
    data = Pets(root, canvas=48, batch_size=3, reading=Reading(max_bad=0.1), split=Splitting(val=0))
    wanted = everything(data.ordered("train"))
    assert 5 not in wanted["index"]
    where = {index: row for row, index in enumerate(wanted["index"].tolist())}
    batches = list(data.train_dataloader())
    assert [len(batch["x"]) for batch in batches] == [3, 3, 3, 3]
    batch = everything(batches)
    rows = [where[index] for index in batch["index"].tolist()]
    assert torch.equal(batch["x"], wanted["x"][rows])
    assert torch.equal(batch["y"], wanted["y"][rows])


def test_a_limit_is_a_fixed_choice_of_the_training_pairs(root):
    small, large = (everything(Pets(root, 24, seed=n, split=Splitting(limit=n)).ordered("train")) for n in (3, 7))
    assert (len(small["y"]), len(large["y"])) == (3, 7)
    assert {y.numpy().tobytes() for y in small["y"]} < {y.numpy().tobytes() for y in large["y"]}
    assert len(everything(Pets(root, 24, split=Splitting(limit=3)).ordered("test"))["y"]) == 4


def test_a_fingerprint_tells_another_mask(root):
    before = Pets(root, 24).fingerprint("train")
    assert before == Pets(root, 24, batch_size=2, cache=0, seed=5, reading=Reading(workers=1)).fingerprint("train")
    mask = root / "annotations/trimaps/Beagle_0.png"
    Image.fromarray(np.full_like(trimap_of(root, "Beagle_0"), PET)).save(mask)
    assert before != Pets(root, 24).fingerprint("train")


def test_a_folder_that_is_not_laid_out_so_says_what_is_missing(root, tmp_path):
    with pytest.raises(DataError, match="there is no folder"):
        Pets(tmp_path / "lost").setup("fit")
    (root / "annotations/test.txt").unlink()
    with pytest.raises(DataError, match=r"there is no list .*test\.txt; Pets wants images/\*\.jpg"):
        Pets(root).setup("test")
    write_list(root, "test.txt", [])
    with pytest.raises(DataError, match="names no photo"):
        Pets(root).setup("test")
    write_list(root, "test.txt", ["Beagle_1", "Beagle_1"])
    with pytest.raises(DataError, match="names Beagle_1 twice"):
        Pets(root).setup("test")


@pytest.mark.parametrize("wrong", [{"canvas": 0}, {"workers": -1}, {"max_bad": 2}, {"val": 1.0}, {"limit": 0}])
def test_an_option_out_of_range_is_named(tmp_path, wrong):
    (name,) = wrong
    with pytest.raises(DataError, match=f"{name}="):
        Pets(tmp_path, **grouped(Pets, **wrong))
