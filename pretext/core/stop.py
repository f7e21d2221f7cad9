"""Signals that ask a process to go, since its machine is taken away: SIGTERM, SIGUSR1 and SIGUSR2."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class Stop:
    """What this process has heard: the first signal counts, later ones change nothing.

    Who hears one leaves at once by SystemExit, with 128 + the signal's number, so that everything on the way out is
    cleaned up. Training has something to finish first: it holds the signal back, and asks for it between two steps.
    """

    def __init__(self) -> None:
        self.signal = 0
        """Its number, 0 while there is none."""
        self.held = False
        """Somebody asks for it, and leaves when he is ready."""
        self._owner = 0

    @property
    def code(self) -> int:
        """The exit code that says which signal was heard, 0 while there is none."""
        return self.signal and 128 + self.signal

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Catch the signals while a command runs; only a main thread can, and elsewhere this does nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.signal, self.held, self._owner = 0, False, os.getpid()
        before = {number: signal.signal(number, self._heard) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def check(self) -> None:
        """Leave if a signal was heard.

        Raises:
            SystemExit: one was.

        """
        if self.signal:
            raise SystemExit(self.code)

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a child made by fork, which has nothing to save
            _as_if_never_caught(number)
        elif not self.signal:
            self.signal = number
            if not self.held:
                self.check()


def _as_if_never_caught(number: int) -> None:
    """End a child that its parent terminates; leave to the parent what schedulers send to whole groups."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


STOP = Stop()
"""The one of this process."""
