"""Tiny backbones, with dropout and batch norm, so that a resumed run that forgets anything differs."""

from __future__ import annotations

from torch import Tensor, nn

from pretext.core.types import Backbone, Features


class Pictures(Backbone):
    """Two strided convolutions, for pictures of 4 px and more."""

    axes = "hw"

    def __init__(self, width: int = 8, dropout: float = 0.3) -> None:
        super().__init__()
        self.dim = 2 * width
        self.stages = {"conv1": width, "conv2": 2 * width}
        self.conv1 = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Features:
        first = self.conv1((x - 0.45) / 0.225)
        second = self.conv2(first)
        return Features({"conv1": first, "conv2": second}, self.dropout(second.mean((-2, -1))))


class Films(Backbone):
    """Two convolutions in space and time, for clips of 4 px and more."""

    axes = "thw"

    def __init__(self, channels: int = 3, width: int = 4, dropout: float = 0.3) -> None:
        super().__init__()
        self.dim = 2 * width
        self.stages = {"conv1": width, "conv2": 2 * width}
        stride = (1, 2, 2)
        self.conv1 = nn.Sequential(nn.Conv3d(channels, width, 3, stride, 1), nn.BatchNorm3d(width), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv3d(width, 2 * width, 3, stride, 1), nn.BatchNorm3d(2 * width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Features:
        first = self.conv1((x - 0.45) / 0.225)
        second = self.conv2(first)
        return Features({"conv1": first, "conv2": second}, self.dropout(second.mean((-3, -2, -1))))


class Waves(Backbone):
    """Two strided convolutions over a waveform."""

    axes = "t"

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.dim = 2 * width
        self.stages = {"conv1": width, "conv2": 2 * width}
        self.conv1 = nn.Sequential(nn.Conv1d(1, width, 9, 4, 4), nn.BatchNorm1d(width), nn.ReLU())
        self.conv2 = nn.Sequential(nn.Conv1d(width, 2 * width, 9, 4, 4), nn.BatchNorm1d(2 * width), nn.ReLU())

    def forward(self, x: Tensor) -> Features:
        first = self.conv1(5 * x)
        second = self.conv2(first)
        return Features({"conv1": first, "conv2": second}, second.mean(-1))
