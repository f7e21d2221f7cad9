"""What a backbone must be compared with: its input as it is, through no network at all."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from pretext.core.types import Backbone, Features
from pretext.evaluation.embed import DIMS, coarse
from pretext.ops.mel import LogMel
from pretext.ops.words import buckets, byte_table, byte_values, word_hashes


class Pixels(Backbone):
    """No network at all: the image or clip itself as its only stage, coarsened to at most `dims` values."""

    def __init__(self, dims: int = DIMS, axes: str = "hw") -> None:
        super().__init__()
        self.dims, self.axes = dims, axes
        self.dim, self.stages = dims, {"pixels": dims}

    def forward(self, x: Tensor) -> Features:
        pixels = coarse(x, self.dims)
        return Features({"pixels": pixels}, pixels)


class Spectrogram(Backbone):
    """No network at all: the log-mel picture of a sound as its only stage, coarsened to at most `dims` values."""

    axes = "t"

    def __init__(self, dims: int = DIMS, mel: LogMel | None = None) -> None:
        super().__init__()
        self.dim = self.dims = dims
        self.stages = {"log-mel": dims}
        self.mel = LogMel() if mel is None else mel

    def forward(self, x: Tensor) -> Features:
        picture = coarse(self.mel(x), self.dims)
        return Features({"log-mel": picture}, picture)


class WordCounts(Backbone):
    """No network at all: how often each word is in a text, hashed to at most `dims` numbers, as the only stage."""

    axes = "l"
    byte_numbers: Tensor

    def __init__(self, dims: int = 1024) -> None:
        super().__init__()
        self.dim = self.dims = dims
        self.stages = {"words": dims}
        self.register_buffer("byte_numbers", byte_table(), persistent=False)

    def forward(self, x: Tensor) -> Features:
        hashes, there = word_hashes(byte_values(x), x.shape[-1], self.byte_numbers)
        rows = torch.zeros(len(x), self.dims, device=x.device)
        counts = rows.scatter_add_(1, buckets(hashes, self.dims, 0), there.float())
        return Features({"words": counts}, counts)


def raw_input(backbone: Backbone, dims: int = DIMS) -> Backbone:
    """Build what a backbone must be compared with: its input as it is, a sound's log-mel picture, a text's words."""
    if backbone.axes == "l":
        return WordCounts(min(dims, 1024))
    if backbone.axes != "t":
        return Pixels(dims, backbone.axes)
    return Spectrogram(dims, next((deepcopy(m) for m in backbone.modules() if isinstance(m, LogMel)), None))
