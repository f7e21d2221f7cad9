"""Commands of `pretext` in real processes that need not import torch: each is forked from one that did."""

import multiprocessing
import os
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
