"""Image files: class folders with labels, and any folder of photos without."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import final

from datamodules.base import DataModule, Split
from datamodules.errors import DataError
from datamodules.images.canvases import CACHE, MAX_PIXELS, Cache, Decoding, open_files
from datamodules.images.decode import SUFFIXES
from datamodules.images.nvjpeg import chosen_decoder
from datamodules.listing import Listing, Splits, check_root, of_classes, scan, subfolders
from datamodules.loader import Source
from datamodules.options import READING, Reading, Splitting, disk_of
from datamodules.split_folders import split_folders

_FIFTH, _TENTH = Splitting(test=0.2), Splitting(test=0.1)


@final
class ImageFolder(DataModule):
    """Labelled photos in class folders, `root/{train,test|val|valid|validation}/<class>/*` or `root/<class>/*`.

    A folder `train` (or `training`) with folders in it makes the first layout; the test set is then the first that
    exists of `test`, `testing`, `val`, `valid`, `validation` and `validate`, and any other folder with images beside
    `train` is refused. Otherwise, or without a test folder, a fixed share of the files is held out for the test. JPEG,
    PNG and WebP (of an animated one the first frame), at any depth below the class folder; hidden files are ignored.
    Each is turned upright, cut to its centre square and resized once (bilinear, antialiased) to the canvas.

    Args:
        root: the folder.
        canvas: side of the square that files are resized to, pixels; a little more than the crop.
        batch_size: items per batch and process.
        cache: bytes of canvases (3 x canvas x canvas each) up to which all files, once decoded, are kept in memory,
            or "memory" to keep them whatever they take. A larger set is decoded anew in every epoch.
            Or a folder to keep them in, for later runs too, safe under several processes; batches are the same.
        max_pixels: a file with more pixels counts as one that cannot be used; it is never decoded.
        reading: how files are read.
        split: which files are for what.
        seed: of the order of training.
        cache_gb: gigabytes that a folder as `cache` may hold; when full, what belongs to other settings goes first, the
            least recently used first.

    """

    shown = ("canvas",)

    def __init__(
        self,
        root: str | Path,
        canvas: int = 256,
        batch_size: int = 64,
        cache: Cache = CACHE,
        max_pixels: int = MAX_PIXELS,
        reading: Reading = READING,
        split: Splitting = _FIFTH,
        seed: int = 0,
        cache_gb: float = 20.0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        self.root, self.cache, self.how = Path(root).expanduser(), cache, Decoding(canvas, max_pixels)
        self.test, self.reading, self.disk = split.test_share(self), reading, disk_of(cache, cache_gb)
        split.refuse_folds(self)
        self.how.check(self)
        reading.check(self)
        self.disk.check(self)

    @property
    def classes(self) -> list[str]:
        return self._files[0]

    def open(self, split: Split) -> Source:
        both, told = self._files[1:], self._skipped.add
        files = open_files(self.root, split, both, self.how, self.cache, self.reading, self.disk, told)
        return chosen_decoder(files, self.reading)

    @cached_property
    def _files(self) -> tuple[list[str], Listing, Listing]:
        """The classes, what there is to train on, what to test on."""
        return labelled_splits(self.root).settled(self.test, self.limit)


@final
class Photos(DataModule):
    """Photos without labels: all JPEG, PNG and WebP files of a folder, at any depth; hidden files are ignored.

    Each is turned upright, cut to its centre square and resized once (bilinear, antialiased) to the canvas.

    Args:
        root: the folder.
        canvas: side of the square that files are resized to, pixels; a little more than the crop.
        batch_size: items per batch and process.
        cache: bytes of canvases (3 x canvas x canvas each) up to which all files, once decoded, are kept in memory,
            or "memory" to keep them whatever they take. A larger set is decoded anew in every epoch.
            Or a folder to keep them in, for later runs too, safe under several processes; batches are the same.
        max_pixels: a file with more pixels counts as one that cannot be used; it is never decoded.
        reading: how files are read.
        split: which files are for what.
        seed: of the order of training.
        cache_gb: gigabytes that a folder as `cache` may hold; when full, what belongs to other settings goes first, the
            least recently used first.

    """

    shown = ("canvas",)

    def __init__(
        self,
        root: str | Path,
        canvas: int = 256,
        batch_size: int = 64,
        cache: Cache = CACHE,
        max_pixels: int = MAX_PIXELS,
        reading: Reading = READING,
        split: Splitting = _TENTH,
        seed: int = 0,
        cache_gb: float = 20.0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        self.root, self.cache, self.how = Path(root).expanduser(), cache, Decoding(canvas, max_pixels)
        self.test, self.reading, self.disk = split.test_share(self, default=0.1), reading, disk_of(cache, cache_gb)
        split.refuse_folds(self)
        self.how.check(self)
        reading.check(self)
        self.disk.check(self)

    @property
    def classes(self) -> list[str]:
        return []

    def open(self, split: Split) -> Source:
        told = self._skipped.add
        files = open_files(self.root, split, self._files, self.how, self.cache, self.reading, self.disk, told)
        return chosen_decoder(files, self.reading)

    @cached_property
    def _files(self) -> tuple[Listing, Listing]:
        """What there is to train on, what to test on."""
        check_root(self.root)
        names = scan(self.root, "", SUFFIXES)
        if not names:
            raise DataError(f"{self.root} holds no images ({', '.join(SUFFIXES)}) at any depth")
        _, train, test = Splits([], Listing(names, None), None).settled(self.test, self.limit)
        return train, test


def labelled_splits(root: Path) -> Splits:
    """Find the classes, the training files and the test files (None where there is no folder of them).

    Raises:
        DataError: no such folder, no class folders, a class without images, a class only in the test set, a folder of
            images beside the training set that is no test set.

    """
    check_root(root)
    found = split_folders(subfolders(root))
    train = found.train if found.train is not None and subfolders(root / found.train) else ""
    if train:
        found.refuse_others(root, "images", SUFFIXES)
    classes = subfolders(root / train)
    if not classes:
        raise DataError(f"{root / train} holds no class folders; for photos without labels use datamodules.Photos")
    test = found.test if train else None
    files = of_classes(root, train, classes, "images", SUFFIXES)
    return Splits(classes, files, None if test is None else of_classes(root, test, classes, "images", SUFFIXES))
