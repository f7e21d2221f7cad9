"""The classical linear probe: classifiers on every stage of a frozen network, trained with augmentation by SGD."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from pretext.core.types import Backbone
from pretext.evaluation.classifiers import Head, Kind, Pool, head
from pretext.evaluation.embed import evaluating
from pretext.supervised.module import Supervised, sample
from pretext.supervised.scores import Logits, write
from pretext.supervised.trunk import trunk
from pretext.training.execution import PLAIN, Execution
from pretext.training.inputs import InputPipeline
from pretext.training.optimization import Optim, trained
from pretext.views.augment import Augment

RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4  # of Goyal et al.'s protocol, for batches of 256


def sgd(parameters: Iterable[Any]) -> Optimizer:
    """Build the optimiser of Goyal et al. (https://arxiv.org/abs/1905.01235): SGD with Nesterov's momentum."""
    return SGD(parameters, lr=RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)


GOYAL = Optim(sgd, warmup=0.0)


class LinearProbe(Supervised):
    """Train a classifier on every stage of a frozen backbone, all at once, on augmented items.

    The backbone is in eval mode whatever Lightning calls and gets no gradient: its parameters and the statistics of its
    batch norms are the same bytes before and after. Each classifier has its own loss; no gradient crosses.

    Of the stages the one that did best on the validation items (the data module's `val`) in the last epoch is chosen;
    with `choose` false none is, and every item of the training set may be trained on, as published protocols do it.
    The test writes `score.json` into the run: {"task", "head", "rows": [{"stage", "dims", "accuracy" (or "map"), "low",
    "high", "validation", "chosen"}], "items", "chance", "classes"}.

    Args:
        run: whose trained backbone to probe,
        backbone: or which network itself, at random initialisation for one.
        modality: which network of several, and what to show it of several modalities.
        stages: those to probe; none: all.
        head: "linear", or RotNet's "mlp" or "conv", see `pretext.evaluation.classifiers`.
        dims: most values of a stage that "linear" (9,600 by itself) and "mlp" (12,288) read, "whole" for the whole map.
        pool: of "linear", what a cell of a coarser grid is: the "mean" of the cells in it, or their "max".
        choose: choose a stage on validation items.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optim: the optimiser of all classifiers, and the schedule of its learning rate.
        execution: memory layout and compilation of the backbone.
        seed: first part of the key of every random draw.

    Raises:
        ValueError: both or neither of run and backbone, or a stage that it has not.

    """

    def __init__(
        self,
        run: str | None = None,
        backbone: Backbone | None = None,
        modality: str | None = None,
        stages: Sequence[str] | None = None,
        head: Kind = "linear",
        dims: int | Literal["whole"] | None = None,
        pool: Pool = "mean",
        choose: bool = True,
        augment: Augment | None = None,
        optim: Optim = GOYAL,
        execution: Execution = PLAIN,
        seed: int = 0,
    ) -> None:
        inputs = InputPipeline(trunk(run, backbone, modality), augment, modality)
        super().__init__(inputs, optim, execution, seed)
        known = list(self.backbone.stages)
        self.stages = known if stages is None else list(stages)
        if not self.stages or not set(self.stages) <= set(known):
            raise ValueError(f"LinearProbe: stages are {self.stages}, but the backbone has {', '.join(known)}")
        self.kind, self.dims, self.pool, self.choose = head, dims, pool, choose
        self.backbone.requires_grad_(False).eval()
        self.frozen = list(self.backbone.modules())
        self.heads = nn.ModuleDict()
        self.shapes: dict[str, tuple[int, ...]] = {}  # of the stages, without the items
        self.validation: dict[str, float] = {}

    def begin(self, classes: int) -> None:
        if not self.shapes:
            with torch.no_grad(), evaluating(self.backbone):
                x = sample(self, held_out=self.choose)
                stages = self.backbone.forward(x).stages  # not called: nothing to compile yet
            self.shapes = {name: tuple(stages[name].shape[1:]) for name in self.stages}
        built = {name: head(self.kind, self.shapes[name], classes, self.dims, self.pool) for name in self.stages}
        self.heads = nn.ModuleDict(built)

    def configure_optimizers(self) -> Optimizer:
        return self.rates.optimizer(trained(self))

    def logits(self, x: Tensor) -> Logits:
        with torch.no_grad():
            stages = self.look(x).stages
        return {name: classify(stages[name]) for name, classify in self.heads.items()}

    def on_validation_epoch_end(self) -> None:
        if scores := self.scores.validated(self):
            self.validation = {name: scored.value for name, scored in scores.items()}

    def on_test_start(self) -> None:
        if self.choose and not self.validation:
            raise ValueError(
                "LinearProbe: no stage can be chosen, because no epoch of training was validated; let "
                "`pretext fit RUN` finish one"
            )

    def on_test_epoch_end(self) -> None:
        scores = self.scores.tested(self)
        best = max(self.validation, key=lambda name: self.validation[name]) if self.choose else None
        rows = []
        for name, scored in scores.items():
            classifier: Head = self.heads[name]  # type: ignore[assignment]  # ModuleDict forgets
            known = {"validation": self.validation.get(name), "chosen": name == best}
            rows.append({"stage": name, "dims": classifier.dims, **scored.plain(), **known})
        facts = {**self.scores.facts(scores, self.counts), "classes": self.classes}
        write({"task": "linear_probe", "head": self.kind, "rows": rows, **facts}, self.trainer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["shapes"] = {name: list(shape) for name, shape in self.shapes.items()}
        checkpoint["validation"] = dict(self.validation)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.shapes = {name: tuple(shape) for name, shape in checkpoint["shapes"].items()}
        self.validation = dict(checkpoint["validation"])
        super().on_load_checkpoint(checkpoint)
