"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from pretext.core.files import whole
from pretext.training.host import Host


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write to a file beside the final one and rename, so that a checkpoint is always whole; load tensors only.

    (Lightning's own goes through the temporary folder, and a move from there to another disk is not atomic.)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        with whole(path) as draft:
            torch.save(checkpoint, draft)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> Any:
        # On the CPU: the strategy moves what belongs on a device.
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


class Checkpoint(pl.Callback):
    """Keep `checkpoints/last.ckpt` of the run up to date: every `every_n_steps` steps, at the end, and at Ctrl-C.

    The first Ctrl-C lets the step finish and saves; a second one stops at once.

    Raises:
        ValueError: `every_n_steps` is not positive.

    """

    def __init__(self, every_n_steps: int = 200) -> None:
        if every_n_steps < 1:
            raise ValueError(f"Checkpoint: every_n_steps must be positive, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._saved = -1
        self._due = False
        self._interrupted = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():  # the only one that may catch signals
            self._before = signal.signal(signal.SIGINT, self._interrupt)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        # Also at the last step: only here, and not at the end of training, does Lightning know that the epoch it stops
        # in is not over, so that a run that gets more steps later goes on with the very next batch.
        step = trainer.global_step
        self._due |= step != self._saved and (step % self.every_n_steps == 0 or step == trainer.max_steps)
        if not trainer.is_last_batch:  # else validation comes first, which a run resumed from here would leave out
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save_if_due(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step != self._saved:
            self._save(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if hasattr(self, "_before"):
            signal.signal(signal.SIGINT, self._before)
            del self._before

    def _interrupt(self, *signal_and_frame: Any) -> None:
        if self._interrupted:
            raise KeyboardInterrupt
        self._interrupted = True

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        if self._due or self._interrupted:
            self._save(trainer)
        if self._interrupted:
            run, step = trainer.default_root_dir, trainer.global_step
            print(f"interrupted at step {step}; continue: pretext fit {run}", file=sys.stderr)
            raise KeyboardInterrupt

    def _save(self, trainer: pl.Trainer) -> None:
        self._due = False
        loss = trainer.callback_metrics.get("train/loss")
        diverged = loss is not None and not torch.isfinite(loss)
        if trainer.fast_dev_run or diverged:  # type: ignore[attr-defined]  # Lightning sets it outside the class
            return  # a trial run leaves nothing behind, a diverged one keeps the last good checkpoint
        self._saved = trainer.global_step
        if isinstance(pl_module := trainer.lightning_module, Host):
            pl_module.figures.write(trainer)
        for logger in trainer.loggers:
            logger.save()  # first: a run resumed from here must find the metrics up to here
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")
