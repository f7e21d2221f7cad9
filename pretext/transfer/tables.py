"""A table of transfers as a CSV file: `sources,target,value`, several sources joined by a bar.

    sources,target,value
    edges,depth,0.12
    edges|keypoints,depth,0.18

An empty value is a hole: a transfer that nobody measured.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pretext.core.files import write_whole

COLUMNS = ("sources", "target", "value")
BAR = "|"
REFERENCES = ("self", "random")
"""Sources that every table may hold, and that nobody can train: the target's own network, and an untrained one."""


class Transfer(NamedTuple):
    """What a set of sources is worth to a target."""

    sources: tuple[str, ...]
    target: str
    value: float
    """Larger is better; NaN: it was not measured."""

    @property
    def order(self) -> int:
        """How many sources there are."""
        return len(self.sources)

    @property
    def name(self) -> str:
        """The sources, joined by a bar."""
        return BAR.join(self.sources)

    @property
    def measured(self) -> bool:
        """Is there a value?"""
        return not math.isnan(self.value)


def read_transfers(file: str | Path) -> list[Transfer]:
    """Read a table of transfers.

    Raises:
        ValueError: another heading, a row that cannot be read, or two rows of one transfer; the line is named.
        OSError: the file cannot be read.

    """
    rows = list(csv.reader(io.StringIO(Path(file).read_text(encoding="utf-8-sig"))))
    heading = tuple(rows[0]) if rows else ()
    if heading != COLUMNS:
        raise ValueError(f"{file}: its first line is {','.join(heading)!r}; it wants {','.join(COLUMNS)!r}")
    found: dict[tuple[frozenset[str], str], int] = {}
    transfers = []
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        transfer = _transfer(row, f"{file}, line {line}")
        first = found.setdefault((frozenset(transfer.sources), transfer.target), line)
        if first != line:
            raise ValueError(
                f"{file}, line {line}: {transfer.name} to {transfer.target} stands in line {first} already; keep one"
            )
        transfers.append(transfer)
    if not transfers:
        raise ValueError(f"{file} has no row below its heading; it wants one for each transfer")
    return transfers


def write_transfers(transfers: Iterable[Transfer], file: str | Path) -> Path:
    """Write a table of transfers in full precision, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows((t.name, t.target, repr(t.value) if t.measured else "") for t in transfers)
    return write_whole(file, text.getvalue())


def read_figures(file: str | Path) -> dict[str, float]:
    """Read a number for each name, such as costs or weights: `name,value`, with a heading or without.

    Raises:
        ValueError: a row that is no name and number, or a name that stands there twice.
        OSError: the file cannot be read.

    """
    figures: dict[str, float] = {}
    rows = [row for row in csv.reader(io.StringIO(Path(file).read_text(encoding="utf-8-sig"))) if row]
    for line, row in enumerate(rows, 1):
        if line == 1 and len(row) == 2 and row[1] in ("value", "cost", "weight"):
            continue
        if len(row) != 2 or row[0] in figures:
            raise ValueError(f"{file}, line {line}: got {','.join(row)!r}; it wants a name, once, and a number")
        figures[row[0]] = _number(row[1], f"{file}, line {line}")
    return figures


def read_features(file: str | Path) -> dict[str, list[float]]:
    """Read features of tasks: a name and as many numbers in each row, below a heading.

    Raises:
        ValueError: rows of several lengths, no numbers, or a name that stands there twice.
        OSError: the file cannot be read.

    """
    rows = [row for row in csv.reader(io.StringIO(Path(file).read_text(encoding="utf-8-sig"))) if row][1:]
    features: dict[str, list[float]] = {}
    for line, row in enumerate(rows, 2):
        if len(row) < 2 or len(row) != len(rows[0]) or row[0] in features:
            raise ValueError(f"{file}, line {line}: it wants a name, once, and as many numbers as the other rows")
        features[row[0]] = [_number(text, f"{file}, line {line}") for text in row[1:]]
    if not features:
        raise ValueError(f"{file} has no row below its heading; it wants one for each task")
    return features


class Matrix(NamedTuple):
    """A first-order table: how much each source is worth to each target."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    values: NDArray[np.float64]
    """(S, T), NaN where nobody measured"""


def first_order(transfers: Sequence[Transfer]) -> Matrix:
    """Arrange transfers of one source as a matrix; those of several are left out.

    Raises:
        ValueError: there is none.

    """
    single = [t for t in transfers if t.order == 1]
    if not single:
        raise ValueError(f"first_order got {len(transfers)} transfers, none of them of one source; it wants some")
    sources = tuple(dict.fromkeys(t.sources[0] for t in single))
    targets = tuple(dict.fromkeys(t.target for t in single))
    values = np.full((len(sources), len(targets)), np.nan)
    for t in single:
        values[sources.index(t.sources[0]), targets.index(t.target)] = t.value
    return Matrix(sources, targets, values)


def check_names(given: Mapping[str, object], known: Iterable[str], what: str) -> None:
    """Refuse a name that is not known.

    Args:
        given: by name.
        known: every name there is.
        what: of whom the names are, such as "costs of sources".

    Raises:
        ValueError: the message names it, and one that looks like it.

    """
    every = sorted(set(known))
    for name in given:
        if name not in every:
            close = get_close_matches(name, every, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(every)}"
            raise ValueError(f"{what}: the table has no {name!r}; {hint}")


def _transfer(row: Sequence[str], where: str) -> Transfer:
    if len(row) != len(COLUMNS):
        raise ValueError(f"{where}: got {','.join(row)!r}; it wants {', '.join(COLUMNS)}")
    sources, target = tuple(row[0].split(BAR)), row[1]
    if not all(sources) or not target or len(set(sources)) < len(sources):
        raise ValueError(f"{where}: got the sources {row[0]!r} and the target {target!r}; it wants each named once")
    return Transfer(sources, target, _number(row[2], where) if row[2].strip() else math.nan)


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{where}: got {text!r}; it wants a finite number (an empty value is a hole)")
    return value
