"""The classical linear probe: classifiers on every stage of a frozen network, trained with augmentation by SGD."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from pretext.core.types import Backbone
from pretext.evaluation.classifiers import Head, Kind, head
from pretext.evaluation.embed import evaluating
from pretext.evaluation.supervision import Scored
from pretext.supervised.supervised import Supervised
from pretext.training.host import OptimizerFactory, Schedule
from pretext.views.augment import Augment

RATE, MOMENTUM, DECAY = 0.01, 0.9, 1e-4  # of Goyal et al.'s protocol, for batches of 256


def sgd(parameters: Iterable[Any]) -> Optimizer:
    """Build the optimiser of Goyal et al. (https://arxiv.org/abs/1905.01235): SGD with Nesterov's momentum."""
    return SGD(parameters, lr=RATE, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)


class LinearProbe(Supervised):
    """Train a classifier on every stage of a frozen backbone, all at once, on augmented items.

    The backbone is in eval mode whatever Lightning calls and gets no gradient: its parameters and the statistics of its
    batch norms are the same bytes before and after. Each classifier has its own loss; no gradient crosses.

    Of the stages the one that did best on the validation items (the data module's `val`) in the last epoch is chosen.
    The test writes `score.json` into the run: {"task", "head", "rows": [{"stage", "dims", "accuracy" (or "map"), "low",
    "high", "validation", "chosen"}], "items", "chance", "classes"}.

    Args:
        run: whose trained backbone to probe,
        backbone: or which network itself, at random initialisation for one.
        modality: which network of several, and what to show it of several modalities.
        stages: those to probe; none: all.
        head: "linear", or RotNet's "mlp" or "conv", see `pretext.evaluation.classifiers`.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optimizer: builds the optimiser from the parameters of all classifiers.
        schedule: of the learning rate after the warm-up.
        warmup: share of all steps in which the learning rate grows linearly to its full value.
        seed: first part of the key of all chance.
        channels_last: lay images and clips out channel by channel last, which is faster on many devices.
        compile: compile the backbone with `torch.compile`.

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
        augment: Augment | None = None,
        optimizer: OptimizerFactory = sgd,
        schedule: Schedule = "cosine",
        warmup: float = 0.0,
        seed: int = 0,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__(run, backbone, modality, augment, optimizer, schedule, warmup, seed, channels_last, compile)
        known = list(self.backbone.stages)
        self.stages = known if stages is None else list(stages)
        if not self.stages or not set(self.stages) <= set(known):
            raise ValueError(f"LinearProbe: stages are {self.stages}, but the backbone has {', '.join(known)}")
        self.kind = head
        self.backbone.requires_grad_(False).eval()
        self.heads = nn.ModuleDict()
        self.shapes: dict[str, tuple[int, ...]] = {}  # of the stages, without the items
        self.validation: dict[str, float] = {}

    def begin(self, classes: int) -> None:
        if not self.shapes:
            with torch.no_grad(), evaluating(self.backbone):
                seen = self.backbone.forward(self.sample(held_out=True)).stages  # not called: nothing to compile yet
            self.shapes = {name: tuple(seen[name].shape[1:]) for name in self.stages}
        self.heads = nn.ModuleDict({name: head(self.kind, self.shapes[name], classes) for name in self.stages})

    def logits(self, x: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            stages = self.look(x).stages
        return {name: classify(stages[name]) for name, classify in self.heads.items()}

    def still(self) -> Iterable[nn.Module]:
        return self.backbone.modules()

    def validated(self, scores: dict[str, Scored]) -> None:
        self.validation = {name: scored.value for name, scored in scores.items()}

    def on_test_start(self) -> None:
        if not self.validation:
            raise ValueError(
                "LinearProbe: no stage can be chosen, because no epoch of training was validated; let "
                "`pretext fit RUN` finish one"
            )

    def tested(self, scores: dict[str, Scored]) -> dict[str, Any]:
        best = max(self.validation, key=lambda name: self.validation[name])
        rows = []
        for name, scored in scores.items():
            classifier: Head = self.heads[name]  # type: ignore[assignment]  # ModuleDict forgets
            known = {"validation": self.validation[name], "chosen": name == best}
            rows.append({"stage": name, "dims": classifier.dims, **scored.plain(), **known})
        return {"task": "linear_probe", "head": self.kind, "rows": rows}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["shapes"] = {name: list(shape) for name, shape in self.shapes.items()}
        checkpoint["validation"] = dict(self.validation)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.shapes = {name: tuple(shape) for name, shape in checkpoint["shapes"].items()}
        self.validation = dict(checkpoint["validation"])
        super().on_load_checkpoint(checkpoint)
