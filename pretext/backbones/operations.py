"""The operations that cells of the DARTS space are made of: https://arxiv.org/abs/1806.09055.

No convolution has a bias, and each keeps the size of its map, or halves it (rounded up) with a stride of 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.backbones.genotype import NONE

DropRate = float | tuple[float, float]
"""A probability, or the one at the first step and the one that it grows to in a straight line by the end."""


def ends_of(rate: DropRate) -> tuple[float, float]:
    """Return the probability at the first step, and the one at the end."""
    first, last = (rate, rate) if isinstance(rate, int | float) else rate
    return first, last


class DropPath(nn.Module):
    """While training, drop an item's whole map with a probability, and scale those that stay so that the mean does.

    The probability is a tensor, so that one that changes from step to step neither waits for a device nor makes the
    compiler start anew, as that of torchvision's `StochasticDepth` does. Paper: https://arxiv.org/abs/1605.07648.
    """

    rate: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.register_buffer("rate", torch.tensor(rate), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Look at (N, C, H, W)."""
        if not self.training:
            return x
        stays = 1 - self.rate
        kept = torch.bernoulli(stays.expand(len(x), 1, 1, 1)) / stays  # small: the map itself is walked once
        return x * kept.to(x.dtype)


class Zero(nn.Module):
    """The operation `none`: nothing comes through."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros of the size that the other operations have."""
        return torch.zeros_like(x[..., :: self.stride, :: self.stride])


class FactorisedReduction(nn.Module):
    """Halve a map without losing pixels: one half of the outputs reads the even ones, the other the odd ones.

    ReLU, two 1x1 convolutions of stride 2, the second on the map shifted by one pixel (with zeros), batch norm.
    """

    def __init__(self, inputs: int, outputs: int, affine: bool = True) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs - outputs // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, inputs, H, W) into (N, outputs, H / 2, W / 2), rounded up."""
        x = F.relu(x)
        shifted = F.pad(x, (0, 1, 0, 1))[..., 1:, 1:]
        halves = (self.even(x), self.odd(shifted)) if len(self.odd.weight) else (self.even(x),)
        normed: Tensor = self.norm(torch.cat(halves, 1))
        return normed


def relu_conv_norm(inputs: int, outputs: int, affine: bool = True) -> nn.Module:
    """Make what every input of a cell passes: ReLU, a 1x1 convolution, batch norm."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs, affine=affine))


def depthwise(channels: int, kernel: int, stride: int, dilation: int = 1, affine: bool = True) -> list[nn.Module]:
    """Make ReLU, a depthwise convolution, a pointwise one and batch norm."""
    padding = dilation * (kernel - 1) // 2
    wide = nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)
    return [
        nn.ReLU(),
        wide,
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def operation(name: str, channels: int, stride: int, affine: bool = True) -> nn.Module:
    """Build an operation by its name, see `genotype.OPERATIONS`; `affine`: batch norm with scale and shift."""
    kind, kernel = name.rsplit("_", 1) if name.endswith(("3x3", "5x5")) else (name, "")
    size = int(kernel[:1] or 0)
    if name == NONE:
        return Zero(stride)
    if kind == "max_pool":
        return nn.MaxPool2d(size, stride, padding=1)
    if kind == "avg_pool":
        return nn.AvgPool2d(size, stride, padding=1, count_include_pad=False)
    if kind == "skip_connect":
        return nn.Identity() if stride == 1 else FactorisedReduction(channels, channels, affine)
    if kind == "sep_conv":
        twice = depthwise(channels, size, stride, affine=affine) + depthwise(channels, size, 1, affine=affine)
        return nn.Sequential(*twice)
    return nn.Sequential(*depthwise(channels, size, stride, dilation=2, affine=affine))
