"""What draws two domains together while a classifier learns the source's labels: one class each.

DANN (https://arxiv.org/abs/1505.07818), pretext tasks on both domains as the bridge
(https://arxiv.org/abs/1909.11825), and little entropy on the target (MinEnt, https://arxiv.org/abs/1811.12833).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pretext.core.errors import require
from pretext.core.ranks import total
from pretext.core.types import Backbone, Grade, Task, TaskFactory, Tree
from pretext.nn.gradient_reversal import reversed_gradient, strength_at
from pretext.nn.self_information import entropy, short_of
from pretext.nn.weighting import Fixed, WeightingFactory


@dataclass(frozen=True)
class Step:
    """What a method may see of a training step: no label."""

    source: Tensor
    """What the network is shown of the source, (N, C, *S)."""
    target: Tensor
    """Likewise of the target, (M, C, *S)."""
    pooled: tuple[Tensor, ...]
    """The source's features (N, D), and the target's (M, D) if the method `looks`."""
    logits: tuple[Tensor, ...]
    """Likewise (N, K) and (M, K)."""
    classes: Tensor
    """(K,) share of each class among the source's labels so far."""
    progress: float
    """Share of all steps that is done; NaN where the end is not known."""
    examine: Callable[[str, Task, Tree], Grade]
    """Lets the backbone sit an exam."""


class Method(nn.Module, ABC):
    """A way to draw two domains together. Its constructor's first argument is the backbone, as a task's is."""

    off: bool = False
    """Whether it counts nothing: then the network does not look at the target at all."""
    looks: ClassVar[bool] = True
    """Whether the network looks at the target beside the source, in one batch, so that batch norm sees both."""

    @abstractmethod
    def forward(self, step: Step) -> Grade:
        """Return the loss that is added to the labels' and what else there is to log."""

    def begin(self, epoch: int) -> None:
        """Take note of the epoch, before each training batch."""

    def follow(self, backbone: Backbone) -> None:
        """Do what must follow an optimiser step."""


MethodFactory = Callable[[Backbone], Method]
"""What a config names for a method: the class, its backbone still to come."""


class DANN(Method):
    """Features by which a classifier of domains cannot tell them apart: gradient reversal, with the paper's schedule.

    Two layers on the pooled features say which domain they are of. They learn at the full rate, while the backbone gets
    their gradient times -lambda_p, which grows from 0 to 1. The score "domain" is their accuracy, 0.5 at best.

    Args:
        backbone: whose features.
        hidden: units of the domain classifier's inner layer.
        weight: factor of lambda_p; 0: source only.

    Raises:
        ValueError: no unit, or a negative weight; later, training without a known end.

    """

    def __init__(self, backbone: Backbone, hidden: int = 100, weight: float = 1.0) -> None:
        super().__init__()
        require(
            hidden >= 1 and 0 <= weight < math.inf, self, f"{hidden=}, {weight=}", "give one unit or more, 0 or more"
        )
        self.weight, self.off = weight, weight == 0
        self.domain = nn.Sequential(nn.Linear(backbone.dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, step: Step) -> Grade:
        wanted = "set trainer.max_epochs or trainer.max_steps"
        require(math.isfinite(step.progress), self, "the end of training is not known, but lambda follows it", wanted)
        source, target = step.pooled
        return self.compare(source, target, self.weight * strength_at(step.progress))

    def compare(self, source: Tensor, target: Tensor, strength: float) -> Grade:
        """Grade the domain classifier on features (N, D) and (M, D); they get its gradient times -`strength`."""
        logits = self.domain(reversed_gradient(torch.cat([source, target]), strength))[:, 0]
        truth = torch.cat([torch.zeros(len(source)), torch.ones(len(target))]).to(logits.device)
        right = ((logits > 0).float() == truth).float().mean()
        return Grade(binary_cross_entropy_with_logits(logits, truth), {"domain": right})


class Bridge(Method):
    """Pretext tasks on both domains, beside the labels of one: who solves them has to see both alike.

    Source and target sit each exam as one batch (Sun, Tzeng, Darrell and Efros, 2019).

    Args:
        backbone: that the tasks share with the classifier.
        tasks: by name, what builds each task.
        weighting: builds the weighting of the tasks' losses from their names.
        weight: of the tasks beside the labels; 0: source only.

    Raises:
        ValueError: no task, or a negative weight.

    """

    looks = False

    def __init__(
        self,
        backbone: Backbone,
        tasks: dict[str, TaskFactory],
        weighting: WeightingFactory = Fixed,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        got = f"tasks={list(tasks)}, {weight=}"
        require(bool(tasks) and 0 <= weight < math.inf, self, got, "give a task or more, and a weight of 0 or more")
        self.tasks = nn.ModuleDict({name: build(backbone) for name, build in tasks.items()})
        self.weighting, self.weight, self.off = weighting(list(tasks)), weight, weight == 0
        for name in self.weighting.off:
            self.tasks[name].requires_grad_(False)

    def forward(self, step: Step) -> Grade:
        x = torch.cat([step.source, step.target])
        grades = {name: step.examine(name, task, x) for name, task in self._counted().items()}
        scores = {f"{name}/{key}": value for name, grade in grades.items() for key, value in grade.scores.items()}
        losses = {name: grade.loss for name, grade in grades.items()}
        each = {f"{name}/loss": loss for name, loss in losses.items()}
        return Grade(self.weight * self.weighting(losses), {**each, **scores})

    def begin(self, epoch: int) -> None:
        for task in self._counted().values():
            task.begin(epoch)

    def follow(self, backbone: Backbone) -> None:
        for task in self._counted().values():
            task.follow(backbone)

    def _counted(self) -> dict[str, Task]:
        return {name: task for name, task in self.tasks.items() if name not in self.weighting.off}  # type: ignore[misc]  # they are tasks


class MinEnt(Method):
    """Sure answers on the target: its mean entropy, as a share of that of a blind guess, is made small.

    It believes what the source taught it. Where that is wrong, it becomes sure of what is wrong, in the end that all is
    of one class. With a `prior` each class is to be named about as often in a batch as in the source (section 3.3).

    Args:
        backbone: not used; a method is built from one.
        weight: of the entropy beside the labels' loss; 0: source only.
        prior: share of its frequency in the source below which a class is missed, as the paper's mu (.5); 0: no prior.

    Raises:
        ValueError: a negative weight, a share outside [0, 1].

    """

    def __init__(self, backbone: Backbone, weight: float = 0.1, prior: float = 0.0) -> None:
        super().__init__()
        sound = 0 <= weight < math.inf and 0 <= prior <= 1
        require(sound, self, f"{weight=}, {prior=}", "give 0 or more, and a share in [0, 1]")
        self.weight, self.prior, self.off = weight, prior, weight == 0

    def forward(self, step: Step) -> Grade:
        logits = step.logits[-1]
        undecided = entropy(logits).mean()
        scores = {"entropy": undecided}
        if self.prior:
            items = total(torch.full((), float(len(logits)), device=logits.device))
            mean = total(logits.float().softmax(1).sum(0)) / items  # of the batches of all ranks, as of one
            scores["missed"] = short_of(mean, step.classes, self.prior)
        return Grade(self.weight * torch.stack(list(scores.values())).sum(), scores)
