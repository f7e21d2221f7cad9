"""Cutting windows and boxes out of whole batches, each sample its own."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pretext.ops.constants import kept
from pretext.ops.geometric import gather_pixels, reflect

Border = Literal["reflect", "zero"]
"""What pads a canvas: the picture mirrored at its edge, or zeros (black)."""


def check_box(crop: int | None, pad: int, scale: tuple[float, float], aspect: tuple[float, float]) -> None:
    """Raise a ValueError that names what is out of its range."""
    if crop is not None and crop < 1:
        raise ValueError(f"Augment: crop is {crop}; give a side of at least 1 pixel, or None to keep the canvas")
    if pad < 0:
        raise ValueError(f"Augment: pad is {pad}; give 0 or more pixels")
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"Augment: scale is {tuple(scale)}; give shares of the area, 0 < smallest <= largest <= 1")
    if not 0 < aspect[0] <= aspect[1]:
        raise ValueError(f"Augment: aspect is {tuple(aspect)}; give ratios of width to height, 0 < smallest <= largest")
    native = tuple(scale) == (1.0, 1.0)
    if pad and not native:
        raise ValueError(f"Augment: pad={pad} belongs to native crops; set it to 0 or scale to (1, 1)")
    if native and tuple(aspect) != (1.0, 1.0):
        raise ValueError(
            f"Augment: aspect={tuple(aspect)} belongs to resized crops; give scale, or set aspect to (1, 1)"
        )


def window(
    x: Tensor, side: int, pad: int, top: Tensor, left: Tensor, flip: Tensor, border: Border = "reflect"
) -> Tensor:
    """Cut a native window at each sample's corner, and mirror some.

    Args:
        x: (N, C, S, S), uint8 or floats.
        side: of the window.
        pad: pixels that the border adds on each side.
        top: (N,) first row, in coordinates of the padded canvas.
        left: (N,) first column, likewise.
        flip: (N,) bool.
        border: what lies there: the mirrored picture, or zeros.

    Returns:
        (N, C, side, side), of the type of `x`.

    """
    steps, back = _steps(side, x.device), _steps(side, x.device, back=True)
    rows = top[:, None] + steps
    columns = left[:, None] + torch.where(flip[:, None], back, steps)
    if not pad:
        return gather_pixels(x, rows[:, None], columns[:, None])
    rows, columns, last = rows - pad, columns - pad, x.shape[-1] - 1
    if border == "reflect":
        rows, columns = reflect(rows, x.shape[-1]), reflect(columns, x.shape[-1])
        return gather_pixels(x, rows[:, None], columns[:, None])
    picked = gather_pixels(x, rows.clamp(0, last)[:, None], columns.clamp(0, last)[:, None])
    down, across = ((places >= 0) & (places <= last) for places in (rows, columns))
    return picked * (down[:, None, :, None] & across[:, None, None, :])


@kept
def _steps(side: int, device: torch.device, back: bool = False) -> Tensor:
    """Count the pixels of a side, from its end with `back`."""
    with torch.inference_mode(False):
        steps = torch.arange(side, device=device)
        return steps.flip(0) if back else steps


def boxes(canvas: int, scale: tuple[float, float], aspect: tuple[float, float], area: Tensor, ratio: Tensor) -> Tensor:
    """Make heights and widths of boxes, (2, N) in whole pixels, from uniforms (N,).

    The share of the canvas's area is uniform in `scale`, the logarithm of width by height in that of `aspect`, as far
    as such a box fits.
    """
    share = scale[0] + (scale[1] - scale[0]) * area
    # A box of share s fits if its width by height is in [s, 1/s].
    most = 1 / share
    low, high = (torch.full_like(share, end).clamp(share, most).log() for end in aspect)
    stretch, root = (torch.lerp(low, high, ratio) / 2).exp(), share.sqrt()
    return (torch.stack((root / stretch, root * stretch)) * canvas).round().clamp(1, canvas)


def resized_crop(
    x: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor, side: int, flip: Tensor
) -> Tensor:
    """Resize each sample's own box to a square, as torchvision's antialiased `resized_crop` does, and mirror some.

    A separable filter is two matrices per sample, so a batch of different boxes is two batched products; this also
    antialiases, which sampling on a grid would not.

    Args:
        x: (N, C, S, S) floats.
        top: (N,) first row of the box.
        left: (N,) first column.
        height: (N,) of the box, whole pixels.
        width: (N,) likewise.
        side: of the result.
        flip: (N,) bool.

    Returns:
        (N, C, side, side).

    """
    both = _triangles(torch.cat((top, left)), torch.cat((height, width)), x.shape[-1], side)
    rows, columns = both.chunk(2)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    with torch.autocast(x.device.type, enabled=False):  # pixels keep float32, whatever the training step around us does
        narrow = (x.flatten(1, 2) @ columns.mT).view(*x.shape[:3], side)  # (N, C, S, side)
        return torch.matmul(rows.unsqueeze(1), narrow).clamp_(0, 1)


def _triangles(start: Tensor, box: Tensor, canvas: int, side: int) -> Tensor:
    """Weigh canvas pixels for each result pixel: (N, side, canvas), rows that sum to 1."""
    device = start.device
    ratio = (box / side)[:, None, None]
    centres = start[:, None, None] + (torch.arange(side, device=device)[:, None] + 0.5) * ratio
    pixels = torch.arange(canvas, device=device)
    # Shrinking widens the triangle to cover all pixels that fall into one; enlarging interpolates between two.
    weights = (1 - (pixels + 0.5 - centres).abs() / ratio.clamp(min=1)).clamp(min=0)
    inside = (pixels >= start[:, None, None]) & (pixels < (start + box)[:, None, None])
    weights = weights * inside
    return weights / weights.sum(-1, keepdim=True)
