"""Image files as canvases: the decoder of pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch

from datamodules.decoder import Decoder, Keep, Parts, State
from datamodules.errors import require
from datamodules.file_source import FileSource
from datamodules.images.decode import decode, side_of
from datamodules.listing import Listing, of_split
from datamodules.loader import Pick
from datamodules.options import Cache as Cache
from datamodules.options import Disk, Reading, in_memory

if TYPE_CHECKING:  # workers import this module, but not Lightning
    from datamodules.base import Split

MAX_PIXELS = 100_000_000
"""Above this a file counts as a decompression bomb: 300 MB once decoded."""
CACHE = 2 * 2**30
"""Bytes of canvases that are kept in memory by default."""
_VERSION = 1  # of canvases: raise it when the same files make others


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

    def room(self, files: int, all_files: int, cache: Cache) -> int:
        """Count the bytes of canvases to keep: those of so many files if all that share the cache fit, or none."""
        size = 3 * self.canvas**2
        return size * files if size * all_files <= in_memory(cache) else 0


@final
class Canvases(Decoder):
    """Pictures, uint8 (N, 3, S, S)."""

    shared_out = True

    def __init__(self, how: Decoding) -> None:
        self.how = how
        self.picture: tuple[int, ...] = (3, how.canvas, how.canvas)

    def side(self, file: Path) -> int | None:
        return side_of(file)

    def settings(self) -> tuple[Any, ...]:
        return (self.how.canvas, self.how.max_pixels, *(["whole"] if self.how.whole else []))

    def facts(self, name: str, label: Any, state: State) -> tuple[Any, ...]:
        return (name, label, *(state or (0, 0)))

    def blank(self, rows: int, pick: Pick) -> Parts:
        return {"rgb": np.empty((rows, 3, self.how.canvas, self.how.canvas), np.uint8)}

    def kept(self) -> tuple[Any, ...]:
        libraries = torch.__version__, version("torchvision"), torch.backends.cpu.get_cpu_capability()
        return ("canvases", _VERSION, *libraries, self.settings())

    def load(self, file: Path, position: int, pick: Pick, rows: Parts, keep: Keep) -> None:
        how = self.how
        canvas = keep(lambda: decode(file, how.canvas, how.max_pixels, how.whole))
        rows["rgb"][0] = canvas.reshape(rows["rgb"].shape[1:])


def open_files(
    root: Path,
    split: Split,
    both: tuple[Listing, Listing],
    how: Decoding,
    cache: Cache,
    reading: Reading,
    disk: Disk,
    on_bad: Callable[[dict[str, str]], None],
) -> FileSource:
    """Open one of two splits, those to train on and to test on; canvases are kept if both fit into the cache.

    Raises:
        DataError: the split is empty.

    """
    listing = of_split(split, *both, root)
    keep = how.room(len(listing.names), sum(len(files.names) for files in both), cache)
    return FileSource(root, listing.names, listing.y, Canvases(how), reading, on_bad, keep, disk)
