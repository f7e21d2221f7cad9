"""How `Embed` compares the embeddings of two modalities, and what it costs where a right one is not the nearest."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from pretext.core.errors import require
from pretext.nn.losses import info_nce, max_margin, triplet

SHARPEST = 100.0  # one over the lowest temperature that is learnt, as in CLIP
By = Literal["similarity", "distance"]
Reduction = Literal["mean", "sum"]


class EmbeddingLoss(ABC):
    """Compares embeddings, and grades how they compare in units of what a blind guess costs."""

    @abstractmethod
    def likeness(self, one: Tensor, two: Tensor) -> Tensor:
        """Compare every first (N, D) with every second (N, D): (N, N), float32; the larger the more alike."""

    @abstractmethod
    def loss(self, alike: Tensor, hardest: bool) -> Tensor:
        """Grade `likeness` (N, N), right pairs on the diagonal: (), 1 for a blind guess.

        Args:
            alike: N >= 2.
            hardest: count only the wrong one that is most alike instead of all.

        """

    @abstractmethod
    def spread(self, outputs: int) -> float | None:
        """Say how far a new head's `outputs` numbers deviate; none: as layers usually do."""


@dataclass(frozen=True)
class MaxMargin(EmbeddingLoss):
    """ELo's: a clip costs |x1 - x2| + max(0, margin - |x1 - xn|), averaged over all others' xn.

    These are of the second modality. Embeddings that are all equal cost the margin, and no guess that ignores the clips
    costs less. Paper: https://arxiv.org/abs/2002.12177.

    Args:
        margin: distance from which on a wrong one costs nothing.
        squared: compare squared distances, and with the margin too. Not in the paper; that is AVTS's.

    Raises:
        ValueError: the margin is not positive.

    """

    margin: float = 1.0
    squared: bool = False

    def __post_init__(self) -> None:
        require(self.margin > 0, self, f"margin={self.margin}", "give a positive margin")

    def likeness(self, one: Tensor, two: Tensor) -> Tensor:
        # Not by way of a matrix product, which rounds the distance of like embeddings to anything.
        distances = torch.cdist(one.float(), two.float(), compute_mode="donot_use_mm_for_euclid_dist")
        return -distances.square() if self.squared else -distances

    def loss(self, alike: Tensor, hardest: bool) -> Tensor:
        return max_margin(-alike, self.margin, hardest) / self.margin

    def spread(self, outputs: int) -> float:
        """Start with distances that are small beside the margin: of squares a tenth, of plain ones the root of that."""
        return math.sqrt(0.05 / outputs) * (math.sqrt(self.margin) if self.squared else self.margin)


@dataclass(frozen=True)
class InfoNCE(EmbeddingLoss):
    """The cross entropy of finding the right second among all by its cosine, and the right first in turn.

    A blind guess costs ln N before it is divided by that.

    Args:
        temperature: the cosines are divided by it.
        learnt: the task learns the temperature, beginning with this one, down to 1/100, as CLIP does
            (https://arxiv.org/abs/2103.00020; it begins with 0.07).

    Raises:
        ValueError: the temperature is not positive.

    """

    temperature: float = 0.1
    learnt: bool = False

    def __post_init__(self) -> None:
        require(self.temperature > 0, self, f"temperature={self.temperature}", "give a positive temperature")

    def likeness(self, one: Tensor, two: Tensor) -> Tensor:
        one, two = functional.normalize(one.float(), dim=1), functional.normalize(two.float(), dim=1)
        return one @ two.mT / self.temperature

    def loss(self, alike: Tensor, hardest: bool) -> Tensor:
        return info_nce(alike, hardest) / math.log(2 if hardest else len(alike))

    def spread(self, outputs: int) -> None:
        return None  # cosines do not know the size

    def sharpened(self, alike: Tensor, log_scale: Tensor) -> Tensor:
        """Multiply `likeness` by exp(`log_scale`), (), at most by what makes the temperature 1/100."""
        return alike * log_scale.clamp(max=math.log(SHARPEST * self.temperature)).exp()


@dataclass(frozen=True)
class Triplet(EmbeddingLoss):
    """Each right one is to be more alike than wrong ones by a margin, both ways, on embeddings of length 1.

    With `Embed.hardest` the hardest wrong ones alone count: VSE++'s loss, https://arxiv.org/abs/1707.05612. Embeddings
    that are all equal cost twice the margin (of a sum, for each item) before it is divided by that.

    Args:
        margin: by how much.
        by: cosines, [margin - s + s']+, or Euclidean distances, [margin + d - d']+.
        reduction: over the items of a batch; VSE++'s code sums, so that its learning rate goes with the batch.

    Raises:
        ValueError: the margin is not positive, or another word.

    """

    margin: float = 0.2
    by: By = "similarity"
    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        require(self.margin > 0, self, f"margin={self.margin}", "give a positive margin")
        for name, words in (("by", get_args(By)), ("reduction", get_args(Reduction))):
            given = getattr(self, name)
            require(given in words, self, f"{name}={given!r}", f"give one of {', '.join(words)}")

    def likeness(self, one: Tensor, two: Tensor) -> Tensor:
        one, two = functional.normalize(one.float(), dim=1), functional.normalize(two.float(), dim=1)
        if self.by == "similarity":
            return one @ two.mT
        return -torch.cdist(one, two, compute_mode="donot_use_mm_for_euclid_dist")

    def loss(self, alike: Tensor, hardest: bool) -> Tensor:
        return triplet(alike, self.margin, hardest, self.reduction) / (2 * self.margin)

    def spread(self, outputs: int) -> None:
        return None
