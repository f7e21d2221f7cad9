"""A generator whose truth is known: it draws shapes, by a formula."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar, Literal, final

import torch
from torch import Generator, Tensor

from pretext.core.built import Built
from pretext.core.errors import require, require_input
from pretext.views.latent import folder as folders
from pretext.views.latent.generator import truncated_normal
from pretext.views.latent.outlines import SHAPES, TEXTURES, distances, patterns, rgb, waves
from pretext.views.latent.words import ATTRIBUTES, Factors, binary, sentences, values

Style = Literal["flat", "textured"]
PARTS = {"shape": len(SHAPES), "x": 1, "y": 1, "size": 1, "hue": 2, "texture": len(TEXTURES), "ground": 3}
"""What the columns of latents say, in this order, and how many each takes."""
_SMALLEST, _LARGEST, _REACH = 0.14, 0.3, 1.15  # radii in shares of the side; how far a shape reaches, in radii
_CLEAR = 1.5  # how far the latents of `latents` stand from those of another class


@final
class Shapes(Built):
    """Draw one shape of six on a ground: class, place, size, hue and texture are known, and so is every pixel.

    A generator of latents (N, 17) from the normal law between -2 and 2: `PARTS` says which columns say what. The class
    and the texture are the largest of their columns, so that a small step keeps them and a large one may not; place and
    size are the normal law's distribution function of their column; the hue is the angle of its two columns. All but
    class and texture is differentiable. Nothing is drawn by chance but the latents, nothing is learnt.

    Args:
        size: side of the pictures, pixels.
        style: "flat": bright shapes on an even grey ground. "textured": muted, shaded shapes on a ground of waves of
            many scales and colours. Both draw the same latents at the same place, so that one is the other's domain.

    Raises:
        ValueError: an argument is out of its range.

    """

    classes: ClassVar[list[str]] = list(SHAPES)
    attribute_names: ClassVar[list[str]] = list(ATTRIBUTES)

    def __init__(self, size: int = 32, style: Style = "flat") -> None:
        require(size >= 8, self, f"{size=}", "give at least 8 pixels")
        require(style in ("flat", "textured"), self, f"{style=}", 'give "flat" or "textured"')
        self.size, self.style = size, style

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw latents (count, 17)."""
        return truncated_normal(count, sum(PARTS.values()), generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Draw pictures (N, 3, size, size) in [0, 1], of the latents' type."""
        factors, (x, y) = self.factors(latents), self._places(latents)
        cover = self._cover(latents)[:, None]
        ground = factors.ground.to(latents.dtype)
        pattern = patterns(x, y)[factors.texture, torch.arange(len(latents), device=latents.device)][:, None]
        if self.style == "flat":
            colour = rgb(factors.hue, 0.85, 0.95)[:, :, None, None] * (1 - 0.5 * pattern)
            behind = (0.15 + 0.7 * _uniform(ground[:, :1]))[:, :, None, None]
        else:
            light = (1 - 0.22 * (x + y)).clamp(0.6, 1.3)[:, None]  # from above, on the left
            steps = (torch.arange(self.size, device=latents.device, dtype=latents.dtype) + 0.5) / self.size
            field = waves(steps, steps, ground)
            colour = rgb(factors.hue, 0.7, 0.75)[:, :, None, None] * light * (1 - 0.5 * pattern) + 0.04 * field.flip(-1)
            behind = 0.25 + 0.35 * _uniform(ground[:, :1])[:, :, None, None] + 0.1 * field
        return torch.lerp(behind.clamp(0, 1).expand_as(colour), colour.clamp(0, 1), cover)

    def factors(self, latents: Tensor) -> Factors:
        """Tell what latents (N, 17) draw."""
        require_input(
            latents.ndim == 2 and latents.shape[1] == sum(PARTS.values()),
            self,
            f"latents (N, {sum(PARTS.values())})",
            latents,
            "take them from `sample` or `latents`",
        )
        shape, x, y, size, hue, texture, ground = torch.split(latents, list(PARTS.values()), 1)
        turn = (torch.atan2(hue[:, 1], hue[:, 0]) / (2 * math.pi)).remainder(1)
        x, y, size = (_uniform(part[:, 0]) for part in (x, y, size))
        return Factors(shape.argmax(1), x, y, size, turn, texture.argmax(1), ground)

    def latents(self, factors: Factors) -> Tensor:
        """Find latents (N, 17) that draw what is asked for, float32; x, y and size keep 1e-4 off 0 and 1."""
        numbers = ((factors.shape, len(SHAPES)), (factors.texture, len(TEXTURES)))
        shape, texture = (_CLEAR * torch.eye(of, device=number.device)[number] for number, of in numbers)
        places = (factors.x, factors.y, factors.size)
        inner = [math.sqrt(2) * torch.erfinv(2 * u.float().clamp(1e-4, 1 - 1e-4) - 1)[:, None] for u in places]
        angle = 2 * math.pi * factors.hue.float()
        hue = torch.stack((angle.cos(), angle.sin()), 1)
        return torch.cat((shape, *inner, hue, texture, factors.ground.float()), 1)

    def masks(self, latents: Tensor) -> Tensor:
        """Tell what each pixel shows: class maps (N, size, size) uint8, 0 the ground, then `classes` from 1 on."""
        shape = (self.factors(latents).shape + 1).to(torch.uint8)
        return (self._cover(latents) > 0.5) * shape[:, None, None]

    def labels(self, latents: Tensor) -> Tensor:
        """Tell the class of each picture, (N,) int64."""
        return self.factors(latents).shape

    def attributes(self, latents: Tensor) -> Tensor:
        """Tell what captions say, as (N, 24) of 0 and 1, named by `attribute_names`."""
        return binary(self._values(latents))

    def captions(self, latents: Tensor) -> list[list[str]]:
        """Describe each picture in four sentences, such as "a small striped red circle at the top left"."""
        return sentences(self._values(latents))

    def write(self, folder: str | Path, count: int, seed: int = 0) -> Path:
        """Write pictures, masks and captions into a new folder, at once when all are there; see `folder.write`."""
        return folders.write(self, folder, count, seed)

    def extra_repr(self) -> str:
        return f"size={self.size}, style={self.style}"

    def _values(self, latents: Tensor) -> Tensor:
        factors = self.factors(latents)
        x, y, _ = self._boxes(factors)
        return values(factors, (x, y))

    def _boxes(self, factors: Factors) -> tuple[Tensor, Tensor, Tensor]:
        """Find centres and radii, each (N,), in shares of the side: no shape leaves the picture."""
        radius = _SMALLEST + (_LARGEST - _SMALLEST) * factors.size
        room = 1 - 2 * _REACH * radius
        return _REACH * radius + room * factors.x, _REACH * radius + room * factors.y, radius

    def _places(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """See each pixel from the shape's centre, in radii: to the right and down, (N, size, size) each."""
        x, y, radius = (part[:, None, None] for part in self._boxes(self.factors(latents)))
        steps = (torch.arange(self.size, device=latents.device, dtype=latents.dtype) + 0.5) / self.size
        across, down = (steps - x) / radius, (steps[:, None] - y) / radius
        return across.expand(-1, self.size, -1), down.expand(-1, -1, self.size)

    def _cover(self, latents: Tensor) -> Tensor:
        """Tell how much of each pixel the shape covers: (N, size, size) from 0 to 1, a soft edge of one pixel."""
        factors = self.factors(latents)
        pixels = self._boxes(factors)[2][:, None, None] * self.size  # in a radius
        all_shapes = distances(*self._places(latents))
        outside = all_shapes[factors.shape, torch.arange(len(latents), device=latents.device)]
        return (0.5 - outside * pixels).clamp(0, 1)


def _uniform(normal: Tensor) -> Tensor:
    """Turn a normal number into a uniform one: its distribution function."""
    return 0.5 * (1 + torch.erf(normal / math.sqrt(2)))
