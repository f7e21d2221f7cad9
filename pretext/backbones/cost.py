"""What a network costs: its parameters, and the multiply-adds of one picture by torch's own counter."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pretext.core.types import Backbone


class Cost(NamedTuple):
    """What a network costs."""

    parameters: int
    multiply_adds: int
    """Of one picture; what torch counts: convolutions, linear layers and products of matrices."""


def cost(backbone: Backbone, side: int, classes: int | None = None) -> Cost:
    """Count parameters and multiply-adds of a network for pictures of `side` px; nothing is computed.

    With `classes`, a linear layer on the pooled features counts too.
    """
    ghost = copy.deepcopy(backbone).to("meta").eval()
    head = None if classes is None else nn.Linear(backbone.dim, classes, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        pooled = ghost(torch.zeros(1, 3, side, side, device="meta")).pooled
        if head is not None:
            head(pooled)
    both = [*ghost.parameters(), *(head.parameters() if head is not None else ())]
    return Cost(sum(p.numel() for p in both), counter.get_total_flops() // 2)  # torch counts an add and a product
