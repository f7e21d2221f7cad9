"""What differs between pictures, sounds and videos when their files are read: one abstract class, `Decoder`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from datamodules.loader import Pick

Parts = dict[str, NDArray[Any]]
"""Arrays by modality."""
State = tuple[int, int] | None
"""Of a file: its bytes and when it was changed, in nanoseconds; None where a link leads nowhere."""


class Decoder(ABC):
    """How the files of one source become rows of a batch; what it keeps of them, it keeps by their positions."""

    clips: int = 1
    """Rows that an item makes for the pick "spread"."""
    ahead: int = 3
    """Batches in the workers' hands besides the one that is served, so that no worker waits for a slow file."""
    shared_out: bool = False
    """Whether workers get a batch in equal shares, as suits files that take equally long, or file by file."""
    stays_bad: bool = True
    """Whether a file that is bad once is bad for good, or only for the part that was picked."""
    advice: Mapping[str, str] = {}
    """Of some causes, what to do about them."""

    @abstractmethod
    def settings(self) -> tuple[Any, ...]:
        """Tell all that decides the rows besides the files; its `repr` is hashed into the fingerprint."""

    @abstractmethod
    def facts(self, name: str, label: Any, state: State) -> tuple[Any, ...]:
        """Put together what the fingerprint says of a file; its `repr` is hashed.

        Each kind of files keeps the form that it has, as caches of features and finished work are found by it.
        """

    @abstractmethod
    def blank(self, rows: int, pick: Pick) -> Parts:
        """Make room for so many rows."""

    @abstractmethod
    def ready(self, positions: Tensor, pick: Pick) -> Parts | None:
        """Return the rows of all these items if they lie in memory; None if they do not."""

    @abstractmethod
    def load(self, file: Path, position: int, pick: Pick, rows: Parts) -> str | None:
        """Decode a file and write its rows (in a worker); return what to tell of a file that is used in part.

        Raises:
            Exception: whatever the decoders raise at a file that cannot be used.

        """
