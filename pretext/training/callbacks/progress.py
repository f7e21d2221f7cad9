"""Progress that a person can read, on a terminal and in a log file."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar

from pretext.training.callbacks.revalidation import fits
from pretext.training.host import Host
from pretext.training.inputs import items_of

LINE = 6  # figures that are read at a glance on one line


def as_table(figures: Mapping[str, float]) -> str:
    """Write figures such as val/turn/loss: a few on a line, more as a table with a row for each task."""
    if len(figures) <= LINE:
        return "  ".join(f"{key} {value:.4f}" for key, value in figures.items())
    rows: dict[str, list[str]] = {}
    for key, value in figures.items():
        row, _, score = key.rpartition("/")
        rows.setdefault(row, []).append(f"{score} {value:.4f}")
    wide, places = max(map(len, rows)), max(map(len, rows.values()))
    widths = [max(len(row[place]) for row in rows.values() if place < len(row)) for place in range(places)]
    padded = {name: [f"{text:{width}}" for text, width in zip(row, widths, strict=False)] for name, row in rows.items()}
    return "\n".join(f"{name:{wide}}  {'  '.join(row)}".rstrip() for name, row in padded.items())


class Throughput(pl.Callback):
    """Log `items/s`: items of the batch (not puzzles made of them) per second over the last `window` steps."""

    def __init__(self, window: int = 20) -> None:
        self._marks: deque[tuple[float, int]] = deque(maxlen=window + 1)
        self._items = 0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._marks.clear()  # validation lies between two epochs

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._items += items_of(batch) * trainer.world_size
        self._marks.append((time.monotonic(), self._items))
        (start, before), (end, after) = self._marks[0], self._marks[-1]
        if end > start:
            speed = (after - before) / (end - start)
            if isinstance(pl_module, Host):
                pl_module.figures.add(trainer, "items/s", speed)
            else:
                pl_module.log("items/s", speed, prog_bar=True)


class Progress(ProgressBar):
    """One plain line every `seconds`, for output that is not a terminal, where a bar would fill the file."""

    def __init__(self, seconds: float = 15.0) -> None:
        super().__init__()
        self.seconds = seconds
        self._shown = 0.0
        self._first: tuple[float, int] | None = None

    def disable(self) -> None:
        self.seconds = float("inf")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self._first = self._first or (now, trainer.global_step)
        if now - self._shown >= self.seconds:
            self._shown = now
            self._say(trainer, pl_module, batch_idx)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if fits(trainer) and not trainer.sanity_checking and self.seconds != float("inf"):
            values = {k: v for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
            if values:  # of no held-out item there are none
                print(as_table({key: float(value) for key, value in values.items()}), file=sys.stderr, flush=True)

    def _say(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch_idx: int) -> None:
        if isinstance(pl_module, Host):
            pl_module.figures.fetch(trainer)
        metrics = self.get_metrics(trainer, pl_module)
        values = "  ".join(f"{k} {v:.4g}" for k, v in metrics.items() if isinstance(v, int | float) and k != "v_num")
        where = f"epoch {trainer.current_epoch} step {batch_idx + 1}/{trainer.num_training_batches}"
        print(f"{where}  {values}{self._left(trainer)}", file=sys.stderr, flush=True)

    def _left(self, trainer: pl.Trainer) -> str:
        assert self._first is not None
        (start, first), total = self._first, trainer.estimated_stepping_batches
        done = trainer.global_step - first
        if done < 1 or total == float("inf"):
            return ""
        return f"  {(time.monotonic() - start) / done * (total - trainer.global_step) / 60:.1f} min left"
