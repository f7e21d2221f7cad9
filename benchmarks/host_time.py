"""What Python costs: the time of a step of `pretext fit` whose network does nothing, beside another commit's.

Rotation on 8 images of 32 px, held in memory, and a backbone of one number without any computation: what is left is
what the host does in every step. Each block is a process of its own, on either side in turn. A figure is the median
over windows of ten steps, so that what is logged every ten steps is in it. `bare` is the same step as a plain loop:
batch, pose, look, solve, grade, backward, optimiser.

    python benchmarks/host_time.py [COMMIT] [--blocks N] [--steps N]        # by default against be181bd
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from pretext.core.types import Backbone, Features

HERE = Path(__file__).resolve().parents[1]
WINDOW = 10  # steps: log_every_n_steps
SKIPPED = 3  # windows: allocation, imports that wait for the first step
PARTS = ("fetch", "exam", "backward", "optimiser")
CONFIG = """
model:
  backbone: {class_path: host_time.Nothing}
  tasks: {rotation: {class_path: pretext.Rotation}}
  augment: {class_path: pretext.Augment, init_args: {crop: 32}}
data: {class_path: datamodules.Digits, init_args: {size: 32, batch_size: 8}}
trainer:
  limit_val_batches: 0
  log_every_n_steps: 10
  accelerator: cpu
  enable_progress_bar: false
  callbacks: [{class_path: host_time.Clock}]
"""


class Nothing(Backbone):
    """A backbone of one number that computes nothing: features are one pixel."""

    axes = "hw"

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.stages = 3, {"pixel": 3}
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Features:
        pixel = x[:, :, :1, :1] * self.scale
        return Features({"pixel": pixel}, pixel.flatten(1))


class Clock(pl.Callback):
    """Note the time at the borders between the parts of each step; what comes after one is in the next one's fetch."""

    marks: list[tuple[str, float]] = []  # noqa: RUF012  (one list for the process: the config builds the callback)

    def on_train_batch_start(self, *unused: object) -> None:
        Clock.marks.append(("fetch", time.perf_counter()))

    def on_before_backward(self, *unused: object) -> None:
        Clock.marks.append(("exam", time.perf_counter()))

    def on_after_backward(self, *unused: object) -> None:
        Clock.marks.append(("backward", time.perf_counter()))

    def on_train_batch_end(self, *unused: object) -> None:
        Clock.marks.append(("optimiser", time.perf_counter()))


def fit(steps: int) -> list[dict[str, float]]:
    """Run `pretext fit` and return the milliseconds of every step by part."""
    from host_time import Clock as Timed  # the class that the config names, not this script's own copy

    from pretext.training.cli import PretextCLI

    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "host.yaml"
        config.write_text(CONFIG)
        PretextCLI(
            ["fit", "-c", str(config), "--trainer.max_steps", str(steps), "--trainer.default_root_dir", f"{folder}/run"]
        )
    rows: list[dict[str, float]] = []
    before = Timed.marks[0][1]
    for part, now in Timed.marks:
        if part == "fetch":
            rows.append({})
        rows[-1][part] = 1e3 * (now - before)
        before = now
    return rows


def bare(steps: int) -> list[dict[str, float]]:
    """Take the same steps in a plain loop."""
    from pretext import Rotation
    from pretext.core.rng import rng

    torch.manual_seed(0)
    backbone = Nothing()
    task = Rotation(backbone)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *task.parameters()])
    images = (torch.rand(1297, 3, 32, 32) * 255).byte()
    rows = []
    for step in range(steps):
        start = time.perf_counter()
        x = images[torch.arange(8) + 8 * (step % 160)].float().div_(255)
        with torch.no_grad():
            puzzle = task.pose(x, rng("cpu", 0, step))
        loss = task.grade(task.solve(backbone(puzzle.question), None), puzzle.answer).loss
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()
        rows.append({"all": 1e3 * (time.perf_counter() - start)})
    return rows


def windows(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Average windows of steps, the first of which are left out."""
    starts = range(SKIPPED * WINDOW, len(rows) - WINDOW + 1, WINDOW)
    return [{p: sum(row.get(p, 0.0) for row in rows[s : s + WINDOW]) / WINDOW for p in rows[-1]} for s in starts]


def child(code: Path, kind: str, steps: int) -> dict[str, float]:
    """Measure in a process of its own, with the code of a side."""
    path = os.pathsep.join((str(code), str(Path(__file__).parent)))
    command = [sys.executable, __file__, "--child", kind, "--steps", str(steps)]
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{kind} of {code} failed:\n{done.stdout}{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(kind: str, steps: int) -> dict[str, float]:
    """Return the median window of a run, and its parts."""
    found = windows(fit(steps) if kind == "fit" else bare(steps))
    parts = {part: statistics.median(window[part] for window in found) for part in found[0]}
    return {**parts, "all": statistics.median(sum(window.values()) for window in found)}


def table(sides: dict[str, tuple[Path, str]], steps: int, blocks: int) -> None:
    """Alternate the sides and print a row for each."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(blocks):
        for name, (code, kind) in sides.items():
            results[name].append(child(code, kind, steps))
    print("| | ms a step | per block | to the exam | exam | backward | optimiser |\n|---|--:|---|--:|--:|--:|--:|")
    for name, found in results.items():
        total = statistics.median(one["all"] for one in found)
        spread = f"{min(one['all'] for one in found):.2f} to {max(one['all'] for one in found):.2f}"
        parts = [f"{statistics.median(one[k] for one in found):.2f}" if k in found[0] else "" for k in PARTS]
        print(f"| {name} | {total:.2f} | {spread} | {' | '.join(parts)} |")


def main() -> None:
    """Check the commit out, measure, clear away."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", nargs="?", default="be181bd")
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--steps", type=int, default=330)
    parser.add_argument("--child", choices=("fit", "bare"), help=argparse.SUPPRESS)
    own: Any = parser.parse_args()
    if own.child:
        print(json.dumps(measured(own.child, own.steps)))
        return
    git = ["git", "-C", str(HERE), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "code"
        subprocess.run([*git, "add", "--quiet", "--detach", str(code), own.commit], check=True)
        try:
            sides = {own.commit: (code, "fit"), "this working tree": (HERE, "fit"), "bare": (HERE, "bare")}
            table(sides, own.steps, own.blocks)
        finally:
            subprocess.run([*git, "remove", "--force", str(code)], check=True)


if __name__ == "__main__":
    main()
