"""What trained heads still answer when the relation that a puzzle asks about is gone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Generator

from pretext.core.rng import rng
from pretext.core.types import Puzzle, Task, Tree
from pretext.training.batches import lawful
from pretext.training.exam import examined
from pretext.training.pretrainer import Pretrainer


@torch.no_grad()
def control_scores(module: Pretrainer, loader: Iterable[Any]) -> dict[str, float]:
    """Grade each task's heads on puzzles without their relation (`Task.destroyed`), over the items of a loader.

    Puzzles are those of validation. Left out are tasks without a control, those of weight 0, which validation does not
    ask either, and batches of a single item.
    `module` is in evaluation mode.

    Returns:
        loss and scores, by names such as "turn/loss" and "turn/accuracy".

    """
    sums, items = defaultdict[str, float](float), 0
    for number, loaded in enumerate(loader):
        batch = lawful(module.transfer_batch_to_device(loaded, module.device, 0))
        if (size := len(batch["index"])) < 2:
            continue
        x, items = module.inputs.centre(batch["x"]), items + size
        for name, task in module.tasks.items():
            if name in module.weighting.off:
                continue
            assert isinstance(task, Task)  # ModuleDict forgets that its modules are tasks
            chance = rng(module.device, module.seed, "val", name, 0, 0, number)
            puzzle = task.destroyed(task.pose(x, chance), chance)
            if puzzle is not None:
                grade = examined(module, (partial(_posed, puzzle), task.solve, task.grade), x)
                for what, value in {"loss": grade.loss, **grade.scores}.items():
                    sums[f"{name}/{what}"] += size * float(value)
    return {name: total / items for name, total in sums.items()}


def _posed(puzzle: Puzzle, x: Tree, rng: Generator) -> Puzzle:
    return puzzle
