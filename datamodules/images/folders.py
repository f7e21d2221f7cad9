"""Image files: class folders with labels, and any folder of photos without."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from datamodules.base import DataError, DataModule, Split, chosen, held_out
from datamodules.images.canvases import Decoding, Files
from datamodules.images.decode import SUFFIXES, scan
from datamodules.loader import Source

MAX_PIXELS = 100_000_000
"""Above this a file counts as a decompression bomb: 300 MB once decoded."""
_TEST_FOLDERS = ("test", "val", "validation")
_CACHE = 2 * 2**30  # bytes of canvases that are kept by default


class Listing(NamedTuple):
    """The files of one split: paths from the root and, where labelled, the number of the class of each."""

    names: list[str]
    labels: list[int] | None

    def take(self, positions: Tensor) -> Listing:
        """Choose some of the files."""
        picks, labels = positions.tolist(), self.labels
        return Listing([self.names[k] for k in picks], None if labels is None else [labels[k] for k in picks])


class ImageFolder(DataModule):
    """Labelled photos in class folders, `root/{train,test|val|validation}/<class>/*` or `root/<class>/*`.

    A folder `train` with folders in it makes the first layout; the test set is then the first that exists of `test`,
    `val` and `validation`. Otherwise, a fixed share of the files is held out for the test. JPEG, PNG and WebP, at any
    depth below the class folder; hidden files are ignored. Each is turned upright, cut to its centre square and
    resized once (bilinear, antialiased) to the canvas.

    Args:
        root: the folder.
        canvas: side of the square that files are resized to, pixels; a little more than the crop.
        batch_size: items per batch and process.
        workers: threads that decode; by default as many as there are cores for this process.
        val: share of the training set held out for validation.
        test: share of all files held out for testing, where there is no test folder.
        limit: use only so many files of the training set.
        cache: bytes of canvases (3 x canvas x canvas each) up to which all files, once decoded, are kept in memory,
            or "memory" to keep them whatever they take. A larger set is decoded anew in every epoch.
        max_bad: stop when more than this share of a split's files cannot be read.
        max_pixels: a file with more pixels counts as one that cannot be read; it is never decoded.
        seed: of the order of training.

    """

    def __init__(
        self,
        root: str | Path,
        canvas: int = 256,
        batch_size: int = 64,
        workers: int | None = None,
        val: float = 0.1,
        test: float = 0.2,
        limit: int | None = None,
        cache: int | Literal["memory"] = _CACHE,
        max_bad: float = 0.01,
        max_pixels: int = MAX_PIXELS,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val, limit, seed)
        self._refuse_unless(0 <= test < 1, f"test={test}", "a share from 0 to below 1")
        self.root, self.test, self.cache = Path(root).expanduser(), test, cache
        self.how = Decoding(canvas, workers or cores(), max_pixels, max_bad)

    @property
    def classes(self) -> list[str]:
        return self._found[0]

    def open(self, split: Split) -> Source:
        _, train, test = self._found
        return open_files(self.root, split, train, test, self.how, self.cache, self._skip)

    @cached_property
    def _found(self) -> tuple[list[str], Listing, Listing]:
        """The classes, what there is to train on, what to test on."""
        classes, train, test = labelled_splits(self.root)
        if test is None:
            train, test = divide(train, self.test)
        return classes, train.take(chosen(len(train.names), self.limit)), test


class Photos(DataModule):
    """Photos without labels: all JPEG, PNG and WebP files of a folder, at any depth; hidden files are ignored.

    Each is turned upright, cut to its centre square and resized once (bilinear, antialiased) to the canvas.

    Args:
        root: the folder.
        canvas: side of the square that files are resized to, pixels; a little more than the crop.
        batch_size: items per batch and process.
        workers: threads that decode; by default as many as there are cores for this process.
        val: share of the training set held out for validation.
        test: share of all files held out for testing.
        limit: use only so many files of the training set.
        cache: bytes of canvases (3 x canvas x canvas each) up to which all files, once decoded, are kept in memory,
            or "memory" to keep them whatever they take. A larger set is decoded anew in every epoch.
        max_bad: stop when more than this share of a split's files cannot be read.
        max_pixels: a file with more pixels counts as one that cannot be read; it is never decoded.
        seed: of the order of training.

    """

    def __init__(
        self,
        root: str | Path,
        canvas: int = 256,
        batch_size: int = 64,
        workers: int | None = None,
        val: float = 0.1,
        test: float = 0.1,
        limit: int | None = None,
        cache: int | Literal["memory"] = _CACHE,
        max_bad: float = 0.01,
        max_pixels: int = MAX_PIXELS,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val, limit, seed)
        self._refuse_unless(0 <= test < 1, f"test={test}", "a share from 0 to below 1")
        self.root, self.test, self.cache = Path(root).expanduser(), test, cache
        self.how = Decoding(canvas, workers or cores(), max_pixels, max_bad)

    @property
    def classes(self) -> list[str]:
        return []

    def open(self, split: Split) -> Source:
        train, test = self._found
        return open_files(self.root, split, train, test, self.how, self.cache, self._skip)

    @cached_property
    def _found(self) -> tuple[Listing, Listing]:
        """What there is to train on, what to test on."""
        check_root(self.root)
        names = scan(self.root)
        if not names:
            raise DataError(f"{self.root} holds no images ({', '.join(SUFFIXES)}) at any depth")
        train, test = divide(Listing(names, None), self.test)
        return train.take(chosen(len(train.names), self.limit)), test


def labelled_splits(root: Path) -> tuple[list[str], Listing, Listing | None]:
    """Find the classes, the training files and the test files (None where there is no folder of them).

    Raises:
        DataError: no such folder, no class folders, a class without images, a class only in the test set.

    """
    check_root(root)
    train = "train" if (root / "train").is_dir() and _folders(root / "train") else ""
    classes = _folders(root / train)
    if not classes:
        raise DataError(f"{root / train} holds no class folders; for photos without labels use datamodules.Photos")
    tests = [name for name in _TEST_FOLDERS if train and (root / name).is_dir()]
    return classes, _labelled(root, train, classes), _labelled(root, tests[0], classes) if tests else None


def divide(files: Listing, share: float) -> tuple[Listing, Listing]:
    """Hold out a share of the files for the test, always the same: those to train on, those to test on."""
    held, kept = held_out(len(files.names), share, "test")
    return files.take(kept), files.take(held)


def open_files(
    root: Path,
    split: Split,
    train: Listing,
    test: Listing,
    how: Decoding,
    cache: int | Literal["memory"],
    on_bad: Callable[[dict[str, str]], None],
) -> Files:
    """Open one of two splits, its canvases kept if those of both fit into the cache."""
    names, labels = train if split == "train" else test
    if not names:
        raise DataError(f"the {split} set in {root} is empty; make its share larger, or add a folder with its files")
    size = 3 * how.canvas**2 * (len(train.names) + len(test.names))
    return Files(root, names, labels, how, cache == "memory" or size <= cache, on_bad)


def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_root(root: Path) -> None:
    """Refuse a root that is no folder or an empty one."""
    if not root.exists():
        raise DataError(f"there is no folder {root}")
    if not root.is_dir():
        raise DataError(f"{root} is a file, but a folder of images is wanted")
    if not any(root.iterdir()):
        raise DataError(f"the folder {root} is empty")


def _folders(folder: Path) -> list[str]:
    """Name the folders in a folder, sorted, without the hidden ones."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _labelled(root: Path, folder: str, classes: list[str]) -> Listing:
    """List the files of each class folder in a folder."""
    names: list[str] = []
    labels: list[int] = []
    for name in _folders(root / folder):
        if name not in classes:
            raise DataError(f"the class folder {root / folder / name} has no counterpart in the training set")
        found = scan(root, f"{folder}/{name}" if folder else name)
        if not found:
            raise DataError(f"the class folder {root / folder / name} holds no images ({', '.join(SUFFIXES)})")
        names += found
        labels += [classes.index(name)] * len(found)
    if not names:
        raise DataError(f"{root / folder} holds no class folders")
    return Listing(names, labels)
