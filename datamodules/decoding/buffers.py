"""Memory that is shared with the workers: a batch each, used again when the last tensor that looks at it is gone."""

from __future__ import annotations

import mmap
import os
import weakref
from collections import deque
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from datamodules.keeping.shelf import anonymous

_KEPT = 16  # buffers of a size that wait for their next use


@final
class Buffer:
    """One piece of memory, and the file that it is to the workers."""

    def __init__(self, size: int) -> None:
        self.size, self.file = size, anonymous()
        os.ftruncate(self.file, size)
        self._memory = mmap.mmap(self.file, size)
        weakref.finalize(self, os.close, self.file)

    def array(self) -> NDArray[Any]:
        """Look at all of it, as bytes."""
        return np.frombuffer(self._memory, np.uint8)


@final
class Buffers:
    """The buffers of one size, those that wait for their next use."""

    def __init__(self, size: int) -> None:
        self.size = max(1, size)
        self._free: deque[Buffer] = deque(maxlen=_KEPT)

    def take(self) -> Buffer:
        """Return one that nobody looks at."""
        try:
            return self._free.popleft()
        except IndexError:
            return Buffer(self.size)

    def lend(self, buffer: Buffer) -> NDArray[Any]:
        """Look at a buffer's bytes; it comes back when nothing made of this array is left."""
        array = buffer.array()
        weakref.finalize(array, self._free.append, buffer).atexit = False
        return array
