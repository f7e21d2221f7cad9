"""Threads of libraries, such as the one in which TensorBoard writes: what ends one is told in a line."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def told_in_a_line() -> Iterator[None]:
    """Let a thread that a disk ends say so in one line instead of a traceback, while a command runs.

    Who writes through that thread meets the same error, and ends with it.
    """
    before = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        if isinstance(args.exc_value, OSError):
            print(f"a thread that writes has ended: {args.exc_value}", file=sys.stderr)
        else:
            before(args)

    threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before
