"""Puzzles to look at: a few of each task, posed and perhaps solved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pretext.core.rng import rng
from pretext.core.types import Panel, Task, Tree
from pretext.training.pretrainer import Pretrainer

Rows = Sequence[Sequence[Panel]]
"""What `Task.draw` returns: one row of panels per puzzle."""


def puzzles(module: Pretrainer, batch: Mapping[str, Any], count: int, trained: bool) -> dict[str, Rows]:
    """Pose, and if `trained` also solve, puzzles from the first `count` items of a batch, at most `count` per task.

    `batch["x"]` is uint8 (N, C, S, S), clips, sounds, or a dict of these by modality. The same call
    always draws the same puzzles; the module is left as it was.

    Raises:
        ValueError: `count` is not positive.

    """
    if count < 1:
        raise ValueError(f"puzzles: count is how many to draw of each task, at least 1; got {count}")
    with _examining(module):
        x = module.inputs.centre(_first(batch["x"], count, module.device))
        return {name: _spread(_rows(module, name, x, trained), count) for name, _ in module.tasks.items()}


def _first(x: Tree, count: int, device: torch.device) -> Tree:
    """Take the first items of a batch to a device."""
    if isinstance(x, dict):
        return {name: part[:count].to(device) for name, part in x.items()}
    return x[:count].to(device)


def _rows(module: Pretrainer, name: str, x: Tree, trained: bool) -> Rows:
    task = module.tasks[name]
    assert isinstance(task, Task)  # ModuleDict forgets that its modules are tasks
    puzzle = task.pose(x, rng(module.device, "show", name))
    prediction = task.solve(module.look(puzzle.question), puzzle.given) if trained else None
    return task.draw(puzzle, prediction)


def _spread(rows: Rows, count: int) -> Rows:
    """Choose at most `count` rows, evenly from the first to the last.

    Where a task poses several puzzles of an image (rotation: four), this shows every image and every kind of puzzle.
    """
    if len(rows) <= count:
        return rows
    last = len(rows) - 1
    return [rows[round(i * last / max(1, count - 1))] for i in range(count)]


@contextmanager
def _examining(module: nn.Module) -> Iterator[None]:
    """Evaluate without gradients, then give every part back the mode it had."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
