"""Image files as canvases: the decoder of pictures, which may keep what it decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from torch import Tensor

from datamodules.base import Split
from datamodules.decoder import Decoder, Parts, State
from datamodules.errors import require
from datamodules.file_source import FileSource
from datamodules.images.decode import decode
from datamodules.listing import Listing, of_split
from datamodules.loader import Pick
from datamodules.options import Reading

Cache = int | Literal["memory"]
"""Bytes of canvases up to which all are kept, or "memory" to keep them whatever they take."""
MAX_PIXELS = 100_000_000
"""Above this a file counts as a decompression bomb: 300 MB once decoded."""
CACHE = 2 * 2**30
"""Bytes of canvases that are kept by default."""


@dataclass(frozen=True)
class Decoding:
    """How a file becomes a canvas."""

    canvas: int
    """Side of the square, pixels."""
    max_pixels: int = MAX_PIXELS
    """A file with more is bad."""
    whole: bool = False
    """Squeeze the whole picture into the square instead of cutting its centre square out."""

    def check(self, owner: object) -> None:
        """Refuse what is out of range, in the name of a data module."""
        require(owner, self.canvas >= 1, f"canvas={self.canvas}", "at least 1")
        require(owner, self.max_pixels >= 1, f"max_pixels={self.max_pixels}", "at least 1")

    def fits(self, files: int, cache: Cache) -> bool:
        """Tell whether the canvases of so many files are kept."""
        return cache == "memory" or 3 * self.canvas**2 * files <= cache


@final
class Canvases(Decoder):
    """Pictures, uint8 (N, 3, S, S); with `keep`, those of so many files stay in one array, once decoded."""

    shared_out = True

    def __init__(self, how: Decoding, keep: int) -> None:
        self.how = how
        self._kept = self._room(keep)
        self._there = np.zeros(keep, dtype=bool)  # which of the kept have been decoded

    def _room(self, rows: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.empty((rows, 3, self.how.canvas, self.how.canvas), np.uint8)

    def settings(self) -> tuple[Any, ...]:
        return (self.how.canvas, self.how.max_pixels, *(["whole"] if self.how.whole else []))

    def facts(self, name: str, label: Any, state: State) -> tuple[Any, ...]:
        return (name, label, *(state or (0, 0)))

    def blank(self, rows: int, pick: Pick) -> Parts:
        return {"rgb": self._room(rows)}

    def ready(self, positions: Tensor, pick: Pick) -> Parts | None:
        wanted = positions.numpy()
        return {"rgb": self._kept[wanted]} if len(self._there) and self._there[wanted].all() else None

    def load(self, file: Path, position: int, pick: Pick, rows: Parts) -> None:
        if len(self._there) and self._there[position]:
            rows["rgb"][0] = self._kept[position]
            return
        rows["rgb"][0] = decode(file, self.how.canvas, self.how.max_pixels, self.how.whole)
        if len(self._there):
            self._kept[position] = rows["rgb"][0]
            self._there[position] = True


def open_files(
    root: Path,
    split: Split,
    both: tuple[Listing, Listing],
    how: Decoding,
    cache: Cache,
    reading: Reading,
    on_bad: Callable[[dict[str, str]], None],
) -> FileSource:
    """Open one of two splits, those to train on and to test on; canvases are kept if both fit into the cache.

    Raises:
        DataError: the split is empty.

    """
    listing = of_split(split, *both, root)
    keep = len(listing.names) if how.fits(sum(len(files.names) for files in both), cache) else 0
    return FileSource(root, listing.names, listing.y, Canvases(how, keep), reading, on_bad)
