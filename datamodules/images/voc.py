"""Pascal VOC: photos in which several classes may be present, some so hard to see that they are not judged."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from datamodules.base import DataError, DataModule, Split, chosen
from datamodules.images.canvases import Decoding, Files
from datamodules.images.folders import MAX_PIXELS, check_root, cores
from datamodules.loader import Source

PRESENT, ABSENT, NOT_JUDGED = 1, 0, -1
_MEANING = {"1": PRESENT, "-1": ABSENT, "0": NOT_JUDGED}
"""What the lists say, in the words of the batch law: their -1 is absent, their 0 difficult."""
_CACHE = 2 * 2**30  # bytes of canvases that are kept by default


class VOC07(DataModule):
    """The 9,963 photos of Pascal VOC 2007, 20 classes of which each photo shows one or more (Everingham et al., 2007).

    `VOC2007/JPEGImages/<photo>.jpg` and, for each class, a list `VOC2007/ImageSets/Main/<class>_{trainval,test}.txt`
    with lines "<photo> 1" (present), "<photo> -1" (absent) or "<photo> 0" (only instances that are difficult to see).
    The classes are those of the lists that are there. In batches, y is int8 (N, 20): 1 present, 0 absent, -1 difficult
    and not to be judged. Training is trainval, the test is test; its photos and lists are a download of their own that
    unpacks into the same folder.

    Each photo is turned upright, cut to its centre square and resized once (bilinear, antialiased) to the canvas. What
    lies outside of the square is then not seen; the published linear SVM squeezes the whole photo into 224 x 224.

    Args:
        root: the folder that holds `VOCdevkit/VOC2007` or `VOC2007`, or is that.
        canvas: side of the square that photos are resized to, pixels.
        batch_size: photos per batch and process.
        workers: threads that decode; by default as many as there are cores for this process.
        val: share of the training set held out for validation.
        limit: use only so many photos of the training set.
        cache: bytes of canvases (3 x canvas x canvas each) up to which all photos, once decoded, are kept in memory,
            or "memory" to keep them whatever they take. A larger set is decoded anew in every epoch.
        max_bad: stop when more than this share of a split's photos cannot be read.
        max_pixels: a photo with more pixels counts as one that cannot be read; it is never decoded.
        seed: of the order of training.
        year: of the challenge, which names the folder; later years have no public test lists.
        train_list: the lists to train on; "train" for later years.
        test_list: the lists to test on; "val" for later years.
        whole: squeeze the whole photo into the canvas instead of cutting its centre square out.

    """

    def __init__(
        self,
        root: str | Path,
        canvas: int = 224,
        batch_size: int = 64,
        workers: int | None = None,
        val: float = 0.1,
        limit: int | None = None,
        cache: int | Literal["memory"] = _CACHE,
        max_bad: float = 0.01,
        max_pixels: int = MAX_PIXELS,
        seed: int = 0,
        year: int = 2007,
        train_list: str = "trainval",
        test_list: str = "test",
        whole: bool = False,
    ) -> None:
        super().__init__(batch_size, val, limit, seed)
        self._refuse_unless(train_list != test_list, f"{train_list!r} to train and to test on", "two lists")
        self.root, self.cache, self.year = Path(root).expanduser(), cache, year
        self.lists: dict[Split, str] = {"train": train_list, "test": test_list}
        self.how = Decoding(canvas, workers or cores(), max_pixels, max_bad, whole)

    @property
    def classes(self) -> list[str]:
        return listed_classes(self._folder, self.lists["train"])

    def open(self, split: Split) -> Source:
        photos, y = self._listed[split]
        size = 3 * self.how.canvas**2 * sum(len(photos) for photos, _ in self._listed.values())
        keep = self.cache == "memory" or size <= self.cache
        files = Files(self._folder, [f"JPEGImages/{photo}.jpg" for photo in photos], None, self.how, keep, self._skip)
        files.y = y  # its constructor takes one class of each file
        return files

    @cached_property
    def _folder(self) -> Path:
        check_root(self.root)
        name = f"VOC{self.year}"
        for folder in (self.root / "VOCdevkit" / name, self.root / name, self.root):
            if (folder / "ImageSets" / "Main").is_dir():
                return folder
        raise DataError(
            f"{self.root} holds neither VOCdevkit/{name} nor {name} with a folder ImageSets/Main; "
            "name the folder that the archives of the challenge were unpacked in"
        )

    @cached_property
    def _listed(self) -> dict[Split, tuple[list[str], Tensor]]:
        """The photos of both splits and what they show, (N, K)."""
        found = {split: read_lists(self._folder, name, self.classes) for split, name in self.lists.items()}
        photos, y = found["train"]
        kept = chosen(len(photos), self.limit)
        return found | {"train": ([photos[k] for k in kept.tolist()], y[kept])}


def listed_classes(folder: Path, name: str) -> list[str]:
    """Name the classes of which there is a list `<class>_<name>.txt`, sorted.

    Raises:
        DataError: there is none.

    """
    end = f"_{name}.txt"
    classes = sorted(file.name.removesuffix(end) for file in (folder / "ImageSets" / "Main").glob(f"*{end}"))
    if not classes:
        raise DataError(f"{folder / 'ImageSets' / 'Main'} holds no list <class>{end}; unpack the archive that does")
    return classes


def read_lists(folder: Path, name: str, classes: list[str]) -> tuple[list[str], Tensor]:
    """Read the lists `<class>_<name>.txt`: the photos, sorted, and what is in them, int8 (N, K) of 1, 0 and -1.

    Raises:
        DataError: lists of other classes or, one compared with another, of other photos; a line that says something
            else; no photo at all; a photo that is not there.

    """
    if listed_classes(folder, name) != classes:
        strange = sorted(set(listed_classes(folder, name)) ^ set(classes))
        raise DataError(f"{folder}: some lists of classes are there for training or for the test alone: {strange}")
    read = {k: _read(folder / "ImageSets" / "Main" / f"{k}_{name}.txt") for k in classes}
    photos = sorted(read[classes[0]])
    for k, says in read.items():
        if says.keys() != read[classes[0]].keys():
            one = min(says.keys() ^ read[classes[0]].keys())
            raise DataError(
                f"{folder}: {k}_{name}.txt lists {len(says)} photos, {classes[0]}_{name}.txt {len(photos)}; {one!r} is "
                "in one of them only, but every list must name every photo"
            )
    if not photos:
        raise DataError(f"{folder}: the lists of {name!r} are empty")
    _find(folder, photos, name)
    return photos, torch.tensor([[read[k][photo] for k in classes] for photo in photos], dtype=torch.int8)


def _read(file: Path) -> dict[str, int]:
    """Read one list: photo -> 1 present, 0 absent, -1 not judged."""
    says: dict[str, int] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match line.split():
            case []:
                continue
            case [photo, said] if said in _MEANING and photo not in says:
                says[photo] = _MEANING[said]
            case _:
                raise DataError(
                    f"{file}, line {number} is {line!r}; wanted is a photo that was not listed yet, and 1 where the "
                    "class is present, -1 absent, 0 difficult"
                )
    return says


def _find(folder: Path, photos: list[str], name: str) -> None:
    """Refuse lists with photos that are not there."""
    images = folder / "JPEGImages"
    there = {file.name for file in images.iterdir()} if images.is_dir() else set()
    missing = [photo for photo in photos if f"{photo}.jpg" not in there]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(photos)} photos on the lists of {name!r} are not in {images}, for "
            f"instance {missing[0]}.jpg; unpack the archive of that split too"
        )
