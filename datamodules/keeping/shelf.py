"""What a source keeps of its files once they are decoded, as the training process sees it."""

from __future__ import annotations

import logging
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from datamodules.keeping.records import ENTRY, HEADER, believed, key_of
from datamodules.keeping.store import folder_of, make_room, open_store, size_of

_log = logging.getLogger(__name__)
_SHARE = 4  # of the limit that is made free for files whose sizes are not known beforehand


@final
class Shelf:
    """Where the decoded files of a source are, by position.

    Args:
        count: files of the source.
        data: the file of their data.
        index: on disk, its index.
        limit: bytes that the data may reach.

    """

    def __init__(self, count: int, data: int, index: int | None, limit: int) -> None:
        self.files = [data] if index is None else [data, index]
        self.limit = limit
        self.offsets = np.full(count, -1, np.int64)
        self.sizes = np.zeros(count, np.int64)
        self.fresh = False
        """Whether something was kept that is not sealed yet."""
        self.failed = False
        self._map: NDArray[np.uint8] = np.empty(0, np.uint8)
        for file in self.files:
            weakref.finalize(self, os.close, file)

    @classmethod
    def in_memory(cls, count: int, limit: int) -> Shelf:
        """Keep decoded files in memory that is shared with the workers."""
        data = anonymous()
        os.ftruncate(data, HEADER)
        return cls(count, data, None, limit + HEADER)

    def note(self, kept: Iterable[tuple[int, int, int]]) -> None:
        """Remember position, offset and size of what was kept."""
        for position, offset, size in kept:
            self.offsets[position], self.sizes[position] = offset, size
            self.fresh = True

    def give_up(self, cause: str) -> None:
        """Keep no more, and say so once."""
        if self.limit:
            _log.warning("decoded files can no longer be kept: %s", cause)
        self.limit, self.failed = 0, True

    def gather(self, positions: NDArray[np.int64], out: NDArray[np.uint8]) -> bool:
        """Copy out files that are kept as bytes of one shape, (N, *shape); tell whether all of them are there."""
        offsets = self.offsets[positions]
        if not len(offsets) or offsets.min() < 0:
            return False
        size = out[0].nbytes
        if int(offsets.max()) + size > HEADER + len(self._map):
            self._map = self._mapped(size)
        kept = self._map[: len(self._map) // size * size].reshape(-1, *out.shape[1:])
        np.take(kept, (offsets - HEADER) // size, 0, out, mode="clip")  # the mode, or NumPy copies it once more
        return True

    def _mapped(self, size: int) -> NDArray[np.uint8]:
        """Map what there is of the data; arrays made of an older map keep that one."""
        count = os.fstat(self.files[0]).st_size
        return np.frombuffer(mmap.mmap(self.files[0], count, prot=mmap.PROT_READ), np.uint8)[HEADER:]


@final
class Keeping:
    """What is kept of a source's files, opened when it is first needed and shared by all that reads the source.

    Args:
        count: files of the source.
        size: of what is kept of each file, bytes; None where they differ.
        memory: bytes that are kept in memory, if nothing is on disk.

    """

    def __init__(self, count: int, size: int | None, memory: int) -> None:
        self.count, self.size, self.memory = count, size, memory
        self._disk: tuple[Path, tuple[Any, ...], int, Callable[[], Iterable[str]]] | None = None
        self._shelf: Shelf | None = None
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)
        self._keys: NDArray[np.bytes_] = np.zeros(0, "S16")

    def on_disk(self, root: Path, settings: tuple[Any, ...], limit: int, paths: Callable[[], Iterable[str]]) -> Keeping:
        """Keep in a folder instead, up to a limit in bytes.

        `settings` are all that decides what is kept besides the files themselves; their `repr` is hashed.
        """
        self._disk = root, settings, limit, paths
        return self

    def shelf(self, coming: NDArray[np.bool_] | None = None) -> Shelf | None:
        """Open the shelf, with what other processes have added meanwhile; None if nothing is kept.

        `coming`: which files, (count,), are known to come; nothing that others keep goes for the sake of the rest.
        """
        if self._disk is not None:
            root, settings, limit, paths = self._disk
            folder = folder_of(root, settings)
            if self._shelf is None:
                self._shelf = Shelf(self.count, *open_store(folder), limit)
                keys = np.frombuffer(b"".join(map(key_of, paths())), "S16")
                self._order = keys.argsort()
                self._keys = keys[self._order]
            if not self._shelf.failed and (self._shelf.offsets < 0).any():
                self._find(self._shelf)
                self._shelf.limit = self._room(self._shelf, folder, limit, coming)
        elif self._shelf is None and self.memory:
            self._shelf = Shelf.in_memory(self.count, self.memory)
        return self._shelf

    def _find(self, shelf: Shelf) -> None:
        """Look files up in the index."""
        data, index = shelf.files
        # All of the index, as what is sealed later counts for what stands before.
        entries = believed(os.pread(index, os.fstat(index).st_size, 0), os.fstat(data).st_size)
        if self.size is not None:
            entries = entries[entries[:, 3] == self.size]
        keys = np.ascontiguousarray(entries[:, :2]).view("S16")[:, 0]
        spots = np.minimum(np.searchsorted(self._keys, keys), self.count - 1)
        mine = self._keys[spots] == keys
        positions = self._order[spots[mine]]
        shelf.offsets[positions] = entries[mine, 2].astype(np.int64)
        shelf.sizes[positions] = entries[mine, 3].astype(np.int64)

    def _room(self, shelf: Shelf, folder: Path, limit: int, coming: NDArray[np.bool_] | None) -> int:
        """Make room for what is missing, as far as the limit allows; return the size that the data may reach."""
        missing = int((shelf.offsets[slice(None) if coming is None else coming] < 0).sum())
        entries = (missing + 1) * ENTRY  # of the index: one more for the seal
        wanted = limit // _SHARE if self.size is None else missing * self.size + entries
        used = size_of(folder.parent)
        if missing:
            used = make_room(folder, used, max(0, limit - wanted))
        free = max(0, limit - used)
        grow = free - entries if self.size is None else (free - ENTRY) * self.size // (self.size + ENTRY)
        return os.fstat(shelf.files[0]).st_size + max(0, grow)


def anonymous() -> int:
    """Open a file without a name, in memory where the system can, which nobody has to remove."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("datamodules")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
