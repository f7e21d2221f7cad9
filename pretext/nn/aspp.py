"""DeepLab's head for segmentation: https://arxiv.org/abs/1706.05587, with UnNAS' sizes."""

from __future__ import annotations

from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP

CHANNELS, RATES = 256, (6, 12, 18)


def aspp(inputs: int, classes: int) -> nn.Sequential:
    """Build a pyramid of a 1x1 convolution, three dilated ones and the mean of the picture, joined and classified.

    It turns a stage (N, inputs, h, w) into logits (N, classes, h, w). Dropout of 0.5 stands before the classifier.
    """
    return nn.Sequential(ASPP(inputs, list(RATES), CHANNELS), nn.Conv2d(CHANNELS, classes, 1))
