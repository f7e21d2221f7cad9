"""Networks that teach and are not taught: a frozen one, and one that follows its student slowly.

Both copy the network that they are given, so nobody can hand in the same object twice and train his own teacher.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn


class Frozen(nn.Module):
    """A copy of a network that never changes: evaluation mode, no gradient, deaf to `train()`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = _still_copy(network)

    def train(self, mode: bool = True) -> Frozen:
        return self  # its host's train() reaches every module inside; a teacher stays in evaluation mode

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """Call the copy without gradient."""
        return self.network(*inputs)


class Momentum(nn.Module):
    """A copy of a network that follows it: after every step, teacher = momentum * teacher + (1 - momentum) * student.

    Buffers (batch-norm statistics) are copied. Paper: https://arxiv.org/abs/1703.01780.

    Raises:
        ValueError: `momentum` outside [0, 1], or a student of another architecture.

    """

    def __init__(self, network: nn.Module, momentum: float = 0.999) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"Momentum: momentum must lie in [0, 1], got {momentum}")
        self.network = _still_copy(network)
        self.momentum = momentum

    def train(self, mode: bool = True) -> Momentum:
        return self  # as Frozen

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """Call the copy without gradient."""
        return self.network(*inputs)

    @torch.no_grad()
    def follow(self, student: nn.Module) -> None:
        """Move one step towards `student`; call it after each optimiser step."""
        mine, theirs = dict(self.network.named_parameters()), dict(student.named_parameters())
        if mine.keys() != theirs.keys():
            raise ValueError(
                f"Momentum: the student has other parameters: {sorted(mine.keys() ^ theirs.keys())[:5]} ..."
            )
        for name, parameter in mine.items():
            parameter.lerp_(theirs[name], 1 - self.momentum)
        for buffer, other in zip(self.network.buffers(), student.buffers(), strict=True):
            buffer.copy_(other)


def _still_copy(network: nn.Module) -> nn.Module:
    return deepcopy(network).eval().requires_grad_(False)
