"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

import math
import signal
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from pretext.core.checkpoint_file import read_checkpoint, write_checkpoint
from pretext.training.callbacks.history import History
from pretext.training.callbacks.revalidation import fits
from pretext.training.host import Host
from pretext.training.interruption import Interruption


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write to a file beside the final one and rename, so that a checkpoint is always whole; load tensors only.

    (Lightning's own goes through the temporary folder, and a move from there to another disk is not atomic.)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        write_checkpoint(path, checkpoint)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> Any:
        # On the CPU: the strategy moves what belongs on a device.
        return read_checkpoint(path, map_location or "cpu")


class Checkpoint(pl.Callback):
    """Keep `checkpoints/last.ckpt` of the run up to date: every so often, at the end, when interrupted.

    The first Ctrl-C lets the step finish, and the validation that follows it, and saves; a second one stops at once.
    SIGTERM, SIGUSR1 and SIGUSR2, where the command line listens to them, do not wait for a validation: the run that
    goes on begins it anew (`Revalidation`). With several ranks, a signal to one stops all, after the same step.

    Saved is where a step has ended; left is where the next one would begin, so that Lightning has logged the last one.

    Args:
        every_n_steps: so often.
        every_n_epochs: so often, at the end of an epoch; none: not for that.
        every_n_minutes: after the step that ends so much later than the last checkpoint, or start; none: not for that.

    Raises:
        ValueError: one of them is not positive.

    """

    def __init__(
        self, every_n_steps: int = 200, every_n_epochs: int | None = 1, every_n_minutes: float | None = 10.0
    ) -> None:
        given = {"steps": every_n_steps, "epochs": every_n_epochs, "minutes": every_n_minutes}
        if bad := [f"every_n_{key}={value}" for key, value in given.items() if value is not None and value <= 0]:
            raise ValueError(f"Checkpoint: {', '.join(bad)} must be positive")
        self.every_n_steps, self.every_n_epochs, self.every_n_minutes = every_n_steps, every_n_epochs, every_n_minutes
        self._wrote = 0.0  # when, by this process's clock
        self._saved = -1
        self._due = False
        self._interruption = Interruption()
        self._leaves = False  # before the next step
        self._rounds = 0.0  # validation batches after which one may still ask

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._interruption.begin(trainer)
        self._wrote = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        if self._leaves:
            self._interruption.leave(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Also at the last step: only here, and not at the end of training, does Lightning know that the epoch it stops
        # in is not over, so that a run that gets more steps later goes on with the very next batch.
        step = trainer.global_step
        self._due |= step != self._saved and (step % self.every_n_steps == 0 or step == trainer.max_steps)
        minutes = (time.monotonic() - self._wrote) / 60
        self._due |= bool(self._interruption.asked(trainer, minutes >= (self.every_n_minutes or math.inf)))
        # A rank whose clock is behind hears of a step that the others have saved after; so one that follows is not due.
        self._due |= self._interruption.timed and step > self._saved + 1
        # Gradients of half a step are not saved; and a run resumed from before a validation would leave it out.
        half = (batch_idx + 1) % trainer.accumulate_grad_batches and not trainer.is_last_batch
        if not (half or trainer.is_last_batch or _validates(trainer)):
            self._save_if_due(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if fits(trainer):
            self._leave_validation(trainer)
            self._rounds = self._interruption.rounds(sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: int
    ) -> None:
        if fits(trainer) and self._rounds:
            self._rounds -= 1
            self._interruption.asked(trainer)
            self._leave_validation(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if fits(trainer) and not trainer.is_last_batch:
            self._due |= bool(self._interruption.asked(trainer))
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._due |= bool(self._interruption.asked(trainer))
        ends = self.every_n_epochs is not None and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        self._due |= ends and trainer.global_step != self._saved
        self._save_if_due(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step != self._saved:
            self._save(trainer)
        self._interruption.end(in_order=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        launcher = trainer.strategy.launcher
        if isinstance(exception, SystemExit) and launcher is not None:
            launcher.kill(signal.SIGTERM)  # ranks that Lightning started here, if they were not told yet
        if not isinstance(exception, KeyboardInterrupt):  # after which Lightning lets nobody press it again
            self._interruption.end(in_order=isinstance(exception, SystemExit))

    def _leave_validation(self, trainer: pl.Trainer) -> None:
        if self._interruption.signal not in (0, signal.SIGINT):
            self._save(trainer)
            self._interruption.leave(trainer)

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        if self._due:
            self._save(trainer)
        self._leaves = bool(self._interruption.signal)

    def _save(self, trainer: pl.Trainer) -> None:
        self._due, self._wrote = False, time.monotonic()
        loss = trainer.callback_metrics.get("train/loss")
        diverged = loss is not None and not torch.isfinite(loss)
        if trainer.fast_dev_run or diverged:  # type: ignore[attr-defined]  # Lightning sets it outside the class
            return  # a trial run leaves nothing behind, a diverged one keeps the last good checkpoint
        self._saved = trainer.global_step
        if isinstance(pl_module := trainer.lightning_module, Host):
            pl_module.figures.write(trainer)
        for logger in trainer.loggers:
            logger.save()  # first: a run resumed from here must find the metrics up to here
            if isinstance(logger, History):
                logger.sync()
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")


def _validates(trainer: pl.Trainer) -> bool:
    """Tell whether Lightning validates after the step that has just ended (it has no public word for it)."""
    loop = trainer.fit_loop
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)  # type: ignore[arg-type]  # there is one while it trains
