"""What differs between pictures, sounds and videos when their files are read: one abstract class, `Decoder`.

A decoder is pickled and works in processes of its own, so it holds settings and little else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from datamodules.loader import Pick

Parts = dict[str, NDArray[Any]]
"""Arrays by modality."""
State = tuple[int, int] | None
"""Of a file: its bytes and when it was changed, in nanoseconds; None where a link leads nowhere."""


class Keep(Protocol):
    """Calls what decodes a file whole, unless that is kept: then it returns the same bytes, flat, not to be written to.

    `worth`, asked afterwards, says whether what was made shall be kept; none: it shall.
    """

    def __call__(self, make: Callable[[], NDArray[Any]], worth: Callable[[], bool] | None = None) -> NDArray[Any]:
        """Return what `make` makes."""


class Decoder(ABC):
    """How the files of one source become rows of a batch."""

    clips: int = 1
    """Rows that an item makes for the pick "spread"."""
    ahead: int = 3
    """Batches in the workers' hands besides the one that is served, so that no worker waits for a slow file."""
    shared_out: bool = False
    """Whether workers get a batch in equal shares, as suits files that take equally long, or file by file."""
    stays_bad: bool = True
    """Whether a file that is bad once is bad for good, or only for the part that was picked."""
    picture: tuple[int, ...] | None = None
    """Shape of what is kept of each file, where that is bytes and a row of its own, of the one modality "rgb"."""
    advice: Mapping[str, str] = {}
    """Of some causes, what to do about them."""

    def side(self, file: Path) -> int | None:
        """Return the shorter side of a picture's file, pixels; None where it is none."""
        return None

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
    def kept(self) -> tuple[Any, ...]:
        """Tell all that decides what `load` keeps of a file besides the file itself."""

    @abstractmethod
    def load(self, file: Path, position: int, pick: Pick, rows: Parts, keep: Keep) -> str | None:
        """Decode a file and write all of its rows (in a worker); return what to tell of one that is used in part.

        Raises:
            Exception: whatever the decoders raise at a file that cannot be used.

        """


def anew(make: Callable[[], NDArray[Any]], worth: Callable[[], bool] | None = None) -> NDArray[Any]:
    """Decode, and keep nothing."""
    return make()
