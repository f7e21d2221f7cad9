"""Folders that are called as the splits of a data set: which one is trained on, which one tested on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from datamodules.errors import DataError
from datamodules.listing import scan

TESTS = ("test", "testing", "val", "valid", "validation", "validate")
"""What a test set may be called; the first that there is counts."""
TRAINS = ("train", "training")


class SplitFolders(NamedTuple):
    """The folders in a folder, by what their names say, in upper or lower case."""

    train: str | None
    test: str | None
    others: list[str]
    """Those that are called like no split."""

    def refuse_others(self, root: Path, what: str, suffixes: Sequence[str]) -> None:
        """Refuse files beside the folder of the training set, which nobody would use.

        Raises:
            DataError: a folder of `others` holds some; the message says what to do.

        """
        for name in self.others:
            if scan(root, name, suffixes):
                raise DataError(
                    f"{root / name} holds {what} beside the training set {self.train}, but its name says not what for; "
                    f"if it is the test set, call it one of {', '.join(TESTS)}; else move it out of {root} "
                    f"(if {self.train} is a class like it, the folders in {self.train} are in the way)"
                )


def split_folders(names: Sequence[str]) -> SplitFolders:
    """Tell from the names of folders which is which."""
    train, test = _first(TRAINS, names), _first(TESTS, names)
    return SplitFolders(train, test, [name for name in names if name != train and name.lower() not in TESTS])


def _first(known: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for word in known for name in names if name.lower() == word), None)
