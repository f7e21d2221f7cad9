"""(2+1)D residual networks, convolutions in space and in time apart: https://arxiv.org/abs/1711.11248."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from pretext.backbones.clips import Constants, Conv3d, NormaliseClips
from pretext.backbones.width import check_width, scaled
from pretext.core.types import Backbone, Features

WIDTH = 64  # of the stem and the first layer; every further layer has twice as many channels
STEM = 45  # channels between the stem's two convolutions, as in the authors' code
EXPANSION = 4  # of a bottleneck block's outputs


class R2Plus1D(Backbone):
    """A residual network of (2+1)D convolutions: each 3x3x3 one is a 1x3x3 one in space and a 3x1x1 one in time.

    Between the two are batch norm, ReLU and so many channels that both together have as many weights as the one they
    stand for. The defaults are the ResNet-50 of this kind (ELo's); `layers=(2, 2, 2, 2), bottleneck=False` is the
    ResNet-18. `layers=(1, 1, 1, 1), bottleneck=False, width=0.25, stem="small"` is for tests and slow machines: in
    bfloat16, one CPU core trains 250 clips of 8 x 64 x 64 a second.

    Stages are `stem` and `layer1` ... `layer4`, (N, D, t, h, w), each after its last ReLU; `pooled` is the mean over
    the last. The stem halves height and width, `layer2` to `layer4` halve height, width and frames: 16 x 112 x 112 ends
    as 2 x 7 x 7. A small stem's pooling, before `layer1`, halves height and width once more: 8 x 64 x 64 ends as
    1 x 2 x 2. Any clip will do, one of a single frame included.

    Args:
        layers: blocks of each layer.
        bottleneck: blocks of a (2+1)D convolution between two of 1x1x1, with four times as many outputs; else of two
            (2+1)D ones.
        width: all channels times this, rounded.
        stem: "video": 7x7 in space, no pooling; "small", for clips up to 64 px and slow machines: 3x3, and pooling.
        channels: of the clips: 3 rgb, 1 grey, 2 flow.
        mean: of each channel in [0, 1], subtracted; none: the usual of that many channels.
        std: standard deviation of each channel, divided by; none: the usual.

    Raises:
        ValueError: an argument is out of its range.

    """

    axes = "thw"

    def __init__(
        self,
        layers: tuple[int, ...] = (3, 4, 6, 3),
        bottleneck: bool = True,
        width: float = 1.0,
        stem: Literal["video", "small"] = "video",
        channels: int = 3,
        mean: Constants | None = None,
        std: Constants | None = None,
    ) -> None:
        super().__init__()
        check_width(width, "R2Plus1D")
        layers = tuple(layers)
        if not layers or min(layers) < 1:
            raise ValueError(f"R2Plus1D: layers are the blocks of each, at least 1, got {layers}; try (2, 2, 2, 2)")
        if stem not in ("video", "small"):
            raise ValueError(f"R2Plus1D: stem is 'video' or 'small', got {stem!r}")
        self.layers, self.bottleneck, self.width, self.stem, self.channels = layers, bottleneck, width, stem, channels
        self.normalise = NormaliseClips(channels, mean, std, "R2Plus1D")
        outputs = scaled(WIDTH, width)
        between, side = (middle(channels, outputs), 3) if stem == "small" else (scaled(STEM, width), 7)
        first = _apart(channels, between, outputs, side, space=2, time=1)
        self.net = nn.ModuleDict({"stem": nn.Sequential(*first, nn.ReLU(inplace=True))})
        self.stages = {"stem": outputs}
        for i, blocks in enumerate(layers):
            name, planes = f"layer{i + 1}", scaled(WIDTH * 2**i, width)
            self.net[name] = _layer(outputs, planes, blocks, 1 if i == 0 else 2, bottleneck)
            self.stages[name] = outputs = planes * EXPANSION if bottleneck else planes
        self.dim = outputs
        for module in self.modules():
            if isinstance(module, nn.Conv3d):  # He et al., by the number of outputs, as in torchvision
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Features:
        stages = {}
        x = self.normalise(x)
        for name, part in self.net.items():
            stages[name] = x = part(x)
            if name == "stem" and self.stem == "small":
                x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
        return Features(stages, x.mean((-3, -2, -1)))


class _Block(nn.Module):
    """A residual block; the shortcut is a 1x1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, planes: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = planes * EXPANSION if bottleneck else planes
        if bottleneck:
            parts = [_one(inputs, planes), _two(planes, planes, stride), _one(planes, outputs)]
        else:
            parts = [_two(inputs, planes, stride), _two(planes, planes)]
        self.convolutions = nn.Sequential(*parts[0])
        for part in parts[1:]:
            self.convolutions.extend([nn.ReLU(inplace=True), *part])
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Sequential(*[] if same else _one(inputs, outputs, stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.convolutions(x) + self.shortcut(x))


def middle(inputs: int, outputs: int) -> int:
    """Find the channels between space and time with which both convolutions have the weights of one of 3x3x3."""
    return max(1, 3 * 3 * 3 * inputs * outputs // (3 * 3 * inputs + 3 * outputs))


def _one(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """Make a 1x1x1 convolution and its batch norm."""
    return [Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs)]


def _two(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """Make a (2+1)D convolution and its batch norm."""
    return _apart(inputs, middle(inputs, outputs), outputs, 3, space=stride, time=stride)


def _apart(inputs: int, between: int, outputs: int, side: int, space: int, time: int) -> list[nn.Module]:
    """Make a convolution in space and one in time, with their strides, each with batch norm, and ReLU between them."""
    return [
        Conv3d(inputs, between, (1, side, side), (1, space, space), (0, side // 2, side // 2), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(inplace=True),
        Conv3d(between, outputs, (3, 1, 1), (time, 1, 1), (1, 0, 0), bias=False),
        nn.BatchNorm3d(outputs),
    ]


def _layer(inputs: int, planes: int, blocks: int, stride: int, bottleneck: bool) -> nn.Sequential:
    """Make the blocks of one layer, of which the first may halve the resolution."""
    outputs = planes * EXPANSION if bottleneck else planes
    first = _Block(inputs, planes, stride, bottleneck)
    return nn.Sequential(first, *(_Block(outputs, planes, 1, bottleneck) for _ in range(1, blocks)))
