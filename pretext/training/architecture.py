"""The architecture's side of a search by gradient: how its parameters are trained, and how they moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class ArchitectureOptim:
    """How the architecture's parameters are trained: Adam.

    Args:
        lr: learning rate; DARTS and UnNAS take 3e-4, UnNAS half of it for rotation and jigsaw.
        weight_decay: 1e-3 there.
        betas: of Adam.
        start: share of all steps before the first architecture step, in which only weights are trained.

    """

    lr: float = 3e-4
    weight_decay: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    start: float = 0.0


ADAM = ArchitectureOptim()


class Trace:
    """The weights of all operations over the steps of a search."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.weights: list[Tensor] = []  # each (2, E, O), on the CPU

    def add(self, step: int, weights: Tensor) -> None:
        """Note the weights after a step, once."""
        if step not in self.steps[-1:]:
            self.steps.append(step)
            self.weights.append(weights.detach().cpu().clone())

    def state(self) -> dict[str, Any]:
        """Return plain data and tensors for a checkpoint."""
        return {"steps": list(self.steps), "weights": list(self.weights)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint holds."""
        self.steps, self.weights = list(state["steps"]), list(state["weights"])
