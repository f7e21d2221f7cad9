"""Which classes episodes are made of: those to learn to learn from, those to validate on, those to test on."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.draws import shuffled
from datamodules.errors import DataError, require


@dataclass(frozen=True)
class HeldClasses:
    """Which classes are held out; no item of theirs is trained on, also not where clusters take the classes' place.

    Args:
        val: how many to validate on; 0: validation episodes are of the training classes, of items that are held out.
        test: how many to test on; none: half of them, rounded up.
        draw: another number holds out others.

    """

    val: int = 0
    test: int | None = None
    draw: int = 0

    def divided(self, owner: object, classes: int) -> tuple[list[int], list[int], list[int]]:
        """Split so many classes into those of train, val and test, each in order, always alike.

        Raises:
            DataError: there are not enough of them.

        """
        test = -(-classes // 2) if self.test is None else self.test
        got = f"held.val={self.val}, held.test={test} of {classes} classes"
        enough = self.val >= 0 and test >= 0 and self.val + test < classes
        require(owner, enough, got, "0 or more of each, and some left to train on")
        order = shuffled(classes, "held classes", self.draw).tolist()
        return sorted(order[test + self.val :]), sorted(order[test : test + self.val]), sorted(order[:test])


HELD = HeldClasses()
"""The group with nothing but defaults."""


class Pool(NamedTuple):
    """Classes to draw episodes from."""

    members: list[Tensor]
    """Of each class: the sorted positions of its items."""
    changes: list[int]
    """Of each class: how its items are changed, such as by so many quarter turns; 0: not at all."""
    facts: Tensor | None = None
    """(classes, D) numbers that are known of each."""

    def multiplied(self, times: int) -> Pool:
        """Make `times` classes of each, one for each way to change its items; facts tell which."""
        members = [items for items in self.members for _ in range(times)]
        changes = list(range(times)) * len(self.members)
        if self.facts is None:
            return Pool(members, changes)
        return Pool(members, changes, with_change(self.facts.repeat_interleave(times, 0), changes, times))


def with_change(facts: Tensor, changes: Sequence[int], times: int) -> Tensor:
    """Add to facts (classes, D) which of `times` changes was made: (classes, D + times)."""
    return torch.cat([facts, torch.eye(times)[list(changes)]], dim=1)


def members_of(labels: Tensor, classes: Sequence[int], among: Tensor) -> list[Tensor]:
    """List the sorted positions of each class's items, `among` (sorted positions) alone."""
    mine = labels[among]
    return [among[mine == label] for label in classes]


def read_labels(owner: object, file: Path, listed: str, items: int) -> list[Tensor]:
    """Read labels of a training set's items, such as `pretext cluster` writes: one (N,) for each partition.

    The file is JSON: {"listed": the data module's `listed("train")`, "partitions": [[label of item 0, ...], ...]}. An
    item whose label is negative belongs to no class.

    Raises:
        DataError: there is no such file, it is laid out otherwise, or it is of other items.

    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        partitions = [torch.tensor(labels, dtype=torch.int64) for labels in content["partitions"]]
    except FileNotFoundError as error:
        raise DataError(f"there is no file of labels {file}; make one: pretext cluster RUN --out {file}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{file} is no file of labels, JSON with "listed" and "partitions" ({error})') from error
    fits = content.get("listed") == listed and all(len(labels) == items for labels in partitions)
    require(owner, fits and bool(partitions), f"labels={file}, of other items", f"labels of these {items} items")
    return partitions


def read_facts(owner: object, file: Path, classes: Sequence[str]) -> Tensor:
    """Read what is known of classes from a CSV file with a heading, the class in its first column: (classes, D).

    A column of numbers is one number; of a column of words each word is a 0 or 1.

    Raises:
        DataError: there is no such file, or it lacks a class.

    """
    if not file.is_file():
        raise DataError(
            f"there is no file of metadata {file}; give a CSV file, the name of a class in its first column"
        )
    with file.open(encoding="utf-8", newline="") as text:
        _, *rows = [row for row in csv.reader(text) if row] or [[]]
    known = {name: values for name, *values in rows}
    missing = [name for name in classes if name not in known]
    wide = {len(known[name]) for name in classes if name in known}
    got = f"metadata={file} without {', '.join(missing[:3])}" if missing else f"metadata={file} of uneven rows"
    require(owner, not missing and len(wide) == 1 and min(wide) > 0, got, "a row of equal length for each class")
    columns = zip(*(known[name] for name in classes), strict=True)
    return torch.cat([_numbers(column) for column in columns], dim=1)


def _numbers(column: Sequence[str]) -> Tensor:
    try:
        return torch.tensor([[float(value)] for value in column])
    except ValueError:
        words = sorted(set(column))
        return torch.eye(len(words))[[words.index(value) for value in column]]
