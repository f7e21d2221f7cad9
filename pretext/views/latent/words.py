"""What is said of a drawn shape: the names of its attributes, and sentences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pretext.ops.constants import constant
from pretext.views.latent.outlines import SHAPES, TEXTURES

COLOURS = ("red", "yellow", "green", "cyan", "blue", "magenta")
SIZES = ("small", "medium", "large")
ACROSS = ("left", "centre", "right")
DOWN = ("top", "middle", "bottom")
NAMES = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "texture": TEXTURES, "across": ACROSS, "down": DOWN}
"""The attributes of a shape and their values, all that captions say."""
ATTRIBUTES = tuple(f"{kind}={value}" for kind, values in NAMES.items() for value in values)
_THIRDS = (0.4, 0.6)
"""Where the left and the right, the top and the bottom begin, of the picture's side."""


class Factors(NamedTuple):
    """What is drawn: the truth about N pictures."""

    shape: Tensor
    """(N,) int64, the class."""
    x: Tensor
    """(N,) from 0 to 1: how far the centre lies from left to right, between where the shape touches the edges."""
    y: Tensor
    """(N,) likewise from top to bottom."""
    size: Tensor
    """(N,) from 0, the smallest, to 1."""
    hue: Tensor
    """(N,) in turns of the wheel, from 0 (red) to below 1."""
    texture: Tensor
    """(N,) int64."""
    ground: Tensor
    """(N, 3): what lies behind the shape, any numbers."""


def values(factors: Factors, centre: tuple[Tensor, Tensor]) -> Tensor:
    """Number the value of each attribute in `NAMES`: (N, 6) int64; centres in shares of the picture's side."""
    colour = (factors.hue * len(COLOURS)).round().long() % len(COLOURS)
    size = (factors.size * len(SIZES)).long().clamp(max=len(SIZES) - 1)
    thirds = constant(_THIRDS, colour.device, centre[0].dtype)
    across, down = (torch.bucketize(place.contiguous(), thirds) for place in centre)
    return torch.stack((factors.shape, colour, size, factors.texture, across, down), 1)


def binary(numbers: Tensor) -> Tensor:
    """Write numbers of values (N, 6) as attributes (N, 24) of 0 and 1, in the order of `ATTRIBUTES`."""
    parts = zip(numbers.unbind(1), NAMES.values(), strict=True)
    return torch.cat([one_hot(number, len(of)) for number, of in parts], 1).float()


def sentences(numbers: Tensor) -> list[list[str]]:
    """Say each picture's attributes in several ways."""
    said = []
    for row in numbers.tolist():
        shape, colour, size, texture, across, down = (
            of[number] for number, of in zip(row, NAMES.values(), strict=True)
        )
        where = "in the centre" if (across, down) == ("centre", "middle") else f"at the {_corner(across, down)}"
        drawn = "" if texture == "plain" else f"{texture} "
        said.append(
            [
                f"a {size} {drawn}{colour} {shape} {where}",
                f"{where} there is a {colour} {shape}, {size} and {texture}",
                f"a {drawn}{colour} {shape}",
                f"the {shape} is {colour}, {texture} and {size}, {where}",
            ]
        )
    return said


def _corner(across: str, down: str) -> str:
    return " ".join(word for word in (down if down != "middle" else "", across if across != "centre" else "") if word)
