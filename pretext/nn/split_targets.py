"""What the halves of `SplitBrain` say of one another's channels: https://arxiv.org/abs/1611.09842, section 3."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from pretext.core import ranks
from pretext.core.errors import require
from pretext.core.types import Grade
from pretext.ops.gamut import BINS, annealed_mean, soft_encode

LEVELS = 100  # bins of lightness, one unit of L each

Pair = tuple[Tensor, Tensor]
"""Of colour (N, ..., h, w) and of lightness (N, ..., h, w)."""


class SplitTarget(ABC):
    """How colours and lightness are said. `outputs` are the numbers of channels of both heads."""

    outputs: ClassVar[tuple[int, int]]

    @abstractmethod
    def grade(self, prediction: Pair, answer: Pair) -> Grade:
        """Add both halves' losses; the scores tell them apart."""

    @abstractmethod
    def chance(self) -> Grade:
        """Grade a blind guess."""

    @abstractmethod
    def decode(self, prediction: Pair, answer: Pair) -> Pair:
        """Turn a prediction into colours (N, 2, h, w) and lightness (N, 1, h, w), all in float32 on the CPU."""


@dataclass(frozen=True)
class SplitClasses(SplitTarget):
    """Colours as the 313 bins of arXiv:1603.08511 and lightness as 100 bins: the paper's best. Losses are in nats.

    Args:
        neighbours: bins that a colour is spread over.

    Raises:
        ValueError: `neighbours` is out of range.

    """

    neighbours: int = 10

    outputs: ClassVar[tuple[int, int]] = (BINS, LEVELS)

    def __post_init__(self) -> None:
        require(1 <= self.neighbours <= BINS, self, f"neighbours={self.neighbours}", f"give 1 to {BINS}")

    def grade(self, prediction: Pair, answer: Pair) -> Grade:
        (ab, light), (true_ab, true_light) = prediction, answer
        ab_loss, ab_accuracy = self._grade_colour(ab.float(), true_ab)
        levels = true_light[:, 0].float().floor().clamp(0, LEVELS - 1).long()
        l_loss = F.cross_entropy(light.float(), levels)
        scores = {
            "ab_loss": ab_loss.detach(),
            "ab_accuracy": ab_accuracy,
            "l_loss": l_loss.detach(),
            "l_accuracy": (light.detach().argmax(1) == levels).float().mean(),
        }
        return Grade(ab_loss + l_loss, scores)

    def _grade_colour(self, logits: Tensor, ab: Tensor) -> Pair:
        """Return the cross entropy with the soft bins, and how often the likeliest bin is the nearest."""
        weights, bins = soft_encode(ab.permute(0, 2, 3, 1), self.neighbours)  # (N, h, w, k)
        weights, bins = weights.permute(0, 3, 1, 2), bins.permute(0, 3, 1, 2)
        chosen = logits.log_softmax(1).gather(1, bins)
        return -(weights * chosen).sum(1).mean(), (logits.detach().argmax(1) == bins[:, 0]).float().mean()

    def chance(self) -> Grade:
        ab, light = math.log(BINS), math.log(LEVELS)
        scores = {"ab_loss": ab, "ab_accuracy": 1 / BINS, "l_loss": light, "l_accuracy": 1 / LEVELS}
        return Grade(torch.tensor(ab + light), {name: torch.tensor(value) for name, value in scores.items()})

    def decode(self, prediction: Pair, answer: Pair) -> Pair:
        ab, light = prediction
        middles = torch.arange(LEVELS).view(1, -1, 1, 1) + 0.5
        return annealed_mean(ab), (light.softmax(1) * middles).sum(1, keepdim=True)


@dataclass(frozen=True)
class SplitValues(SplitTarget):
    """The three numbers themselves, each in units of its deviation over the batch about its mean there.

    So a blind guess has an error of 1.
    """

    outputs: ClassVar[tuple[int, int]] = (2, 1)

    def grade(self, prediction: Pair, answer: Pair) -> Grade:
        ab_error, l_error = (_error(said, true) for said, true in zip(prediction, answer, strict=True))
        return Grade(ab_error + l_error, {"ab_error": ab_error.detach(), "l_error": l_error.detach()})

    def chance(self) -> Grade:
        return Grade(torch.tensor(2.0), {"ab_error": torch.tensor(1.0), "l_error": torch.tensor(1.0)})

    def decode(self, prediction: Pair, answer: Pair) -> Pair:
        (ab, light), ((ab_mean, ab_deviation), (l_mean, l_deviation)) = prediction, map(_moments, answer)
        return ab * ab_deviation + ab_mean, light * l_deviation + l_mean


def _moments(truth: Tensor) -> Pair:
    """Find each channel's mean over the batch and its deviation about it, (1, C, 1, 1)."""
    mean = ranks.mean(truth, (0, 2, 3))
    deviation = ranks.mean((truth - mean).square(), (0, 2, 3)).sqrt()
    return mean, deviation.clamp(min=1.0)  # less than one unit of Lab cannot be seen: grey images ask for no colour


def _error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error, in variances of the truth over the batch: 1 for a guess of 0, the mean."""
    mean, deviation = _moments(truth.float())
    return (prediction.float() - (truth.float() - mean) / deviation).square().mean()
