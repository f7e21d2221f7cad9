"""What a head says of colours and how that is graded: as classes (https://arxiv.org/abs/1603.08511) or as values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.core.ranks import total
from pretext.core.types import Grade
from pretext.nn.losses import blind_guess
from pretext.nn.rebalance import Rebalance
from pretext.ops.gamut import BINS, annealed_mean, bins, soft_encode

UNIT = 5.0  # of a and b in what the head says: large enough to be learnt fast, small enough to start near grey
TINY = torch.finfo(torch.float32).tiny  # divides 0, where nothing counts


class ColourTarget(ABC):
    """How `Colorization` says colours. `outputs` is the number of channels that the head has."""

    outputs: ClassVar[int]

    @abstractmethod
    def rebalancing(self) -> Rebalance | None:
        """Make the module that weighs rare colours; none: all count alike."""

    @abstractmethod
    def predict(self, said: Tensor) -> Tensor:
        """Turn what the head says (N, outputs, h, w) into a prediction."""

    @abstractmethod
    def grade(self, said: Tensor, ab: Tensor, counts: Tensor, rebalance: Rebalance | None, observe: bool) -> Grade:
        """Grade a prediction against colours (N, 2, h, w), both float32.

        Args:
            said: the prediction.
            ab: a and b in Lab units.
            counts: (N, 1, 1), 1 for images that count and 0 for others.
            rebalance: what `rebalancing` made.
            observe: whether it takes note of these colours.

        """

    @abstractmethod
    def chance(self) -> Grade:
        """Grade a blind guess."""

    @abstractmethod
    def decode(self, said: Tensor) -> Tensor:
        """Turn a prediction into colours (N, 2, h, w) in Lab units."""


@dataclass(frozen=True)
class ColourClasses(ColourTarget):
    """A distribution over 313 bins of colours, which may have several modes where a mean would be a dull brown.

    Args:
        neighbours: bins that the target is spread over; 10 in the authors' code, 5 in the paper.
        rebalance: share of the uniform distribution when rare colours are given more weight; 1: none are.
        temperature: of the annealed mean that turns a distribution into the colour that is drawn.

    Raises:
        ValueError: a number is out of range.

    """

    neighbours: int = 10
    rebalance: float = 0.5
    temperature: float = 0.38

    outputs: ClassVar[int] = BINS

    def __post_init__(self) -> None:
        require(1 <= self.neighbours <= BINS, self, f"neighbours={self.neighbours}", f"give 1 to {BINS}")
        got = f"rebalance={self.rebalance}, temperature={self.temperature}"
        fits = 0 <= self.rebalance <= 1 and self.temperature > 0
        require(fits, self, got, "give a share in [0, 1] and a temperature above 0")

    def rebalancing(self) -> Rebalance:
        return Rebalance(bins(), self.rebalance)

    def predict(self, said: Tensor) -> Tensor:
        return said

    def grade(self, said: Tensor, ab: Tensor, counts: Tensor, rebalance: Rebalance | None, observe: bool) -> Grade:
        """Grade by cross entropy with the soft-encoded colours, weighted by their rarity.

        "accuracy" is how often the nearest bin is the likeliest.
        """
        assert rebalance is not None  # this class made it
        shares, near = soft_encode(ab.movedim(1, -1), self.neighbours)  # (N, h, w, k)
        weights = rebalance.weights()[near[..., 0]] * counts  # by what came before this batch
        if observe:
            rebalance.observe(near, shares * counts[..., None])
        # The logits' own logarithm and the k that matter: neither dense targets nor dense log-probabilities are built.
        likely = (said.gather(1, near.movedim(-1, 1)) * shares.movedim(-1, 1)).sum(1)
        right = (said.detach().argmax(1) == near[..., 0]) * counts
        cost, hits = (weights * (said.logsumexp(1) - likely)).sum(), right.sum()
        cost, weight, hits, asked = total(torch.stack((cost, weights.sum(), hits, counts.expand_as(right).sum())))
        return Grade(cost / weight.clamp(min=TINY), {"accuracy": (hits / asked.clamp(min=1)).detach()})

    def chance(self) -> Grade:
        return blind_guess(BINS)

    def decode(self, said: Tensor) -> Tensor:
        return annealed_mean(said, self.temperature)


@dataclass(frozen=True)
class ColourValues(ColourTarget):
    """a and b themselves, by least squares (the paper's L2 variant).

    The loss is the share of the squared ab that is missed, so that grey costs 1.
    """

    outputs: ClassVar[int] = 2

    def rebalancing(self) -> None:
        return None

    def predict(self, said: Tensor) -> Tensor:
        return said * UNIT

    def grade(self, said: Tensor, ab: Tensor, counts: Tensor, rebalance: Rebalance | None, observe: bool) -> Grade:
        missed, all_ = total(torch.stack([((gap * gap).sum(1) * counts).sum() for gap in (ab - said, ab)]))
        return Grade(missed / all_.clamp(min=TINY), {})

    def chance(self) -> Grade:
        return Grade(torch.tensor(1.0), {})

    def decode(self, said: Tensor) -> Tensor:
        return said
