"""RotNet's AlexNet with batch norm: https://arxiv.org/abs/1803.07728, section 4.2."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD, RGB, Normalise
from pretext.backbones.width import check_width, scaled
from pretext.core.types import Backbone, Features

CHANNELS = (64, 192, 384, 256, 256)  # of the five convolutions
POOLED = ("conv1", "conv2", "conv5")  # followed by max pooling 3x3 with stride 2
GRID = 6  # what is left of 224 px after the last pooling: 6 x 6
SMALLEST = 63  # pixels: less is pooled away


class AlexNet(Backbone):
    """AlexNet with batch norm instead of dropout and local normalisation, as in RotNet.

    Stages `conv1` ... `conv5` are taken after their ReLU and before any pooling: at 224 px 55, 27, 13, 13, 13 pixels
    wide. RotNet's linear probes max-pool them to 12, 7, 5, 6, 6. `pooled` is the second fully connected layer,
    (N, fc). Other image sizes than 224 are averaged to the 6 x 6 grid that the first one reads.

    The paper's code has biases in the convolutions; the batch norm behind them cancels a bias, so there is none here.

    Args:
        fc: outputs of both fully connected layers, before `width`.
        mean: of each colour in [0, 1], subtracted.
        std: standard deviation of each colour, divided by.
        width: all channels times this, rounded, those of the fully connected layers too.

    Raises:
        ValueError: the width is no positive number.

    """

    axes = "hw"

    def __init__(self, fc: int = 4096, mean: RGB = IMAGENET_MEAN, std: RGB = IMAGENET_STD, width: float = 1.0) -> None:
        super().__init__()
        check_width(width, "AlexNet")
        self.normalise = Normalise(mean, std)
        channels, fc = [scaled(count, width) for count in CHANNELS], scaled(fc, width)
        one, two, three, four, five = channels
        self.convolutions = nn.ModuleDict(  # each without bias, followed by batch norm and ReLU
            {
                "conv1": Conv2dNormActivation(3, one, 11, stride=4, padding=2),
                "conv2": Conv2dNormActivation(one, two, 5),
                "conv3": Conv2dNormActivation(two, three, 3),
                "conv4": Conv2dNormActivation(three, four, 3),
                "conv5": Conv2dNormActivation(four, five, 3),
            }
        )
        self.fc = nn.Sequential(*_dense(five * GRID * GRID, fc), *_dense(fc, fc))
        self.stages = dict(zip(self.convolutions, channels, strict=True))
        self.dim = fc
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):  # He et al.; the paper's code says nothing
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Features:
        if min(x.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"AlexNet: needs images of at least {SMALLEST} px, got {x.shape[-2]} x {x.shape[-1]}; "
                f"use larger crops, or NIN for images of about 32 px"
            )
        stages = {}
        x = self.normalise(x)
        for name, convolution in self.convolutions.items():
            stages[name] = x = convolution(x)
            if name in POOLED:
                x = F.max_pool2d(x, 3, stride=2)
        x = F.adaptive_avg_pool2d(x, GRID)  # at 224 px this changes nothing
        return Features(stages, self.fc(x.flatten(1)))


def _dense(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """Make one fully connected layer with batch norm and ReLU."""
    return nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)
