"""What every training of ours has beside its module: callbacks, loggers, plugins, and Lightning's options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger

from pretext.training.batch_norm import SyncedBatchNorm
from pretext.training.callbacks import (
    AtomicCheckpointIO,
    Board,
    Divergence,
    History,
    Predictions,
    Progress,
    Questions,
    Record,
    Revalidation,
    Throughput,
)

TRAINER: dict[str, Any] = {
    "max_epochs": 10,
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,
    "enable_model_summary": False,  # Record says what is trained in one line
}


def watchers(command: str, progress: bool) -> list[pl.Callback]:
    """Watch a run; `progress`: say how far it is in lines, where there is no bar."""
    extra: list[pl.Callback] = [Questions(), Divergence(), Throughput(), Record(command), Predictions()]
    return [*extra, Revalidation(), *([Progress()] if progress else [])]


def keeps_others(callbacks: Sequence[pl.Callback]) -> bool:
    """Tell whether a user's own callbacks keep checkpoints: Lightning refuses them unless it is told."""
    return any(isinstance(callback, ModelCheckpoint) for callback in callbacks)


def loggers(run: Path, resumed_at: int | None, own: Sequence[Any], waits: bool = False) -> list[Logger]:
    """Log to loggers of a user's own, or to TensorBoard, and always to the history, of which reports are made.

    With `waits` nothing is made before the first step is done.
    """
    return [*(own or [Board(str(run), resumed_at)]), History(str(run), resumed_at or 0, waits=waits)]


def plugins(own: Sequence[Any], sync_batchnorm: bool | None) -> list[Any]:
    """Write checkpoints whole, and share batch norm's statistics among ranks unless told otherwise."""
    return [*own, AtomicCheckpointIO(), *([SyncedBatchNorm()] if sync_batchnorm is None else [])]
