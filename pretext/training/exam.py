"""The exam, in one place: pose, look, solve, grade."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.core.tree import mapped
from pretext.core.types import Grade, Puzzle, Tree
from pretext.training.host import Host

Parts = tuple[Callable[..., Puzzle], Callable[..., Tree], Callable[..., Grade]]
"""What poses, solves and grades."""


def examined(host: Host, parts: Parts, x: Tree, *key: int | str) -> Grade:
    """Let a host's backbone sit an exam on `x` (N, C, *S) in [0, 1], or a dict of these; `key` is that of chance."""
    exact = torch.autocast(host.device.type, enabled=False)  # questions and grades keep full precision under bf16
    pose, solve, grade = parts
    with torch.no_grad(), exact:
        puzzle = pose(x, rng(host.device, *key))
    prediction = solve(host.look(puzzle.question), puzzle.given)
    with exact:
        return grade(mapped(_whole, prediction), puzzle.answer)


def _whole(x: Tensor) -> Tensor:
    """Bring floats to full precision."""
    return x.float() if x.is_floating_point() else x
