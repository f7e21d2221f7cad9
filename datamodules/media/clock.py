"""When packets of sound begin where a container rounds their stamps, as Matroska and FLV do to milliseconds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from math import ceil
from pathlib import Path

import av

from datamodules.media.containers import open_media, read_only, tick_of, track_of

_HEAD = 96  # packets that are looked at: the more, the closer do their rounded stamps tell when the first one begins
_FRAMES = 3  # frames that are decoded: the first may be cut short, where a codec begins with what is no sound
_EPS = 1e-6


@dataclass(frozen=True)
class Clock:
    """A track of packets that are all equally long: the second frame begins at `begin`, each next one `step` later.

    Args:
        begin: seconds.
        step: seconds.
        samples: of a frame.
        tick: seconds to which stamps are rounded.

    """

    begin: float
    step: float
    samples: int
    tick: float

    def exact(self, stamps: list[float], samples: list[int]) -> list[float]:
        """Tell when successive frames of so many samples begin whose rounded stamps we know.

        A stamp that is off stays as it is.
        """
        times = [
            self._nearest(stamp) if count <= self.samples else stamp
            for stamp, count in zip(stamps, samples, strict=True)
        ]
        if len(times) > 1 and samples[0] < self.samples:  # of the first frame the beginning was dropped, not the end
            time = times[1] - samples[0] * self.step / self.samples
            times[0] = time if abs(stamps[0] - time) <= self._near else stamps[0]
        return times

    @property
    def _near(self) -> float:
        return 1.01 * self.tick  # a stamp is rounded, and perhaps moved by a delay that is rounded too

    def _nearest(self, stamp: float) -> float:
        time = self.begin + round((stamp - self.begin) / self.step) * self.step
        return time if abs(stamp - time) <= self._near else stamp


def clock_of(path: Path) -> Clock | None:
    """Find the clock of a file's sound; None where its packets differ in length. A file is looked at once."""
    state = path.stat()
    return _clock_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=10_000)
def _clock_of(path: Path, size: int, changed: int) -> Clock | None:
    """Find the clock of a file as it was at some time.

    Stamps that are rounded to whole ticks leave a range for the beginning of the sound, mostly a small one. Out of it
    we take a whole tick, if there is one, since nearly all sounds begin at one; else the middle.
    """
    with open_media(path, pictures=False) as container:
        track = track_of(container)
        track.codec_context.thread_count = 1
        tick, rate = tick_of(track), track.rate
        read_only(container, track)
        stamps, frames = _head(container, track)
    if len(frames) < _FRAMES or len({samples for _, samples in frames[1:]}) > 1 or frames[1][0] not in stamps:
        return None
    samples = frames[1][1]
    step = samples / rate / tick
    offsets = [stamp - k * step for k, stamp in enumerate(stamps)]
    if max(offsets) - min(offsets) > 1 + _EPS:  # not one after the other, or not equally long
        return None
    second = stamps.index(frames[1][0]) * step
    lead = second - frames[0][1] / rate / tick  # from the first packet to the first sample that is heard
    low, high = max(offsets) - 0.5 + lead, min(offsets) + 0.5 + lead
    tidy = ceil(low - _EPS)
    begin = tidy if tidy <= high + _EPS else (low + high) / 2
    return Clock((begin - lead + second) * tick, step * tick, samples, tick)


def _head(container: av.container.InputContainer, track: av.AudioStream) -> tuple[list[int], list[tuple[int, int]]]:
    """Read the stamps of the first packets, and stamp and length of the first frames."""
    stamps: list[int] = []
    frames: list[tuple[int, int]] = []
    for packet in islice(container.demux(track), _HEAD):
        if packet.pts is not None:
            stamps.append(packet.pts)
        if len(frames) < _FRAMES:
            try:
                frames += [(frame.pts, frame.samples) for frame in packet.decode() if frame.pts is not None]
            except av.error.InvalidDataError:  # a damaged beginning: what is behind it may be whole
                break
    return stamps, frames
