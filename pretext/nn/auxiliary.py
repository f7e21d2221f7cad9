"""An auxiliary classifier on an inner stage, as in DARTS' code (https://github.com/quark0/darts) and Inception."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

NARROW, WIDE = 128, 768


class AuxiliaryHead(nn.Module):
    """Classify the map of an inner stage: ReLU, a coarse 2 x 2 pooling, two convolutions, a linear layer.

    Its pooling averages windows of 5/8 of the map's side, two along each: at 8 px DARTS' 5 x 5 with stride 3 (CIFAR),
    at 7 px 5 x 5 with stride 2 (ImageNet).
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(channels, NARROW, 1, bias=False), nn.BatchNorm2d(NARROW), nn.ReLU())
        self.wide = nn.Sequential(nn.Conv2d(NARROW, WIDE, 2, bias=False), nn.BatchNorm2d(WIDE), nn.ReLU())
        self.classify = nn.Linear(WIDE, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, channels, S, S) into logits (N, classes)."""
        logits: Tensor = self.classify(self.wide(self.narrow(_four(F.relu(x)))).flatten(1))
        return logits


def _four(x: Tensor) -> Tensor:
    """Average (N, C, S, S) to (N, C, 2, 2)."""
    side = x.shape[-1]
    if side == 1:
        return x.expand(-1, -1, 2, 2)
    window = min(math.ceil(5 * side / 8), side - 1)
    return F.avg_pool2d(x, window, side - window)
