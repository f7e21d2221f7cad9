"""Outlines, patterns and grounds of drawn shapes, as functions of the place: pure, vectorised, differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pretext.ops.constants import constant

SHAPES = ("circle", "square", "triangle", "cross", "star", "ring")
TEXTURES = ("plain", "striped", "dotted")
_TIP, _NOTCH = 1.1, 0.48  # radii of the star's outer and inner corners
_WAVES = 14


def distances(x: Tensor, y: Tensor) -> Tensor:
    """Measure how far places lie outside of each shape, in its radii (inside: below 0), exact near the outline.

    Args:
        x: to the right of the shape's centre, in radii, any shape (*).
        y: below it.

    Returns:
        (6, *), in the order of `SHAPES`.

    """
    far, across, down = (x.square() + y.square() + 1e-12).sqrt(), x.abs(), y.abs()
    square = torch.maximum(across, down) - 0.85
    leaning = across * math.sqrt(0.75) - y / 2
    triangle = torch.maximum(leaning, y) - 0.57
    bars = torch.maximum(across - 1, down - 0.36), torch.maximum(across - 0.36, down - 1)
    return torch.stack((far - 1, square, triangle, torch.minimum(*bars), _star(far, x, y), (far - 0.74).abs() - 0.26))


def _star(far: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Measure the distance from the edge between a tip and a notch, to which all ten edges are folded."""
    sector = 2 * math.pi / 5
    angle = torch.atan2(x, -y).remainder(sector)
    angle = torch.minimum(angle, sector - angle)
    along, aside = far * angle.cos(), far * angle.sin()
    right, up = _NOTCH * math.cos(sector / 2) - _TIP, _NOTCH * math.sin(sector / 2)
    return ((along - _TIP) * up - aside * right) / math.hypot(right, up)


def patterns(x: Tensor, y: Tensor) -> Tensor:
    """Paint how dark each texture is at a place, from 0 to 1: (3, *), in the order of `TEXTURES`; places in radii."""
    stripes = 0.5 - 0.5 * (2 * math.pi * (x + y)).cos()
    dots = (0.5 - 0.5 * (2.5 * math.pi * x).cos()) * (0.5 - 0.5 * (2.5 * math.pi * y).cos())
    return torch.stack((torch.zeros_like(x), stripes, (2 * dots).clamp(max=1)))


def waves(x: Tensor, y: Tensor, phases: Tensor) -> Tensor:
    """Add waves of several scales, the fine ones weaker, as in photos: colours (N, 3, H, W) around 0.

    Args:
        x: columns (W,) from 0 to 1.
        y: rows (H,).
        phases: (N, 3), which shift each wave by another sum of them.

    """
    number = torch.arange(_WAVES, device=phases.device, dtype=phases.dtype)
    turn, scale = 2.39996 * number, 1.2 * 1.22**number  # the golden angle: no two point the same way
    places = scale[:, None, None] * (turn.cos()[:, None, None] * x + turn.sin()[:, None, None] * y[:, None])
    mixed = 2.5 * torch.stack([(turn * (k + 1.7)).cos() for k in range(3)])  # (3, waves)
    swing = (2 * math.pi * places + (phases @ mixed)[:, :, None, None]).cos()  # (N, waves, H, W)
    hues = torch.stack([0.6 + 0.4 * (turn * 1.3 + 2.1 * k).cos() for k in range(3)])  # (3, waves)
    return torch.einsum("nwij,cw->ncij", swing, hues / scale.sqrt())


def rgb(hue: Tensor, saturation: float, value: float) -> Tensor:
    """Make RGB (N, 3) of hues (N,) in turns of the wheel; red is 0, green 1/3, blue 2/3."""
    place = (6 * hue[:, None] + constant((5.0, 3.0, 1.0), hue.device, hue.dtype)).remainder(6)
    return value * (1 - saturation * torch.minimum(place, 4 - place).clamp(0, 1))
