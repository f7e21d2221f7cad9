"""Networks that teach and are not taught: a frozen one, and one that follows its student slowly.

Both copy the network that they are given, so the network that learns is never its own teacher.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Self

import torch
from torch import nn

from pretext.core.errors import require


class Teacher(nn.Module, ABC):
    """A copy of a network: evaluation mode, no gradient, deaf to `train()`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        return self  # its host's train() reaches every module inside; a teacher stays in evaluation mode

    @torch.no_grad()
    def forward(self, *inputs: Any) -> Any:
        """Call the copy without gradient."""
        return self.network(*inputs)

    @abstractmethod
    def follow(self, student: nn.Module) -> None:
        """Do what has to be done after each optimiser step of the network that was copied."""


TeacherFactory = Callable[[nn.Module], Teacher]
"""What a config names for a teacher: the class, the network that it copies still to come."""


class Frozen(Teacher):
    """A copy of a network that never changes."""

    def follow(self, student: nn.Module) -> None:
        """Stay as it is."""


class Momentum(Teacher):
    """A copy of a network that follows it: after every step, teacher = momentum * teacher + (1 - momentum) * student.

    Buffers (batch-norm statistics) are copied. Paper: https://arxiv.org/abs/1703.01780.

    Raises:
        ValueError: `momentum` outside [0, 1], or a student of another architecture.

    """

    def __init__(self, network: nn.Module, momentum: float = 0.999) -> None:
        super().__init__(network)
        require(
            0 <= momentum <= 1, self, f"momentum must lie in [0, 1], got {momentum}", "give one near 1, such as 0.999"
        )
        self.momentum = momentum

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
