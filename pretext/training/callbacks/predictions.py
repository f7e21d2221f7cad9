"""What `pretext predict` leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from torch import Tensor

from pretext.core.files import whole
from pretext.core.ranks import in_turn
from pretext.training.batches import lawful


class Collected(pl.Callback):
    """Collects what `predict` says of all items, in order, on every rank."""

    def __init__(self) -> None:
        self._batches: list[dict[str, Tensor]] = []

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches = []

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: int
    ) -> None:
        if not lawful(batch).get("spare"):
            self._batches.append({key: value.cpu() for key, value in outputs.items()})

    def columns(self) -> dict[str, Tensor]:
        """Join the batches of all ranks; all of them must ask."""
        batches = in_turn(self._batches)
        return {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}


class Predictions(Collected):
    """Write pooled features (N, D) and indices (N,) of all items, in order, to `features.safetensors` of the run.

    They are called `pooled`, or `pooled.rgb`, `pooled.audio` ... where the backbone has several modalities.
    """

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        columns = self.columns()
        if not trainer.is_global_zero:
            return
        file = Path(trainer.default_root_dir) / "features.safetensors"
        with whole(file) as draft:
            save_file(columns, draft)
        widths = " and ".join(str(values.shape[1]) for name, values in columns.items() if name != "index")
        print(f"{len(columns['index'])} items, features of width {widths}: {file}")
