"""Scores of predicted masks over a split: tallied batch by batch, logged, and summed up."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from pretext.core import ranks
from pretext.core.rng import rng
from pretext.evaluation import segment
from pretext.supervised.scores import key
from pretext.supervised.segmentation_view import SHOWN, Shown


class MaskScores:
    """Tallies the predicted masks of one split after the other.

    Args:
        seed: first part of the key by which test items are drawn for the picture.
        name: in logs, where there are several of them.

    """

    def __init__(self, seed: int, name: str = "") -> None:
        self.seed, self.name = seed, name
        self.shown: list[Shown] = []
        self._confusions: list[Tensor] = []

    def add(self, predicted: Tensor, batch: dict[str, Any], batch_idx: int, classes: int) -> None:
        """Count the pixels of a batch's masks (N, S, S); a split begins with batch 0."""
        if batch_idx == 0:  # of this rank
            self.shown, self._confusions = [], []
        confusion = segment.confusion(predicted, batch["y"], classes).cpu()
        self._confusions.append(confusion[:0] if batch.get("spare") else confusion)

    def show(self, predicted: Tensor, batch: dict[str, Any], batch_idx: int) -> None:
        """Let the items of a batch, of this number among those of all ranks, take part in the draw for the picture."""
        if batch.get("spare"):
            return
        lots = torch.rand(len(predicted), generator=rng("cpu", self.seed, "test", "picture", batch_idx)).tolist()
        parts = (part.cpu() for part in (batch["x"], batch["y"], predicted))
        items = [Shown(*item) for item in zip(lots, *parts, strict=True)]
        self.shown = sorted([*self.shown, *items], key=lambda item: item.lot)[:SHOWN]

    def validated(self, module: pl.LightningModule, classes: int) -> float:
        """Log the mean IoU of all pixels of the validation items, of all processes, and return it; NaN of none."""
        none = torch.zeros(1, classes, classes, dtype=torch.int64)
        counts = torch.cat([none, *ranks.in_turn([part.sum(0, keepdim=True) for part in self._confusions])]).sum(0)
        self._confusions = []
        value = segment.mean_iou(counts).float()
        module.log("val/miou", value, prog_bar=True, sync_dist=True)
        return float(value)

    def tested(self, module: pl.LightningModule, classes: list[str], commonest: int) -> dict[str, Any]:
        """Log the mean IoU of all test items, and sum them up as `score` does."""
        result = score(torch.cat(ranks.in_turn(self._confusions)), classes, commonest, self.seed)
        self.shown = sorted(ranks.in_turn(self.shown), key=lambda item: item.lot)[:SHOWN]
        module.log(key("test", self.name, "miou"), result["miou"], sync_dist=True)
        return result


def score(confusions: Tensor, classes: list[str], commonest: int, seed: int = 0) -> dict[str, Any]:
    """Sum up the confusions (N, K, K) of all test images, as `score.json` has it; None for a class never met."""
    total = confusions.sum(0)
    bounds = segment.interval(confusions, rng("cpu", seed, "test", "interval"))
    each = [None if math.isnan(value) else value for value in segment.iou(total).tolist()]
    return {
        "task": "segmentation",
        "miou": float(segment.mean_iou(total)),
        **bounds._asdict(),
        "iou": dict(zip(classes, each, strict=True)),
        "items": len(confusions),
        "chance": segment.constant(total, commonest),
    }
