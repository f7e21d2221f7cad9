"""How `Alignment` reads from two networks whether they saw the same moment: by classes or by a distance."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from pretext.core.errors import require
from pretext.core.types import Grade
from pretext.nn.heads import small
from pretext.nn.losses import blind_guess, contrastive, cross_entropy


class Readout(ABC):
    """Reads pairs. `registered` is the name of its layers in the task, which checkpoints hold."""

    registered: ClassVar[str]

    @abstractmethod
    def layers(self, dims: Sequence[int]) -> nn.Module:
        """Make the layers, from the widths of both networks' pooled features."""

    @abstractmethod
    def solve(self, layers: nn.Module, first: Tensor, second: Tensor) -> Tensor:
        """Judge pairs by pooled features (N, D) and (2 N, E); row i of `first` meets rows 2 i and 2 i + 1."""

    @abstractmethod
    def grade(self, prediction: Tensor, aligned: Tensor) -> Grade:
        """Grade a prediction against (2 N,) int64, 1 where the pair is aligned."""

    @abstractmethod
    def chance(self) -> Grade:
        """Grade a blind guess."""

    @abstractmethod
    def takes_for_aligned(self, prediction: Tensor) -> Tensor:
        """Tell which pairs a prediction takes for aligned, (2 N,) bool."""


@dataclass(frozen=True)
class Binary(Readout):
    """Two classes, from both features side by side through one hidden layer: predictions are logits (2 N, 2).

    Args:
        width: of the hidden layer.

    Raises:
        ValueError: `width` is below 1.

    """

    width: int = 128

    registered: ClassVar[str] = "head"

    def __post_init__(self) -> None:
        require(self.width >= 1, self, f"width={self.width}", "give at least 1")

    def layers(self, dims: Sequence[int]) -> nn.Module:
        return _hidden(sum(dims), self.width, 2, 0.01)

    def solve(self, layers: nn.Module, first: Tensor, second: Tensor) -> Tensor:
        logits: Tensor = layers(torch.cat((first.repeat_interleave(2, 0), second), 1))
        return logits

    def grade(self, prediction: Tensor, aligned: Tensor) -> Grade:
        return cross_entropy(prediction, aligned)

    def chance(self) -> Grade:
        return blind_guess(2)

    def takes_for_aligned(self, prediction: Tensor) -> Tensor:
        return prediction.argmax(1) == 1


@dataclass(frozen=True)
class Contrastive(Readout):
    """AVTS's: embeddings of one hidden layer, close together for the same moment and `margin` apart for others.

    Predictions are both embeddings of each pair, (2 N, 2, width); see `losses.contrastive`. It starts at the cost of
    embeddings that are all equal, margin^2 / 2; two constants half a margin apart cost half of that, so look at the
    accuracy. Paper: https://arxiv.org/abs/1807.00230.

    Args:
        width: of the hidden layer, and of the embeddings.
        margin: the distance from which a misaligned pair costs nothing.

    Raises:
        ValueError: `width` is below 1, or the margin is not positive.

    """

    width: int = 128
    margin: float = 0.99

    registered: ClassVar[str] = "heads"

    def __post_init__(self) -> None:
        fits = self.width >= 1 and self.margin > 0
        require(fits, self, f"width={self.width}, margin={self.margin}", "give at least 1, and a positive margin")

    def layers(self, dims: Sequence[int]) -> nn.Module:
        std = 0.1 * self.margin / self.width  # starts with distances that are small beside the margin
        return nn.ModuleList(_hidden(dim, self.width, self.width, std) for dim in dims)

    def solve(self, layers: nn.Module, first: Tensor, second: Tensor) -> Tensor:
        one, two = (head(vectors) for head, vectors in zip(layers.children(), (first, second), strict=True))
        return torch.stack((one.repeat_interleave(2, 0), two), 1)

    def grade(self, prediction: Tensor, aligned: Tensor) -> Grade:
        return contrastive(_distances(prediction), aligned, self.margin)

    def chance(self) -> Grade:
        """Return what embeddings that are all equal cost."""
        return Grade(torch.tensor(self.margin**2 / 2), {"accuracy": torch.tensor(0.5)})

    def takes_for_aligned(self, prediction: Tensor) -> Tensor:
        return _distances(prediction) < self.margin / 2


def _hidden(inputs: int, width: int, outputs: int, std: float) -> nn.Sequential:
    """Make a head of one hidden layer whose last layer is small."""
    last = small(nn.Linear(width, outputs), std)
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), last)


def _distances(pairs: Tensor) -> Tensor:
    """Measure how far apart the two embeddings of each pair (M, 2, D) lie; of equal ones no gradient comes."""
    pairs = pairs.float()
    distances: Tensor = torch.linalg.vector_norm(pairs[:, 0] - pairs[:, 1], dim=1)
    return distances
