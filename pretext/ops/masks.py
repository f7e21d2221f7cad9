"""Which pixels are hidden: the masks of https://arxiv.org/abs/1604.07379, drawn for each image."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pretext.ops.geometric import gather_pixels, uniform_to_int

BLOCKS = 4  # per image, their sides 1/8 to 1/4 of the image's, so that together they hide a quarter at most
CELLS = 8  # of noise per side: one is 16 px of 128, as in the authors' pattern (600 enlarged to 10,000, cut to 128)
REGION = (0.2, 0.3)  # share of the image that a region hides
FINE = 40  # places a side that a region's outline has at least


def centre(n: int, height: int, width: int, ring: int, rng: Generator) -> Tensor:
    """Hide the central half of each side, less a ring within it that stays visible: (n, 1, height, width) bool."""
    rows, columns = (
        (torch.arange(size, device=rng.device) >= size // 4 + ring)
        & (torch.arange(size, device=rng.device) < size - size // 4 - ring)
        for size in (height, width)
    )
    return (rows[:, None] & columns).expand(n, 1, height, width).contiguous()


def blocks(n: int, height: int, width: int, ring: int, rng: Generator) -> Tensor:
    """Hide rectangles, each with its own size and place: (n, 1, height, width) bool. The ring does not matter."""
    inside = []
    for size in (height, width):
        sides, places = torch.rand(2, n, BLOCKS, 1, generator=rng, device=rng.device)
        length = size // 8 + uniform_to_int(sides, size // 4 - size // 8 + 1)
        start = uniform_to_int(places, size - length + 1)
        along = torch.arange(size, device=rng.device)
        inside.append((along >= start) & (along < start + length))  # (n, BLOCKS, size)
    return (inside[0].unsqueeze(-1) & inside[1].unsqueeze(-2)).any(1, keepdim=True)


def region(n: int, height: int, width: int, ring: int, rng: Generator) -> Tensor:
    """Hide the lowest pixels of smooth noise, as many as a share drawn per image: (n, 1, height, width) bool.

    They are counted by rank, so the share is met exactly where the authors draw again until it fits. The pattern is
    larger than the image by two cells and cut at random, so that its knots lie at no fixed places. In large images a
    pixel of the pattern is a block of up to 4 x 4: sorting is what costs. The ring does not matter.
    """
    block = next(k for k in (4, 3, 2, 1) if k == 1 or (height % k == width % k == 0 and min(height, width) >= FINE * k))
    height, width = height // block, width // block
    device, cells = rng.device, [math.ceil(size / CELLS) for size in (height, width)]
    noise = torch.rand(n, 1, CELLS + 2, CELLS + 2, generator=rng, device=device)
    pattern = F.interpolate(noise, [(CELLS + 2) * cell for cell in cells], mode="bicubic")
    lines = []
    for size, extent in zip((height, width), pattern.shape[-2:], strict=True):
        start = uniform_to_int(torch.rand(n, 1, 1, generator=rng, device=device), extent - size + 1)
        lines.append(start + torch.arange(size, device=device))
    order = gather_pixels(pattern, *lines).flatten(1).argsort(dim=1, stable=True)
    pixels = height * width
    least, most = math.ceil(REGION[0] * pixels), math.floor(REGION[1] * pixels)
    count = least + uniform_to_int(torch.rand(n, 1, generator=rng, device=device), most - least + 1)
    lowest = torch.arange(pixels, device=device) < count  # (n, pixels), by rank
    hidden = torch.zeros_like(lowest).scatter(1, order, lowest).view(n, 1, height, width)
    return hidden.repeat_interleave(block, 2).repeat_interleave(block, 3)


MASKS: dict[str, Callable[[int, int, int, int, Generator], Tensor]] = {
    "centre": centre,
    "block": blocks,
    "region": region,
}
"""By name, what makes masks (n, 1, height, width) of n, height, width, a ring in pixels and a generator."""
