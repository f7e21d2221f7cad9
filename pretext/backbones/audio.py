"""A network for sound: a log-mel spectrogram, and any network for images behind it."""

from __future__ import annotations

import math

from torch import Tensor

from pretext.core.types import Backbone, Features
from pretext.ops.mel import FLOOR, LogMel

RANGE = -10 * math.log10(FLOOR)  # decibels, from silence to a full-scale sine


class Sound(Backbone):
    """A network for images that reads waveforms (N, 1, L) in [-1, 1] as pictures: three equal channels of log-mel.

    Silence is 0 and a full-scale sine about 1, so that the network gets what it is made for and normalises it as it
    does any image; everyday recordings have a mean of 0.3 and a deviation of 0.2. Height is pitch, low first, width is
    time. Stages keep the network's names and are (N, D, bands', frames'). Nothing is padded and nothing normalised by
    item (see `LogMel`); any waveform of at least one window will do whose picture the network does not pool away.

    Args:
        net: reads images, such as `TorchVision`.
        rate: samples per second, as the data module delivers them.
        bands: height of the picture.
        window: seconds of sound in one column.
        hop: seconds between columns.
        low: pitch where the lowest band begins, in Hz; the highest ends at half the rate.

    Raises:
        ValueError: `net` does not read images, or an argument is out of its range.

    """

    axes = "t"

    def __init__(
        self,
        net: Backbone,
        rate: int = 16000,
        bands: int = 64,
        window: float = 0.025,
        hop: float = 0.01,
        low: float = 60.0,
    ) -> None:
        super().__init__()
        if not isinstance(net, Backbone) or net.axes != "hw":
            what = f"reads {net.axes!r}" if isinstance(net, Backbone) else "is no backbone"
            raise ValueError(
                f"Sound: net must be a backbone that reads images ('hw'), but {type(net).__name__} {what}; "
                f"choose one such as TorchVision with stem='small'"
            )
        self.mel = LogMel(rate, window, hop, bands, low, mean=-RANGE, spread=RANGE)
        self.net = net
        self.stages = dict(net.stages)
        self.dim = net.dim

    def forward(self, x: Tensor) -> Features:
        features: Features = self.net(self.picture(x))
        return features

    def picture(self, x: Tensor) -> Tensor:
        """Make what the network sees of waveforms: (N, 3, bands, frames)."""
        mel: Tensor = self.mel(x)
        return mel.expand(-1, 3, -1, -1)
