"""A space of what a search varies: named choices, and the training config that a set of them makes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from optuna import Trial
from optuna.distributions import CategoricalDistribution, FloatDistribution

from pretext.core.rng import rng

Choices = dict[str, CategoricalDistribution | FloatDistribution]
"""What may be chosen, by name."""
Choice = Mapping[str, Any]
"""What was chosen, by the same names."""


class Space(ABC):
    """What a search varies."""

    @abstractmethod
    def choices(self) -> Choices:
        """Name what is to be chosen, and among what."""

    @abstractmethod
    def configured(self, config: Mapping[str, Any], choice: Choice) -> dict[str, Any] | None:
        """Return a training config with a choice put in; None where it leaves nothing to train."""


def suggest(space: Space, trial: Trial) -> dict[str, Any]:
    """Let a trial's sampler choose, in the order of the names."""
    return {name: _suggested(trial, name, among) for name, among in sorted(space.choices().items())}


def _suggested(trial: Trial, name: str, among: CategoricalDistribution | FloatDistribution) -> Any:
    if isinstance(among, CategoricalDistribution):
        return trial.suggest_categorical(name, among.choices)
    return trial.suggest_float(name, among.low, among.high)


def draw(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Draw so many different points of a space of categories, each choice uniformly and by itself.

    The first ones do not depend on how many are drawn.

    Raises:
        ValueError: the space has fewer points, or weights among its choices.

    """
    choices = space.choices()
    among = {name: c.choices for name, c in choices.items() if isinstance(c, CategoricalDistribution)}
    if len(among) < len(choices):
        raise ValueError(f"draw: {type(space).__name__} has continuous choices; it wants categories alone")
    points = math.prod(len(values) for values in among.values())
    if count > points:
        raise ValueError(f"draw: {count} points of {type(space).__name__}, which has {points}; draw fewer, or widen it")
    drawn: dict[tuple[Any, ...], dict[str, Any]] = {}
    generator = rng("cpu", "architectures", seed)
    while len(drawn) < count:
        point = {
            name: values[int(torch.randint(len(values), (), generator=generator))] for name, values in among.items()
        }
        drawn.setdefault(tuple(point.values()), point)
    return list(drawn.values())
