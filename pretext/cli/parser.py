"""What the verbs share: how they read their words, and how an error is told in one line."""

from __future__ import annotations

import argparse
import errno
import os
import re
import traceback
from argparse import ArgumentError
from typing import NoReturn

from yaml import YAMLError

from pretext.core.files import DRAFT

# What a user can cause and mend. Anything else is our bug and deserves its traceback.
USER_ERRORS = (ArgumentError, ValueError, TypeError, OSError, ImportError, FloatingPointError, YAMLError)
# The same from libraries that are too slow to import for a line of help.
USER_MESSAGES = re.compile(r"^(MisconfigurationException: |RuntimeError: Error\(s\) in loading state_dict)")
# Lines of jsonargparse's messages that speak of its own types and not of what the user wrote.
NOISE = re.compile(
    r"(- )?(Does not validate against|Subtypes:|Errors:|Given value type:|Given value: (NestedArg|Namespace)"
    r"|Expected a <class 'NoneType'>|Expected a path but)"
)
# What it writes around the reason why a task is refused: the type of a factory, and all that it was given.
WRAPPED = re.compile(
    r"Type collections\.abc\.Callable\S* \S+ expects a function or a callable class: |\.? Got value: Namespace\(.*$"
)
_DISK = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room and call it again"),
    errno.EROFS: "nothing can be written there, choose another folder",
}
_TENSORS = 200  # characters of what is told of tensors that do not fit
_PROTOCOL = re.compile(r"Import path (\S+) does not implement protocol (\w+)")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing its usage.

    Args:
        verb: its name.
        words: what stands before the options, such as "RUN".
        about: what it does, in a sentence.

    """

    def __init__(self, verb: str, words: str, about: str | None) -> None:
        super().__init__(usage=f"pretext {verb} {words} [options]", description=about, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def run_of(args: list[str]) -> tuple[str | None, list[str]]:
    """Split `VERB RUN options` to the run, if there is one, and the options (whose values are never taken for it)."""
    named = len(args) > 1 and not args[1].startswith("-")
    return (args[1], args[2:]) if named else (None, args[1:])


def needed(run: str | None) -> str:
    """Return the run.

    Raises:
        ValueError: there is none.

    """
    if run is None:
        raise ValueError("give a run, the folder that `pretext fit` made, before any option")
    return run


def is_users(error: BaseException) -> bool:
    """Tell whether a user can cause and mend an error."""
    return isinstance(error, USER_ERRORS) or bool(USER_MESSAGES.match(f"{type(error).__name__}: {error}"))


def one_line(error: BaseException) -> str:
    """Say what is wrong in one line, however many a library used."""
    lines = [line.strip() for line in str(error).splitlines()]
    if isinstance(error, OSError) and error.errno in _DISK:
        file = DRAFT.sub(r"\1", os.fsdecode(error.filename or ""))
        where = f" ({file})" if file else ""
        return f"{error.strerror}{where}: {_DISK[error.errno]}; what was saved before is whole"
    if lines and lines[0].startswith("Error(s) in loading state_dict"):  # it names every tensor that does not fit
        told = " ".join(lines[1:])
        more = f" ... ({len(told):,} characters)" if len(told) > _TENSORS else ""
        lines[1:] = [f"the weights are of another network: {told[:_TENSORS]}{more}"]
    told = WRAPPED.sub("", " ".join(line.removeprefix("- ") for line in lines if line and not NOISE.match(line)))
    if other := _PROTOCOL.search(told):  # a parser tells it of every class on the way
        return (
            f"{other[1]} is no {other[2]}: give its methods the names, arguments and annotations that a {other[2]} has"
        )
    return told or repr(error)


def hint(error: BaseException) -> str:
    """Point to the traceback where the error is not one that this package or a parser words for its users."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if isinstance(error, OSError) and error.errno in _DISK:
        return ""
    ours = frame.f_globals.get("__name__", "").split(".")[0] in ("pretext", "datamodules", "jsonargparse", "argparse")
    return "" if ours or isinstance(error, ArgumentError) else " (PRETEXT_TRACEBACK=1 shows where)"
