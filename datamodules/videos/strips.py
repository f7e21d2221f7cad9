"""One video on its grid: the moments that windows are cut at, so that a window is the same from a file or from a cache.

The grid begins where picture and (if asked for) sound both are, and has one frame every 1 / fps. Frame k is the frame
on show at begin + k / fps; the sound that begins with it starts at sample round(k rate / fps) of the grid's sound.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

from datamodules.decoder import Parts
from datamodules.draws import uniform
from datamodules.errors import DataError
from datamodules.loader import Pick
from datamodules.media.video import Video
from datamodules.videos.cutting import CHANNELS, Cutting
from datamodules.videos.flow import central

_SLACK = 0.05  # of a frame that the end may lack: headers round times to milliseconds
_PIECE = 128  # frames decoded at once where a whole video is gone through


class Strip(ABC):
    """A video on its grid, `length` frames of it."""

    length: int
    remark: str | None = None
    """What to tell of a video that is used in part."""

    def __init__(self, how: Cutting) -> None:
        self.how = how

    @abstractmethod
    def stored(self, start: int, count: int) -> Parts:
        """Cut frames out, and the sound that begins with the first, of the modalities that are stored."""

    @abstractmethod
    def motion(self) -> NDArray[np.float32]:
        """Measure the motion between each two successive frames: mean absolute difference of their greys, (F - 1,)."""

    def cut(self, start: int, count: int) -> Parts:
        """Cut a window out, of all modalities."""
        parts = self.stored(start, count)
        if "grey" in self.how.modalities and "grey" not in parts:
            parts["grey"] = luma(parts["rgb"])[:, None]
        return parts

    def starts(self, pick: Pick, item: int, motion: NDArray[np.float32] | None = None) -> list[int]:
        """Choose at which frames to begin: one window or, for "spread", several clips, evenly spaced.

        A random start is a pure function of seed, epoch and item; with `motion`, its probability is proportional to
        the mean motion within the window.
        """
        count = self.how.length(pick)
        first, free = self.how.margin, self.length - count - 2 * self.how.margin
        if free < 0:
            wanted = count + 2 * self.how.margin
            raise DataError(f"too short: {self.length} frames at fps={self.how.fps:g}, but {wanted} are wanted")
        if pick == "centre" or (pick == "spread" and self.how.clips == 1):
            return [first + free // 2]
        if pick == "spread":
            return [first + round(k * free / (self.how.clips - 1)) for k in range(self.how.clips)]
        where = uniform("window", *pick, item)
        if motion is None or count < 2:
            return [first + int(where * (free + 1))]
        sums = np.concatenate([[0.0], motion.cumsum(dtype=np.float64)])
        sums = sums[first + count - 1 : first + count + free] - sums[first : first + free + 1]
        edges = sums.cumsum() if sums.any() else np.arange(1.0, free + 2)  # nothing moves: all alike
        return [first + min(free, bisect_right(edges.tolist(), where * float(edges[-1])))]


class Live(Strip):
    """A strip that is decoded from an open file when it is cut."""

    def __init__(self, video: Video, how: Cutting) -> None:
        super().__init__(how)
        begin, end = video.begin, video.end
        if "audio" in how.modalities:
            if video.sound is None:
                raise DataError("no sound track")
            begin, end = max(begin, video.sound[0]), min(end, video.sound[1])
        self.video, self.begin = video, begin
        self.length = max(0, int((end - begin) * how.fps + _SLACK))
        if video.cut_off:
            self.remark = f"in part: the file is cut off, and used up to {end:.3f} s"

    @property
    def size(self) -> int:
        """Bytes of the whole video, as it is stored."""
        pictures = sum(CHANNELS[name] for name in self.how.stored if name != "audio") * self.how.canvas**2
        return self.length * pictures + 2 * self.how.samples(self.length) * ("audio" in self.how.stored)

    def stored(self, start: int, count: int) -> Parts:
        parts = self._pictures(start, count)
        if "audio" in self.how.stored:
            parts["audio"] = self._sound(self.how.samples(start), self.how.samples(count))
        return parts

    def whole(self) -> Parts:
        """Cut out all that windows are cut from: pictures from frame `margin` on, sound, and what `motion` tells."""
        # Two roundings, of where a window begins and of how long it is, may ask for one sample beyond the end.
        first, count = self.how.margin, max(0, self.length - 2 * self.how.margin)
        parts = self._pictures(first, count)
        if "audio" in self.how.stored:
            parts["audio"] = self._sound(0, self.how.samples(self.length) + 1)
        return parts | ({"motion": self.motion()} if self.how.motion else {})

    def motion(self) -> NDArray[np.float32]:
        pieces = []
        for start in range(0, self.length - 1, _PIECE):
            grey = luma(self._decoded(start, min(_PIECE + 1, self.length - start))).astype(np.int16)
            pieces.append(np.abs(np.diff(grey, axis=0)).mean((1, 2), dtype=np.float64))
        return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)

    def _pictures(self, start: int, count: int) -> Parts:
        wanted, margin = [name for name in self.how.stored if name != "audio"], self.how.margin
        if not wanted or not count:
            return {}
        rgb = self._decoded(start - margin, count + 2 * margin)
        inner = rgb[margin : margin + count]
        grey = luma(rgb) if wanted != ["rgb"] else None
        parts: Parts = {"rgb": inner} if "rgb" in wanted else {}
        if "grey" in wanted and grey is not None:
            parts["grey"] = grey[margin : margin + count, None]
        if "flow" in wanted and grey is not None:
            parts["flow"] = central(grey).swapaxes(0, 1)
        return parts

    def _decoded(self, start: int, count: int) -> NDArray[np.uint8]:
        return self.video.frames(self.begin + np.arange(start, start + count) / self.how.fps, self.how.canvas)

    def _sound(self, first: int, count: int) -> NDArray[np.int16]:
        rate = self.how.rate  # whole samples of the clock, or rounding could shift one window against another
        return self.video.samples((round(self.begin * rate) + first) / rate, count, rate)


class Stored(Strip):
    """A strip of which all lies in memory or in a mapped file: what `Live.whole` cut out."""

    def __init__(self, parts: Parts, length: int, how: Cutting) -> None:
        super().__init__(how)
        self.parts, self.length = parts, length

    def stored(self, start: int, count: int) -> Parts:
        first = start - self.how.margin
        cut = {name: self.parts[name][first : first + count] for name in self.how.stored if name != "audio"}
        if "audio" in self.how.stored:
            begin = self.how.samples(start)
            cut["audio"] = self.parts["audio"][begin : begin + self.how.samples(count)]
        return cut

    def motion(self) -> NDArray[np.float32]:
        curve: NDArray[np.float32] = self.parts["motion"]
        return curve


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn pictures (T, 3, H, W) grey, (T, H, W): 0.299 R + 0.587 G + 0.114 B, rounded."""
    red, green, blue = (rgb[:, channel].astype(np.uint32) for channel in range(3))
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
