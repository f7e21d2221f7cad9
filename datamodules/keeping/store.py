"""Where decoded files are kept on disk: a folder of limited size, shared by data sets, settings and processes.

Each group of settings has a folder of its own. When room is needed, what belongs to other settings goes, the least
recently used first. What is open stays readable: its space is free once nobody has it open any more.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

from datamodules.errors import DataError
from datamodules.keeping.records import ENTRY, HEADER, entry, locked, sound

DATA, INDEX = "kept.data", "kept.index"
CLIP, DRAFT = ".clip", ".draft"
"""How names of files of videos end, and of files that are being written."""
_MAGIC = b"decoded1"


def folder_of(root: Path, settings: object) -> Path:
    """Make the folder of some settings, all that decides what is kept besides the files themselves.

    Raises:
        DataError: it cannot be made.

    """
    folder = root / blake2b(repr(settings).encode(), digest_size=8).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"disk.cache is {root}, but wants to be a folder to write into: {error}") from error
    return folder


def open_store(folder: Path) -> tuple[int, int]:
    """Open the data and the index of a folder; make them anew if they do not belong together."""
    with (folder / "lock").open("a") as lock, locked(lock.fileno()):
        if (pair := _open(folder)) is None:
            _make(folder)
            pair = _open(folder)
            assert pair is not None
        for name in (DATA, INDEX):
            os.utime(folder / name)  # used just now
        return pair


def _open(folder: Path) -> tuple[int, int] | None:
    """Open both files; None if one is missing, foreign or of another pair."""
    files: list[int] = []
    try:
        files.append(
            os.open(folder / DATA, os.O_RDWR)
        )  # the data are written to where it is said, the index at its end
        files.append(os.open(folder / INDEX, os.O_RDWR | os.O_APPEND))
        data, index = os.pread(files[0], 24, 0), os.pread(files[1], ENTRY, 0)
        ours = data[:8] == _MAGIC and index == entry(data[8:], 0, 0, 0) and os.fstat(files[0]).st_size >= HEADER
        if ours and _fits(files[1], os.fstat(files[0]).st_size):
            torn = os.fstat(files[1]).st_size % ENTRY
            if torn:  # by a full disk: what follows must stand at whole entries again
                os.ftruncate(files[1], os.fstat(files[1]).st_size - torn)
            return files[0], files[1]
    except OSError:
        pass
    for file in files:
        os.close(file)
    return None


def _fits(index: int, size: int) -> bool:
    """Tell whether the data hold all that stands in the index: cut short, they would grow over what is missing."""
    entries = sound(os.pread(index, os.fstat(index).st_size, 0))
    return not len(entries) or int((entries[:, 2] + entries[:, 3]).max()) <= size


def _make(folder: Path) -> None:
    """Make an empty pair. Whoever has an older one open goes on with it."""
    name = secrets.token_bytes(16)
    for file, head in ((DATA, (_MAGIC + name).ljust(HEADER, b"\0")), (INDEX, entry(name, 0, 0, 0))):
        draft = folder / (file + DRAFT)
        draft.write_bytes(head)
        draft.replace(folder / file)


def files_in(root: Path) -> Iterator[os.DirEntry[str]]:
    """Go through all that is kept in a folder, of whatever settings."""
    for folder in [path for path in root.iterdir() if path.is_dir()]:
        with os.scandir(folder) as entries:
            for found in entries:
                with suppress(FileNotFoundError):  # it went meanwhile
                    if found.name.endswith((CLIP, DRAFT, DATA, INDEX)) and found.stat():
                        yield found


def size_of(root: Path) -> int:
    """Count the bytes of all that is kept in a folder."""
    return sum(found.stat().st_size for found in files_in(root))


def make_room(folder: Path, used: int, goal: int) -> int:
    """Remove what belongs to other settings, the least recently used first, until no more than `goal` is used.

    Return what is used then.
    """
    others = [found for found in files_in(folder.parent) if Path(found.path).parent != folder and found.name != INDEX]
    for found in sorted(others, key=lambda found: found.stat().st_mtime):
        if used <= goal:
            break
        path = Path(found.path)
        for file in [path.with_name(INDEX), path] if path.name == DATA else [path]:  # no index without its data
            with suppress(OSError):  # another process was faster
                size = file.stat().st_size
                file.unlink()
                used -= size
    return used
