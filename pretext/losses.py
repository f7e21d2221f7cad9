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


def nt_xent(z: Tensor, temperature: float, partners: Tensor | None = None) -> Tensor:
    """Compare views by SimCLR's loss: mean over all 2 N of the cross entropy of finding the partner among the others.

    Similarity is the cosine over the temperature; a view is never compared with itself. Where all embeddings are equal
    the loss is ln(2 N - 1).

    Args:
        z: (2 N, D) embeddings; without `partners`, rows 2 i and 2 i + 1 are the two views of item i.
        temperature: positive.
        partners: (2 N,) int64, the row of each view's partner.

    Returns:
        () in nats, float32.

    """
    if partners is None:
        partners = torch.arange(len(z), device=z.device) ^ 1  # the other of two neighbours
    unit = functional.normalize(z.float(), dim=1)
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return functional.cross_entropy((unit @ unit.mT / temperature).masked_fill(itself, -math.inf), partners)


def blind_guess(classes: int) -> Grade:
    """Grade who knows nothing about K equally likely classes: ln K nats, 1/K right."""
    return Grade(torch.tensor(math.log(classes)), {"accuracy": torch.tensor(1 / classes)})
