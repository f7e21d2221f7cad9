"""Batch norm inside an episode: its running statistics cannot be kept under vmap, so something takes its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.func import replace_all_batch_norm_modules_
from torch.nn.modules.batchnorm import _BatchNorm

Norm = Literal["group", "frozen", "batch"]
NORMS: tuple[Norm, ...] = ("group", "frozen", "batch")
GROUPS = 8
"""Groups of a group norm, at most."""
SAID = {
    "group": "replaced by group norm, which looks at one item alone (vmap keeps no running statistics)",
    "frozen": "kept, their statistics frozen as the network came",
    "batch": "over the items of each pass: TRANSDUCTIVE, the questions of an episode see one another",
}


def tame(network: nn.Module, norm: Norm) -> Sequence[nn.Module]:
    """Put in the place of every batch norm what `norm` says, in place, and return those that were found.

    "group": group norm with the same scale and shift; the weights of other layers were trained for another norm.
    "frozen": the running statistics as they are; the caller keeps the layers in eval mode. "batch": always those of
    the items that are passed together, as MAML's own code has it.
    """
    found = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, _BatchNorm)]
    if norm == "group":
        for name, layer in found:
            network.set_submodule(name, _grouped(layer))
    elif norm == "batch":
        replace_all_batch_norm_modules_(network)
    return [layer for _, layer in found]


def _grouped(layer: _BatchNorm) -> nn.GroupNorm:
    channels = layer.num_features
    norm = nn.GroupNorm(math.gcd(channels, GROUPS), channels, layer.eps, layer.affine)
    if layer.affine:
        with torch.no_grad():
            norm.weight.copy_(layer.weight)
            norm.bias.copy_(layer.bias)
    return norm
