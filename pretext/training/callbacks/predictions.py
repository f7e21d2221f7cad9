"""What `pretext predict` leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from safetensors.torch import save_file
from torch import Tensor

from pretext.core.files import whole


class Predictions(pl.Callback):
    """Write the pooled features (N, D) and the indices (N,) of all items to `features.safetensors` in the run.

    They are called `pooled`, or `pooled.rgb`, `pooled.audio` ... where the backbone has several modalities.
    """

    def __init__(self) -> None:
        self._batches: list[dict[str, Tensor]] = []

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._batches = []

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int, *rest: int
    ) -> None:
        self._batches.append({key: value.cpu() for key, value in outputs.items()})

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        columns = {key: torch.cat([batch[key] for batch in self._batches]) for key in self._batches[0]}
        rank = "" if trainer.world_size == 1 else f"-{trainer.global_rank}"  # each rank has its share
        file = Path(trainer.default_root_dir) / f"features{rank}.safetensors"
        with whole(file) as draft:
            save_file(columns, draft)
        widths = " and ".join(str(values.shape[1]) for name, values in columns.items() if name != "index")
        print(f"{len(columns['index'])} items, features of width {widths}: {file}")
