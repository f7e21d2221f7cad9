"""Photos with what belongs to them: real files, each map in the square of its photo."""

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import DataError, PairedFiles, Reading, Splitting
from pretext.transfer.readouts import wanted_of

HEIGHT, WIDTH, SIDE = 24, 36, 12
HALF = Splitting(test=0.5, val=0.0)


def photo(file, k, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HEIGHT, WIDTH, 3), 10 * k, np.uint8)).save(file, **options)


def places(k):
    """A map that says where each pixel is, and whose: row, column, number."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows, columns, np.full_like(rows, k)]).astype(np.float32)


@pytest.fixture
def root(tmp_path):
    for k in range(8):
        photo(tmp_path / f"images/of {k % 2}/{k}.png", k)
        for folder, values in (("places", places(k)), ("pose", np.array([k, -k, 0.5])), ("depth", places(k)[1])):
            (tmp_path / folder / f"of {k % 2}").mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / folder / f"of {k % 2}" / f"{k}.npy", values)
        (tmp_path / "parts" / f"of {k % 2}").mkdir(parents=True, exist_ok=True)
        parts = np.where(places(k)[1] < WIDTH / 2, 0, k % 3).astype(np.uint8)
        Image.fromarray(parts).save(tmp_path / f"parts/of {k % 2}/{k}.png")
    photo(tmp_path / "images/alone.png", 9)  # without a target
    return tmp_path


def batch(data, split="train"):
    (found,) = list(data.ordered(split))
    return found


def test_a_map_lies_in_the_square_of_its_photo(root):
    data = PairedFiles(root, "places", canvas=SIDE, split=HALF)
    found = batch(data)
    assert found["y"].shape == (4, 3, SIDE, SIDE)
    assert found["y"].dtype == torch.float32
    # The centre square has columns 6 to 29; of two pixels the nearest to the centre of the new one is the second.
    assert found["y"][0, 0, :, 0].tolist() == [2 * k + 1 for k in range(SIDE)]
    assert found["y"][0, 1, 0].tolist() == [6 + 2 * k + 1 for k in range(SIDE)]
    for x, y in zip(found["x"], found["y"], strict=True):
        assert x.unique().tolist() == [10 * int(y[2, 0, 0])]  # each photo has its own map
    whose = {int(y[2, 0, 0]) for split in ("train", "test") for y in batch(data, split)["y"]}
    assert whose == set(range(8))


def test_a_root_may_be_given_from_the_working_directory(root, monkeypatch):
    whole = batch(PairedFiles(root, "pose", canvas=SIDE, split=HALF))
    monkeypatch.chdir(root.parent)
    assert torch.equal(batch(PairedFiles(root.name, "pose", canvas=SIDE, split=HALF))["y"], whole["y"])


def test_vectors_and_class_maps_have_their_own_types(root):
    vectors = batch(PairedFiles(root, "pose", canvas=SIDE, split=HALF))
    for x, y in zip(vectors["x"], vectors["y"], strict=True):
        assert y.tolist() == [float(x[0, 0, 0]) / 10, -float(x[0, 0, 0]) / 10, 0.5]
    data = PairedFiles(root, "parts", ["left", "some", "other"], canvas=SIDE, split=HALF)
    maps = batch(data)
    assert maps["y"].dtype == torch.uint8
    assert maps["y"][:, :, : SIDE // 2].max() == 0
    assert data.classes == ["left", "some", "other"]
    kinds = [wanted_of(found["y"], 3).form for found in (vectors, maps)]
    assert kinds == ["vector", "mask"]


def test_folders_of_splits_are_kept_apart(root, tmp_path):
    for split in ("train", "test"):
        for k in range(3):
            photo(tmp_path / f"laid/{split}/images/{k}.png", k + 10 * (split == "test"))
            (tmp_path / f"laid/{split}/pose").mkdir(exist_ok=True)
            (tmp_path / f"laid/{split}/pose/{k}.txt").write_text(f"{k} {split == 'test':d}\n")
    data = PairedFiles(tmp_path / "laid", "pose", canvas=SIDE)
    assert batch(data, "train")["y"].tolist() == [[0, 0], [1, 0], [2, 0]]
    assert batch(data, "test")["y"].tolist() == [[0, 1], [1, 1], [2, 1]]


def test_another_target_is_another_fingerprint(root):
    data = PairedFiles(root, "pose", canvas=SIDE, split=HALF)
    before = data.fingerprint("train")
    assert PairedFiles(root, "pose", canvas=SIDE, split=HALF).fingerprint("train") == before
    name = next(pair.target for pair in data._pairs["train"])
    np.save(root / name, np.array([9.0, 9.0, 9.0]))
    assert PairedFiles(root, "pose", canvas=SIDE, split=HALF).fingerprint("train") != before


def test_a_pair_that_does_not_fit_is_skipped_with_its_cause(root):
    data = PairedFiles(root, "depth", canvas=SIDE, split=HALF, reading=Reading(max_bad=1.0))
    small, broken, deep = (
        root / pair.target for pair in data._pairs["train"][1:]
    )  # the first says what shape is wanted
    np.save(small, np.zeros((5, 5), np.float32))
    broken.write_bytes(b"nothing")
    np.save(deep, places(0))
    kept = sum(len(batch(data, split)["y"]) for split in ("train", "test"))
    causes = {name.rsplit("/", 1)[-1]: cause for name, cause in data.skipped.items()}
    assert kept + len(causes) == 8
    assert "it has (5, 5) pixels, its photo (24, 36)" in causes[small.name]
    assert broken.name in causes
    assert "its shape is (3, 12, 12), that of the first target (1, 12, 12)" in causes[deep.name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": "normals"}, "there is no folder .*normals; PairedFiles wants the photos in images"),
        (
            {"targets": "words"},
            r"no photo .* has a target of its name in .*words \(0 files of .npy, .png, .txt\)",
        ),
        (
            {"targets": "places", "classes": ["a", "b"]},
            "no target in .* can be read as classes; .* a class map is uint8",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_is_told(root, arguments, message):
    (root / "words").mkdir()
    with pytest.raises(DataError, match=message):
        PairedFiles(root, canvas=SIDE, split=HALF, **arguments).setup("fit")


def test_one_class_is_none(root):
    with pytest.raises(ValueError, match=r"classes=\['a'\], but wants the names of two or more, or none"):
        PairedFiles(root, "parts", ["a"])
