"""Stop a run that has diverged, before it spoils its checkpoint."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor


class Divergence(pl.Callback):
    """Raise as soon as the loss is not finite, naming the tasks to blame.

    On the CPU every step is looked at; elsewhere only logged steps are, since a look makes the device wait.

    Raises:
        FloatingPointError: the loss is infinite or not a number.

    """

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        step = trainer.global_step
        if loss.device.type != "cpu" and step % trainer.log_every_n_steps:  # type: ignore[attr-defined]  # set in Trainer
            return
        if torch.isfinite(loss):
            return
        logged = {name: trainer.callback_metrics.get(f"train/{name}/loss") for name in getattr(pl_module, "tasks", {})}
        culprits = [name for name, value in logged.items() if value is not None and not torch.isfinite(value)]
        raise FloatingPointError(
            f"the loss is {float(loss.detach())} at step {step} (tasks: {', '.join(culprits) or 'unknown'}); lower "
            "the learning rate, lengthen the warm-up or clip gradients (--trainer.gradient_clip_val 1.0)"
        )
