"""Pascal VOC: photos in which several classes may be present, some so hard to see that they are not judged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import final

from torch import Tensor

from datamodules.base import DataModule, Split
from datamodules.draws import chosen
from datamodules.errors import DataError, require
from datamodules.file_source import FileSource
from datamodules.images.canvases import CACHE, MAX_PIXELS, Cache, Canvases, Decoding
from datamodules.images.nvjpeg import chosen_decoder
from datamodules.images.voc_lists import listed_classes, read_lists
from datamodules.listing import check_root
from datamodules.loader import Source
from datamodules.options import READING, SPLITTING, Reading, Splitting, disk_of


@dataclass(frozen=True)
class Challenge:
    """Which of the yearly challenges, and which of its lists.

    Args:
        year: of the challenge, which names the folder; later years have no public test lists.
        train_list: the lists to train on; "train" for later years.
        test_list: the lists to test on; "val" for later years.

    """

    year: int = 2007
    train_list: str = "trainval"
    test_list: str = "test"


CHALLENGE = Challenge()
"""That of 2007."""


@final
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
        cache: bytes of canvases (3 x canvas x canvas each) up to which all photos, once decoded, are kept in memory,
            or "memory" to keep them whatever they take. A larger set is decoded anew in every epoch.
            Or a folder to keep them in, for later runs too, safe under several processes; batches are the same.
        max_pixels: a photo with more pixels counts as one that cannot be used; it is never decoded.
        whole: squeeze the whole photo into the canvas instead of cutting its centre square out.
        challenge: which challenge's lists count.
        reading: how files are read.
        split: which photos are for what; the test set is laid down.
        seed: of the order of training.
        cache_gb: gigabytes that a folder as `cache` may hold; when full, what belongs to other settings goes first, the
            least recently used first.

    """

    shown = ("canvas",)

    def __init__(
        self,
        root: str | Path,
        canvas: int = 224,
        batch_size: int = 64,
        cache: Cache = CACHE,
        max_pixels: int = MAX_PIXELS,
        whole: bool = False,
        challenge: Challenge = CHALLENGE,
        reading: Reading = READING,
        split: Splitting = SPLITTING,
        seed: int = 0,
        cache_gb: float = 20.0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        split.refuse_folds(self)
        train, test = challenge.train_list, challenge.test_list
        require(self, train != test, f"{train!r} to train and to test on", "two lists")
        self.root, self.cache, self.year = Path(root).expanduser(), cache, challenge.year
        self.lists: dict[Split, str] = {"train": train, "test": test}
        self.how, self.reading, self.disk = Decoding(canvas, max_pixels, whole), reading, disk_of(cache, cache_gb)
        self.how.check(self)
        reading.check(self)
        self.disk.check(self)

    @property
    def classes(self) -> list[str]:
        return listed_classes(self._folder, self.lists["train"])

    def open(self, split: Split) -> Source:
        photos, y = self._listed[split]
        every = sum(len(photos) for photos, _ in self._listed.values())
        keep = self.how.room(len(photos), every, self.cache)
        files = [f"JPEGImages/{photo}.jpg" for photo in photos]
        told = self._skipped.add
        source = FileSource(self._folder, files, y, Canvases(self.how), self.reading, told, keep, self.disk)
        return chosen_decoder(source, self.reading)

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
        both = {split: read_lists(self._folder, name, self.classes) for split, name in self.lists.items()}
        photos, y = both["train"]
        kept = chosen(len(photos), self.limit)
        return both | {"train": ([photos[k] for k in kept.tolist()], y[kept])}
