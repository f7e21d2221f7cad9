"""Where the sounds of a data set lie, which class each is of, and which are for training and which for testing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from datamodules.errors import DataError
from datamodules.listing import scan
from datamodules.lists import Row
from datamodules.split_folders import split_folders

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".aif", ".aiff", ".wma")
"""The files that count as sounds, in upper or lower case."""


def rows_of(root: Path, labelled: bool) -> list[Row]:
    """List the sounds below a folder, each with its class and its split, "train" or "test", as far as folders tell.

    Raises:
        DataError: no sounds, one that lies in no class folder, or a folder of them beside the training set that is no
            test set.

    """
    names = scan(root, "", SUFFIXES)
    if not names:
        raise DataError(f"{root} holds no sounds ({', '.join(SUFFIXES)}) at any depth")
    found = split_folders(sorted({name.split("/")[0] for name in names if name.count("/") > labelled}))
    splits: dict[str, str] = {}
    if found.train is not None and (found.test is not None or labelled):
        found.refuse_others(root, "sounds", SUFFIXES)
        splits = {found.train: "train"} | ({} if found.test is None else {found.test: "test"})
    rows = []
    for name in names:
        folders = name.split("/")[:-1]
        split = splits.get(folders[0]) if folders else None
        if splits and split is None:
            continue  # a second test set, or beside the folders
        classes = folders[1:] if splits else folders
        if labelled and not classes:
            raise DataError(f'{root / name} lies in no class folder; without labels use layout="files"')
        rows.append(Row(name, classes[0] if labelled else None, split))
    return rows


def groups(pattern: str) -> int:
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
    matches = [re.search(pattern, row.file.rsplit("/", 1)[-1]) for row in rows]
    lost = [row.file for row, match in zip(rows, matches, strict=True) if match is None]
    if lost:
        raise DataError(f"fold_pattern={pattern!r} finds no fold in {lost[0]!r} and {len(lost) - 1} other files")
    folds = [match[1] for match in matches if match]
    if fold not in folds:
        raise DataError(f"fold={fold} names none of the folds {sorted(set(folds))} that {pattern!r} finds")
    return [row._replace(split="test" if mine == fold else "train") for row, mine in zip(rows, folds, strict=True)]
