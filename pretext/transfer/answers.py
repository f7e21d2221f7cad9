"""CSV files of what raters said: `item,rater,answer` of one item each, or `rater,a,b,winner` of two."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

COUNT = "count"
"""A column that every such file may have at its end: how often it was said."""


class Said(NamedTuple):
    """A row of such a file."""

    where: str
    """The file and the line, for messages"""
    words: tuple[str, ...]
    """Without the count"""
    often: float


def heading(file: str | Path) -> tuple[str, ...]:
    """Read the names of the columns, without the count.

    Raises:
        OSError: the file cannot be read.

    """
    with Path(file).open(encoding="utf-8-sig", newline="") as lines:
        names = tuple(next(csv.reader(lines), ()))
    return names[:-1] if names[-1:] == (COUNT,) else names


def rows(file: str | Path, columns: tuple[str, ...]) -> Iterator[Said]:
    """Read the rows below such a heading, perhaps with one more column, `count`.

    Raises:
        ValueError: another heading, or a row that cannot be read; the line is named.
        OSError: the file cannot be read.

    """
    lines = list(csv.reader(io.StringIO(Path(file).read_text(encoding="utf-8-sig"))))
    names = tuple(lines[0]) if lines else ()
    if names not in (columns, (*columns, COUNT)):
        raise ValueError(f"{file}: its first line is {','.join(names)!r}; it wants '{','.join(columns)}[,{COUNT}]'")
    for line, row in enumerate(lines[1:], 2):
        if not row:
            continue
        where = f"{file}, line {line}"
        if len(row) != len(names) or not all(row):
            raise ValueError(f"{where}: got {','.join(row)!r}; it wants {','.join(names)}")
        count = row[-1] if len(names) > len(columns) else "1"
        if not count.isdecimal() or int(count) < 1:
            raise ValueError(f"{where}: got the count {count!r}; it wants a whole number of 1 or more")
        yield Said(where, tuple(row[: len(columns)]), float(count))
