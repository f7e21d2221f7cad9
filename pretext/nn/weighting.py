"""From the losses of several tasks to the one that is minimised."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn


class Weighting(nn.Module, ABC):
    """A module from {task name: loss} to one loss. Its constructor's first argument is the names of the tasks."""

    off: frozenset[str] = frozenset()
    """Tasks that never count. They are not posed, so the backbone does not see their questions either."""

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Combine losses, each (), to one loss, ()."""


WeightingFactory = Callable[[Sequence[str]], Weighting]
"""What a config names for a weighting: the class, the names of the tasks still to come."""


class Fixed(Weighting):
    """A weighted sum; a task without a weight counts once, one with weight 0 is switched off.

    Raises:
        ValueError: a weight names a task that does not exist, is negative or not finite, or all are 0.

    """

    def __init__(self, names: Sequence[str], weights: dict[str, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        if unknown := sorted(set(weights) - set(names)):
            raise ValueError(f"Fixed: weights for unknown tasks {unknown}; the tasks are {sorted(names)}")
        if wrong := sorted(name for name, weight in weights.items() if not 0 <= weight < math.inf):
            raise ValueError(f"Fixed: negative or infinite weights for {wrong}; use 0 to switch a task off")
        self.weights = {name: float(weights.get(name, 1.0)) for name in names}
        self.off = frozenset(name for name, weight in self.weights.items() if weight == 0)
        if len(self.off) == len(self.weights):
            raise ValueError(f"Fixed: every weight is 0, of {sorted(names)}; give at least one task a weight above 0")

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        weights = self.weights
        each = [x if weights[name] == 1 else weights[name] * x for name, x in losses.items()]
        return each[0] if len(each) == 1 else torch.stack(each).sum()


class Uncertainty(Weighting):
    """Homoscedastic uncertainty: sum of L exp(-s) + s / 2 with one learnt log-variance s per task, at first 0.

    For a constant loss L the optimum is s = ln 2L. Paper: https://arxiv.org/abs/1705.07115.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.index = {name: i for i, name in enumerate(names)}
        self.log_variances = nn.Parameter(torch.zeros(len(names)))

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        each = self.log_variances.unbind()  # a list of numbers as index would have to travel to the device
        s = torch.stack([each[self.index[name]] for name in losses])
        return (torch.stack(list(losses.values())) * torch.exp(-s) + s / 2).sum()
