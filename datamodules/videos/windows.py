"""Windows of videos: the decoder of video files, which may map from a cache what was decoded before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from datamodules.decoder import Decoder, Keep, Parts, State
from datamodules.errors import DataError
from datamodules.loader import Pick
from datamodules.media.video import Video
from datamodules.videos.cache import ClipCache, fits
from datamodules.videos.cutting import Cutting
from datamodules.videos.strips import Live, Stored, Strip

_VERSION = 3  # of batches: raise it when the same files make others


@final
class ClipWindows(Decoder):
    """Windows of videos, decoded or mapped from a cache; both are the same bit for bit.

    Args:
        how: what is cut out of them.
        cache: of whole decoded videos, if any.

    """

    ahead = 2  # clips take much memory
    stays_bad = False  # a window may be silent where another of the same file is not
    advice = {  # noqa: RUF012  (nobody writes to it)
        "no sound track": 'leave "audio" out of modalities',
        "silent": 'leave "audio" out of modalities',
        "too short": "take fewer frames, a smaller window or a higher fps",
    }

    def __init__(self, how: Cutting, cache: ClipCache | None) -> None:
        self.how, self.clips, self.cache = how, how.clips, cache
        self._motion: dict[int, NDArray[np.float32]] = {}  # by position: of each video, a number per frame

    def settings(self) -> tuple[Any, ...]:
        how = self.how
        return (_VERSION, how.modalities, how.frames, how.fps, how.canvas, how.rate, how.clips)

    def facts(self, name: str, label: Any, state: State) -> tuple[Any, ...]:
        return (name, label, *(state or (0, 0)))

    def blank(self, rows: int, pick: Pick) -> Parts:
        return self.how.blank(rows, self.how.length(pick))

    def kept(self) -> tuple[Any, ...]:
        return ()  # the cache has its own way: with several arrays, and only of videos that are not too large

    def load(self, file: Path, position: int, pick: Pick, rows: Parts, keep: Keep) -> str | None:
        with self._strip(file) as strip:
            starts = strip.starts(pick, position, self._curve(strip, pick, position))
            for row, start in enumerate(starts):
                for name, part in strip.cut(start, self.how.length(pick)).items():
                    if name in rows:
                        rows[name][row] = part if name == "audio" else part.swapaxes(0, 1)
        if "audio" in rows and not rows["audio"].any():
            raise DataError("silent: all samples are zero")
        return strip.remark

    def _curve(self, strip: Strip, pick: Pick, position: int) -> NDArray[np.float32] | None:
        """Measure where things move, if windows are drawn by that."""
        if not self.how.motion or isinstance(pick, str):
            return None
        if position not in self._motion:
            self._motion[position] = np.array(strip.motion())  # a copy: of a mapped file nothing is held open
        return self._motion[position]

    @contextmanager
    def _strip(self, file: Path) -> Iterator[Strip]:
        stored = None if self.cache is None else self.cache.find(file)
        if stored is None and self.cache is not None and self.cache.wants(file):
            stored = _keep(file, self.cache, self.how)
        if stored is not None:
            yield Stored(*stored, self.how)
        else:
            with Video(file) as video:
                yield Live(video, self.how)


def _keep(file: Path, cache: ClipCache, how: Cutting) -> tuple[Parts, int] | None:
    """Decode a whole video and store it; None if that cannot be, or if it is cut off, which would not be told again."""
    try:
        with Video(file) as video:
            live = Live(video, how)
            if live.remark is None and live.length > 2 * how.margin and fits(live.size):
                parts = live.whole()
                cache.store(file, parts, live.length)
                return parts, live.length
    except Exception:  # broken somewhere: its good windows are read as without a cache, and the bad ones reported
        pass
    cache.refuse(file)
    return None
