"""ResNets whose width, depth and kernels are free: https://arxiv.org/abs/1512.03385, section 4.2."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD, RGB, Normalise, guard
from pretext.core.errors import require
from pretext.core.types import Backbone, Features


class ResNet(Backbone):
    """A ResNet of basic blocks for images up to 64 px; its stages are `stem`, `layer1`, `layer2` ...

    The first convolution is 3x3 with stride 1; each stage after the first halves the map and doubles the channels in
    its first block. With three stages of n blocks, width 16 and kernels of 3 it is He et al.'s network of 6n + 2 layers
    for CIFAR-10 (with projections as shortcuts), with four stages of 2 blocks and width 64 the `TorchVision` resnet18
    with its small stem, whose weights it takes. `pooled` is the mean over the last stage.

    Args:
        blocks: of each stage.
        width: channels of the first stage.
        kernels: side of each stage's kernels, odd; one for all stages, or one for each.
        mean: of each colour in [0, 1], subtracted.
        std: standard deviation of each colour, divided by.

    Raises:
        ValueError: no stage, no block, no width, an even kernel, or another number of kernels than of stages.

    """

    axes = "hw"

    def __init__(
        self,
        blocks: Sequence[int] = (1, 1, 1),
        width: int = 16,
        kernels: Sequence[int] = (3,),
        mean: RGB = IMAGENET_MEAN,
        std: RGB = IMAGENET_STD,
    ) -> None:
        super().__init__()
        each = list(kernels) * (len(blocks) if len(kernels) == 1 else 1)
        fits = len(blocks) > 0 and min(blocks) >= 1 and width >= 1 and len(each) == len(blocks)
        got = f"blocks={list(blocks)}, {width=}, kernels={list(kernels)}"
        wanted = "give at least one block a stage, a width, and an odd kernel for all stages or one for each"
        require(fits and all(kernel % 2 == 1 and kernel > 0 for kernel in each), self, got, wanted)
        self.blocks, self.width, self.kernels = list(blocks), width, each
        self.normalise = Normalise(mean, std)
        self.net = nn.ModuleDict({"conv1": _convolution(3, width, 3, 1), "bn1": nn.BatchNorm2d(width)})
        self.stages, self.dim = {"stem": width}, width
        for index, (count, kernel) in enumerate(zip(blocks, each, strict=True)):
            outputs, stride = width * 2**index, 1 if index == 0 else 2
            first = Block(self.dim, outputs, kernel, stride)
            rest = [Block(outputs, outputs, kernel, 1) for _ in range(count - 1)]
            self.net[f"layer{index + 1}"] = nn.Sequential(first, *rest)
            self.stages[f"layer{index + 1}"] = self.dim = outputs
        guard(self.net)

    def forward(self, x: Tensor) -> Features:
        stages = {"stem": F.relu(self.net["bn1"](self.net["conv1"](self.normalise(x))))}
        for name in list(self.stages)[1:]:
            stages[name] = self.net[name](next(reversed(stages.values())))
        return Features(stages, next(reversed(stages.values())).mean((-2, -1)))


class Block(nn.Module):
    """Two convolutions with batch norm, and a shortcut past them, under torchvision's names."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = _convolution(outputs, outputs, kernel, 1), nn.BatchNorm2d(outputs)
        changes = stride != 1 or inputs != outputs
        self.downsample: nn.Module | None = None
        if changes:
            self.downsample = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Turn (N, inputs, H, W) into (N, outputs, H / stride, W / stride), rounded up."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Conv2d:
    """Make a convolution with He et al.'s variance by the number of outputs."""
    made = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made
