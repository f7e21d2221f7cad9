"""What is hung into trainings: when steps begin, and rates that fall in steps; and a backbone that does nothing."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

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


class Milestones(pl.Callback):
    """Multiply the learning rate by `factor` at each of some epochs, as papers do that train by SGD.

    It sets the rate just before the optimiser uses it, whatever the schedule has put there, and logs it as `rate`.

    Args:
        rate: of the first epochs.
        epochs: in which it falls.
        factor: what it is multiplied by.

    """

    def __init__(self, rate: float, epochs: list[int], factor: float = 0.2) -> None:
        self.rate, self.epochs, self.factor = rate, epochs, factor

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        rate = self.at(trainer.current_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.log("rate", self.at(trainer.current_epoch))

    def at(self, epoch: int) -> float:
        """The rate of an epoch."""
        return self.rate * self.factor ** sum(epoch >= milestone for milestone in self.epochs)


def milestones(epochs: int, whole: Sequence[int], of: int) -> list[int]:
    """Scale the epochs in which a rate falls from a schedule of `of` epochs to one of `epochs`."""
    return [round(epochs * milestone / of) for milestone in whole]


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
