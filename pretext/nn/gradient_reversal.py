"""Gradient reversal, by which features are made unable to tell two domains apart: https://arxiv.org/abs/1505.07818."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

GAMMA = 10.0
"""How fast the strength grows."""
ALPHA, BETA = 10.0, 0.75
"""How fast the learning rate falls."""


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -strength."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reversed_gradient(x: Tensor, strength: float) -> Tensor:
    """Return `x` itself; on the way back its gradient is multiplied by exactly -`strength` (lambda in the paper)."""
    result: Tensor = _Reversed.apply(x, strength)
    return result


def strength_at(progress: float) -> float:
    """Return DANN's lambda_p = 2 / (1 + exp(-10 p)) - 1 where the share `progress` of all steps is done."""
    return math.tanh(GAMMA * progress / 2)


def annealed(progress: float) -> float:
    """Return DANN's factor of the learning rate, (1 + 10 p)^-0.75, where the share `progress` of all steps is done."""
    return float((1 + ALPHA * progress) ** -BETA)
