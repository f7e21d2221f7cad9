"""`--devices N` and `torchrun`: the processes in which a verb embeds together."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretext.cli.parser import Parser

if TYPE_CHECKING:
    from pretext.evaluation.shards import Crew

LEAVE = 30.0  # seconds that helpers have to end
OF_LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_", "GROUP_", "ROLE_", "MASTER_", "TORCHELASTIC_")


def add_devices(parser: Parser) -> None:
    """Add the option."""
    text = "processes that embed together: one for each GPU, or on a CPU so many (default 1; torchrun starts its own)"
    parser.add_argument("--devices", type=int, default=1, help=text)


@contextmanager
def crew_of(own: Namespace, args: Sequence[str], home: Path, assist: Callable[[Crew], None]) -> Iterator[Crew | None]:
    """Yield the crew that this process leads; none where it is alone.

    In a helping process `assist` runs instead of what is inside, and the process ends with the leader's exit code.

    Raises:
        ValueError: fewer than 1 device, or more than there are.

    """
    import torch

    gpus = torch.cuda.device_count()
    if own.devices < 1 or 0 < gpus < own.devices:
        raise ValueError(f"--devices {own.devices}: give at least 1, and with GPUs at most one for each ({gpus})")
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched > 1 and int(os.environ.get("RANK", 0)) > 0:
        _help(home, assist)
    if max(launched, own.devices) == 1:
        yield None
        return
    with _launched(home, launched) if launched > 1 else _started(home, own.devices, args) as crew:
        code = 1
        try:
            yield crew
            code = 0
        finally:
            crew.dismiss(code)


def _help(home: Path, assist: Callable[[Crew], None]) -> None:
    """Assist another process until it has all it wants."""
    import torch
    from torch import distributed

    from pretext.evaluation.shards import Crew

    store, rank, world = _rendezvous()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", rank)) % torch.cuda.device_count())
    crew = Crew(store, rank, world, home)
    with suppress(distributed.DistNetworkError):  # the leader is gone: so is its exit code
        assist(crew)
        store.set(f"gone/{rank}", "")
        sys.exit(crew.code)
    sys.exit(1)


def _rendezvous() -> tuple[Any, int, int]:
    from torch import distributed

    torchs: Any = distributed  # which does not export all that it documents
    store, rank, world = next(torchs.rendezvous("env://"))
    return store, rank, world


@contextmanager
def _launched(home: Path, world: int) -> Iterator[Crew]:
    """Lead processes that torchrun started. Training inside is not to take itself for one of theirs."""
    from pretext.evaluation.shards import Crew

    store, rank, _ = _rendezvous()
    theirs = {name: value for name, value in os.environ.items() if name.startswith(OF_LAUNCHERS)}
    for name in theirs:
        del os.environ[name]
    try:
        yield Crew(store, rank, world, home)
        store.wait([f"gone/{helper}" for helper in range(1, world)], timedelta(seconds=LEAVE))  # the store may be ours
    finally:
        os.environ.update(theirs)


@contextmanager
def _started(home: Path, world: int, args: Sequence[str]) -> Iterator[Crew]:
    """Start helpers on this machine, and wait for their end."""
    import torch
    from torch import distributed

    from pretext.evaluation.shards import Crew

    torchs: Any = distributed  # which does not export all that it documents
    store = torchs.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = {**os.environ, "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    threads = None if torch.cuda.is_available() else max(1, torch.get_num_threads() // world)
    if threads is not None:
        place["OMP_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "pretext", *args]
    helpers = [
        subprocess.Popen(command, env={**place, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(1, world)
    ]
    try:
        yield Crew(store, 0, world, home, threads, partial(_watch, helpers))
        for helper in helpers:
            helper.wait(LEAVE)
    finally:
        for helper in helpers:
            helper.kill()  # of one that has ended nothing comes
            helper.wait()


def _watch(helpers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Raise where a helper has ended before its time."""
    if ended := [helper for helper in helpers if helper.poll() is not None]:
        raise RuntimeError(f"a process of --devices ended with exit code {ended[0].returncode}; what it said is above")
