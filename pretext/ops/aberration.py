"""Against chromatic aberration, by which a tile tells its distance from the lens's axis."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from pretext.ops.geometric import MEAN, grey
from pretext.ops.lab import project_aberration

COLOURS = ("drop", "project", "grey", "keep")
NOISE = 1 / 255  # width of the uniform noise in a dropped colour: one grey level


def without_aberration(tiles: Tensor, colour: str, rng: Generator) -> Tensor:
    """Take from tiles (M, 3, t, t) the colours by which a lens gives a place away, in one of the ways of `COLOURS`."""
    if colour == "project":
        return project_aberration(tiles)
    if colour == "grey":
        return grey(tiles)
    if colour == "keep":
        return tiles
    kept = torch.randint(3, (len(tiles), 1, 1, 1), generator=rng, device=tiles.device)
    noise = NOISE * (torch.rand(tiles.shape, generator=rng, device=tiles.device) - 0.5)
    channel = torch.arange(3, device=tiles.device)[:, None, None]
    return MEAN + torch.where(channel == kept, tiles - tiles.mean((-2, -1), keepdim=True), noise)
