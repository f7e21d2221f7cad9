"""Reading and writing files of tensors: errors say what to do, and nothing but tensors and plain data is unpickled."""

from __future__ import annotations

import errno
import pickle
import re
import warnings
from pathlib import Path
from shutil import disk_usage
from typing import Any

import torch

from pretext.core.files import whole


def read_checkpoint(file: str | Path, map_location: Any = "cpu", mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is cut off, is no checkpoint, or holds more than tensors and plain data.

    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a pickle that is no file of torch's: the error tells it
            content = torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which torch makes of a file that is cut off
            raise
        if needs := re.search(r"GLOBAL ([\w.]*\w)", str(error)):
            raise ValueError(
                f"{file} holds {needs[1]}, and code from a file is never run here: a checkpoint is tensors and plain "
                "data; give another file"
            ) from error
        raise ValueError(
            f"{file} is not a whole checkpoint ({_first(error)}); it may have been cut off when it was copied: copy it "
            "again, or move it away and train anew"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, but a checkpoint is a dict; give another file")
    return content


def write_checkpoint(file: str | Path, content: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: it cannot be written, for example because the disk is full.

    """
    with whole(file) as draft:
        try:
            torch.save(content, draft)
        except RuntimeError as error:  # torch's own writer does not say which error the system gave
            free = disk_usage(draft.parent).free
            raise OSError(
                f"{file} cannot be written ({free:,} bytes are free there); what was saved before is as it was: make "
                "room and go on with `pretext fit RUN`"
            ) from error


def _first(error: Exception) -> str:
    """Return an error's first sentence."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].split(". ")[0].split(" (")[0].strip()[:200]
