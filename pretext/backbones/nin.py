"""RotNet's network in network: https://arxiv.org/abs/1803.07728, section 4.1."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from pretext.backbones.image import RGB, Normalise
from pretext.backbones.width import check_width, scaled
from pretext.core.types import Backbone, Features

CIFAR_MEAN: RGB = (125.3 / 255, 123.0 / 255, 113.9 / 255)
CIFAR_STD: RGB = (63.0 / 255, 62.1 / 255, 66.7 / 255)

Init = Literal["torch", "he"]

KERNELS = (5, 5, 3)  # of a block's first convolution, the other two are 1x1; the last entry for all further blocks
WIDTHS = ((192, 160, 96), (192, 192, 192))  # of a block's three convolutions; the last entry for all further blocks


class NIN(Backbone):
    """Network in network for images of about 32 px, as in RotNet: blocks of a wide convolution and two 1x1 ones.

    Every convolution is without bias and is followed by batch norm and ReLU. Stage `conv1` ends with max pooling,
    `conv2` with average pooling, both by 2, so that at 32 px they are (N, 96, 16, 16) and (N, 192, 8, 8); `conv3` and
    further ones keep that size. `pooled` is the mean over the last stage, (N, 192).

    Args:
        blocks: 3 for the paper's supervised network, 4 or 5 for its RotNets; these have no third pooling.
        mean: of each colour in [0, 1], subtracted; by default CIFAR-10's, as in the paper's code.
        std: standard deviation of each colour, divided by.
        width: all channels times this, rounded.
        init: of the convolutions: torch's own, with which the paper's code trains (it defines He et al.'s for its
            network, but never calls it), or "he", normal by the number of outputs.

    Raises:
        ValueError: there are no blocks, or no width.

    """

    axes = "hw"

    def __init__(
        self, blocks: int = 4, mean: RGB = CIFAR_MEAN, std: RGB = CIFAR_STD, width: float = 1.0, init: Init = "torch"
    ) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError(f"NIN: blocks must be at least 1, got {blocks}; RotNet has 4")
        check_width(width, "NIN")
        self.normalise = Normalise(mean, std)
        self.blocks = nn.ModuleDict()
        self.stages = {}
        channels = 3
        for i in range(blocks):
            widths = tuple(scaled(channels, width) for channels in WIDTHS[min(i, len(WIDTHS) - 1)])
            self.blocks[f"conv{i + 1}"] = _block(channels, widths, KERNELS[min(i, len(KERNELS) - 1)], _pool(i))
            self.stages[f"conv{i + 1}"] = channels = widths[-1]
        self.dim = channels
        for module in self.modules():
            if init == "he" and isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Features:
        stages = {}
        x = self.normalise(x)
        for name, block in self.blocks.items():
            stages[name] = x = block(x)
        return Features(stages, x.mean((-2, -1)))


def _block(channels: int, widths: tuple[int, ...], kernel: int, pool: nn.Module | None) -> nn.Sequential:
    """Make one block: a spatial convolution, 1x1 convolutions, and perhaps a pooling."""
    block = nn.Sequential()
    for width in widths:
        block.append(Conv2dNormActivation(channels, width, kernel))  # same padding, no bias, batch norm, ReLU
        channels, kernel = width, 1
    return block if pool is None else block.append(pool)


def _pool(i: int) -> nn.Module | None:
    """Return what ends block `i`, counted from 0."""
    pools = (nn.MaxPool2d(3, 2, padding=1), nn.AvgPool2d(3, 2, padding=1))
    return pools[i] if i < len(pools) else None
