"""A run that was stopped inside a validation does that validation again."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.trainer.states import TrainerFn

PROGRESS = "epoch_loop.val_loop.batch_progress"


class Revalidation(pl.Callback):
    """Mark checkpoints that are written while validation runs, so that who resumes from one validates first.

    What Lightning would write says that some batches are done, but their scores are not kept. So the checkpoint says
    instead that the first batch was begun and not finished: Lightning then goes back and validates from there, with the
    weights and at the step of the first time. It must stand before the callback that saves.
    """

    def __init__(self) -> None:
        self._runs = False
        self._again = False
        self._max_steps: int | None = None

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._runs = fits(trainer)
        if self._runs and self._again:
            loop = trainer.fit_loop.epoch_loop
            loop.val_loop.batch_progress.total.reset()  # no longer the mark
            loop.max_steps = loop.max_steps if self._max_steps is None else self._max_steps
            self._again = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._runs = False

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._runs:
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            checkpoint["loops"]["fit_loop"][PROGRESS] |= {"total": begun, "current": begun, "is_last_batch": False}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        total = checkpoint["loops"]["fit_loop"][PROGRESS]["total"]
        self._again = total["started"] == total["ready"] == total["processed"] + 1
        steps, loop = checkpoint["global_step"], trainer.fit_loop.epoch_loop
        if self._again and loop.max_steps == steps:  # Lightning would find the run finished, before it looks further
            self._max_steps, loop.max_steps = steps, steps + 1


def fits(trainer: pl.Trainer) -> bool:
    """Tell whether a validation belongs to training, rather than to `validate` or to Lightning's trying itself out."""
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
