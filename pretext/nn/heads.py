"""Parts of heads that several tasks share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

from pretext.ops.resample import shared_matrix

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


def small(layer: Layer, std: float = 0.01) -> Layer:
    """Make the last layer of a head small, in place: it starts at a blind guess, and still passes gradients on.

    Weights are drawn from a normal distribution of that deviation, by torch's own generator; the bias becomes 0.
    """
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class Hypercolumn(nn.Module):
    """Read a picture out of every stage at once, linearly: https://arxiv.org/abs/1411.5752, as in arXiv:1603.06668.

    A 1x1 convolution on every stage at its own resolution, averaged down or enlarged bilinearly, and summed. That is
    the same as one 1x1 convolution on the stack of all resized stages, but that stack is never made. It adds no
    capacity of its own: the backbone has to learn whatever it takes to see a pixel.

    Args:
        stages: channels of each stage by name, as a backbone tells them.
        outputs: channels of the picture.

    """

    def __init__(self, stages: dict[str, int], outputs: int) -> None:
        super().__init__()
        self.readers = nn.ModuleList(nn.Conv2d(channels, outputs, 1, bias=False) for channels in stages.values())
        self.names = list(stages)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        for reader in self.readers:
            small(cast(nn.Conv2d, reader))  # ModuleList forgets what it holds

    def forward(self, stages: dict[str, Tensor], side: tuple[int, int]) -> Tensor:
        """Read (N, outputs, *side) from stages (N, D_i, h_i, w_i)."""
        grids: dict[tuple[int, int], Tensor] = {}  # what is to be enlarged alike is summed before
        for name, reader in zip(self.names, self.readers, strict=True):
            stage = stages[name]
            # Averaged down first, so that fewer pixels are read; enlarged last, for the same reason.
            read = reader(
                self._resized(stage, [min(a, b) for a, b in zip(stage.shape[-2:], side, strict=True)], "area")
            )
            size = (read.shape[-2], read.shape[-1])
            grids[size] = grids[size] + read if size in grids else read
        parts = [self._resized(grid, side, "bilinear") for grid in grids.values()]
        return torch.stack(parts).sum(0) + self.bias

    @staticmethod
    def _resized(x: Tensor, side: Sequence[int], kernel: str) -> Tensor:
        """Resize by two matrix products in x's dtype: far faster than interpolation on the CPU."""
        if tuple(x.shape[-2:]) == tuple(side):
            return x
        rows, columns = (
            shared_matrix(a, b, kernel, x.device).to(x.dtype) for a, b in zip(x.shape[-2:], side, strict=True)
        )
        return rows @ (x @ columns.mT)
