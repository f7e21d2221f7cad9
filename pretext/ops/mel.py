"""Sound as a picture: how loud each band of pitches is, moment by moment."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pretext.ops.filter_bank import melscale_fbanks

FLOOR = 1e-8  # power, of a full-scale sine: -80 dB, below what 16 bits and most microphones hold


class LogMel(nn.Module):
    """Waveforms (N, 1, L) in [-1, 1] to log-mel spectrograms (N, 1, bands, frames), low pitch first.

    Frame i is of the samples from `i * hop` on, `window` long, and nothing else: nothing is padded, so the ends of a
    waveform look like any other place, and a waveform that is moved by whole hops has the same frames. The loudness of
    a band is in decibels of a full-scale sine, so that the same sound is the same picture whatever surrounds it: there
    is no normalisation by item, which would tell one part of a waveform of the others. Silence is -80 dB.

    Args:
        rate: samples per second of the waveforms.
        window: seconds of sound in a frame, under Hann's window.
        hop: seconds between the beginnings of frames.
        bands: triangular, evenly spaced in mel (HTK's).
        low: pitch where the lowest band begins, in Hz; the highest ends at half the rate.
        mean: in decibels, subtracted; by default about that of everyday recordings (ESC-10 -57, talking faces -52).
        spread: in decibels, divided by; by default about their standard deviation (19 and 16).

    Raises:
        ValueError: an argument is out of its range, or the window is too short to tell so many bands apart.

    """

    filters: Tensor

    def __init__(
        self,
        rate: int = 16000,
        window: float = 0.025,
        hop: float = 0.01,
        bands: int = 64,
        low: float = 60.0,
        mean: float = -55.0,
        spread: float = 18.0,
    ) -> None:
        super().__init__()
        self.window, self.hop = round(window * rate), round(hop * rate)  # in samples
        if self.window < 2 or self.hop < 1 or bands < 1 or spread <= 0 or not 0 <= low < rate / 2:
            raise ValueError(
                f"LogMel: needs a window of at least 2 samples, a hop of 1, one band, a spread above 0 and low below "
                f"half the rate; got window={window} ({self.window} samples), hop={hop} ({self.hop}), bands={bands}, "
                f"spread={spread}, low={low}, rate={rate}"
            )
        if _narrowest(low, rate / 2, bands) <= rate / self.window:
            raise ValueError(
                f"LogMel: a window of {window} s tells pitches {rate / self.window:.3g} Hz apart, which may leave some "
                f"of {bands} bands from {low:g} to {rate / 2:g} Hz empty; take fewer bands, a longer window or a "
                f"higher low"
            )
        self.rate, self.bands, self.low, self.mean, self.spread = rate, bands, low, mean, spread
        filters = melscale_fbanks(self.window // 2 + 1, low, rate / 2, bands, rate)  # (pitches, bands)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Look at waveforms, in float32 at least; the input's dtype is kept.

        Raises:
            TypeError: `x` is not float.
            ValueError: `x` is not (N, 1, L), or shorter than one window.

        """
        if not x.is_floating_point():
            raise TypeError(f"LogMel: reads floats in [-1, 1], got {x.dtype}; divide 16-bit samples by 32768")
        if x.ndim != 3 or x.shape[1] != 1 or x.shape[2] < self.window:
            raise ValueError(
                f"LogMel: reads waveforms (N, 1, L) of at least {self.window} samples ({self.window / self.rate:g} s "
                f"at {self.rate} Hz), got {tuple(x.shape)}; give longer clips, or mix channels down to one"
            )
        exact = torch.promote_types(x.dtype, torch.float32)  # powers span more than bfloat16 can hold
        with torch.autocast(x.device.type, enabled=False):
            hann = torch.hann_window(self.window, dtype=exact, device=x.device)
            spectra = torch.stft(
                x[:, 0].to(exact), self.window, self.hop, window=hann, center=False, return_complex=True
            )
            power = (spectra.real.square() + spectra.imag.square()) / (hann.sum() / 2) ** 2  # of a full-scale sine: 1
            loudness = 10 * torch.log10(self.filters.to(exact).mT @ power + FLOOR)  # (N, bands, frames)
        return ((loudness - self.mean) / self.spread)[:, None].to(x.dtype)

    def extra_repr(self) -> str:
        window, hop = self.window / self.rate, self.hop / self.rate
        scale = f"mean={self.mean}, spread={self.spread}"
        return f"rate={self.rate}, window={window}, hop={hop}, bands={self.bands}, low={self.low}, {scale}"


def _narrowest(low: float, high: float, bands: int) -> float:
    """Find the width in Hz of the lowest band, which is the narrowest."""
    ends = torch.tensor([low, high], dtype=torch.float64)
    first, last = (2595 * torch.log10(1 + ends / 700)).tolist()
    return float(700 * 10 ** ((first + 2 * (last - first) / (bands + 1)) / 2595) - 700 - low)
