"""Checkpoints that survive a kill at any moment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write to a file beside the final one and rename, so that a checkpoint is always whole; load tensors only.

    (Lightning's own goes through the temporary folder, and a move from there to another disk is not atomic.)
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(path.name + ".half")
        with half.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> Any:
        # On the CPU: the strategy moves what belongs on a device.
        return torch.load(path, map_location=map_location or "cpu", weights_only=True)


class Checkpoint(pl.Callback):
    """Keep `checkpoints/last.ckpt` of the run up to date: every `every_n_steps` steps and at the end.

    Raises:
        ValueError: `every_n_steps` is not positive.

    """

    def __init__(self, every_n_steps: int = 200) -> None:
        if every_n_steps < 1:
            raise ValueError(f"Checkpoint: every_n_steps must be positive, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self._saved = -1

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        step = trainer.global_step
        if step % self.every_n_steps == 0 and step != self._saved:
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        self._saved = trainer.global_step
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # a trial run leaves nothing behind
            return
        for logger in trainer.loggers:
            logger.save()  # first: a run resumed from here must find the metrics up to here
        trainer.save_checkpoint(Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt")
