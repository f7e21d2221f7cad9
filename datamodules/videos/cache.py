"""Decoded videos on disk, one file each, which is written beside its name and then renamed: it is there whole or not.

A folder of this cache may be shared by any number of processes and data sets; a process killed in the middle of writing
leaves a draft that nobody reads and that is removed an hour later.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from datamodules.decoder import Parts
from datamodules.keeping import store
from datamodules.videos.array_file import read, remove_drafts, size_of, write

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
        folder = folder.absolute()  # workers are at home in another folder
        self.root, self.settings, self.limit = folder, settings, limit
        self.folder = store.folder_of(folder, settings)
        self._used = 0  # bytes, as far as we know
        self._recount_at = 0
        self._full = False
        self._refused: set[str] = set()  # too large, or broken somewhere
        remove_drafts(self.folder.parent)
        self._count()

    def __reduce__(self) -> tuple[Callable[..., ClipCache], tuple[Path, object, int]]:
        """Let each worker count for itself."""
        return ClipCache, (self.root, self.settings, self.limit)

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
        return self.folder / (blake2b(key.encode(), digest_size=16).hexdigest() + store.CLIP)

    def _make_room(self, size: int) -> bool:
        """Tell whether `size` bytes fit, after throwing out what belongs to other settings if need be."""
        if self._used + size > min(self.limit, self._recount_at):
            self._count()
        if self._used + size <= self.limit:
            return True
        goal = self.limit - max(size, self.limit // _RECOUNTS)  # somewhat more than needed: looking for them takes time
        self._used = store.make_room(self.folder, self._used, goal)
        return self._used + size <= self.limit

    def _count(self) -> None:
        self._used = store.size_of(self.folder.parent)
        self._recount_at = self._used + self.limit // _RECOUNTS


def fits(size: int) -> bool:
    """Tell whether a video of so many bytes may be stored whole."""
    return size <= _LARGEST
