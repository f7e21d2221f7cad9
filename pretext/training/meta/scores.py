"""How well episodes were answered: a loss and an accuracy each, and what a test says of them all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from pretext.evaluation.statistics.intervals import student
from pretext.training.meta.learner import Answers, Episodes

FILE = "score.json"


def grade(answers: Tensor, right: Tensor) -> Tensor:
    """Grade answers (n, outputs): squared error of values (n, outputs), cross-entropy of classes (n,); ()."""
    return mse_loss(answers, right) if right.is_floating_point() else cross_entropy(answers, right)


def figures(answers: Answers, episodes: Episodes) -> dict[str, Tensor]:
    """Grade each episode: {"loss", "accuracy", "before"}, (B,) each, the last two without gradient.

    "before" is the accuracy, or the loss of values, of the network as it was. Values have no accuracy.
    """
    loss = _each(answers.after, episodes.query_y)
    if answers.along is not None:  # the learner is trained to name each next y
        shots, questions = answers.along.shape[1], answers.after.shape[1]
        along = _each(answers.along, episodes.support_y)
        loss = (shots * along + questions * loss) / (shots + questions)
    values = episodes.query_y.is_floating_point()
    found = {"loss": loss}
    if not values:
        found["accuracy"] = _accuracy(answers.after, episodes.query_y)
    elif answers.along is not None:
        found["query_loss"] = _each(answers.after, episodes.query_y).detach()
    if answers.before is not None:
        before = answers.before.detach()
        found["before"] = _each(before, episodes.query_y) if values else _accuracy(before, episodes.query_y)
    return found


def summary(values: Mapping[str, Tensor], outputs: int) -> dict[str, Any]:
    """Sum up the figures of episodes, (E,) each: means, and the 95 % interval of the headline.

    "diverged" says in how many of them the loss is not finite, where there are any.
    """
    name = next(key for key in ("accuracy", "query_loss", "loss") if key in values)
    each, most = values[name].tolist(), 1.0 if name == "accuracy" else math.inf
    span = student(each, most=most)._asdict() if len(each) > 1 else {}
    before = {"before": float(values["before"].mean())} if "before" in values else {}
    chance = {"chance": 1 / outputs} if name == "accuracy" else {}
    headline = "accuracy" if name == "accuracy" else "loss"
    lost = int((~values["loss"].isfinite()).sum())
    diverged = {"diverged": lost} if lost else {}
    return {headline: float(values[name].mean()), **span, **before, "episodes": len(each), **chance, **diverged}


class Scores:
    """The figures of a split, batch by batch."""

    def __init__(self) -> None:
        self._found: list[Mapping[str, Tensor]] = []

    def add(self, found: Mapping[str, Tensor], batch_idx: int) -> None:
        """Note a batch; a split begins with batch 0."""
        if batch_idx == 0:
            self._found = []
        self._found.append({name: values.detach().double().cpu() for name, values in found.items()})

    def values(self) -> dict[str, Tensor]:
        """Join the figures of all episodes."""
        return {name: torch.cat([found[name] for found in self._found]) for name in self._found[0]}


def _each(answers: Tensor, right: Tensor) -> Tensor:
    """Grade (B, n, outputs) episode by episode: (B,)."""
    if right.is_floating_point():
        return mse_loss(answers, right, reduction="none").flatten(1).mean(1)
    return cross_entropy(answers.mT, right, reduction="none").mean(1)


def _accuracy(answers: Tensor, right: Tensor) -> Tensor:
    """Tell the share of right answers, (B,); what is not finite names no class."""
    right = (answers.argmax(2) == right) & answers.isfinite().all(2)
    return right.double().mean(1).detach()
