"""How undecided predictions are, one by one (https://arxiv.org/abs/1811.12833, section 3.1) and all together."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from pretext.core import ranks
from pretext.core.errors import require_input


def self_information(logits: Tensor) -> Tensor:
    """Weigh the self-information of each class by its probability, -p log p / log K: (N, K, ...) to the same shape.

    Over the classes it adds up to the entropy as a share of the largest one: 0 for a sure answer, 1 for a blind guess.

    Raises:
        ValueError: there are fewer than two classes.

    """
    require_input(
        logits.ndim > 1 and logits.shape[1] > 1,
        "self_information",
        "logits (N, K, ...) of two classes or more",
        logits,
        "with one class nothing is undecided",
    )
    log = log_softmax(logits.float(), 1)
    return -log.exp() * log / math.log(logits.shape[1])


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each prediction as a share of the largest one: (N, K, ...) to (N, ...) in [0, 1]."""
    return self_information(logits).sum(1)


def short_of(mean: Tensor, prior: Tensor, share: float) -> Tensor:
    """Say by how much classes are named less often than `share` of their prior: (..., K) and (K,) to (...).

    Against certainty that names one class for all: https://arxiv.org/abs/1811.12833, section 3.3.
    """
    return (share * prior - mean).clamp_min(0).sum(-1)


class Told(NamedTuple):
    """How undecided predictions are, as shares of the largest entropy; 0 of no prediction."""

    entropy: float
    """The mean of each prediction's: 0 where all are sure."""
    diversity: float
    """That of the mean prediction: 0 where all name one class, 1 where all classes are named alike."""

    @property
    def information(self) -> float:
        """What a prediction tells of its item, in [0, 1]: sure answers that differ.

        The mutual information of items and classes (Bridle, Heading and MacKay, Unsupervised classifiers, mutual
        information and phantom targets, 1991). One class for all tells nothing, however sure.
        """
        return self.diversity - self.entropy


class Telling:
    """Tallies predictions batch by batch; no buffer grows with items x classes."""

    def __init__(self) -> None:
        self._noted: list[tuple[Tensor, Tensor]] = []

    def add(self, logits: Tensor) -> None:
        """Note predictions (N, K, ...); those of an item's places are averaged."""
        places = logits.detach().flatten(2) if logits.ndim > 2 else logits.detach()[..., None]
        sums = places.float().softmax(1).mean(2).double().sum(0)
        self._noted.append((entropy(places).mean(1).cpu(), sums.cpu()))

    def told(self, everywhere: bool = True) -> Told:
        """Sum up the batches, those of all ranks if `everywhere`."""
        noted = ranks.in_turn(self._noted) if everywhere else self._noted
        if not noted:
            return Told(0.0, 0.0)
        each, sums = zip(*noted, strict=True)
        mean = torch.stack(sums).sum(0).clamp_min(torch.finfo(torch.float64).tiny)  # a class that is never named
        return Told(float(torch.cat(each).mean()), float(entropy(mean.log()[None])))
