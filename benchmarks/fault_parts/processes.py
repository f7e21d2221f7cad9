"""Processes of their own that need not import torch: each is forked from a server that did, and has done nothing else.

So a start takes a tenth of a second instead of five. What is killed is a whole process of the system's all the same.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = ["pytorch_lightning", "torch", "pretext.training.cli", "datamodules", "av", "fault_parts.nets"]
TOKEN = "PRETEXT_FAULTS"  # in the environment of all that a process starts


def _forks() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


FORKS = _forks()


def begin(log: Path, *args: object, before: Callable[[], None] | None = None, **environment: str) -> BaseProcess:
    """Start `pretext ARGS`, with what it says in a file; `before` is called in it first."""
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(arg) for arg in args]
    process: BaseProcess = FORKS.Process(target=_command, args=(words, str(log), environment, before))
    process.start()
    return process


def finish(process: BaseProcess, log: Path, patience: float = 180.0) -> int:
    """Wait for the end of a process and return its exit code.

    Raises:
        RuntimeError: it hangs.

    """
    process.join(patience)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise RuntimeError(f"it hung for {patience:g} s: {last_lines(log)}")
    return process.exitcode


def call(log: Path, *args: object, patience: float = 180.0, **environment: str) -> int:
    """Run `pretext ARGS` to its end and return its exit code."""
    return finish(begin(log, *args, **environment), log, patience)


def last_lines(log: Path, count: int = 3) -> str:
    """What a process said last."""
    return " | ".join(log.read_text(errors="replace").strip().splitlines()[-count:]) if log.exists() else ""


def left_behind(token: str) -> list[int]:
    """Find the processes that a process with this token has started and that still live."""
    mark, found = f"{TOKEN}={token}".encode(), []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def _say_in(log: str) -> None:
    """Let all that this process and its children print go to a file."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _command(args: list[str], log: str, environment: dict[str, str], before: Callable[[], None] | None) -> None:
    """Be `pretext ARGS`."""
    from pretext.__main__ import main

    os.environ.update(environment)
    _say_in(log)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    if before is not None:
        before()
    sys.exit(main(args))


class _Room:
    """A process that calls functions one after the other, as long as it lives."""

    def __init__(self, log: Path) -> None:
        self.line, its = multiprocessing.Pipe()
        self.process = FORKS.Process(target=_serve, args=(its, str(log)), daemon=True)
        self.process.start()
        its.close()

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], patience: float) -> Any:
        self.line.send((function, args))
        if not self.line.poll(patience):
            self.process.kill()
            raise TimeoutError(f"it hung for {patience:g} s")
        good, value = self.line.recv()
        if not good:
            raise RuntimeError(value)
        return value


_rooms: list[_Room] = []


def apart(log: Path, function: Callable[..., Any], *args: Any, patience: float) -> Any:
    """Call a function in a process of its own, which serves the next calls too, and return what it returns.

    What it prints goes to the file of the first call.

    Raises:
        RuntimeError: the process was lost, or the function raised.
        TimeoutError: it hung.

    """
    if not _rooms:
        _rooms.append(_Room(log))
    try:
        return _rooms[0].call(function, args, patience)
    except (EOFError, ConnectionError, TimeoutError) as error:
        room = _rooms.pop()
        room.process.join(5)
        if isinstance(error, TimeoutError):
            raise
        raise RuntimeError(f"the process was lost (exit code {room.process.exitcode})") from error


def _serve(line: Connection, log: str) -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    _say_in(log)
    while True:
        try:
            function, args = line.recv()
        except EOFError:
            return
        try:
            line.send((True, function(*args)))
        except Exception as error:
            line.send((False, f"{type(error).__name__}: {error}"))
