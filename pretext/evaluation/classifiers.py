"""Classifiers that are trained on one stage of a frozen network: a linear one, and RotNet's two others.

Each is built for a stage's shape, (D, *G) without the items, and returns logits (N, K). They compute in float32, also
where the network's arithmetic is bfloat16.
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.evaluation.embed import DIMS, coarse, coarse_grid

Kind = Literal["linear", "mlp", "conv"]
Pool = Literal["mean", "max"]
KINDS: tuple[Kind, ...] = ("linear", "mlp", "conv")
FLAT = 12_288  # 192 channels of 8 x 8 cells: the second block of RotNet's network, whole
HIDDEN = 2048  # units of RotNet's MLP at most,
PER_CLASS = 20  # and this many for each class below that
NIN_WIDTH = 192  # channels of a block of RotNet's network in network


class LinearHead(nn.Module):
    """A linear classifier of a stage, pooled to the finest grid of at most `dims` values, and normalised.

    Batch norm without scale and shift takes the place of standardising; the weights begin at N(0, 0.01) and the biases
    at 0, as in Goyal et al.'s protocol (https://arxiv.org/abs/1905.01235).

    Args:
        shape: of the stage, (D, *G).
        classes: how many, K.
        dims: most values to read.
        pool: how the cells of a coarser grid come about: the mean, or the largest value as in RotNet's code.

    """

    def __init__(self, shape: tuple[int, ...], classes: int, dims: int = DIMS, pool: Pool = "mean") -> None:
        super().__init__()
        self.shape, self.most, self.pool = shape, dims, pool
        self.dims = _width(shape, dims)
        self.norm = nn.BatchNorm1d(self.dims, affine=False)
        self.linear = nn.Linear(self.dims, classes)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, stage: Tensor) -> Tensor:
        """Turn a stage (N, D, *G) into logits (N, K).

        Raises:
            ValueError: a stage of another shape.

        """
        with torch.autocast(stage.device.type, enabled=False):
            logits: Tensor = self.linear(self.norm(_flat(stage, self.shape, self.most, self, self.pool)))
        return logits


class MLPHead(nn.Module):
    """RotNet's non-linear classifier: two hidden layers of min(20 K, 2048) units with batch norm and ReLU.

    It reads the whole stage cell by cell up to `dims` values; a larger one is averaged over the finest grid of so many,
    or a ResNet's stem at 224 px alone would have 160 M weights. RotNet's reads the whole map: of its first block 24,576
    values.

    Args:
        shape: of the stage, (D, *G).
        classes: how many, K.
        dims: most values to read.

    """

    def __init__(self, shape: tuple[int, ...], classes: int, dims: int = FLAT) -> None:
        super().__init__()
        self.shape, self.most = shape, dims
        self.dims = _width(shape, dims)
        hidden = min(PER_CLASS * classes, HIDDEN)
        self.layers = nn.Sequential(*_dense(self.dims, hidden), *_dense(hidden, hidden), nn.Linear(hidden, classes))
        self.apply(rotnets)

    def forward(self, stage: Tensor) -> Tensor:
        """Turn a stage (N, D, *G) into logits (N, K).

        Raises:
            ValueError: a stage of another shape.

        """
        with torch.autocast(stage.device.type, enabled=False):
            logits: Tensor = self.layers(_flat(stage, self.shape, self.most, self))
        return logits


class ConvHead(nn.Module):
    """RotNet's convolutional classifier: a fresh block of its network, the mean over the grid, a linear layer.

    The block of network in network has a convolution of 3 cells a side and two of one cell, 192 channels each, every
    one with batch norm and ReLU and none with a bias. Of clips the block is three-dimensional.

    Args:
        shape: of the stage, (D, *G).
        classes: how many, K.
        width: channels of the block.

    Raises:
        ValueError: the stage has no grid.

    """

    def __init__(self, shape: tuple[int, ...], classes: int, width: int = NIN_WIDTH) -> None:
        super().__init__()
        if not 2 <= len(shape) <= 4:
            raise ValueError(
                f"ConvHead: a stage of shape {shape} has no grid to convolve over; take head 'linear' or 'mlp', or "
                "other stages"
            )
        axes, self.dims = len(shape) - 1, prod(shape)
        self.block = nn.Sequential(
            *_convolution(axes, shape[0], width, 3),
            *_convolution(axes, width, width),
            *_convolution(axes, width, width),
        )
        self.linear = nn.Linear(width, classes)
        self.apply(rotnets)

    def forward(self, stage: Tensor) -> Tensor:
        """Turn a stage (N, D, *G) into logits (N, K)."""
        with torch.autocast(stage.device.type, enabled=False):
            logits: Tensor = self.linear(self.block(stage.float()).flatten(2).mean(2))
        return logits


def rotnets(module: nn.Module) -> None:
    """Draw a layer's weights as RotNet's code does those of its classifiers: He et al., by the number of outputs.

    Convolutions are N(0, sqrt(2 / (k^d outputs))), linear layers N(0, sqrt(2 / outputs)) without a bias to begin with.
    """
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


Head = LinearHead | MLPHead | ConvHead


def head(
    kind: Kind, shape: tuple[int, ...], classes: int, dims: int | Literal["whole"] | None = None, pool: Pool = "mean"
) -> Head:
    """Build the classifier of that name for a stage of shape (D, *G).

    Args:
        kind: of classifier.
        shape: of the stage, without the items.
        classes: how many.
        dims: most values that "linear" and "mlp" read, "whole" for all of them; none: the classifier's own.
        pool: of "linear".

    Raises:
        ValueError: there is none of that name, a stage without a grid for "conv", or options that it does not have.

    """
    if kind not in KINDS:
        raise ValueError(f"head got {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "conv" and dims is not None:
        raise ValueError(f"head 'conv' reads the whole map, got dims={dims}; leave dims out")
    if kind != "linear" and pool != "mean":
        raise ValueError(f"pool={pool!r} belongs to head 'linear', got {kind!r}; leave pool out")
    if kind == "conv":
        return ConvHead(shape, classes)
    most = prod(shape) if dims == "whole" else dims
    if kind == "mlp":
        return MLPHead(shape, classes, FLAT if most is None else most)
    return LinearHead(shape, classes, DIMS if most is None else most, pool)


def _width(shape: tuple[int, ...], dims: int) -> int:
    """Count what `coarse` leaves of a stage."""
    return coarse(torch.zeros(1, *shape), dims).shape[1]


def _flat(stage: Tensor, shape: tuple[int, ...], dims: int, asker: nn.Module, pool: Pool = "mean") -> Tensor:
    """Coarsen a stage to flat float32 (N, D'), refusing one of another grid, whose cells would mean other places."""
    if stage.shape[1:] != shape:
        raise ValueError(
            f"{type(asker).__name__} was built for a stage of shape {shape}, got {tuple(stage.shape[1:])}; give items "
            "of the size that it was trained on (crop, canvas, frames, seconds)"
        )
    if pool == "mean" or stage.ndim == 2:
        return coarse(stage.float(), dims)
    largest: Any = (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[stage.ndim - 3]
    cells: Tensor = largest(stage.float(), coarse_grid(shape, dims))
    return cells.flatten(1)


def _dense(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()


def _convolution(axes: int, inputs: int, outputs: int, kernel: int = 1) -> tuple[nn.Module, ...]:
    """Make a convolution over one, two or three axes with batch norm and ReLU."""
    convolve = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
    return convolve(inputs, outputs, kernel, padding=kernel // 2, bias=False), norm(outputs), nn.ReLU()
