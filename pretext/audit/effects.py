"""https://arxiv.org/abs/1902.02302 (Chattopadhyay et al., ICML 2019): what does an answer owe to a feature?

The average causal effect of a feature on an answer: E[y | do(x_i = a)] less its mean over a. The network's head is the
model of what causes what, and its features do not cause one another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.errors import require

VALUES = 9
"""How many values of a feature are tried, evenly from its smallest to its largest."""


class Effects(NamedTuple):
    """What each feature does to each answer."""

    values: Tensor
    """(D, V): the values of each feature."""
    effects: Tensor
    """(D, V, K): by how much setting a feature to a value raises each answer above the mean over these values."""

    def strongest(self, count: int) -> list[tuple[int, int]]:
        """List the pairs of feature and answer with the widest range of effects, the widest first."""
        spans = self.effects.amax(1) - self.effects.amin(1)
        best = spans.flatten().topk(min(count, spans.numel())).indices.tolist()
        return [divmod(place, spans.shape[1]) for place in best]


@torch.no_grad()
def causal_effects(solve: Callable[[Tensor], Tensor], features: Tensor, steps: int = VALUES) -> Effects:
    """Set each feature to values within its range, for all items, and average what is answered.

    Args:
        solve: of features (N, D) what is answered, (N, K), each item by itself.
        features: (N, D), whose other features are averaged over.
        steps: values of each feature.

    Raises:
        ValueError: fewer than two values, or no items.

    """
    got = f"steps={steps}, features {tuple(features.shape)}"
    require(
        steps >= 2 and features.ndim == 2 and len(features) > 0, "causal_effects", got, "give 2 or more, and (N, D)"
    )
    low, high = features.aminmax(dim=0)
    shares = torch.linspace(0, 1, steps, device=features.device, dtype=features.dtype)
    values = torch.lerp(low[:, None], high[:, None], shares)  # (D, V)
    expected = []
    for i in range(features.shape[1]):
        row = []
        for value in values[i]:
            done = features.clone()
            done[:, i] = value
            row.append(solve(done).float().mean(0))
        expected.append(torch.stack(row))
    found = torch.stack(expected)  # (D, V, K)
    return Effects(values, found - found.mean(1, keepdim=True))
