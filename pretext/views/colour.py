"""Changing the colours of whole batches, each sample its own; factors mean what they mean in torchvision."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pretext.ops.constants import constant

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601, to torchvision's digits


class ColourJitter(NamedTuple):
    """How much colours change; the options of `Augment`, see there."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: float
    jitter: float

    @property
    def idle(self) -> bool:
        """Does nothing change?"""
        return not any(self[:5])

    def check(self) -> None:
        """Raise a ValueError that names what is out of its range."""
        brightness, contrast, saturation, hue, grey, jitter = self
        if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
            raise ValueError(
                f"Augment: brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue}; "
                "none may be negative, hue at most 0.5"
            )
        if not (0 <= grey <= 1 and 0 <= jitter <= 1):
            raise ValueError(f"Augment: grey={grey}, jitter={jitter}; give probabilities in [0, 1]")

    def changed(self, x: Tensor, factors: Tensor, jittered: Tensor, greyed: Tensor) -> Tensor:
        """Change pictures (N, 3, H, W) in [0, 1]; uniforms (N, 4) make the factors, (N,) decide the probabilities.

        Raises:
            ValueError: colours are to change, but there are other than 3 channels.

        """
        y = self._jittered(x, factors)
        if self.jitter < 1:
            y = torch.where(_some(jittered, self.jitter), y, x)
        return torch.where(_some(greyed, self.grey), luma(y), y) if self.grey else y

    def _jittered(self, x: Tensor, draws: Tensor) -> Tensor:
        changes = self.brightness or self.contrast or self.saturation or self.hue
        if (changes or self.grey) and x.shape[1] != 3:
            raise ValueError(
                f"Augment: colour jitter wants RGB, got {x.shape[1]} channels; set its four options and grey to 0"
            )
        if not changes:
            return x
        symmetric = (2 * draws - 1)[..., None, None, None]  # (N, 4, 1, 1, 1) in [-1, 1)
        strengths = constant((self.brightness, self.contrast, self.saturation), x.device, draws.dtype)
        factors = (1 + strengths[:, None, None, None] * symmetric[:, :3]).clamp(min=0)
        if self.brightness:
            x = brightness(x, factors[:, 0])
        if self.contrast:
            x = contrast(x, factors[:, 1])
        if self.saturation:
            x = saturation(x, factors[:, 2])
        return hue(x, self.hue * symmetric[:, 3]) if self.hue else x


def luma(x: Tensor) -> Tensor:
    """Weigh RGB (N, 3, H, W) to brightness (N, 1, H, W)."""
    red, green, blue = (x * constant(LUMA, x.device, x.dtype)[:, None, None]).chunk(3, dim=1)
    return red + green + blue


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Scale RGB (N, 3, H, W) in [0, 1] by each sample's factor (N, 1, 1, 1) >= 0; 1 changes nothing."""
    return (x * factor).clamp_(0, 1)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Move every pixel away from (or towards) the image's mean luma; factors as in `brightness`."""
    return torch.lerp(luma(x).mean((-1, -2), keepdim=True), x, factor).clamp_(0, 1)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Move every pixel away from (or towards) its own luma; factors as in `brightness`."""
    return torch.lerp(luma(x), x, factor).clamp_(0, 1)


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the HSV colour wheel by each sample's share of a turn (N, 1, 1, 1); 0 changes nothing."""
    red, green, blue = x.chunk(3, dim=1)
    top, bottom = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = top - bottom
    safe = chroma.clamp(min=1e-12)  # a grey pixel has no hue; its differences are 0, so any divisor will do
    of_red, of_green, of_blue = (green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4
    sextant = torch.where(top == red, of_red, torch.where(top == green, of_green, of_blue)) + 6 * turn
    offsets = 5 - 2 * torch.arange(3, device=x.device).view(3, 1, 1)  # of red, green, blue on the wheel of six
    place = (sextant + offsets).remainder(6)
    return top - chroma * torch.minimum(place, 4 - place).clamp(0, 1)


def _some(uniform: Tensor, share: float) -> Tensor:
    """Choose a share of the samples by uniforms (N,): bool (N, 1, 1, 1)."""
    return (uniform < share)[:, None, None, None]
