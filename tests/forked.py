"""Commands of `pretext` in real processes that need not import torch: each is forked from one that did.

Such a process has its own signals, folder, environment and output, and can be killed like any other. What it does not
show is that the imports work: tests of that start Python anew.
"""

import multiprocessing
import os
import signal
import socket
import sys
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
# Lightning first, as on the command line; then also what verbs import only when they need it.
VERBS = ["pretext.training.cli", "datamodules", "torch.utils.tensorboard", "pretext.tasks", "pretext.search.worker"]
FORKS.set_forkserver_preload(["pytorch_lightning", *VERBS])


def become(log, folder, env, function, args):
    """Be a process that calls a function, with the output in a file; the exit code is the process's own."""
    import numpy as np
    import torch

    os.environ.update(env)
    os.chdir(folder)
    torch.set_num_threads(1)
    np.random.seed(None)  # noqa: NPY002  # as NumPy does where it is imported
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are started without
    with Path(log).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1)
    sys.exit(function(*args))


def pretext(*args):
    """Be the command line."""
    from pretext.__main__ import main

    return main(args)


def call(log, function, *args, folder=".", **env):
    """Start a process that calls `function(*args)`; its `exitcode` is there after `join`."""
    process = FORKS.Process(target=become, args=(str(log), str(Path(folder).resolve()), env, function, args))
    process.start()
    return process


def start(log, *args, **place):
    """Start `pretext ARGS`, where `folder` and variables of the environment say."""
    return call(log, pretext, *map(str, args), **place)


def run(log, *args, **place):
    """Run `pretext ARGS` to its end; return its exit code and what it printed."""
    process = start(log, *args, **place)
    return ended(process), Path(log).read_text()


def ended(process, seconds=120):
    """Wait for a process to end and return its exit code; one that does not is killed."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
    return process.exitcode


def run_ranks(log, ranks, *args):
    """Run `pretext ARGS` as several ranks that somebody else started; return their exit codes and what they printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "NODE_RANK": "0"}
    logs = [Path(f"{log}-{rank}") for rank in range(ranks)]
    processes = [start(logs[rank], *args, **place, LOCAL_RANK=str(rank)) for rank in range(ranks)]
    return [ended(process) for process in processes], "\n".join(file.read_text() for file in logs)
