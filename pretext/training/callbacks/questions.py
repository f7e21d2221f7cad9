"""What looks like a mistake is asked about, and done all the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl

from pretext.core.tree import leaves

SMALL = 8  # pixels: below, nothing is to be seen


class Questions(pl.Callback):
    """Ask about training that takes no step, data of a single item, and pictures of a few pixels, in a line each."""

    def __init__(self) -> None:
        self._asked = False

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        given = {"max_steps": trainer.max_steps, "max_epochs": trainer.max_epochs}
        for name, value in given.items():
            if value == 0:
                _ask(trainer, f"{name} is 0, so no step is taken. Was more meant? --trainer.{name} 1")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._asked:
            self._asked = True
            side = getattr(getattr(trainer, "datamodule", None), "file_side", None)  # of files that were resized
            for question in questions(batch, trainer.num_training_batches, side):
                _ask(trainer, question)


def questions(batch: Any, batches: float, file_side: int | None = None) -> Iterator[str]:
    """Ask about a batch, a dict of `x` and `index`, which is one of so many.

    `file_side`: the shorter side of the pictures in their files, pixels, where it is known.
    """
    if not isinstance(batch, dict) or not {"x", "index"} <= batch.keys():
        return
    if batches == 1 and len(batch["index"]) == 1:
        yield "there is one item to train on. Is the folder of the data the right one?"
    pictures = [leaf for leaf in leaves(batch["x"]) if leaf.ndim > 3]
    if pictures and (side := min(min(leaf.shape[-2:]) for leaf in pictures)) < SMALL:
        yield f"the pictures are {side} px wide or high: nothing can be seen in them. Is the canvas right?"
    elif file_side is not None and file_side < SMALL:
        yield f"the files' pictures are {file_side} px wide or high: nothing can be seen in them. Is the folder right?"


def _ask(trainer: pl.Trainer, question: str) -> None:
    if trainer.is_global_zero:
        print(f"pretext: {question}", file=sys.stderr)
