"""Fine-tuning: the whole network, or all but its first stages, learns the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pretext.core.types import Backbone
from pretext.nn.auxiliary import AuxiliaryHead
from pretext.supervised.best_weights import Best, BestWeights
from pretext.supervised.depth import POOLED, Places, places
from pretext.supervised.module import Supervised, fits, sample
from pretext.supervised.scores import Logits, write
from pretext.supervised.trunk import trunk
from pretext.training.execution import PLAIN, Execution
from pretext.training.inputs import InputPipeline
from pretext.training.optimization import ADAMW, Groups, Optim
from pretext.views.augment import Augment

AUXILIARY = "auxiliary"
"""The name of the auxiliary classifier in logs."""


@dataclass(frozen=True)
class Auxiliary:
    """The options of an auxiliary classifier, which reads an inner stage while training, and is not there afterwards.

    Args:
        weight: of its loss beside that of the classifier; 0: there is none. DARTS and UnNAS take 0.4.
        stage: that it reads; none: the last but one. DARTS' is the second reduction: `reduction2` of a `Cells` with
            `tap_reductions`.

    """

    weight: float = 0.0
    stage: str | None = None


NO_AUXILIARY = Auxiliary()


class FineTune(Supervised):
    """Train a backbone and a linear classifier on its pooled features together; from scratch it is supervised training.

    The weights of the epoch that is best on the validation items (the data module's `val`) are those that are tested,
    predicted with and loaded by `pretext.load`; a resumed run goes on from the last ones. Without validation items the
    last ones are all there are. The test writes `score.json` into the run: {"task", "accuracy" (or "map"), "low",
    "high", "validation", "epoch", "items", "chance", "classes"}.

    A parameter belongs to the first stage that depends on it (see `depth.places`), what lies behind the last stage to a
    part of its own. Counted from the classifier, whose depth is 0, the learning rate of depth d is
    `layer_decay ** d` times the optimiser's (Clark et al., https://arxiv.org/abs/2003.10555, for one).

    Args:
        run: whose trained backbone to take,
        backbone: or which network itself, to train from scratch.
        modality: which network of several, and what to show it of several modalities.
        layer_decay: factor of the learning rate from one stage to the next shallower one, in (0, 1].
        freeze: the first so many stages get no gradient and stay in eval mode, batch norm and dropout included.
        head_lr: factor of the classifier's learning rate.
        dropout: probability that a pooled feature is dropped before the classifier.
        label_smoothing: share of each answer's weight that goes to all classes alike.
        keep_best: use the weights of the best epoch, see above; else the last ones.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optim: the optimiser, and the schedule of its learning rate.
        execution: memory layout and compilation of the backbone.
        seed: first part of the key of every random draw.
        auxiliary: a second classifier, on an inner stage.

    Raises:
        ValueError: both or neither of run and backbone, or an option out of its range.

    """

    def __init__(
        self,
        run: str | None = None,
        backbone: Backbone | None = None,
        modality: str | None = None,
        layer_decay: float = 1.0,
        freeze: int = 0,
        head_lr: float = 1.0,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        keep_best: bool = True,
        augment: Augment | None = None,
        optim: Optim = ADAMW,
        execution: Execution = PLAIN,
        seed: int = 0,
        auxiliary: Auxiliary = NO_AUXILIARY,
    ) -> None:
        inputs = InputPipeline(trunk(run, backbone, modality), augment, modality)
        super().__init__(inputs, optim, execution, seed, label_smoothing)
        _check(layer_decay, head_lr, dropout, freeze, list(self.backbone.stages))
        self.layer_decay, self.freeze_stages, self.head_lr = layer_decay, freeze, head_lr
        self.dropout = nn.Dropout(dropout)
        self.auxiliary_stage = _auxiliary_stage(auxiliary, list(self.backbone.stages))
        self.auxiliary_head: nn.Module | None = None
        self.loss_weights = {AUXILIARY: auxiliary.weight}
        self.head = nn.Linear(self.backbone.dim, 1)  # as many outputs as classes, once these are known
        self.kept = BestWeights(keep_best)
        self.places: Places | None = None  # known where it is trained

    def begin(self, classes: int) -> None:
        self.head = nn.Linear(self.backbone.dim, classes)
        if self.auxiliary_stage is not None:
            self.auxiliary_head = AuxiliaryHead(self.backbone.stages[self.auxiliary_stage], classes)

    def configure_model(self) -> None:
        super().configure_model()
        if not fits(self):
            return
        with torch.device("cpu"):
            self.places = places(self.backbone, sample(self))
        frozen = list(self.backbone.stages)[: self.freeze_stages]
        for name, parameter in self.backbone.named_parameters():
            parameter.requires_grad_(self.places.parameters[name] not in frozen)
        self.frozen = [m for n, m in self.backbone.named_modules() if self.places.modules.get(n) in frozen]

    def configure_optimizers(self) -> Optimizer:
        assert self.places is not None  # Lightning configures the model before the optimiser
        base = self.rates.optim.optimizer([nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"]
        groups = _by_depth(self.backbone, self.places, base, self.layer_decay)
        heads = [*self.head.parameters(), *(self.auxiliary_head.parameters() if self.auxiliary_head else ())]
        head = {"params": heads, "lr": base * self.head_lr, "name": "head"}
        return self.rates.optimizer([*groups, head])

    def logits(self, x: Tensor) -> Logits:
        seen = self.look(x)
        with torch.autocast(x.device.type, enabled=False):
            logits = {"": self.head(self.dropout(seen.pooled.float()))}
            if self.training and self.auxiliary_head is not None and self.auxiliary_stage is not None:
                logits[AUXILIARY] = self.auxiliary_head(seen.stages[self.auxiliary_stage].float())
            return logits

    @property
    def best(self) -> Best | None:
        """The best epoch so far; None where none is kept."""
        return self.kept.best

    def on_validation_epoch_end(self) -> None:
        if scores := self.scores.validated(self):
            self.kept.consider(self, scores[""].value)

    def on_fit_end(self) -> None:
        self.kept.take(self)

    def on_test_epoch_end(self) -> None:
        scores = self.scores.tested(self)
        best = {"validation": self.best.score, "epoch": self.best.epoch} if self.best else {}
        facts = {**self.scores.facts(scores, self.counts), "classes": self.classes}
        write({"task": "finetune", **scores[""].plain(), **best, **facts}, self.trainer)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        self.kept.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.kept.load(self, checkpoint)


def _check(layer_decay: float, head_lr: float, dropout: float, freeze: int, stages: list[str]) -> None:
    """Raise a ValueError that names what is out of its range."""
    if not (0 < layer_decay <= 1 and head_lr > 0 and 0 <= dropout < 1):
        raise ValueError(
            f"FineTune: layer_decay={layer_decay}, head_lr={head_lr}, dropout={dropout}; give a decay in (0, 1], a "
            "positive rate and a probability in [0, 1)"
        )
    if not 0 <= freeze <= len(stages):
        raise ValueError(f"FineTune: freeze={freeze}, but the backbone has {len(stages)} stages: {', '.join(stages)}")


def _auxiliary_stage(auxiliary: Auxiliary, stages: list[str]) -> str | None:
    """Name the stage that an auxiliary classifier reads; None where there is no such classifier."""
    if auxiliary.weight == 0:
        return None
    if auxiliary.weight < 0 or len(stages) < 2 or auxiliary.stage not in (None, *stages):
        raise ValueError(
            f"FineTune: {auxiliary} on a backbone with the stages {', '.join(stages)}; give a positive weight and one "
            "of two or more stages"
        )
    return auxiliary.stage or stages[-2]


def _by_depth(backbone: Backbone, places: Places, base: float, decay: float) -> Groups:
    """Return a group for each stage that is trained, shallow to deep, its rate `base` times `decay` to its depth."""
    members: dict[str, list[nn.Parameter]] = {name: [] for name in (*backbone.stages, POOLED)}
    for name, parameter in backbone.named_parameters():
        members[places.parameters[name]].append(parameter)
    parts = [name for name, held in members.items() if held or name != POOLED]
    return [
        {"params": held, "lr": base * decay ** (len(parts) - i), "name": name}
        for i, name in enumerate(parts)
        if (held := [p for p in members[name] if p.requires_grad])
    ]
