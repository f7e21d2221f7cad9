"""A tiny encoder for photos of 32 px, the same for all tasks of task_transfer.py."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretext import Backbone, Features


class Tiny(Backbone):
    """Three convolutions without batch norm, so that weights are all there is to predict: 3 -> 16 -> 32 -> 32."""

    axes = "hw"

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.stages = 32, {"conv1": 16, "conv2": 32, "conv3": 32}
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1)
        self.conv2 = nn.Conv2d(16, 32, 3, 2, 1)
        self.conv3 = nn.Conv2d(32, 32, 3, 1, 1)

    def forward(self, x: Tensor) -> Features:
        one = torch.relu(self.conv1((x - 0.45) / 0.225))
        two = torch.relu(self.conv2(one))
        three = torch.relu(self.conv3(two))
        return Features({"conv1": one, "conv2": two, "conv3": three}, three.mean((-2, -1)))
