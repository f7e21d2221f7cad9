"""Lists of files: which columns hold the file, the label and the split, and where the files lie."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from datamodules.errors import DataError
from datamodules.listing import Listing, Splits
from datamodules.split_folders import TESTS, TRAINS

Columns = Mapping[str, str | int]
"""Of "file", "label" and "split" each the column that holds it: its name in the header, or its number from 0."""

_ROLES = ("file", "label", "split")
_FOLDERS = ("videos", "clips")


class Row(NamedTuple):
    """A line of a list."""

    file: str
    label: str | None
    split: str | None


@dataclass(frozen=True)
class Lists:
    """The lists of a data set, for the layouts that have some.

    Args:
        train_list: path of the list of files to train on, from the root.
        test_list: the same for the test set.
        columns: of "file", "label" and "split" each the column that holds it: its name in the header, or its number
            from 0 where the list has no header. By default a header with these names, or file and label.

    """

    train_list: str | None = None
    test_list: str | None = None
    columns: dict[str, str | int] | None = None


LISTS = Lists()
"""No lists."""


def read_lists(root: Path, lists: Lists) -> Splits:
    """Read one list with a column of splits, or one list for each split (or one without splits).

    Raises:
        DataError: a list is missing or empty, or holds no such column, or its files lie nowhere.

    """
    train_list, test_list, columns = lists.train_list, lists.test_list, lists.columns
    if train_list is None:
        raise DataError(f'layout="lists" wants train_list, the path of a list from {root}')
    train, test = read_rows(root / train_list, columns), None
    train_base = _base(root, train_list, train)
    if test_list is not None:
        rows = read_rows(root / test_list, columns)
        test = _relative(rows, _base(root, test_list, rows))
    elif train[0].split is not None:
        names = {row.split.lower() for row in train if row.split is not None}
        held = next((name for name in TESTS if name in names), None)
        test = _relative([row for row in train if (row.split or "").lower() == held], train_base) if held else None
        train = [row for row in train if (row.split or "").lower() in TRAINS]
        if not train:
            raise DataError(f"{root / train_list} has splits {sorted(names)}, none of them {' or '.join(TRAINS)}")
    return splits_of(_relative(train, train_base), test, root / train_list)


def splits_of(train: Sequence[Row], test: Sequence[Row] | None, source: Path) -> Splits:
    """Number the classes, in the order of their numbers or else of the alphabet."""
    both = [*train, *(test or [])]
    if all(row.label is None for row in both):
        return Splits([], _listing(train, []), None if test is None else _listing(test, []))
    if any(row.label is None for row in both):
        raise DataError(f"{source} and its test set: some files have a label, others none")
    names = {row.label for row in train if row.label is not None}
    if lost := {row.label for row in test or [] if row.label is not None} - names:
        raise DataError(f"{source}: classes {sorted(lost)[:5]} of the test set have no counterpart in the training set")
    classes = sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)
    return Splits(classes, _listing(train, classes), None if test is None else _listing(test, classes))


def read_rows(path: Path, columns: Columns | None) -> list[Row]:
    """Read a list, with columns parted by commas (.csv), by tabs (where there is one) or else by blanks.

    Without `columns`, a first line with a cell "file" is a header, with "label" and "split" if they are there;
    otherwise the first column is the file and the second, if there is one, the label.
    """
    if columns is not None and not {"file"} <= set(columns) <= set(_ROLES):
        raise DataError(f'columns={dict(columns)} names {list(columns)}, but wants "file" and perhaps "label", "split"')
    if not path.is_file():
        raise DataError(f"there is no list {path}")
    table = _cells(path)
    if not table:
        raise DataError(f"the list {path} is empty")
    if columns is None:
        header = [cell.lower() for cell in table[0]]
        if "file" in header:
            columns = {role: header.index(role) for role in _ROLES if role in header}
            table = table[1:]
        else:
            columns = {"file": 0, "label": 1} if len(header) > 1 else {"file": 0}
    elif any(isinstance(column, str) for column in columns.values()):
        columns, table = _numbered(path, columns, table[0]), table[1:]
    where = {role: int(number) for role, number in columns.items()}
    if "file" not in where or (odd := set(where) - set(_ROLES)):
        raise DataError(
            f"columns={dict(columns)} is not one of file each, and of label and split where they are: {odd}"
        )
    short = [k for k, cells in enumerate(table, 1) if len(cells) <= max(where.values())]
    if short or not table:
        raise DataError(f"{path}: row {short[0] if short else 1} has no column {max(where.values())} (the first is 0)")
    at = [where.get(role) for role in _ROLES[1:]]
    return [Row(cells[where["file"]], *(None if k is None else cells[k] for k in at)) for cells in table]


def _numbered(path: Path, columns: Columns, header: list[str]) -> dict[str, int]:
    """Find columns by their names in the header."""
    lost = [name for name in columns.values() if isinstance(name, str) and name not in header]
    if lost:
        raise DataError(f"{path} has no column {lost[0]!r}; its header is {header}")
    return {role: header.index(c) if isinstance(c, str) else c for role, c in columns.items()}


def _cells(path: Path) -> list[list[str]]:
    text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    lines = [line for line in text.splitlines() if line.strip()]
    if path.suffix.lower() == ".csv":
        return [cells for cells in csv.reader(text.splitlines()) if cells]
    if lines and "\t" in lines[0]:
        return [line.split("\t") for line in lines]
    return [line.split() for line in lines]


def _base(root: Path, name: str, rows: Sequence[Row]) -> str:
    """Find the folder where a list's paths begin: the root, one called as the list, or `videos` or `clips`."""
    for folder in ("", Path(name).stem, *_FOLDERS):
        if any((root / folder / row.file).exists() for row in rows[:10]):
            return folder
    looked = ", ".join(str(root / folder) for folder in ("", Path(name).stem, *_FOLDERS))
    raise DataError(f"{rows[0].file!r}, the first file of {root / name}, is in none of {looked}")


def _relative(rows: Sequence[Row], base: str) -> list[Row]:
    return [row._replace(file=f"{base}/{row.file}") for row in rows] if base else list(rows)


def _listing(rows: Sequence[Row], classes: Sequence[str]) -> Listing:
    number = {name: k for k, name in enumerate(classes)}
    labels = [number[row.label] for row in rows if row.label is not None]
    return Listing([row.file for row in rows], labels if classes else None)
