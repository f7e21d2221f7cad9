"""A file of arrays, which is written beside its name and then renamed: it is there whole or not.

A process killed in the middle of writing leaves a draft that nobody reads and that is removed an hour later.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from datamodules.decoder import Parts
from datamodules.keeping.store import DRAFT

_ALIGN = 64  # bytes: where arrays begin in a file
_STALE = 3600  # seconds after which a draft is that of a process that was killed


def read(path: Path) -> tuple[Parts, int] | None:
    """Map the arrays of a file, and tell the length that was stored with them; None without such a file."""
    try:
        data = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError):  # not there, or empty
        return None
    try:
        size = int(data[:8].view("<u8")[0])
        facts = json.loads(data[8 : 8 + size].tobytes())
        if facts["size"] != len(data):
            return None
        parts: Parts = {}
        for name, kind, shape, start in facts["arrays"]:
            stop = start + int(np.prod(shape)) * np.dtype(kind).itemsize
            parts[name] = data[start:stop].view(kind).reshape(shape)
        return parts, int(facts["length"])
    except (ValueError, KeyError, TypeError):  # not a file of ours: it is written anew
        return None


def write(path: Path, parts: Parts, length: int) -> None:
    """Write arrays with a length, whole or not at all."""
    handle, draft = tempfile.mkstemp(DRAFT, dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_header(parts, length))
            for array in parts.values():
                file.write(bytes(-file.tell() % _ALIGN))
                file.write(np.ascontiguousarray(array).data)
            file.flush()
            os.fsync(file.fileno())  # a name must not reach the disk before its content
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def remove_drafts(root: Path) -> None:
    """Remove drafts in the folders of a folder that nobody can still be writing to."""
    for draft in root.glob(f"*/*{DRAFT}"):
        with suppress(OSError):
            if draft.stat().st_mtime < time.time() - _STALE:
                draft.unlink()


def _header(parts: Parts, length: int) -> bytes:
    """Describe a file: the length of the description, then it, as JSON."""
    start, arrays = 4096, []
    for name, array in parts.items():
        arrays.append((name, array.dtype.str, array.shape, start))
        end = start + array.nbytes
        start = end + -end % _ALIGN
    text = json.dumps({"length": length, "size": end, "arrays": arrays}).encode()
    return (len(text).to_bytes(8, "little") + text).ljust(4096, b"\0")


def size_of(parts: Parts, length: int) -> int:
    """Count the bytes of a file of these arrays."""
    size: int = json.loads(_header(parts, length)[8:].rstrip(b"\0"))["size"]
    return size
