"""The server: one process beside the training process, which forks workers, hands jobs to them and watches them."""

from __future__ import annotations

import gc
import os
import resource
import selectors
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import final

from datamodules.decoding.messages import Bad, Done, Item, Job, Kept, packed, receive, send
from datamodules.decoding.worker import OUT_OF_MEMORY, Status, Worker

_GIB = 2**30
_TICK = 0.5  # seconds between two looks at the clocks of the workers that are busy


@dataclass(eq=False)
class _Task:
    """A job and what is known of its answer."""

    number: int
    job: Job
    files: Sequence[int]
    parts: int = 0
    causes: dict[int, str] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    unkept: str = ""


@dataclass(eq=False)
class _Part:
    """Some of a task's items, as one worker gets them."""

    task: _Task
    items: Sequence[Item]
    suspect: bool = False
    """The one item at which a worker went down; it gets a fresh one, which tells whether it was to blame."""


@dataclass(eq=False)
class _Hand:
    """A worker as the server sees it."""

    pid: int
    line: socket.socket
    status: Status
    part: _Part | None = None


@final
class Server:
    """Tasks, workers and who has what; alone with its thread, so that it may fork."""

    def __init__(self, client: socket.socket) -> None:
        self.client = client
        self.queue: deque[_Part] = deque()
        self.hands: list[_Hand] = []
        self._dying: list[int] = []
        self._answers = bytearray()
        self._selector = selectors.DefaultSelector()
        self._selector.register(client, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until the training process is gone."""
        try:
            while True:
                busy = any(hand.part is not None for hand in self.hands) or self._dying
                for key, events in self._selector.select(_TICK if busy else None):
                    self._attend(key, events)
                self._watch()
                self._deal()
                self._flush()
        except EOFError:
            pass
        finally:  # whatever they are doing
            for hand in self.hands:
                os.kill(hand.pid, signal.SIGKILL)

    def _attend(self, key: selectors.SelectorKey, events: int) -> None:
        if key.fileobj is self.client:
            if events & selectors.EVENT_READ:
                self._take_order()
        elif key.data in self.hands:
            self._hear(key.data)

    def _take_order(self) -> None:
        """Queue a job, or drop what was queued of jobs whose answers nobody wants any more."""
        (number, message), files = receive(self.client)
        if isinstance(message, Job):
            if message.module.startswith("datamodules."):  # once for all workers to come, not by each of them
                with suppress(Exception):
                    import_module(message.module)
            starts = range(0, len(message.items), message.share) or [0]
            task = _Task(number, message, files, len(starts))
            self.queue += [_Part(task, message.items[start : start + message.share]) for start in starts]
        else:
            for part in [part for part in self.queue if part.task.number in message]:
                self.queue.remove(part)
                self._finish(part)

    def _hurry(self, parts: Sequence[_Part]) -> None:
        """Put what is left of a part before all others."""
        for part in reversed(parts):
            part.task.parts += 1
            self.queue.appendleft(part)

    def _deal(self) -> None:
        """Hand out what there are workers for."""
        idle = [hand for hand in self.hands if hand.part is None]
        busy = len(self.hands) - len(idle)
        while self.queue and busy < self.queue[0].task.job.limits.workers:
            part = self.queue.popleft()
            if part.suspect and idle:  # it gets a fresh one
                self._dismiss(idle.pop())
            hand = idle.pop() if idle and not part.suspect else self._hire(part.task)
            hand.part = part
            hand.status.write(0)
            try:
                send(hand.line, part.task.job._replace(items=part.items), part.task.files)
            except OSError:  # it was killed while it was idle
                hand.part = None
                self.queue.appendleft(part)
                self._bury(hand)
                continue
            busy += 1

    def _dismiss(self, hand: _Hand) -> None:
        """Let an idle worker end, which it does when its socket is closed."""
        self._remove(hand)
        self._dying.append(hand.pid)

    def _hire(self, task: _Task) -> _Hand:
        """Fork a worker, to work on a task."""
        mine, its = socket.socketpair()
        status = Status()
        pid = os.fork()
        if pid == 0:
            self._become_worker(mine, its, status, task)
        its.close()
        hand = _Hand(pid, mine, status)
        self.hands.append(hand)
        self._selector.register(mine, selectors.EVENT_READ, hand)
        return hand

    def _become_worker(self, mine: socket.socket, its: socket.socket, status: Status, first: _Task) -> None:
        """Leave the server's sockets and files to the server, and work; never returns."""
        try:
            _die_with_parent()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash costs a file, and no disk
            for line in (mine, self.client, *(hand.line for hand in self.hands)):
                line.close()
            self._selector.close()
            parts = [*self.queue, *(hand.part for hand in self.hands)]
            for task in {first, *(part.task for part in parts if part is not None)}:
                for file in task.files:  # those of its own task come with the job
                    os.close(file)
            Worker(its, status).run()
            os._exit(0)
        finally:
            os._exit(1)

    def _hear(self, hand: _Hand) -> None:
        """Take what a worker says."""
        try:
            message, _ = receive(hand.line)
        except EOFError:
            self._bury(hand)
            return
        part = hand.part
        assert part is not None
        if isinstance(message, Bad):
            part.task.causes[message.position] = message.cause
        elif isinstance(message, Done):
            hand.part = None
            part.task.kept += message.kept
            part.task.unkept = part.task.unkept or message.unkept
            self._finish(part)

    def _bury(self, hand: _Hand) -> None:
        """Find out how a worker died, and who is to blame."""
        self._remove(hand)
        _, status = os.waitpid(hand.pid, 0)
        code, part = os.waitstatus_to_exitcode(status), hand.part
        if part is None:
            return
        if code == OUT_OF_MEMORY:
            cause = f"needs more than {part.task.job.limits.memory / _GIB:g} GiB of memory"
        elif code < 0:
            cause = f"the decoder crashed (signal {-code})"
        else:
            cause = f"the decoder exited (status {code})"
        self._blame(hand, part, cause, part.suspect)

    def _watch(self) -> None:
        """Kill the workers that take too long, and reap them when they are dead."""
        for hand in [hand for hand in self.hands if hand.part is not None]:
            part, (_, since) = hand.part, hand.status.read()
            if part is not None and time.monotonic() - since > part.task.job.limits.seconds:
                os.kill(hand.pid, signal.SIGKILL)  # one that waits for a disk may live on for long; do not wait for it
                self._remove(hand)
                self._dying.append(hand.pid)
                self._blame(hand, part, f"took longer than {part.task.job.limits.seconds:g} s", True)
        self._dying = [pid for pid in self._dying if os.waitpid(pid, os.WNOHANG)[0] == 0]

    def _blame(self, hand: _Hand, part: _Part, cause: str, sure: bool) -> None:
        """Count the item that a worker was at as bad, or try it alone if something else may have been at fault.

        Those before it are decoded once more: a worker writes all its rows at the end. If that was what failed, each is
        tried by itself; and if it fails for one alone, that one counts as bad.
        """
        at, _ = hand.status.read()
        if at >= len(part.items) > 1:
            self._hurry([_Part(part.task, part.items[k : k + 1]) for k in range(len(part.items))])
            self._finish(part)
            return
        at = min(at, max(0, len(part.items) - 1))
        parts = [_Part(part.task, items) for items in (part.items[:at], part.items[at + 1 :]) if items]
        if sure and part.items:
            part.task.causes[part.items[at][1]] = cause
        elif sure:
            part.task.unkept = cause
        else:
            parts.insert(0, _Part(part.task, part.items[at : at + 1], suspect=True))
        self._hurry(parts)
        self._finish(part)

    def _remove(self, hand: _Hand) -> None:
        self._selector.unregister(hand.line)
        self.hands.remove(hand)
        hand.line.close()

    def _finish(self, part: _Part) -> None:
        """Answer a task when its last part is done."""
        task = part.task
        task.parts -= 1
        if task.parts == 0:
            self._answers += packed(Done(task.number, task.causes, task.kept, task.unkept))
            for file in task.files:
                os.close(file)

    def _flush(self) -> None:
        """Send what the training process takes at the moment: nothing here may wait for it."""
        with suppress(BlockingIOError):
            while self._answers:
                del self._answers[: self.client.send(self._answers, socket.MSG_DONTWAIT)]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._answers else 0)
        self._selector.modify(self.client, wanted)


def _die_with_parent() -> None:
    """Ask the kernel to kill this process with the server, where it can (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def main(file: int) -> None:
    """Serve the training process at the other end of a socket."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)  # they are for the training process, which closes the socket at its end
    import torch

    torch.set_num_threads(1)
    import_module("datamodules.images.decode")  # what most jobs need
    gc.freeze()  # so that collections in workers do not copy what is shared
    with suppress(BrokenPipeError, ConnectionResetError):
        Server(socket.socket(fileno=file)).run()
    os._exit(0)  # nothing of the libraries' needs an end
