"""Commands of `pretext` in real processes that need not import torch: each is forked from one that did."""

import multiprocessing
import os
import socket
import sys
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["pytorch_lightning", "torch", "pretext.training.cli", "datamodules", "nets", "senders"])


def command(args, log, env):
    """Be `pretext ARGS`, with the output in a file; the exit code is the process's own."""
    from pretext.__main__ import main

    os.environ.update(env)
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    sys.exit(main(args))


def start(log, *args, **env):
    """Start `pretext ARGS` and return its process, whose `exitcode` is there after `join`."""
    process = FORKS.Process(target=command, args=([str(arg) for arg in args], str(log), env))
    process.start()
    return process


def run(log, *args, **env):
    """Run `pretext ARGS` to its end; return its exit code and what it printed."""
    process = start(log, *args, **env)
    process.join(120)
    if process.exitcode is None:
        process.kill()
    return process.exitcode, Path(log).read_text()


def run_ranks(log, ranks, *args):
    """Run `pretext ARGS` as several ranks that somebody else started; return their exit codes and what they printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "NODE_RANK": "0"}
    logs = [Path(f"{log}-{rank}") for rank in range(ranks)]
    processes = [start(logs[rank], *args, **place, LOCAL_RANK=str(rank)) for rank in range(ranks)]
    for process in processes:
        process.join(120)
        if process.exitcode is None:
            process.kill()
    return [process.exitcode for process in processes], "\n".join(file.read_text() for file in logs)
