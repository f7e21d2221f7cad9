"""The files of a data set: how they are found, and which are for what."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules.draws import chosen, held_out
from datamodules.errors import DataError


class Listing(NamedTuple):
    """The files of one split: paths from the root and, where labelled, the number of the class of each."""

    names: list[str]
    labels: list[int] | None

    @property
    def y(self) -> Tensor | None:
        """The labels, int64 (N,)."""
        return None if self.labels is None else torch.tensor(self.labels, dtype=torch.int64)

    def take(self, positions: Tensor) -> Listing:
        """Choose some of the files."""
        picks, labels = positions.tolist(), self.labels
        return Listing([self.names[k] for k in picks], None if labels is None else [labels[k] for k in picks])

    def limited(self, limit: int | None) -> Listing:
        """Choose at most `limit` files, at random but always the same."""
        return self.take(chosen(len(self.names), limit))

    def divided(self, share: float) -> tuple[Listing, Listing]:
        """Hold out a share of the files for the test, always the same: those to train on, those to test on."""
        held, kept = held_out(len(self.names), share, "test")
        return self.take(kept), self.take(held)


class Splits(NamedTuple):
    """The classes, what to train on and, where that is laid down, what to test on."""

    classes: list[str]
    train: Listing
    test: Listing | None

    def settled(self, share: float, limit: int | None) -> tuple[list[str], Listing, Listing]:
        """Hold out a share for the test where none is laid down, then limit what there is to train on."""
        train, test = (self.train, self.test) if self.test is not None else self.train.divided(share)
        return self.classes, train.limited(limit), test


def of_split(split: str, train: Listing, test: Listing, root: Path) -> Listing:
    """Choose what there is to train on or what to test on.

    Raises:
        DataError: it is empty.

    """
    listing = train if split == "train" else test
    if not listing.names:
        raise DataError(f"the {split} set in {root} is empty; make its share larger, or add a list or folder of it")
    return listing


def scan(root: Path, below: str, suffixes: Sequence[str]) -> list[str]:
    """List files by their suffixes below a folder, at any depth, sorted, as paths from `root`; without hidden ones.

    Links are followed, but never in a circle; one that leads nowhere is listed, as a file that cannot be read.
    """
    names: list[str] = []
    todo = [(below, frozenset(map(str, (root / below).resolve().parents)))]
    while todo:
        folder, above = todo.pop()
        real = os.path.realpath(root / folder)
        if real in above:  # a link back to where we came from
            continue
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    todo.append((name, above | {real}))
                elif entry.name.lower().endswith(tuple(suffixes)) and (entry.is_file() or _leads_nowhere(entry)):
                    names.append(name)
    return sorted(names)


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()


def subfolders(folder: Path) -> list[str]:
    """Name the folders in a folder, sorted, without the hidden ones."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def of_classes(
    root: Path, folder: str, classes: Sequence[str], what: str, suffixes: Sequence[str], unlike: str = ""
) -> Listing:
    """List the files of each class folder in a folder.

    Args:
        root: where the paths begin.
        folder: the folder, from the root.
        classes: their names, in the order of their numbers.
        what: is wanted, such as "images", for messages.
        suffixes: of the files that count.
        unlike: what the message says besides, where there are no class folders.

    Raises:
        DataError: no class folders, one without files, or one that is no class.

    """
    mine = subfolders(root / folder)
    if odd := set(mine) - set(classes):
        raise DataError(f"the class folder {root / folder / min(odd)} has no counterpart in the training set")
    if not mine:
        raise DataError(f"{root / folder} holds no class folders{unlike}")
    names: list[str] = []
    labels: list[int] = []
    for name in mine:
        files = scan(root, f"{folder}/{name}" if folder else name, suffixes)
        if not files:
            raise DataError(f"the class folder {root / folder / name} holds no {what} ({', '.join(suffixes)})")
        names += files
        labels += [classes.index(name)] * len(files)
    return Listing(names, labels)


def check_root(root: Path) -> None:
    """Refuse a root that is no folder or an empty one."""
    if not root.exists():
        raise DataError(
            f"there is no folder {root}; give the folder of the data "
            "(--data.root DIR; of two domains --data.source DIR --data.target DIR)"
        )
    if not root.is_dir():
        raise DataError(f"{root} is a file, but a folder of images is wanted")
    if not any(root.iterdir()):
        raise DataError(f"the folder {root} is empty")
