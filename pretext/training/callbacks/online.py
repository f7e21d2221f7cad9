"""How good are the features by now? Probes, nearest neighbours and label-free scores while a run trains."""

from __future__ import annotations

import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from pretext.core.types import Tree
from pretext.evaluation.embed import embed
from pretext.training.batches import lawful
from pretext.training.callbacks.checkpoint import Checkpoint
from pretext.training.callbacks.quiet import undisturbed
from pretext.training.callbacks.scored import SCORES, Score, scored
from pretext.training.callbacks.watched import Wanted, data_of, possible, stages_of
from pretext.training.host import Host
from pretext.training.inputs import canvas_of


class Online(pl.Callback):
    """Measure what the backbone knows while it trains, and log it beside the losses.

    Measured before the first step, every so often, and at the end: `online/<stage>/knn` and `online/<stage>/linear`
    (accuracies: nearest neighbours on the stage's average, a linear classifier on its grid), the label-free
    `online/<stage>/rankme` and others (see `pretext.evaluation.quality`), `online/seconds`, and
    `online/held_out`, the number of items that accuracies are shares of (of 2,000 their 95 % intervals are 2.2 % wide
    to each side at most).

    Never on test items: a curve that one looks at while training selects. Of a fixed choice of training items, half of
    each class is fitted on and the other half scored, and label-free scores are of both halves together. So the values
    are lower than those of `pretext probe`, which has all training items to fit on.

    Training is bit-identical with and without it. It costs 2 x `items` / (items that the backbone sees per second
    without gradients) seconds each time, and a second or so a stage on top. With `configs/image/rotation.yaml` and all
    defaults that is 8 % of the run: 8 times 3.8 of 380 s of processor time. Fewer `items`, a longer interval or fewer
    scores make it cheaper. `items/s` counts it as time of training where it falls between two steps of an epoch.

    Args:
        scores: what to measure; by default all that the data has labels for.
        every_n_epochs: so often, at the end of an epoch.
        every_n_steps: instead so often, in optimiser steps.
        items: fit on so many items at most, and score as many.
        stage: a stage of the backbone, "last", or "all".
        modality: which network of a `MultiModal` backbone (default: the first).
        data: a labelled data module of its own; by default the one that is trained on.
        dims: pool a stage's grid to so many values at most before the linear classifier reads it.
        name: what its columns begin with, so that a run can have several.

    Raises:
        ValueError: an interval, `items` or `dims` below 1, an unknown score; at the start of training: a stage or
            modality that the backbone has not, data without the labels that `scores` wants, two of one name, a module
            that is no `Host`, a `Checkpoint` before it.

    """

    def __init__(
        self,
        scores: list[Score] | None = None,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        items: int = 2000,
        stage: str = "last",
        modality: str | None = None,
        data: pl.LightningDataModule | None = None,
        dims: int = 2048,
        name: str = "online",
    ) -> None:
        numbers = {"every_n_epochs": every_n_epochs, "every_n_steps": every_n_steps, "items": items, "dims": dims}
        if small := [f"{key}={value}" for key, value in numbers.items() if value is not None and value < 1]:
            raise ValueError(f"Online got {', '.join(small)}; give at least 1")
        if scores is not None and (not scores or set(scores) - set(SCORES)):
            raise ValueError(f"Online got scores={scores}; choose from {', '.join(SCORES)}")
        self.scores, self.items, self.dims = scores, items, dims
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.stage, self.modality, self.data, self.name = stage, modality, data, name
        self._wanted: Wanted | None = None
        self._last = 0  # the step that was measured last, or that a run was resumed at
        self._worked = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        host = _host(pl_module)
        _check_place(self, trainer)
        stages = stages_of(host, self.modality, self.stage)
        if trainer.is_global_zero:
            with undisturbed(host.device):  # a data module of somebody else's may draw at random
                data = data_of(self.data, trainer)
                self._wanted = Wanted(data, possible(self.scores, data), stages)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last = trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == trainer.current_epoch == batch_idx == 0:  # random weights: what all is compared with
            host = _host(pl_module)
            host.inputs.canvas = canvas_of(
                lawful(batch)["x"]
            )  # as the step will: other data are shown as what is trained on
            self._measure(trainer, host)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        step, every = trainer.global_step, self.every_n_steps
        if every is not None and step % every == 0 and step != self._last:
            self._measure(trainer, _host(pl_module))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        due = self.every_n_steps is None and (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and trainer.global_step != self._last:
            self._measure(trainer, _host(pl_module))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.global_step != self._last:
            self._measure(trainer, _host(pl_module))

    def _measure(self, trainer: pl.Trainer, host: Host) -> None:
        """Measure on the first rank while the others wait, and log as Lightning logs what an epoch ends with."""
        begin, figures = time.perf_counter(), dict[str, float]()
        self._last = trainer.global_step
        if self._wanted is not None:
            try:
                with undisturbed(host.device):
                    figures = self._figures(host, self._wanted)
                figures["seconds"] = time.perf_counter() - begin
                self._worked = True
            except ValueError as error:  # once it has worked, it is the weights: training must not end by being watched
                if not self._worked:
                    raise
                rank_zero_warn(f"Online: nothing measured at step {self._last}: {error}")
        if figures and trainer.is_global_zero:
            print(f"{self.name} at step {self._last}: {_said(figures)}", file=sys.stderr, flush=True)
        figures = {f"{self.name}/{key}": value for key, value in trainer.strategy.broadcast(figures).items()}
        trainer.callback_metrics.update({key: torch.tensor(value) for key, value in figures.items()})
        for logger in trainer.loggers if figures else ():
            logger.log_metrics({**figures, "epoch": trainer.current_epoch}, step=max(0, self._last - 1))

    def _figures(self, host: Host, wanted: Wanted) -> dict[str, float]:
        network, modality = host.inputs.network(self.modality)
        dtype = next(network.parameters()).dtype  # bfloat16 where the weights are

        def view(x: Tree) -> Tensor:
            rows: Tensor = host.inputs.eval_input(x, modality)
            return rows.to(dtype)

        batches = wanted.data.ordered("train", 2 * self.items)
        features = embed(network, batches, view, dims=self.dims, title="")
        figures = scored(features, wanted.scores, wanted.stages, host.device)
        return {f"{modality}.{key}" if modality and "/" in key else key: value for key, value in figures.items()}


def _said(figures: dict[str, float]) -> str:
    """Say what was measured: a stage's name once, before its scores."""
    stages: dict[str, list[str]] = {}
    for key, value in figures.items():
        stage, _, score = key.rpartition("/")
        stages.setdefault(stage, []).append(f"{score} {value:.3g}" if stage else f"{score} {value:g}")
    return "; ".join(" ".join(filter(None, (stage, ", ".join(scores)))) for stage, scores in stages.items())


def _host(module: pl.LightningModule) -> Host:
    if not isinstance(module, Host):
        raise ValueError(
            f"Online got a {type(module).__name__}, but wants a pretext.training.host.Host such as Pretrainer, which "
            "says what its backbone is shown"
        )
    return module


def _check_place(online: Online, trainer: pl.Trainer) -> None:
    """Refuse callbacks that would overwrite its columns, or save the run before it has measured."""
    before = trainer.callbacks[: trainer.callbacks.index(online)]  # type: ignore[attr-defined]  # Trainer sets it
    if any(isinstance(other, Online) and other.name == online.name for other in before):
        raise ValueError(f"Online: two are named {online.name!r}; give one another `name`")
    if any(isinstance(other, Checkpoint) for other in before):
        raise ValueError(
            "Online: a Checkpoint stands before it among the callbacks; put it after, or a resumed run would miss what "
            "was measured at its checkpoint"
        )
