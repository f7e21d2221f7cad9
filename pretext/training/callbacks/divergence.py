"""Stop a run that has diverged, before it spoils its checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from pretext.training.host import Host


class Divergence(pl.Callback):
    """Raise as soon as the loss is not finite, naming the tasks to blame.

    On the CPU every loss is looked at, before it does harm. Elsewhere a look makes the host wait for the device. So
    there the figures are looked at that were fetched for the loggers, every `log_every_n_steps`.

    Raises:
        FloatingPointError: the loss is infinite or not a number.

    """

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        if loss.device.type == "cpu" and not math.isfinite(value := loss.item()):
            _stop(trainer.global_step, value, trainer.callback_metrics, pl_module)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._look_back(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look_back(trainer, pl_module)

    def _look_back(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the figures of the step that ended, if they were fetched."""
        step = trainer.global_step
        if not isinstance(pl_module, Host) or pl_module.figures.fetched_at != step:
            return
        fetched = pl_module.figures.fetched
        if not math.isfinite(value := fetched.get("train/loss", 0.0)):
            _stop(step - 1, value, fetched, pl_module)


def _stop(step: int, loss: float, logged: Mapping[str, Tensor | float], module: pl.LightningModule) -> None:
    """Raise, and name the tasks whose loss is not finite."""
    names = [name for name in getattr(module, "tasks", {}) if f"train/{name}/loss" in logged]
    culprits = [name for name in names if not math.isfinite(float(logged[f"train/{name}/loss"]))]
    raise FloatingPointError(
        f"the loss is {loss} at step {step} (tasks: {', '.join(culprits) or 'unknown'}); lower the learning rate, "
        "lengthen the warm-up or clip gradients (--trainer.gradient_clip_val 1.0)"
    )
