"""What is hung into trainings: when steps begin; and a backbone that does nothing."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from pretext.core.types import Backbone, Features


class Marks(pl.Callback):
    """Note when some steps of a training begin, the device waited for.

    Args:
        steps: numbers of the steps, from 0.

    """

    def __init__(self, steps: list[int]) -> None:
        self.steps = set(steps)
        self.times: dict[int, float] = {}

    def on_train_batch_start(self, trainer: pl.Trainer, *unused: Any) -> None:
        if trainer.global_step in self.steps:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times[trainer.global_step] = perf_counter()

    def per_step(self, first: int, last: int) -> float:
        """Seconds per step between two of them."""
        return (self.times[last] - self.times[first]) / (last - first)


def marks_of(trainer: Any) -> Marks:
    """Find the marks of a trainer."""
    return next(callback for callback in trainer.callbacks if isinstance(callback, Marks))


class Nothing(Backbone):
    """A backbone that does nothing: (N, 3, H, W) to one learnt number for all features."""

    axes = "hw"

    def __init__(self, dim: int = 8) -> None:
        super().__init__()
        self.dim = dim
        self.stages = {"only": dim}
        self.level = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Features:
        pooled = self.level.expand(len(x), self.dim)
        return Features({"only": pooled}, pooled)
