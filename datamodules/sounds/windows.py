"""Windows of sounds: the decoder of audio files, which keeps whole sounds while there is room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datamodules.decoder import Decoder, Parts, State
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
    """Windows of sound, int16 (N, 1, L), cut out of whole sounds of which so many bytes are kept."""

    def __init__(self, how: Hearing, cache: int) -> None:
        self.how, self.clips = how, how.clips
        self._kept = Kept(cache)

    def settings(self) -> tuple[Any, ...]:
        return (_VERSION, self.how.rate, self.how.length, self.how.clips)

    def facts(self, name: str, label: Any, state: State) -> tuple[Any, ...]:
        return (name, label, state)

    def blank(self, rows: int, pick: Pick) -> Parts:
        return {"audio": np.empty((rows, 1, self.how.length), np.int16)}

    def ready(self, positions: Tensor, pick: Pick) -> Parts | None:
        return None

    def load(self, file: Path, position: int, pick: Pick, rows: Parts) -> str | None:
        lengths: list[float] = []
        wave = self._wave(file, position, lengths.append)
        for (row,), start in zip(rows["audio"], self._starts(len(wave), position, pick), strict=True):
            window = wave[start : start + len(row)]
            # As many zeros before as after, or they would tell which way time runs; of an odd number one has to go
            # somewhere, on either side equally often.
            lead = (len(row) - len(window) + (uniform("pad", position) < 0.5)) // 2
            row[:] = 0
            row[lead : lead + len(window)] = window
        return f"in part: the file is cut off, and used up to {lengths[0]:.3f} s" if lengths else None

    def _wave(self, file: Path, position: int, on_cut: Callable[[float], None]) -> Samples:
        """Fetch or decode a whole sound, without the zeros at its ends."""
        if position in self._kept.waves:
            return self._kept.waves[position]
        wave = read_sound(file, self.how.rate, on_cut)
        heard = np.flatnonzero(wave)
        if not len(heard):
            raise DataError("silent: all samples are zero")
        wave = wave[heard[0] : heard[-1] + 1].copy()
        self._kept.put(position, wave)
        return wave

    def _starts(self, length: int, position: int, pick: Pick) -> list[int]:
        """Choose where an item's windows begin: a random place is a pure function of seed, epoch and item."""
        free, clips = max(0, length - self.how.length), self.how.clips
        if pick == "centre" or (pick == "spread" and clips == 1):
            return [free // 2]
        if pick == "spread":
            return [round(k * free / (clips - 1)) for k in range(clips)]
        return [int(uniform("window", *pick, position) * (free + 1))]


@final
class Kept:
    """Whole sounds in memory, by position, while there is room (bytes)."""

    def __init__(self, room: int) -> None:
        self.waves: dict[int, Samples] = {}
        self.room = room
        self._lock = Lock()

    def put(self, position: int, wave: Samples) -> None:
        """Keep a sound if it fits."""
        with self._lock:
            if position not in self.waves and wave.nbytes <= self.room:
                self.waves[position] = wave
                self.room -= wave.nbytes
