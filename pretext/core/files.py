"""Files that are whole or not there: the only way in which anything is written."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DRAFT = re.compile(r"\.([^/]+)\.\d+\.draft$")
"""How the name of a draft ends, which bears that of the file it is of and the number of its writer."""


@contextmanager
def whole(file: str | Path) -> Iterator[Path]:
    """Give a draft to write to; when all is written it takes the place of `file`, at once. Folders are made.

    A writer that raises, or whose process is killed, leaves `file` as it was. The draft bears the process's number,
    so that two processes never write to the same one.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}.draft")
    try:
        yield draft
        _to_disk(draft)
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(file: str | Path) -> None:
    """Remove what writers of `file` left behind that were killed; nobody else may be writing it now."""
    file = Path(file)
    for draft in file.parent.glob(f".{file.name}.*.draft"):
        draft.unlink(missing_ok=True)


def _to_disk(draft: Path) -> None:
    """Wait until a file is on the disk, or a machine that loses power could keep its name without its content."""
    with draft.open("rb+") as file:
        os.fsync(file.fileno())


def write_whole(file: str | Path, content: str | bytes) -> Path:
    """Write text (UTF-8) or bytes to `file`, whole or not at all, and return its path.

    Raises:
        OSError: the file cannot be written.

    """
    with whole(file) as draft:
        draft.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return Path(file)


def write_json(file: str | Path, content: Any, indent: int = 1) -> Path:
    """Write plain data as JSON, whole or not at all, and return the file's path."""
    return write_whole(file, json.dumps(content, indent=indent))
