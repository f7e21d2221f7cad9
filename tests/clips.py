"""Tiny backbones for clips and sounds, and clips whose content moves: what tests of tasks in time share."""

import math

import torch
from torch import nn

from pretext.backbones.multimodal import MultiModal
from pretext.core.rng import rng
from pretext.core.types import Backbone, Features


class TinyVideo(Backbone):
    """Two 3-D convolutions with batch norm, for clips of any length and 4 px or more; time is never strided."""

    axes = "thw"

    def __init__(self, channels=3, width=4):
        super().__init__()
        self.dim = 2 * width
        self.stages = {"conv1": width, "conv2": 2 * width}
        self.conv1 = self._block(channels, width)
        self.conv2 = self._block(width, 2 * width)

    @staticmethod
    def _block(inside, outside):
        convolution = nn.Conv3d(inside, outside, 3, stride=(1, 2, 2), padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm3d(outside), nn.ReLU())

    def forward(self, x):
        first = self.conv1((x - 0.45) / 0.225)
        second = self.conv2(first)
        return Features({"conv1": first, "conv2": second}, second.mean((-3, -2, -1)))


class TinySound(Backbone):
    """Two strided 1-D convolutions with batch norm over a waveform."""

    axes = "t"

    def __init__(self, width=4):
        super().__init__()
        self.dim = 2 * width
        self.stages = {"conv1": width, "conv2": 2 * width}
        self.conv1 = self._block(1, width)
        self.conv2 = self._block(width, 2 * width)

    @staticmethod
    def _block(inside, outside):
        convolution = nn.Conv1d(inside, outside, 5, stride=2, padding=2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm1d(outside), nn.ReLU())

    def forward(self, x):
        first = self.conv1(5 * x)
        second = self.conv2(first)
        return Features({"conv1": first, "conv2": second}, second.mean(-1))


def tiny_multimodal(flow=False):
    """Video and sound (and flow, and grey) on tiny networks."""
    more = {"flow": TinyVideo(2), "grey": TinyVideo(1)} if flow else {}
    return MultiModal({"rgb": TinyVideo(), "audio": TinySound(), **more})


def heights(n, window, key=0):
    """The path of each blob's height over time, (n, window) in [0, 1]: a wave of its own speed and phase."""
    speed, phase = torch.rand(2, n, 1, generator=rng("cpu", "heights", key))
    return 0.5 + 0.4 * torch.sin(2 * math.pi * ((0.06 + 0.06 * speed) * torch.arange(window) + phase))


def moving(n, window, side=16, key=0):
    """Blobs on a dim textured ground, each moving up and down its own column: (n, 3, window, side, side)."""
    chance = rng("cpu", "moving", key)
    ground = 0.3 * torch.rand(n, 3, 1, side, side, generator=chance)
    colour = 0.4 + 0.6 * torch.rand(n, 3, 1, 1, 1, generator=chance)
    column = (0.2 + 0.6 * torch.rand(n, 1, 1, 1, generator=chance)) * side
    row = (0.1 + 0.8 * heights(n, window, key)).view(n, window, 1, 1) * side
    grid = torch.arange(side) + 0.5
    distance = (grid.view(1, 1, -1, 1) - row) ** 2 + (grid.view(1, 1, 1, -1) - column) ** 2
    blob = torch.exp(-distance / (0.02 * side**2)).unsqueeze(1)
    return ground + (colour - ground) * blob


def av_batch(n, window=12, side=16, samples=240, key=0):
    """Clips whose sound is as loud, frame by frame, as the blob stands low."""
    loud = heights(n, window, key).repeat_interleave(samples // window, 1)
    tone = torch.sin(2 * math.pi * 0.2 * torch.arange(samples))
    return {"rgb": moving(n, window, side, key), "audio": (0.9 * loud * tone).unsqueeze(1)}
