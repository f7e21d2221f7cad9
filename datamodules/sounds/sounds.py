"""Audio files alone: labelled by folders or lists, or without labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from datamodules.base import DataError, DataModule, Split, chosen
from datamodules.images.decode import scan
from datamodules.images.folders import cores, divide
from datamodules.lists import TESTS, TRAINS, Row, Splits, read_lists, splits_of
from datamodules.loader import Source
from datamodules.sounds.windows import Hearing, SoundFiles

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma")
"""The files that count as sounds, in upper or lower case."""
LAYOUTS = ("folders", "files", "lists")
_CACHE = 2 * 2**30  # bytes of samples that are kept by default: 18 hours at 16 kHz


class Sounds(DataModule):
    """Windows of sounds: x is int16 (N, 1, L), mono, at one rate, L = round(seconds rate).

    Zeros at the two ends of a file are cut off (recordings are often filled up to one length); a sound that is shorter
    than a window lies in its middle, with as many zeros before it as after it (of an odd number one more on a side that
    the item's number decides), so that they do not tell which way time runs. Training draws a place
    anew in every epoch; validation and test take the centre of each sound; `ordered`, for probing, takes `clips` evenly
    spaced windows, as rows that share their index.

    A file that is broken, empty or silent is left out or, in training, replaced by the next good one; it is listed in
    `skipped` and in the run's `skipped.txt`.

    Layouts:

    - "folders": `root/{train,test|val|validation|validate}/<class>/**` or `root/<class>/**`.
    - "files": all audio files below the root or, if there are such folders, below `train` and below `test`; unlabelled.
    - "lists": `train_list` and `test_list`, or one list with a column for the split; see `columns`.

    For ESC-10, whose files are called `<fold>-<number>-<take>.ogg`: `fold_pattern: "^(\\d)-"` and `fold: 1`.

    Args:
        root: the folder.
        layout: how files, labels and splits are found.
        seconds: length of a window.
        rate: samples per second, whatever the files have.
        clips: windows of each sound that `ordered` yields.
        batch_size: windows per batch and process.
        workers: threads that decode; by default as many as there are cores for this process.
        val: share of the training set held out for validation.
        test: share of all files held out for testing, where no test set is laid down.
        limit: use only so many files of the training set.
        fold_pattern: a regular expression with one group, which finds the fold in a file's name: the files of `fold`
            are then the test set, and all others the training set.
        fold: which fold is the test set.
        train_list: path of the list of "lists", from the root.
        test_list: the same for the test set.
        columns: of "file", "label" and "split" each the column that holds it in "lists": its name in the header, or its
            number from 0 where the list has no header. By default a header with these names, or file and label.
        cache: bytes of decoded sounds (2 per sample) that are kept in memory. What is beyond is decoded anew in every
            epoch, each file whole.
        max_bad: stop when more than this share of a split's files cannot be used.
        seed: of the order of training and of its windows.

    """

    def __init__(
        self,
        root: str | Path,
        layout: Literal["folders", "files", "lists"] = "folders",
        seconds: float = 2.0,
        rate: int = 16_000,
        clips: int = 3,
        batch_size: int = 64,
        workers: int | None = None,
        val: float = 0.1,
        test: float = 0.2,
        limit: int | None = None,
        fold_pattern: str | None = None,
        fold: int | str = 1,
        train_list: str | None = None,
        test_list: str | None = None,
        columns: dict[str, str | int] | None = None,
        cache: int = _CACHE,
        max_bad: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val, limit, seed)
        self._refuse_unless(layout in LAYOUTS, f"layout={layout!r}", f"one of {', '.join(LAYOUTS)}")
        self._refuse_unless(seconds > 0, f"seconds={seconds}", "a length above 0")
        self._refuse_unless(0 <= test < 1, f"test={test}", "a share from 0 to below 1")
        self._refuse_unless(fold_pattern is None or layout != "lists", "fold_pattern and lists", "one of them")
        self._refuse_unless(
            fold_pattern is None or _groups(fold_pattern) == 1,
            f"fold_pattern={fold_pattern!r}",
            'one group, which is the fold, such as "^(\\d)-"',
        )
        self.root, self.layout, self.test = Path(root).expanduser(), layout, test
        self.fold_pattern, self.fold = fold_pattern, str(fold)
        self.train_list, self.test_list, self.columns = train_list, test_list, columns
        self.how = Hearing(rate, round(seconds * rate), clips, workers or cores(), cache, max_bad)

    @property
    def classes(self) -> list[str]:
        return self._found.classes

    def open(self, split: Split) -> Source:
        found = self._found.train if split == "train" else self._found.test
        if found is None or not found.names:
            raise DataError(f"the {split} set in {self.root} is empty; make its share larger, or add its files")
        return SoundFiles(self.root, found.names, found.labels, self.how, self._skip)

    @cached_property
    def _found(self) -> Splits:
        """The classes, what there is to train on, what to test on."""
        if not self.root.is_dir():
            raise DataError(f"there is no folder {self.root}")
        if self.layout == "lists":
            classes, train, test = read_lists(self.root, self.train_list, self.test_list, self.columns)
        else:
            rows = rows_of(self.root, self.layout == "folders")
            if self.fold_pattern is not None:
                rows = folded(rows, self.fold_pattern, self.fold)
            held = [row for row in rows if row.split == "test"]
            train_rows = [row for row in rows if row.split != "test"]
            classes, train, test = splits_of(train_rows, held or None, self.root)
        if test is None:
            train, test = divide(train, self.test)
        return Splits(classes, train.take(chosen(len(train.names), self.limit)), test)


def rows_of(root: Path, labelled: bool) -> list[Row]:
    """List the sounds below a folder, each with its class and its split, "train" or "test", as far as folders tell.

    Raises:
        DataError: no sounds, or one that lies in no class folder.

    """
    names = scan(root, "", SUFFIXES)
    if not names:
        raise DataError(f"{root} holds no sounds ({', '.join(SUFFIXES)}) at any depth")
    tops = {name.split("/")[0] for name in names if name.count("/") > labelled}
    train, test = ([name for name in known if name in tops][:1] for known in (TRAINS, TESTS))
    laid_out = train and (test or labelled)
    splits = dict.fromkeys(train, "train") | dict.fromkeys(test, "test") if laid_out else {}
    rows = []
    for name in names:
        folders = name.split("/")[:-1]
        split = splits.get(folders[0]) if folders else None
        if splits and split is None:
            continue  # beside the folders of the splits
        classes = folders[1:] if splits else folders
        if labelled and not classes:
            raise DataError(f'{root / name} lies in no class folder; without labels use layout="files"')
        rows.append(Row(name, classes[0] if labelled else None, split))
    return rows


def _groups(pattern: str) -> int:
    """Count the groups of a regular expression; -1 where it is none."""
    try:
        return re.compile(pattern).groups
    except re.error:
        return -1


def folded(rows: Sequence[Row], pattern: str, fold: str) -> list[Row]:
    """Split by the fold that a pattern finds in each file's name.

    Raises:
        DataError: a name without a fold, or no file of the wanted one.

    """
    found = [re.search(pattern, row.file.rsplit("/", 1)[-1]) for row in rows]
    lost = [row.file for row, match in zip(rows, found, strict=True) if match is None]
    if lost:
        raise DataError(f"fold_pattern={pattern!r} finds no fold in {lost[0]!r} and {len(lost) - 1} other files")
    folds = [match[1] for match in found if match]
    if fold not in folds:
        raise DataError(f"fold={fold} names none of the folds {sorted(set(folds))} that {pattern!r} finds")
    return [row._replace(split="test" if mine == fold else "train") for row, mine in zip(rows, folds, strict=True)]
