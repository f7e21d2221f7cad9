"""Losses: pure functions to a Grade, computed in float32 whatever comes in."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pretext.types import Grade


def cross_entropy(logits: Tensor, labels: Tensor) -> Grade:
    """Grade K-way choices, logits (N, K) against labels (N,): mean cross entropy in nats, and the share of right ones.

    Equal logits are no guess at all: the first class counts as chosen, so `accuracy` is then the share of class 0.
    """
    right = logits.detach().argmax(1) == labels
    return Grade(functional.cross_entropy(logits.float(), labels), {"accuracy": right.float().mean()})


def blind_guess(classes: int) -> Grade:
    """Grade who knows nothing about K equally likely classes: ln K nats, 1/K right."""
    return Grade(torch.tensor(math.log(classes)), {"accuracy": torch.tensor(1 / classes)})
