"""From a video file to a clip: the frames on show at given times, their centre squares at one size, and the sound."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Literal, final

import av
import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError
from datamodules.media.containers import film_of, open_media, read_only, seek, tick_of
from datamodules.media.packets import Packets, last_key, refuse_outside
from datamodules.media.sound import read_samples
from datamodules.media.sound import read_sound as read_sound
from datamodules.media.span import span
from datamodules.media.squares import Pixels, Squares
from datamodules.media.waves import Samples

_BEFORE = 1.0  # seconds by which the first packet is decoded, at the earliest, before the first frame is shown
_SKIPPING = frozenset(("h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4", "vp8"))
"""The decoders that ask for each packet whether to skip it; others ask once, when they are opened, or never."""


@final
class Video:
    """A video file, opened; not thread safe, one for each thread.

    Times are seconds on the container's clock, which is common to all of its streams. A frame is on show from its stamp
    on until the next frame's; as containers round stamps to ticks, it counts as half a tick (but at most half a
    millisecond) earlier. Pixels are taken as squares, whatever aspect the file declares.

    Raises:
        DataError: an empty file, or one without a video stream or without time stamps.
        av.error.FFmpegError: no file that FFmpeg knows how to read.

    """

    begin: float
    """When the first frame appears."""
    end: float
    """When the last frame disappears."""
    sound: tuple[float, float] | None
    """When the sound begins and ends, None without a sound track."""
    cut_off: bool
    """Whether the file lacks what its header promises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open()
        try:
            film, tracks = span(self._container, self._stream), self._container.streams.audio
            sound = span(self._container, tracks[0]) if tracks else None
        except BaseException:
            self._container.close()
            raise
        self.begin, self.end = film.begin, film.end
        self.sound = None if sound is None else (sound.begin, sound.end)
        self.cut_off = film.cut_off or (sound is not None and sound.cut_off)
        read_only(self._container, self._stream)
        self._tick = tick_of(self._stream)
        self._floor = int((self.begin - _BEFORE) / self._tick)
        # By a whole index the last frame is there, and the header says how long it stays: longer than its packet, where
        # FFmpeg 9 writes a film that begins late.
        whole = bool(len(self._stream.index_entries)) and not film.cut_off
        self._until = int(self.end / self._tick) if whole else 0

    def _open(self) -> None:
        """Open the file, which is then read from its first packet on."""
        self._container = open_media(self._path)
        try:
            self._stream = film_of(self._container)
        except BaseException:
            self._container.close()
            raise
        self._decoder = self._stream.codec_context
        self._decoder.thread_count = 1  # clips are shared out among threads, not a clip's frames

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def frames(self, times: NDArray[np.float64], canvas: int) -> Pixels:
        """Decode the frames on show at ascending times, upright: (T, 3, canvas, canvas), RGB.

        The centre square is resized once, antialiased. In memory a colour's frames follow each other, so that swapping
        the first two axes gives a contiguous (3, T, canvas, canvas).

        Raises:
            DataError: the video ends or begins after the times, is corrupt or has no time stamps.
            av.error.FFmpegError: the video is corrupt.

        """
        early = min(self._tick / 2, 0.0005) + 1e-6
        ticks = np.floor((times + early) / self._tick).astype(np.int64)
        pictures = self._clip(times, ticks, canvas, self._packets(int(ticks[0]), int(ticks[-1])))
        if pictures is None:  # what calls itself a keyframe is none (x264's intra refresh): from the start, all of it
            self._reopen()
            pictures = self._clip(times, ticks, canvas, self._read(int(ticks[-1])), skip="DEFAULT")
        if pictures is None:
            raise DataError(f"corrupt: not all frames from {times[0]:.3f} to {times[-1]:.3f} s can be decoded")
        return pictures

    def samples(self, begin: float, count: int, rate: int) -> Samples:
        """Decode `count` samples of sound, mono: number j is the sound at begin + j / rate; zeros where there is none.

        They lie on the grid of whole multiples of 1 / rate, so that a moment's sample is the same in every window.

        Raises:
            DataError: no sound track.
            av.error.FFmpegError: the sound is corrupt.

        """
        return read_samples(self._path, round(begin * rate), count, rate)

    def _clip(
        self,
        times: NDArray[np.float64],
        ticks: NDArray[np.int64],
        canvas: int,
        packets: Packets,
        skip: Literal["NONREF", "DEFAULT"] = "NONREF",
    ) -> Pixels | None:
        """Decode the frames on show at some ticks; None where the decoder leaves one of them out."""
        stamps = np.array(sorted(packet.pts for packet in packets if packet.pts is not None and not packet.is_discard))
        refuse_outside(self._tick, times, ticks, packets, stamps, self._until)
        shown, inverse = np.unique(stamps[np.searchsorted(stamps, ticks, "right") - 1], return_inverse=True)
        squares, decoded = Squares(len(shown), canvas), 0
        for frame in self._decode(packets, shown.tolist(), skip):
            squares.put(decoded, frame)
            decoded += 1
        if decoded < len(shown):
            return None
        pictures = squares.finish()
        return (pictures if len(shown) == len(times) else pictures[:, inverse]).swapaxes(0, 1)

    def _packets(self, first: int, last: int) -> Packets:
        """Read what it takes to decode the frames from one tick to another, from the keyframe before them on."""
        # Containers seek by decoding time, or even between keyframes: what is found may be too late, go back farther.
        at, step = first, 1
        while at > self._floor and seek(self._container, self._stream, at):
            packets = self._read(last)
            if (key := last_key(packets, first)) is not None:
                return packets[key:]
            at, step = at - step, step * 16
        self._reopen()
        packets = self._read(last)
        return packets[last_key(packets, first) :]

    def _reopen(self) -> None:
        """Go back to the first packet of all, which no seeking finds in every container."""
        self._container.close()
        self._open()
        read_only(self._container, self._stream)

    def _read(self, last: int) -> Packets:
        """Read packets until whatever follows is shown after a tick, or until the end."""
        packets: Packets = []
        for packet in self._container.demux(self._stream):
            if packet.dts is None and packet.pts is None:  # the end
                break
            packets.append(packet)
            if packet.dts is not None and packet.dts > last:
                break
        return packets

    def _decode(
        self, packets: Packets, wanted: list[int], skip: Literal["NONREF", "DEFAULT"]
    ) -> Iterator[av.VideoFrame]:
        """Decode the frames with the wanted stamps, ascending, and of others those that `skip` says."""
        needed = 1 + max(i for i, packet in enumerate(packets) if packet.pts in wanted)
        before, skipped, skips = -inf, None, self._decoder.name in _SKIPPING
        for packet in [*packets[:needed], None]:
            if skips and (now := "DEFAULT" if packet is None or packet.pts in wanted else skip) != skipped:
                self._decoder.skip_frame = skipped = now
            for frame in self._decoder.decode(packet):
                if frame.is_corrupt:
                    raise DataError("corrupt")
                if frame.pts is None or frame.pts < before:  # H.264 in AVI, which stores no order of presentation
                    raise DataError("time stamps that are out of order; encode it anew, as mp4 or mkv")
                if frame.pts in wanted and frame.pts != before:  # AVI ends with two of the same stamp
                    yield frame
                before = frame.pts
