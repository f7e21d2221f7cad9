"""What all checks do: build a task, let it pose, solve and grade, and say what is broken."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from pretext.core.rng import rng, seed_of
from pretext.core.tree import leaves
from pretext.core.types import Backbone, Grade, Puzzle, Task, TaskFactory, Tree


def build(factory: TaskFactory, backbone: Backbone) -> tuple[Task, Backbone]:
    """Make a task for a fresh copy of the backbone, always with the same initial weights, both in train mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed_of("contract"))
        net = copy.deepcopy(backbone)
        device = next(net.parameters()).device
        return factory(net).to(device).train(), net.train()


def pose(task: Task, x: Tree, *key: int | str) -> Puzzle:
    """Pose a puzzle by a key of the contract's own."""
    return task.pose(x, rng(leaves_of(x)[0].device, "contract", *key))


def sit(task: Task, backbone: Backbone, x: Tree, *key: int | str) -> Grade:
    """Take the whole exam."""
    return solve(task, backbone, pose(task, x, *key))


def solve(task: Task, backbone: Backbone, puzzle: Puzzle) -> Grade:
    """Let a backbone see a puzzle, solve it, and grade the solution."""
    return task.grade(task.solve(backbone(puzzle.question), puzzle.given), puzzle.answer)


def leaves_of(tree: Tree) -> list[Tensor]:
    """List all tensors of a tree."""
    return list(leaves(tree))


def same(one: Tree, other: Tree) -> bool:
    """Compare two trees' tensors bit for bit (a NaN is like a NaN)."""
    ones, others = leaves_of(one), leaves_of(other)
    return len(ones) == len(others) and all(
        a.shape == b.shape and a.dtype == b.dtype and torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
        for a, b in zip(ones, others, strict=True)
    )


def must(holds: bool | Tensor, task: Task, what: str) -> None:
    """Raise an AssertionError that names the task, unless something holds."""
    if not holds:
        raise AssertionError(f"{type(task).__name__}: {what}")


def numbers(grade: Grade) -> dict[str, float]:
    """Read the loss and the scores of a grade."""
    return {"loss": grade.loss.item(), **{name: score.item() for name, score in grade.scores.items()}}
