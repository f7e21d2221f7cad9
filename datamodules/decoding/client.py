"""The training process's side: one server for as long as it lives, begun when files are first to be decoded."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from threading import RLock
from typing import Any, final

from datamodules.decoding.messages import Done, Inbox, Job, send
from datamodules.errors import DataError

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_END = 10  # seconds that a server may take to end
_SERVERS = 3  # servers that may be lost one after the other without an answer between


@final
class Ticket:
    """A job that was handed in."""

    def __init__(self, number: int, job: Job, holders: Sequence[Any], files: Sequence[int]) -> None:
        self.number, self.job, self.files = number, job, files
        self.holders = holders
        """What keeps the files open."""
        self.done: Done | None = None
        self.wanted = True


@final
class Client:
    """Hands jobs in and waits for answers; a server that is lost is replaced, and does all that was not answered."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._line: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._inbox = Inbox()
        self._open: dict[int, Ticket] = {}
        self._count = self._lost = 0

    def submit(self, job: Job, holders: Sequence[Any], files: Sequence[int]) -> Ticket:
        """Hand a job in, with the open files that it writes to."""
        with self._lock:
            self._count += 1
            ticket = self._open[self._count] = Ticket(self._count, job, holders, files)
            self._hand_in([ticket])
            return ticket

    def wait(self, ticket: Ticket) -> Done:
        """Wait until a job is done.

        Raises:
            DataError: no server lives long enough to do it.

        """
        while ticket.done is None:
            with self._lock:
                if ticket.done is None:
                    self._hear()
        return ticket.done

    def cancel(self, tickets: Iterable[Ticket]) -> None:
        """Drop jobs whose answers nobody waits for any more; those that have begun are finished."""
        with self._lock:
            dropped = [ticket for ticket in tickets if ticket.done is None]
            for ticket in dropped:
                ticket.wanted = False  # yet answered, which says that no worker writes to its memory any more
            numbers = {ticket.number for ticket in dropped}
            if numbers and self._line is not None:
                try:
                    send(self._line, (0, numbers))
                except OSError:
                    self.close()

    @property
    def running(self) -> bool:
        """Whether there is a server."""
        return self._line is not None

    def start(self) -> None:
        """Start the server, if there is none, before it is needed."""
        with self._lock:
            self._hand_in([])

    def close(self) -> None:
        """End the server and its workers."""
        with self._lock:
            if self._line is not None:
                self._line.close()
            if self._server is not None:
                try:
                    self._server.wait(_END)
                except subprocess.TimeoutExpired:  # somebody else holds the other end of its socket
                    self._server.kill()
                    self._server.wait()
            self._line = self._server = None

    def forget(self) -> None:
        """Leave the server to the process that this one was forked from."""
        if self._line is not None:
            self._line.close()
        if self._server is not None:
            self._server.returncode = 0  # it is no child of this process's, which must not wait for it
        self._lock, self._line, self._server, self._inbox = RLock(), None, None, Inbox()
        self._open, self._lost = {}, 0

    def _hand_in(self, tickets: Iterable[Ticket]) -> None:
        if self._line is None:
            self._line, self._server = _start()
            self._inbox = Inbox()
            self._open = {number: ticket for number, ticket in self._open.items() if ticket.wanted}
            tickets = list(self._open.values())
        try:
            for ticket in tickets:
                send(self._line, (ticket.number, ticket.job), ticket.files)
        except OSError:
            self._replace()
        except BaseException:  # Ctrl-C amid a message: what follows would not be understood
            self.close()
            raise

    def _hear(self) -> None:
        """Take the next answer."""
        if self._line is None:
            self._hand_in([])
            return
        try:
            done: Done = self._inbox.receive(self._line)
        except (EOFError, OSError):
            self._replace()
            return
        except BaseException:
            self.close()
            raise
        self._lost = 0
        if (ticket := self._open.pop(done.number, None)) is not None:
            ticket.done = done
            ticket.holders, ticket.files = (), ()

    def _replace(self) -> None:
        """Start another server, which does all that is open."""
        self.close()
        self._lost += 1
        if self._lost > _SERVERS:
            self._lost = 0
            self._open.clear()
            raise DataError(
                "the process that decodes files ended several times before it had done anything; what it wrote stands "
                "above, and the system's log says whether it was killed (memory, for example)"
            )
        self._hand_in([])


def _start() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start a server: a process of its own that runs nothing of the caller's script."""
    mine, its = socket.socketpair()
    path = [os.path.abspath(folder) for folder in sys.path]  # noqa: PTH100  (as they are found, links stay links)
    code = f"import sys; sys.path[:] = {path!r}; from datamodules.decoding.server import main; main({its.fileno()})"
    with its:
        server = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            pass_fds=[its.fileno()],
            env=os.environ | _ONE_THREAD | {"CUDA_VISIBLE_DEVICES": ""},
            process_group=0,  # so that Ctrl-C does not reach it
        )
    return mine, server


CLIENT = Client()
"""Of this process."""

atexit.register(CLIENT.close)
os.register_at_fork(after_in_child=CLIENT.forget)
