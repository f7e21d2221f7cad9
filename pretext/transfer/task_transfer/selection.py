"""All ways to the weights of a task, and which to trust: each known task is left out, as if it had no labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.transfer.task_transfer.known import Known, check
from pretext.transfer.task_transfer.trivial import best_source, kernel_ridge, weighted_mean
from pretext.transfer.task_transfer.ttnet import Consistency, Fitted, Settings, fit

TRIVIAL: dict[str, Callable[[Known, Tensor], Tensor]] = {
    "ridge": kernel_ridge,
    "mean": weighted_mean,
    "best source": best_source,
}
TTNET = "TTNet"
WAYS = (TTNET, *TRIVIAL)
Judge = Callable[[str, Tensor], float]
"""The loss of a network with given weights (P,) on held-out items of a known task, by name."""


class Left(NamedTuple):
    """How a way does on known tasks that were left out."""

    way: str
    consistency: float
    """Of TTNet"""
    cosine: float
    """Mean over tasks, of what was predicted with the mean of the task's networks, both less the mean of all others:
    0 is what chance gives"""
    loss: float
    """Mean over tasks of their own loss; NaN where nobody judges"""


@dataclass(frozen=True)
class Selection:
    """What leaving known tasks out has shown.

    Args:
        settings: those of the candidates of TTNet that do best.
        left: all candidates and the trivial ways.

    """

    settings: Settings
    left: tuple[Left, ...]

    @property
    def best(self) -> Left:
        """The way that does best: by loss where it is known, else by cosine."""
        return min(self.left, key=_rank)


def leave_one_out(
    known: Known,
    candidates: Sequence[Settings],
    consistency: Consistency | None = None,
    judge: Judge | None = None,
) -> Selection:
    """Predict each known task from the others by every way, and choose the settings of TTNet.

    Raises:
        ValueError: fewer than three known tasks, or no candidate.

    """
    require(len(known.names) > 2, "leave_one_out", f"{len(known.names)} known tasks", "it wants three or more")
    require(bool(candidates), "leave_one_out", "no candidate", "give the settings of one at least")
    ways: list[tuple[str, float, Callable[[Known, Tensor], Tensor]]] = [
        (TTNET, settings.consistency, _way(settings, consistency)) for settings in candidates
    ]
    ways += [(name, 0.0, way) for name, way in TRIVIAL.items()]
    left = tuple(Left(name, weight, *_tried(known, way, judge)) for name, weight, way in ways)
    first = min(range(len(candidates)), key=lambda k: _rank(left[k]))
    return Selection(candidates[first], left)


def predictions(
    known: Known, gamma: Tensor, settings: Settings, consistency: Consistency | None = None
) -> Mapping[str, Tensor]:
    """Predict the weights (P,) of a task by every way; `gamma` (m,) is what each known task is worth to it."""
    check(known, gamma)
    return predictions_of(fit(known, settings, consistency), gamma)


def predictions_of(fitted: Fitted, gamma: Tensor) -> Mapping[str, Tensor]:
    """Predict the weights (P,) of a task by every way; TTNet has been trained."""
    return {TTNET: fitted.predict(gamma), **{name: way(fitted.known, gamma) for name, way in TRIVIAL.items()}}


def candidates_of(settings: Settings, weights: Sequence[float]) -> list[Settings]:
    """Vary the weight of the loss of predicted networks."""
    return [replace(settings, consistency=weight) for weight in weights]


def _way(settings: Settings, consistency: Consistency | None) -> Callable[[Known, Tensor], Tensor]:
    return lambda known, gamma: fit(known, settings, consistency).predict(gamma)


def _tried(known: Known, way: Callable[[Known, Tensor], Tensor], judge: Judge | None) -> tuple[float, float]:
    cosines, losses = [], []
    for k, name in enumerate(known.names):
        rest = known.without(k)
        others = [i for i in range(len(known.names)) if i != k]
        found = way(rest, known.gamma[others, k])
        middle = rest.means.mean(0)
        cosines.append(float(torch.cosine_similarity(found - middle, known.means[k] - middle, dim=0)))
        losses.append(math.nan if judge is None else judge(name, found))
    return math.fsum(cosines) / len(cosines), math.fsum(losses) / len(losses)


def _rank(left: Left) -> float:
    return -left.cosine if math.isnan(left.loss) else left.loss
