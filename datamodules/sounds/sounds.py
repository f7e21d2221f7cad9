"""Audio files alone: labelled by folders or lists, or without labels."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal, final, get_args

from datamodules.base import DataModule, Split
from datamodules.errors import DataError, require
from datamodules.file_source import FileSource
from datamodules.listing import Listing, Splits, of_split
from datamodules.lists import LISTS, Lists, read_lists, splits_of
from datamodules.options import READING, SAMPLING, Cache, Reading, Sampling, Splitting, disk_of, in_memory
from datamodules.sounds.layouts import folded, groups, rows_of
from datamodules.sounds.windows import Hearing, SoundWindows

Layout = Literal["folders", "files", "lists"]
CACHE = 2 * 2**30
"""Bytes of samples that are kept by default: 18 hours at 16 kHz."""
_FIFTH = Splitting(test=0.2)


@final
class Sounds(DataModule):
    """Windows of sounds: x is int16 (N, 1, L), mono, at one rate, L = round(seconds rate).

    Zeros at the two ends of a file are cut off (recordings are often filled up to one length); a sound that is shorter
    than a window lies in its middle, with as many zeros before it as after it (of an odd number one more on a side that
    the item's number decides), so that they do not tell which way time runs. Training draws a place
    anew in every epoch; validation and test take the centre of each sound; `ordered`, for probing, takes `clips` evenly
    spaced windows, as rows that share their index.

    A file that is broken, empty or silent is left out or, in training, replaced by the next good one; it is listed in
    `skipped` and in the run's `skipped.txt`. So is a file that is cut off, whose good part is used. Of chained Ogg
    files all links are read.

    Layouts:

    - "folders": `root/{train,test|val|valid|validation}/<class>/**` or `root/<class>/**`. Any other folder of sounds
      beside `train` is refused.
    - "files": all audio files below the root or, if there are such folders, below `train` and below `test`; unlabelled.
    - "lists": `train_list` and `test_list`, or one list with a column for the split; see `columns`.

    For ESC-10, whose files are called `<fold>-<number>-<take>.ogg`: `fold_pattern: "^(\\d)-"` and `fold: 1`.

    Args:
        root: the folder.
        layout: how files, labels and splits are found.
        seconds: length of a window.
        sampling: samples per second, and windows of each sound that `ordered` yields.
        batch_size: windows per batch and process.
        fold_pattern: a regular expression with one group, which finds the fold in a file's name: the files of the
            `fold` of `split` are then the test set, and all others the training set.
        cache: bytes of decoded sounds (2 per sample) that are kept in memory. What is beyond is decoded anew in every
            epoch, each file whole. Or a folder to keep decoded files in, for later runs too, safe under several
            processes; batches are the same.
        lists: the lists of the layout "lists".
        reading: how files are read.
        split: which files are for what.
        seed: of the order of training and of its windows.
        cache_gb: gigabytes that a folder as `cache` may hold; when full, what belongs to other settings goes first, the
            least recently used first.

    """

    shown = ("seconds", "sampling.rate")

    def __init__(
        self,
        root: str | Path,
        layout: Layout = "folders",
        seconds: float = 2.0,
        sampling: Sampling = SAMPLING,
        batch_size: int = 64,
        fold_pattern: str | None = None,
        cache: Cache = CACHE,
        lists: Lists = LISTS,
        reading: Reading = READING,
        split: Splitting = _FIFTH,
        seed: int = 0,
        cache_gb: float = 20.0,
    ) -> None:
        super().__init__(batch_size, split.val, split.limit, seed, split.halves, split.per_class)
        require(self, layout in get_args(Layout), f"layout={layout!r}", f"one of {', '.join(get_args(Layout))}")
        require(self, seconds > 0, f"seconds={seconds}", "a length above 0")
        require(self, not isinstance(cache, int) or cache >= 0, f"cache={cache}", "0 bytes or more, or a folder")
        require(self, fold_pattern is None or layout != "lists", "fold_pattern and lists", "one of them")
        require(
            self,
            fold_pattern is None or groups(fold_pattern) == 1,
            f"fold_pattern={fold_pattern!r}",
            'one group, which is the fold, such as "^(\\d)-"',
        )
        self.root, self.layout, self.cache, self.lists = Path(root).expanduser(), layout, cache, lists
        self.test, self.fold_pattern, self.fold = split.test_share(self), fold_pattern, str(split.fold)
        self.how = Hearing(sampling.rate, round(seconds * sampling.rate), sampling.clips)
        self.reading, self.disk = reading, disk_of(cache, cache_gb)
        self.how.check(self)
        reading.check(self)
        self.disk.check(self)

    @property
    def rate(self) -> int:
        """Samples per second of what it yields."""
        return self.how.rate

    @property
    def classes(self) -> list[str]:
        return self._files[0]

    def open(self, split: Split) -> FileSource:
        _, train, test = self._files
        listing = of_split(split, train, test, self.root)
        decoder, told = SoundWindows(self.how), self._skipped.add
        return FileSource(
            self.root, listing.names, listing.y, decoder, self.reading, told, in_memory(self.cache), self.disk
        )

    @cached_property
    def _files(self) -> tuple[list[str], Listing, Listing]:
        """The classes, what there is to train on, what to test on."""
        if not self.root.is_dir():
            raise DataError(f"there is no folder {self.root}")
        splits = read_lists(self.root, self.lists) if self.layout == "lists" else self._in_folders()
        return splits.settled(self.test, self.limit)

    def _in_folders(self) -> Splits:
        rows = rows_of(self.root, self.layout == "folders")
        if self.fold_pattern is not None:
            rows = folded(rows, self.fold_pattern, self.fold)
        test = [row for row in rows if row.split == "test"]
        return splits_of([row for row in rows if row.split != "test"], test or None, self.root)
