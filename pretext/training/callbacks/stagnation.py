"""Say so when a task does not learn anything."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from pretext.core.types import Task


class Stagnation(pl.Callback):
    """Warn when a task's training loss has stayed at chance for `steps` batches; again only after it has left it.

    Judged is the mean over windows of `steps` batches, one after the other: single steps are too noisy to stay within
    the tolerance even where nothing is learnt, and a window needs one number per task, which adds up on the device and
    is looked at once, at its end. Seen is only a loss like a blind guess's: who always answers with the marginal
    distribution (the common colours, in colorization) does better than that without looking. A resumed run starts a
    new window and may warn again: its log is read anew.

    Args:
        steps: batches in a window.
        tolerance: how far from the loss of a blind guess, as a share of it, still counts as there.

    Raises:
        ValueError: `steps` is not positive, or `tolerance` is negative.

    """

    def __init__(self, steps: int = 500, tolerance: float = 0.02) -> None:
        if steps < 1 or tolerance < 0:
            raise ValueError(
                f"Stagnation: steps={steps}, tolerance={tolerance}; give at least 1 step and a share of 0 or more"
            )
        self.steps, self.tolerance = steps, tolerance
        self._stuck: set[str] = set()
        self._sums: Tensor | None = None  # (tasks,)
        self._seen = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        # Not from trainer.callback_metrics, whose names a user's own figure may take.
        losses: dict[str, Tensor] = getattr(pl_module, "losses", {})
        if losses:
            each = torch.stack([loss.float() for loss in losses.values()])
            self._sums = each if self._sums is None else self._sums + each
        self._seen += 1
        if self._seen == self.steps:
            self._judge(trainer, pl_module, dict(zip(losses, self._means(), strict=True)))
            self._start()

    def _start(self) -> None:
        self._sums, self._seen = None, 0

    def _means(self) -> list[float]:
        sums: list[float] = [] if self._sums is None else self._sums.tolist()
        return [total / self.steps for total in sums]

    def _judge(self, trainer: pl.Trainer, pl_module: pl.LightningModule, means: dict[str, float]) -> None:
        for name, mean in means.items():
            task = pl_module.get_submodule(f"tasks.{name}")
            assert isinstance(task, Task)  # ModuleDict forgets that its modules are tasks
            chance = float(task.chance().loss)
            at_chance = abs(mean - chance) <= self.tolerance * abs(chance)  # False where the mean is not a number
            if not at_chance:
                self._stuck.discard(name)
            elif name not in self._stuck:
                self._stuck.add(name)
                rank_zero_warn(
                    f"task {name!r} ({type(task).__name__}) does not learn: at step {trainer.global_step} its mean "
                    f"training loss over {self.steps} steps is {mean:.4g}, a blind guess costs {chance:.4g}; usual "
                    "causes: a learning rate too low or too high, an answer that collapsed to a constant, input "
                    "without content (constant or badly normalised images), a puzzle too hard for the network's "
                    "resolution (look at it: pretext show)"
                )
