"""Resampling as matrices: area, bilinear, bicubic and Lanczos, antialiased, as Pillow resizes."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from pretext.ops.constants import kept

KERNELS = ("area", "bilinear", "bicubic", "lanczos")

SUPPORT = {"area": 0.5, "bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}  # where each kernel ends, in pixels
CUBIC = -0.5  # slope of the bicubic kernel at distance 1: Keys' choice, which reproduces quadratics


def resampling_matrix(size_in: int, size_out: int, kernel: str) -> Tensor:
    """Make the matrix that resamples a line of pixels: (size_out, size_in) float32, each row of which sums to 1.

    The same as `PIL.Image.resize` with BOX, BILINEAR, BICUBIC or LANCZOS: pixel i spans [i, i + 1], both lines span
    the same length, and the kernel is stretched by the factor of shrinking, so that nothing aliases. At the border the
    rest of the kernel is scaled up. Bicubic and Lanczos weights can be negative, so the result can leave [0, 1].

    Raises:
        ValueError: a size is below 1 or the kernel is none of `KERNELS`.

    """
    return shared_matrix(size_in, size_out, kernel, torch.device("cpu")).clone()  # the cache keeps its own


def resample(x: Tensor, height: int, width: int, kernel: str) -> Tensor:
    """Resample (N, C, H, W) to (N, C, height, width): two matrix products in float32, in x's dtype, not clamped."""
    rows = shared_matrix(x.shape[-2], height, kernel, x.device)
    columns = shared_matrix(x.shape[-1], width, kernel, x.device)
    return _apply(x, rows, columns)


def resample_any(x: Tensor, height: int, width: int, which: Tensor) -> Tensor:
    """Resample as `resample` with the `which`-th of `KERNELS`, () int64 on its device: no wait for its value."""
    which = which.view(1)  # indexing by a tensor without dimensions would read its value on the host
    rows = _lines(x.shape[-2], height, x.device).index_select(0, which)[0]
    columns = _lines(x.shape[-1], width, x.device).index_select(0, which)[0]
    return _apply(x, rows, columns)


def pixelated(x: Tensor, share: float, area: tuple[float, float], rng: Generator) -> Tensor:
    """Shrink a random share of square images (M, C, S, S) and blow them up again, each to its own side.

    Args:
        x: float32.
        share: of the images that lose resolution.
        area: the least and the most that a shrunk image has of the area of the whole; it is drawn uniformly.
        rng: draws which, and how far.

    """
    side, (least, most) = x.shape[-1], area
    if share == 0 or side < 3:
        return x
    drawn, uniform = torch.rand(2, len(x), generator=rng, device=x.device)
    shrunk = (side * (least + (most - least) * uniform).sqrt()).round().long().clamp(2, side - 1)
    rows = _blurs(side, x.device)[shrunk - 2].unsqueeze(1)  # (M, 1, S, S)
    with torch.autocast(x.device.type, enabled=False):
        coarse = rows @ x @ rows.mT
    return torch.where(drawn.view(-1, 1, 1, 1) < share, coarse, x)


@kept
def _blurs(side: int, device: torch.device) -> Tensor:
    """Stack the matrices that shrink `side` pixels to 2 ... side - 1 and blow them up again: (side - 2, side, side)."""
    with torch.inference_mode(False):  # the cache outlives the mode, in which no tensor for training can be made
        ways = [
            resampling_matrix(few, side, "bilinear") @ resampling_matrix(side, few, "bilinear")
            for few in range(2, side)
        ]
        return torch.stack(ways).to(device)


def _apply(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply from both sides; without autocast, which would round a picture to 8 bits of mantissa."""
    with torch.autocast(x.device.type, enabled=False):
        return (rows @ (x.float() @ columns.mT)).to(x.dtype)


@kept
def shared_matrix(size_in: int, size_out: int, kernel: str, device: torch.device) -> Tensor:
    """Keep a `resampling_matrix` on a device, so that no step copies it there again. Never write to it."""
    if size_in < 1 or size_out < 1:
        raise ValueError(f"resample: {size_in} pixels to {size_out} asked for; ask for at least 1 of each")
    if kernel not in KERNELS:
        raise ValueError(f"resample: there is no kernel {kernel!r}; choose one of {', '.join(KERNELS)}")
    # A tensor born in inference mode could not take part in a backward pass later, and the cache outlives the mode.
    with torch.inference_mode(False):
        scale = size_in / size_out
        stretch = max(scale, 1.0)
        centre = (torch.arange(size_out, dtype=torch.float64) + 0.5) * scale
        distance = (torch.arange(size_in, dtype=torch.float64) - centre[:, None] + 0.5) * (1 / stretch)
        weights = _weigh(distance, kernel)
        return (weights / weights.sum(1, keepdim=True)).float().to(device)


@kept
def _lines(size_in: int, size_out: int, device: torch.device) -> Tensor:
    """Stack the matrices of all `KERNELS`: (4, size_out, size_in)."""
    with torch.inference_mode(False):
        return torch.stack([shared_matrix(size_in, size_out, kernel, device) for kernel in KERNELS])


def _weigh(distance: Tensor, kernel: str) -> Tensor:
    """Evaluate a kernel at signed distances in (stretched) pixels."""
    d = distance.abs()
    if kernel == "area":  # half open, as Pillow's, so that a pixel on the border of two cells belongs to one of them
        return ((distance > -SUPPORT[kernel]) & (distance <= SUPPORT[kernel])).to(d)
    if kernel == "bilinear":
        return (1 - d).clamp(min=0)
    if kernel == "bicubic":
        near = ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1
        far = ((d - 5) * d + 8) * d * CUBIC - 4 * CUBIC
        return torch.where(d < 1, near, torch.where(d < SUPPORT[kernel], far, 0))
    window = torch.sinc(d / SUPPORT[kernel])
    return torch.where(d < SUPPORT[kernel], torch.sinc(d) * window, 0)
