"""Pure tensor moves that tasks and augmentation share: quarter turns, windows, grey."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

MEAN, SPREAD = 0.45, 0.225  # of natural images in [0, 1]: what backbones expect to see


def gather_pixels(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pick the pixels where the given rows and columns cross, in one gather.

    A window, a mirrored window and a reflecting border are all just lists of rows and columns, so one pass over the
    data does any of them, per sample and even per channel, on uint8 or floats.

    Args:
        x: (..., H, W).
        rows: (..., h) int64 in [0, H).
        columns: (..., w) int64 in [0, W).

    Returns:
        (..., h, w), pixel (i, j) of which is x[rows[i], columns[j]]; the leading dimensions, as many in all three,
        broadcast.

    """
    index = rows.unsqueeze(-1) * x.shape[-1] + columns.unsqueeze(-2)
    lead = [max(sizes) for sizes in zip(x.shape[:-2], index.shape[:-2], strict=True)]
    # An expanded index is not copied; take_along_dim, which broadcasts by itself, takes 4 times as long.
    picked = x.flatten(-2).expand(*lead, -1).gather(-1, index.flatten(-2).expand(*lead, -1))
    return picked.view(*lead, *index.shape[-2:])


def reflect(index: Tensor, size: int) -> Tensor:
    """Fold indices that fall outside [0, size) back into it, the border pixel itself not repeated (abc|ba...)."""
    if size == 1:
        return torch.zeros_like(index)
    last = size - 1
    return last - (index.remainder(2 * last) - last).abs()


def uniform_to_int(uniform: Tensor, below: Tensor | int) -> Tensor:
    """Turn uniform floats in [0, 1) into whole numbers in [0, below), as int64.

    Exact at the upper end: the largest float32 under 1 times n < 2**24 rounds to less than n.
    """
    return (uniform * below).long()


def wandering(clips: Tensor, jitter: int, rng: Generator) -> Tensor:
    """Crop (M, C, T, H, W) by `jitter` on every side, each clip displaced by up to as much."""
    places, device = 2 * jitter + 1, clips.device
    top, left = torch.randint(places, (2, len(clips), 1, 1, 1), generator=rng, device=device)
    height, width = (torch.arange(side - 2 * jitter, device=device) for side in clips.shape[-2:])
    return gather_pixels(clips, top + height, left + width)


def quarter_turn(x: Tensor, k: int) -> Tensor:
    """Turn (..., H, W) by `k` quarter turns counter-clockwise: exact, made of transposes and flips only.

    The same direction as `numpy.rot90` and `torch.rot90`; negative `k` turns clockwise, so `-k` undoes `k`. An odd turn
    of H x W is W x H.
    """
    k %= 4
    if k == 0:
        return x
    if k == 2:
        return x.flip(-1, -2)
    turned = x.transpose(-1, -2)  # a transpose, then up-down, is 90 degrees; then left-right, it is 270
    return turned.flip(-2) if k == 1 else turned.flip(-1)


def grey(x: Tensor) -> Tensor:
    """Give every channel of RGB (..., 3, H, W) the mean of the three (no weights: the grey of Noroozi and Favaro)."""
    return x.mean(-3, keepdim=True).expand_as(x)


def drawable(x: Tensor) -> Tensor:
    """Turn what the backbone was shown into an image that can be drawn: (3, H, W) float32 in [0, 1], on the CPU."""
    return x.detach().float().cpu().clamp(0, 1)
