"""Where a picture changes: edges and corners, from its brightness alone."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from pretext.ops.constants import constant

LUMA = (0.2989, 0.587, 0.114)  # ITU-R BT.601
REACH = 3  # deviations after which a Gaussian is cut off
_SMOOTH = (3 / 16, 10 / 16, 3 / 16)  # across Scharr's difference, which turns with the picture better than Sobel's


def edge_strength(x: Tensor, sigma: float = 1.0) -> Tensor:
    """Measure how fast brightness changes per pixel after a blur of `sigma` pixels: (N, 3, H, W) to (N, 1, H, W).

    This is Canny's first half, without thinning and thresholds. A ramp of slope g gives g everywhere within it.
    """
    across, down = _slopes(blur(_brightness(x), sigma))
    return _root(across.square() + down.square())


def corner_strength(x: Tensor, sigma: float = 1.0, window: float = 2.0) -> Tensor:
    """Measure corners: the root of the smaller eigenvalue of the structure tensor (Shi and Tomasi 1994), (N, 1, H, W).

    It is the least slope that a window around a pixel has in any direction: 0 on flat areas and along straight edges.

    Args:
        x: (N, 3, H, W).
        sigma: of the blur before slopes are taken, in pixels.
        window: deviation of the Gaussian window, in pixels.

    """
    across, down = _slopes(blur(_brightness(x), sigma))
    xx, xy, yy = (blur(part, window) for part in (across.square(), across * down, down.square()))
    return _root((xx + yy - ((xx - yy).square() + 4 * xy.square()).sqrt()) / 2)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Blur (N, C, H, W) by a Gaussian of `sigma` pixels, with the border repeated; 0 changes nothing."""
    if sigma == 0:
        return x
    reach = math.ceil(REACH * sigma)
    weights = [math.exp(-((k / sigma) ** 2) / 2) for k in range(-reach, reach + 1)]
    taps = constant(tuple(weight / math.fsum(weights) for weight in weights), x.device, x.dtype)
    return _convolve(_convolve(x, taps[:, None]), taps[None])


def _brightness(x: Tensor) -> Tensor:
    """Weigh colours to (N, 1, H, W), in float32: slopes are small differences."""
    x = x.float()
    return (x * constant(LUMA, x.device, x.dtype)[:, None, None]).sum(1, keepdim=True)


def _slopes(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Take the slopes to the right and down, per pixel, by Scharr's differences; on the border they are one-sided."""
    step, smooth = (constant(taps, grey.device, grey.dtype) for taps in ((-0.5, 0.0, 0.5), _SMOOTH))
    return _convolve(grey, smooth[:, None] * step), _convolve(grey, step[:, None] * smooth)


def _convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate each channel with a kernel (h, w) of odd sides."""
    down, across = (side // 2 for side in kernel.shape)
    padded = F.pad(x, (across, across, down, down), mode="replicate")
    return F.conv2d(padded, kernel.expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])


def _root(square: Tensor) -> Tensor:
    """Take the root of what is 0 or more but for rounding."""
    return square.clamp(min=0).sqrt()
