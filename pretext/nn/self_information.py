"""How undecided a prediction is, class by class: https://arxiv.org/abs/1811.12833, section 3.1."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import log_softmax

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
