"""Class vectors: what is known of classes besides their items, such as attributes or word embeddings of their names.

A CSV file has a row for each class: its name under `class`, `seen` or `unseen` under `split`, and numbers under any
other names. So which classes may be learnt from is written down, and nobody's chance.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from math import isfinite, nan
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.errors import require

NAME, SPLIT = "class", "split"
SEEN, UNSEEN = "seen", "unseen"
WHO = "zero_shot"


class ClassVectors(NamedTuple):
    """The vectors of K classes, in the order of their labels."""

    names: tuple[str, ...]
    seen: Tensor
    """(K,) bool: items of these may be learnt from."""
    vectors: Tensor
    """(K, A) float64, as they are in the file."""
    attributes: tuple[str, ...]

    def standardised(self) -> Tensor:
        """Bring attributes to mean 0 and variance 1 over the classes, and leave out those of one value: (K, A')."""
        spread, centre = torch.std_mean(self.vectors, 0, correction=0)
        told = spread > 1e-9 * centre.abs()
        return (self.vectors[:, told] - centre[told]) / spread[told]

    def present(self) -> Tensor:
        """Tell which attributes a class has, (K, A) bool: those above their mean over the classes."""
        return self.vectors > self.vectors.mean(0)


def read_classes(file: str | Path, names: Sequence[str]) -> ClassVectors:
    """Read the vectors of the classes `names`.

    Raises:
        ValueError: no such file or column, a class that is missing, unknown or there twice (the split overlaps where
            it is once seen and once unseen), a value that is missing or no number, two classes with one vector. One
            line, which names the file and the class.

    """
    rows = _rows(Path(file), names)
    columns = [column for column in rows[names[0]] if column not in (NAME, SPLIT)]
    require(bool(columns), WHO, f"{file} has no column but {NAME} and {SPLIT}", "add one for each attribute")
    vectors = torch.tensor([[_number(file, rows[name], column) for column in columns] for name in names]).double()
    found = ClassVectors(tuple(names), torch.tensor([rows[n][SPLIT] == SEEN for n in names]), vectors, tuple(columns))
    _check_vectors(file, found)
    return found


def fingerprint(file: str | Path) -> str:
    """Hash a file, so that a result says which it went by."""
    require(Path(file).is_file(), WHO, f"there is no file {file}", f"give a CSV with columns {NAME}, {SPLIT}, ...")
    return blake2b(Path(file).read_bytes(), digest_size=4).hexdigest()


def _rows(file: Path, names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """Read the rows by class, each class of `names` once."""
    rows: dict[str, Mapping[str, str]] = {}
    for row in _read(file):
        name, split = row[NAME], row[SPLIT]
        require(split in (SEEN, UNSEEN), WHO, f"{file}: {name!r} is {split!r}", f"write {SEEN} or {UNSEEN}")
        if name in rows:
            both = "as seen and as unseen: the split overlaps" if rows[name][SPLIT] != split else "twice"
            require(False, WHO, f"{file} lists the class {name!r} {both}", "keep one row of each class")
        rows[name] = row
    for name in names:
        require(name in rows, WHO, f"{file} has no row for the class {name!r} of the data", "add its attributes")
    for name in rows:
        require(name in names, WHO, f"the data has no class {name!r}, which {file} lists", "rename or remove the row")
    return rows


def _read(file: Path) -> Iterator[dict[str, str]]:
    require(file.is_file(), WHO, f"there is no file {file}", f"give a CSV with columns {NAME}, {SPLIT}, attributes")
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        header = reader.fieldnames or []
        lacking = [column for column in (NAME, SPLIT) if column not in header]
        require(not lacking, WHO, f"{file} has no column {' and no '.join(lacking)}", f"its header is {list(header)}")
        for row in reader:
            yield {str(key): (value or "").strip() for key, value in row.items() if key is not None}


def _number(file: str | Path, row: Mapping[str, str], column: str) -> float:
    text = row[column]
    require(text != "", WHO, f"{file} gives the class {row[NAME]!r} no {column!r}", "fill in a number")
    try:
        value = float(text)
    except ValueError:
        value = nan
    require(isfinite(value), WHO, f"{file} gives {row[NAME]!r} the {column!r} {text!r}", "write a finite number")
    return value


def _check_vectors(file: str | Path, found: ClassVectors) -> None:
    for i, name in enumerate(found.names):
        same = (found.vectors[:i] == found.vectors[i]).all(1).nonzero()[:, 0].tolist()
        if same:
            require(
                False,
                WHO,
                f"{file} gives {found.names[same[0]]!r} and {name!r} one vector, so nothing can tell them apart",
                "add an attribute in which they differ",
            )
