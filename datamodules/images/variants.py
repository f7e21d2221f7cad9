"""Other domains of the same pictures: grey, negative, edges, JPEG, blur, night."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate, pad

Variant = Literal["grey", "negative", "edges", "jpeg", "blur", "night"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
_LUMA = (0.299, 0.587, 0.114)
_QUALITY = 5  # of JPEG: blocks and false colours that one sees at once
_STEEP = 4.0  # how much of black a change of brightness makes in "edges"
_BLUR = 8  # blurred over so many parts of a side
_MOON = (0.16, 0.22, 0.34)  # what little light is left of each colour at night
_TINT, _CONTRAST = 0.4, 0.2  # of patches: range of colours, largest standard deviation
_GRAIN = 0.04  # standard deviation of a sensor's noise at night


def varied(x: Tensor, variant: Variant, index: Tensor) -> Tensor:
    """Change the domain of pictures (N, 3, H, W) uint8; `index` (N,) is the key of each one's noise, where it has any.

    - "grey": brightness alone. "negative": bright for dark.
    - "edges": dark lines on white where the brightness changes.
    - "jpeg": compressed until blocks show. "blur": out of focus, over an eighth of the side.
    - "night": dark, bluish, less contrast in the shadows, and a sensor's noise, the same one for an item for ever.
    """
    if variant == "jpeg":
        return _compressed(x)
    unit = x.float() / 255
    changed = _night(unit, index) if variant == "night" else _CHANGES[variant](unit)
    return (changed * 255).round().clamp(0, 255).to(torch.uint8).expand_as(x).contiguous()


def patches(count: int, side: int, generator: Generator) -> Tensor:
    """Draw what small pieces of photos are like: (N, 3, S, S) in [0, 1].

    A brightness and a tint of their own, and on top colour noise at all scales, each twice as strong as the next finer
    one: coarse noise makes areas with soft borders, fine noise texture. How much of it there is differs too.
    """
    total, cells, weight = torch.zeros(count, 3, side, side), 2, 1.0
    while cells <= side:
        layer = torch.rand(count, 3, cells, cells, generator=generator) - 0.5
        total += weight * interpolate(layer, (side, side), mode="bicubic", align_corners=False)
        cells, weight = 2 * cells, weight / 2
    spread = total.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
    light, contrast = (torch.rand(count, 1, 1, 1, generator=generator) for _ in range(2))
    tint = torch.rand(count, 3, 1, 1, generator=generator) - 0.5
    return (light + _TINT * tint + _CONTRAST * contrast * total / spread).clamp(0, 1)


def _grey(x: Tensor) -> Tensor:
    return (x * torch.tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)


def _edges(x: Tensor) -> Tensor:
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    slopes = conv2d(pad(_grey(x), (1, 1, 1, 1), mode="replicate"), torch.stack([sobel, sobel.T])[:, None])
    return 1 - _STEEP * slopes.square().sum(1, keepdim=True).sqrt()


def _blurred(x: Tensor) -> Tensor:
    """Average over a square three times, which is close to a Gaussian."""
    reach = max(1, x.shape[-1] // (2 * _BLUR))
    for _ in range(3):
        x = avg_pool2d(pad(x, (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1)
    return x


def _night(x: Tensor, index: Tensor) -> Tensor:
    noise = [torch.randn(x.shape[1:], generator=Generator().manual_seed(item)) for item in index.tolist()]
    return x.square() * torch.tensor(_MOON).view(3, 1, 1) + _GRAIN * torch.stack(noise)


def _compressed(x: Tensor) -> Tensor:
    pictures = []
    for one in x.permute(0, 2, 3, 1).cpu().numpy():
        file = BytesIO()
        Image.fromarray(one).save(file, "JPEG", quality=_QUALITY)
        with Image.open(file) as opened:
            pictures.append(np.asarray(opened))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "grey": _grey,
    "negative": lambda x: 1 - x,
    "edges": _edges,
    "blur": _blurred,
}
