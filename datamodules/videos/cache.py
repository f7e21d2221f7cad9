"""Decoded videos on disk, one file each, which is written beside its name and then renamed: it is there whole or not.

A folder of this cache may be shared by any number of threads, processes and data sets; a process killed in the middle
of writing leaves a draft that nobody reads and that is removed an hour later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import Lock

from datamodules.decoder import Parts
from datamodules.errors import DataError
from datamodules.videos.array_file import DRAFT, read, remove_drafts, size_of, write

_SUFFIX = ".clip"
_LARGEST = 128 * 2**20  # bytes of one video: a longer one is decoded window by window, never whole
_RECOUNTS = 64  # how often the folder's size is looked up while the limit is used up: others write too
_log = logging.getLogger(__name__)


class ClipCache:
    """Arrays of whole videos by file, in a folder of at most `limit` bytes.

    When it is full, files of other settings (or of other data sets) go, the oldest first. When there are none, no more
    is stored: in passes that go round and round, throwing out the oldest would lose each file just before its turn.

    Args:
        folder: of the cache.
        settings: all that decides the arrays besides the file itself; its `repr` is hashed.
        limit: bytes.

    """

    def __init__(self, folder: Path, settings: object, limit: int) -> None:
        self.folder = folder / blake2b(repr(settings).encode(), digest_size=8).hexdigest()
        self.limit = limit
        self._lock = Lock()
        self._used = 0  # bytes, as far as we know
        self._recount_at = 0
        self._full = False
        self._refused: set[str] = set()  # too large, or broken somewhere
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"Clips got cache={folder}, but wants a folder to write into: {error}") from error
        remove_drafts(self.folder.parent)
        self._count()

    def find(self, path: Path) -> tuple[Parts, int] | None:
        """Map the arrays of a file, and tell its length in frames, or None if they are not there."""
        try:
            return read(self._place(path))
        except OSError:  # the video itself is not there
            return None

    def wants(self, path: Path) -> bool:
        """Tell whether it is worth while to decode the whole of a file."""
        return not self._full and str(path) not in self._refused

    def refuse(self, path: Path) -> None:
        """Remember that a file cannot be stored."""
        self._refused.add(str(path))

    def store(self, path: Path, parts: Parts, length: int) -> None:
        """Write the arrays of a file, if there is room for them."""
        size = size_of(parts, length)
        with self._lock:
            if not self._make_room(size):
                self._full = True
                return
            self._used += size
        try:
            write(self._place(path), parts, length)
        except OSError as error:
            self._full = True
            _log.warning("the cache %s cannot be written, so no more is stored: %s", self.folder, error)

    def _place(self, path: Path) -> Path:
        state = path.stat()
        key = repr((os.path.abspath(path), state.st_size, state.st_mtime_ns))  # noqa: PTH100  (links stay links)
        return self.folder / (blake2b(key.encode(), digest_size=16).hexdigest() + _SUFFIX)

    def _make_room(self, size: int) -> bool:
        """Tell whether `size` bytes fit, after throwing out what belongs to other settings if need be."""
        if self._used + size > min(self.limit, self._recount_at):
            self._count()
        if self._used + size <= self.limit:
            return True
        goal = self.limit - max(size, self.limit // _RECOUNTS)  # somewhat more than needed: looking for them takes time
        others = [entry for entry in self._files() if os.path.dirname(entry.path) != str(self.folder)]  # noqa: PTH120  (links stay links)
        for entry in sorted(others, key=lambda entry: entry.stat().st_mtime):
            if self._used <= goal:
                break
            with suppress(OSError):  # another process was faster
                Path(entry.path).unlink()
            self._used -= entry.stat().st_size
        return self._used + size <= self.limit

    def _count(self) -> None:
        self._used = sum(entry.stat().st_size for entry in self._files())
        self._recount_at = self._used + self.limit // _RECOUNTS

    def _files(self) -> Iterator[os.DirEntry[str]]:
        """Go through all files of the cache, of whatever settings."""
        for folder in [path for path in self.folder.parent.iterdir() if path.is_dir()]:
            with os.scandir(folder) as entries:
                for entry in entries:
                    with suppress(FileNotFoundError):  # it went meanwhile
                        if entry.name.endswith((_SUFFIX, DRAFT)) and entry.stat():
                            yield entry


def fits(size: int) -> bool:
    """Tell whether a video of so many bytes may be stored whole."""
    return size <= _LARGEST
