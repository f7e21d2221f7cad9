"""Decoded files one after another in one file of data, and what is where in a second one, the index.

Both may grow under the hands of any number of processes, each of which may be killed at any moment: space is taken
under a lock, then filled, and only then does an entry of the index say what is there. Entries are of one size, are
written in one piece and carry a check, so that half of one is none.

A computer that loses its power may have written an entry but not yet its data. So an entry says since when the computer
has been running, and counts after a restart only if it was sealed: data were brought to the disk after it was written.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

HEADER = 4096
"""Bytes before the first record of the data."""
COLUMNS = 6
"""Numbers of 64 bits in an entry: two of the key, offset, size, running since, check."""
ENTRY = 8 * COLUMNS
"""Bytes of an entry."""
_SEAL = bytes(16)  # the key of an entry that says how many bytes of the index are sealed
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5, 1], np.uint64)
_SALT = np.uint64(0x5EA1ED)


@final
class Records:
    """Both files, opened, as a worker uses them.

    Args:
        data: the file of data.
        index: its index; None where all is forgotten with the process, in memory.
        limit: bytes that the data may reach.

    """

    def __init__(self, data: int, index: int | None, limit: int) -> None:
        self.data, self.index, self.limit = data, index, limit
        self.failure = ""
        """Why a file could not be kept, if so."""

    def key(self, path: str) -> bytes:
        """Name the present state of a file."""
        return b"" if self.index is None else key_of(path)

    def read(self, offset: int, size: int) -> NDArray[np.uint8] | None:
        """Return a record's bytes; None if they are not all there."""
        found = np.frombuffer(os.pread(self.data, size, offset), np.uint8)
        return found if len(found) == size else None

    def append(self, arrays: Sequence[NDArray[Any]], keys: Sequence[bytes]) -> list[int]:
        """Keep arrays and return their offsets, of as many of them, from the first on, as there is room for.

        All under one lock and by one call: many workers that each wait for others at every file are slower by far.
        """
        if self.failure:
            return []
        try:
            with locked(self.data):
                begin = end = os.fstat(self.data).st_size
                offsets = []
                for array in arrays:
                    if end + array.nbytes > self.limit:
                        break
                    offsets.append(end)
                    end += array.nbytes
                if not offsets:
                    return []
                os.ftruncate(self.data, end)
            arrays = arrays[: len(offsets)]
            if os.pwritev(self.data, [np.ascontiguousarray(array).data for array in arrays], begin) != end - begin:
                raise OSError("the disk is full")
            if self.index is not None:
                entries = zip(keys, offsets, arrays, strict=False)
                written = b"".join(entry(key, offset, array.nbytes) for key, offset, array in entries)
                if (count := os.write(self.index, written)) != len(written):
                    os.write(self.index, bytes(-count % ENTRY))  # so that what others write stands at whole entries
                    raise OSError("the disk is full")
        except OSError as error:
            self.failure = error.strerror or str(error)
            return []
        return offsets

    def seal(self) -> None:
        """Bring the data to the disk, and say so."""
        if self.index is not None:
            known = os.fstat(self.index).st_size
            os.fsync(self.data)
            os.write(self.index, entry(_SEAL, known, 0))


def entry(key: bytes, offset: int, size: int, boot: int | None = None) -> bytes:
    """Make an entry of the index."""
    numbers = np.zeros((1, COLUMNS), np.uint64)
    numbers[0, :2] = np.frombuffer(key, np.uint64)
    numbers[0, 2:5] = offset, size, running_since() if boot is None else boot
    numbers[0, 5] = checks(numbers)[0]
    return numbers.tobytes()


def checks(entries: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Compute what stands in the last column of entries, (M, COLUMNS) -> (M,)."""
    mixed = entries[:, :5] ^ (entries[:, :5] >> np.uint64(29))
    sums: NDArray[np.uint64] = (mixed @ _FACTORS) ^ _SALT
    return sums


def sound(index: bytes) -> NDArray[np.uint64]:
    """Choose the entries of an index that are whole and no seals, (M, COLUMNS)."""
    entries = np.frombuffer(index[: len(index) // ENTRY * ENTRY], np.uint64).reshape(-1, COLUMNS)
    fine = (entries[:, 5] == checks(entries)) & (entries[:, 0] != 0) & (entries[:, 2] >= HEADER)
    chosen: NDArray[np.uint64] = entries[fine]
    return chosen


def believed(index: bytes, size: int) -> NDArray[np.uint64]:
    """Choose the entries of an index that count, (M, COLUMNS); `size`: of the data."""
    entries = np.frombuffer(index[: len(index) // ENTRY * ENTRY], np.uint64).reshape(-1, COLUMNS)
    seals = (entries[:, 0] == 0) & (entries[:, 1] == 0)
    whole = entries[:, 5] == checks(entries)
    sealed = int(entries[seals & whole, 2].max(initial=0)) // ENTRY
    now = (entries[:, 4] == running_since()) & (entries[:, 4] != 0)
    now[:sealed] = True
    room = np.uint64(max(size, HEADER))
    there = (entries[:, 2] >= HEADER) & (entries[:, 3] <= room) & (entries[:, 2] <= room - entries[:, 3])
    chosen: NDArray[np.uint64] = entries[whole & now & there & ~seals]
    return chosen


@cache
def running_since() -> int:
    """Number this run of the computer, 0 where it is not told: then only what is sealed counts."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        return 0
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def key_of(path: str) -> bytes:
    """Name the present state of a file; where a link leads nowhere, none that any file has."""
    try:
        state = os.stat(path)  # noqa: PTH116  (pathlib takes a second for 50,000 files)
    except OSError:
        return b"\xff" * 16
    name = repr((os.path.abspath(path), state.st_size, state.st_mtime_ns))  # noqa: PTH100  (links stay links)
    return blake2b(name.encode(), digest_size=16).digest()


@contextmanager
def locked(file: int) -> Iterator[None]:
    """Hold a file's lock, which is free again when its holder dies."""
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(file, fcntl.LOCK_UN)
