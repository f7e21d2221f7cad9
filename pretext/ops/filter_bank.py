"""Triangular bands, evenly spaced in mel: torchaudio's where it can be imported, else our own, which equals it."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Scale = Literal["htk", "slaney"]
# Slaney's scale is linear up to 1000 Hz, 200/3 Hz a mel, and then logarithmic, 27 mel for a factor of 6.4.
LINEAR, BREAK, STEP = 200 / 3, 1000.0, math.log(6.4) / 27


def melscale_fbanks(
    n_freqs: int,
    f_min: float,
    f_max: float,
    n_mels: int,
    sample_rate: int,
    norm: Literal["slaney"] | None = None,
    mel_scale: Scale = "htk",
) -> Tensor:
    """Weigh frequencies (n_freqs, from 0 to half the rate) by band: (n_freqs, n_mels), as torchaudio's function does.

    torchaudio's last release is built for one version of CUDA and refuses to load beside torch for another one. It says
    so by an OSError or a RuntimeError where it does not find a symbol or compares versions, so both count as missing.

    Args:
        n_freqs: how many frequencies.
        f_min: where the lowest band begins, in Hz.
        f_max: where the highest band ends, in Hz.
        n_mels: how many bands.
        sample_rate: samples per second.
        norm: "slaney" gives every band the same area instead of the same height.
        mel_scale: HTK's scale or Slaney's.

    """
    options = (n_freqs, f_min, f_max, n_mels, sample_rate, norm, mel_scale)
    try:
        from torchaudio import functional
    except (ImportError, OSError, RuntimeError):
        return own_fbanks(*options)
    bank: Tensor = functional.melscale_fbanks(*options)
    return bank


def own_fbanks(
    n_freqs: int,
    f_min: float,
    f_max: float,
    n_mels: int,
    sample_rate: int,
    norm: Literal["slaney"] | None = None,
    mel_scale: Scale = "htk",
) -> Tensor:
    """Do the same without torchaudio, in float32 as it does."""
    pitches = torch.linspace(0, sample_rate // 2, n_freqs)
    mels = torch.linspace(_mel(f_min, mel_scale), _mel(f_max, mel_scale), n_mels + 2)
    corners = _hertz(mels, mel_scale)  # band i rises from corner i to corner i + 1 and falls to corner i + 2
    widths = corners.diff()
    slopes = corners[None] - pitches[:, None]  # (n_freqs, n_mels + 2)
    bank = torch.minimum(-slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]).clamp(min=0)
    return bank * (2 / (corners[2:] - corners[:-2])) if norm == "slaney" else bank


def _mel(hertz: float, scale: Scale) -> float:
    if scale == "htk":
        return 2595 * math.log10(1 + hertz / 700)
    return hertz / LINEAR if hertz < BREAK else BREAK / LINEAR + math.log(hertz / BREAK) / STEP


def _hertz(mels: Tensor, scale: Scale) -> Tensor:
    if scale == "htk":
        return 700 * (10 ** (mels / 2595) - 1)
    above = BREAK * torch.exp(STEP * (mels - BREAK / LINEAR))
    return torch.where(mels < BREAK / LINEAR, LINEAR * mels, above)
