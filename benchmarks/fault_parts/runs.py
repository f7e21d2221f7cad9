"""Runs that are stopped and go on, held against one that nobody disturbed: weights, momenta, metrics, bit for bit."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import torch
from numpy.random import Generator

from fault_parts.processes import begin, call, finish, last_lines
from fault_parts.setting import CONFIGS, Setting

LAST = Path("checkpoints") / "last.ckpt"
RECORD = "chance.json"  # written when a training begins
TIMED = ("items/s",)  # columns that no two runs share
Rows = dict[tuple[str, str], str]


def words(setting: Setting, kind: str, run: Path, cache: Path) -> list[object]:
    """Write the command that begins a run of a kind or goes on with it."""
    data = setting.pictures() if kind == "pictures" else setting.films()
    config = setting.write(f"{kind}-{run.name}", CONFIGS[kind](data, cache))
    return ["fit", "-c", config, "--trainer.default_root_dir", run, "--ckpt_path", "last"]


class Took(NamedTuple):
    """How long the parts of a training took, in seconds."""

    start: float
    """Until it has begun: its record is there."""
    loading: float
    """From then until the first checkpoint, most of which its decoders take to start."""
    steps: float
    """From then until its end."""


def undisturbed(setting: Setting, kind: str) -> tuple[Path, Took]:
    """Make the run that nobody disturbs, once; return it, and how long it took.

    Raises:
        RuntimeError: it failed.

    """
    home = setting.out / "whole"
    run, log, took = home / kind, home / f"{kind}.txt", home / f"{kind}.seconds"
    if not took.exists():
        call(home / "warm.txt", "--version")  # the server that forks imports what it needs
        began = monotonic()
        process = begin(log, *words(setting, kind, run, home / f"cache-{kind}"))
        moments = [began, *(wait_for(file, process) for file in (run / RECORD, run / LAST))]
        if code := finish(process, log):
            raise RuntimeError(f"{kind}: the undisturbed run ended with {code}: {last_lines(log)}")
        took.write_text(" ".join(str(end - start) for start, end in pairwise([*moments, monotonic()])))
    return run, Took(*map(float, took.read_text().split()))


def wait_for(file: Path, process: Any) -> float:
    """Wait until a process has written a file, or has ended; return when."""
    while process.is_alive() and not file.exists():
        process.join(0.005)
    return monotonic()


def moment(run: Path, process: Any, took: Took, chance: Generator) -> float:
    """Wait for a random moment of a training, or its end; return how long its steps have lasted then, 0 if none.

    One of five lies in its start, one before its first checkpoint, the others while it takes steps.
    """
    phase = chance.random()
    if phase < 0.2:
        process.join(chance.random() * took.start)
        return 0.0
    began = wait_for(run / RECORD, process)
    if phase < 0.4:
        process.join(chance.random() * took.loading)
        return 0.0
    began = wait_for(run / LAST, process)
    process.join(chance.random() * took.steps)
    return monotonic() - began


def step_of(run: Path) -> int:
    """Read the step of a run's checkpoint; 0 where there is none."""
    file = run / LAST
    return int(torch.load(file, weights_only=True)["global_step"]) if file.exists() else 0


def differences(one: Path, other: Path) -> list[str]:
    """Name what two runs do not share to the last bit; nothing if they are the same."""
    a, b = (torch.load(run / LAST, weights_only=True) for run in (one, other))
    found = [] if a["global_step"] == b["global_step"] else [f"steps {a['global_step']} and {b['global_step']}"]
    if not _same(a["state_dict"], b["state_dict"]):
        found.append("weights")
    momenta = [[state["state"] for state in checkpoint["optimizer_states"]] for checkpoint in (a, b)]
    if not _same(*momenta):
        found.append("momenta")
    mine, theirs = history(one), history(other)
    if mine != theirs:
        odd = sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key))
        found.append(f"metrics.csv at {odd[:3]} and {len(odd)} cells in all")
    return found


def history(run: Path) -> Rows:
    """Read metrics.csv by step and column; equal text is equal to the last bit.

    Raises:
        AssertionError: something stands there twice.

    """
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [((row["step"], column), value) for row in rows for column, value in row.items() if value]
    cells = [cell for cell in cells if cell[0][1] not in (*TIMED, "step", "epoch")]
    if len(cells) != len(dict(cells)):
        raise AssertionError(f"{run}/metrics.csv holds a figure twice")
    return dict(cells)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
