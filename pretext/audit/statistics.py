"""Trivial statistics of what a backbone is shown: pictures (M, C, H, W), clips (M, C, T, H, W), sounds (M, 1, L).

Each function gives a row of numbers (M, D) for each, as many whatever its size, or None where there is nothing of the
kind to measure.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

PARTS = 16  # of a sound, in time
STEPS = 8  # of a clip, in time
BLOCK = 8  # pixels of a side, of JPEG
BANDS = 8  # of spatial frequency, in the upper half of the spectrum
QUIET = 1e-3  # of full scale, 60 dB down: called silence
SAME = 1 / 255  # a grey level: what changes less stands still
FLOOR = 1e-6


def nothing(x: Tensor) -> Tensor:
    """Give a zero: all that is left is what the head is given, and which answers are common."""
    return x.new_zeros(len(x), 1)


def moments(x: Tensor) -> Tensor:
    """Give the mean and the deviation of each channel."""
    flat = x.flatten(2).float()
    return torch.cat((flat.mean(2), flat.std(2, correction=0)), 1)


def energy(x: Tensor) -> Tensor | None:
    """Give how much a clip moves from frame to frame, or how loud a sound is, in parts of its time; logarithms."""
    if x.ndim == 3:
        return _loudness(x)
    if x.ndim != 5 or x.shape[2] < 2:
        return None
    change = x.float().diff(dim=2).abs().mean((1, 3, 4))
    return (functional.adaptive_avg_pool1d(change, STEPS) + FLOOR).log()


def stillness(x: Tensor) -> Tensor | None:
    """Give which share of the pixels of a clip stands still, or of the samples of a sound is silent, in parts."""
    if x.ndim == 3:
        return functional.adaptive_avg_pool1d((x.abs() < QUIET).float(), PARTS).squeeze(1)
    if x.ndim != 5 or x.shape[2] < 2:
        return None
    still = (x.float().diff(dim=2).abs() < SAME).float().mean((1, 3, 4))
    return functional.adaptive_avg_pool1d(still, STEPS)


def fade(x: Tensor) -> Tensor | None:
    """Give how bright a clip or how loud a sound begins and ends, beside its middle."""
    if x.ndim == 3:
        level = _loudness(x)
    elif x.ndim == 5 and x.shape[2] > 2:
        level = x.float().mean((1, 3, 4))
    else:
        return None
    ends, middle = level[:, [0, -1]], level[:, 1:-1].mean(1, keepdim=True)
    return ends - middle


def blocks(x: Tensor) -> Tensor | None:
    """Give how much neighbouring rows and columns differ, by their place modulo 8, beside the mean over all places."""
    pictures = _grey(x)
    if pictures is None or min(pictures.shape[-2:]) <= 2 * BLOCK:
        return None
    lines = (pictures.diff(dim=-2).abs().mean(-1), pictures.diff(dim=-1).abs().mean(-2))
    return _by_item(torch.cat([_by_phase(line) for line in lines], -1), len(x))


def spectrum(x: Tensor) -> Tensor | None:
    """Give the power in rings of high spatial frequency beside all there is: what shrinking and enlarging leave."""
    pictures = _grey(x)
    if pictures is None or min(pictures.shape[-2:]) < BLOCK:
        return None
    power = torch.fft.rfft2(pictures - pictures.mean((-2, -1), keepdim=True)).abs().square()
    rows, columns = torch.fft.fftfreq(pictures.shape[-2]), torch.fft.rfftfreq(pictures.shape[-1])
    radius = torch.hypot(rows[:, None], columns).to(x.device)
    ring = ((radius - 0.25) / 0.25 * BANDS).long()  # from a quarter of the sampling rate to a half
    rings = (ring == torch.arange(BANDS, device=x.device)[:, None, None]) & (radius >= 0.25)
    each = (power.unsqueeze(1) * rings).sum((-2, -1)) / rings.sum((-2, -1)).clamp(min=1)
    shares = (each / power.mean((-2, -1)).clamp(min=FLOOR)[:, None] + FLOOR).log()
    return _by_item(shares, len(x))


def _loudness(x: Tensor) -> Tensor:
    """Tell how loud each part of sounds (M, 1, L) is, as a logarithm."""
    power = functional.adaptive_avg_pool1d(x.float().square(), PARTS).squeeze(1)
    return (power + FLOOR**2).log() / 2


def _grey(x: Tensor) -> Tensor | None:
    """Take pictures (M T, H, W) in one channel out of pictures or clips; there are none in sounds and in flow."""
    if x.ndim not in (4, 5) or x.shape[1] == 2:
        return None
    grey = x.float().mean(1)
    return grey if x.ndim == 4 else grey.flatten(0, 1)


def _by_phase(differences: Tensor) -> Tensor:
    """Average differences (M, K) of neighbouring lines over those at the same place modulo 8: (M, 8), less 1."""
    count = differences.shape[1] // BLOCK
    whole = differences[:, : count * BLOCK].reshape(-1, count, BLOCK).mean(1)
    return whole / whole.mean(1, keepdim=True).clamp(min=FLOOR) - 1


def _by_item(rows: Tensor, items: int) -> Tensor:
    """Average the rows of each clip's frames, clip by clip; a picture has one."""
    return rows.view(items, -1, rows.shape[1]).mean(1)
