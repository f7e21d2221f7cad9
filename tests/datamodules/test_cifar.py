import hashlib
import pickle

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image
from torchvision import datasets

from datamodules import CIFAR10, DataError, Splitting


@pytest.fixture
def official(tmp_path, monkeypatch):
    """Write the files of CIFAR-10's own format, 6 batches of 4 random photos, and let torchvision expect these."""
    rng = np.random.default_rng(0)
    folder = tmp_path / datasets.CIFAR10.base_folder
    folder.mkdir()

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    pixels = {k: rng.integers(0, 256, (4, 3072), dtype=np.uint8) for k in range(6)}
    files = [write(f"batch_{k}", {"data": pixels[k], "labels": [k, 1, 2, 3]}) for k in pixels]
    name, md5 = write("batches.meta", {"label_names": [f"class {k}" for k in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", files[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", files[5:])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return tmp_path, pixels


def test_torchvisions_files_keep_their_order_pixels_and_labels(official):
    root, pixels = official
    data = CIFAR10(root, batch_size=7)
    train = list(data.ordered("train"))
    x = torch.cat([batch["x"] for batch in train])
    # A row of the file is 1,024 reds, then greens, then blues, each in rows of the picture.
    assert torch.equal(x, torch.from_numpy(np.concatenate([pixels[k] for k in range(5)])).view(20, 3, 32, 32))
    assert torch.cat([batch["y"] for batch in train])[::4].tolist() == [0, 1, 2, 3, 4]
    (test,) = data.ordered("test")
    assert test["y"].tolist() == [5, 1, 2, 3]
    assert data.classes == [f"class {k}" for k in range(10)]
    assert data.fingerprint("train") != CIFAR10(root, split=Splitting(limit=19)).fingerprint("train")


def test_damaged_files_are_refused(official):
    root, _ = official
    (root / datasets.CIFAR10.base_folder / "batch_3").write_bytes(b"cut")
    with pytest.raises(DataError, match="set download"):
        CIFAR10(root).setup()


def test_folders_of_pictures_are_read_alike(tmp_path):
    for split, name, number in [("train", "frog", 1), ("train", "deer", 2), ("test", "deer", 3)]:
        (tmp_path / split / name).mkdir(parents=True)
        Image.fromarray(picture(number, 32, 32)).save(tmp_path / split / name / "1.png")
    data = CIFAR10(tmp_path, split=Splitting(val=0))
    assert data.classes == ["deer", "frog"]
    (train,), (test,) = data.ordered("train"), data.ordered("test")
    assert train["y"].tolist() == [0, 1]
    assert np.array_equal(train["x"][1].permute(1, 2, 0), picture(1, 32, 32))
    assert np.array_equal(test["x"][0].permute(1, 2, 0), picture(3, 32, 32))


def test_a_folder_with_neither_says_what_it_wants(tmp_path):
    for ask in (lambda: CIFAR10(tmp_path).setup(), lambda: CIFAR10(tmp_path).classes):
        with pytest.raises(DataError, match=r"cifar-10-batches-py.*set download"):
            ask()
