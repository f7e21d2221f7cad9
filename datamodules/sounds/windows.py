"""Windows of sounds: the decoder of audio files, which keeps whole sounds while there is room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import av
import numpy as np
from numpy.typing import NDArray

from datamodules.decoder import Decoder, Keep, Parts, State
from datamodules.draws import uniform
from datamodules.errors import DataError, require
from datamodules.loader import Pick
from datamodules.media.sound import read_sound

Samples = NDArray[np.int16]

_VERSION = 3  # of batches: raise it when the same files make others


@dataclass(frozen=True)
class Hearing:
    """How a sound becomes windows."""

    rate: int
    """Samples per second."""
    length: int
    """Samples of a window."""
    clips: int
    """Windows of each sound for probing."""

    def check(self, owner: object) -> None:
        """Refuse what is out of range, in the name of a data module."""
        require(owner, self.rate >= 1, f"rate={self.rate}", "at least 1")
        require(owner, self.length >= 1, f"windows of {self.length} samples", "at least 1")
        require(owner, self.clips >= 1, f"clips={self.clips}", "at least 1")


@final
class SoundWindows(Decoder):
    """Windows of sound, int16 (N, 1, L), cut out of whole sounds."""

    def __init__(self, how: Hearing) -> None:
        self.how, self.clips = how, how.clips

    def settings(self) -> tuple[Any, ...]:
        return (_VERSION, self.how.rate, self.how.length, self.how.clips)

    def facts(self, name: str, label: Any, state: State) -> tuple[Any, ...]:
        return (name, label, state)

    def blank(self, rows: int, pick: Pick) -> Parts:
        return {"audio": np.empty((rows, 1, self.how.length), np.int16)}

    def kept(self) -> tuple[Any, ...]:
        return ("sounds", _VERSION, av.__version__, self.how.rate)

    def load(self, file: Path, position: int, pick: Pick, rows: Parts, keep: Keep) -> str | None:
        cut: list[float] = []  # where the file is cut off: such a sound is not kept, or that would not be told again
        wave = keep(lambda: _heard(file, self.how.rate, cut.append), lambda: not cut).view(np.int16)
        for (row,), start in zip(rows["audio"], self._starts(len(wave), position, pick), strict=True):
            window = wave[start : start + len(row)]
            # As many zeros before as after, or they would tell which way time runs; of an odd number one has to go
            # somewhere, on either side equally often.
            lead = (len(row) - len(window) + (uniform("pad", position) < 0.5)) // 2
            row[:] = 0
            row[lead : lead + len(window)] = window
        return f"in part: the file is cut off, and used up to {cut[0]:.3f} s" if cut else None

    def _starts(self, length: int, position: int, pick: Pick) -> list[int]:
        """Choose where an item's windows begin: a random place is a pure function of seed, epoch and item."""
        free, clips = max(0, length - self.how.length), self.how.clips
        if pick == "centre" or (pick == "spread" and clips == 1):
            return [free // 2]
        if pick == "spread":
            return [round(k * free / (clips - 1)) for k in range(clips)]
        return [int(uniform("window", *pick, position) * (free + 1))]


def _heard(file: Path, rate: int, on_cut: Callable[[float], None]) -> Samples:
    """Decode a whole sound, without the zeros at its ends."""
    wave = read_sound(file, rate, on_cut)
    heard = np.flatnonzero(wave)
    if not len(heard):
        raise DataError("silent: all samples are zero")
    return wave[heard[0] : heard[-1] + 1].copy()
