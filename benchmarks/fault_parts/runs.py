"""Runs that are stopped and go on, held against one that nobody disturbed: weights, momenta, metrics, bit for bit."""

from __future__ import annotations

import csv
from pathlib import Path
from time import monotonic
from typing import Any

import torch

from fault_parts.processes import call, last_lines
from fault_parts.setting import CONFIGS, Setting

LAST = Path("checkpoints") / "last.ckpt"
TIMED = ("items/s",)  # columns that no two runs share
Rows = dict[tuple[str, str], str]


def words(setting: Setting, kind: str, run: Path, cache: Path) -> list[object]:
    """Write the command that begins a run of a kind or goes on with it."""
    data = setting.pictures() if kind == "pictures" else setting.films()
    config = setting.write(f"{kind}-{run.name}", CONFIGS[kind](data, cache))
    return ["fit", "-c", config, "--trainer.default_root_dir", run, "--ckpt_path", "last"]


def undisturbed(setting: Setting, kind: str) -> tuple[Path, float, float]:
    """Make the run that nobody disturbs, once; return it, and how long its start and its training took.

    Raises:
        RuntimeError: it failed.

    """
    from fault_parts.processes import begin, finish

    home = setting.out / "whole"
    run, log, took = home / kind, home / f"{kind}.txt", home / f"{kind}.seconds"
    if not took.exists():
        call(home / "warm.txt", "--version")  # the server that forks imports what it needs
        began = monotonic()
        process = begin(log, *words(setting, kind, run, home / f"cache-{kind}"))
        starts = wait_for_start(run, process)
        code = finish(process, log)
        if code:
            raise RuntimeError(f"{kind}: the undisturbed run ended with {code}: {last_lines(log)}")
        took.write_text(f"{starts - began} {monotonic() - starts}")
    start, training = map(float, took.read_text().split())
    return run, start, training


def wait_for_start(run: Path, process: Any) -> float:
    """Wait until a run has begun to train (its record is there), or has ended; return when."""
    while process.is_alive() and not (run / "chance.json").exists():
        process.join(0.005)
    return monotonic()


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
