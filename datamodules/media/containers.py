"""Files of video and sound: how they are opened, which of their streams count, and when these begin and end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer
from av.stream import Discard

from datamodules.errors import DataError

_REORDERED = 32  # packets among which the first frame to be shown is: codecs reorder by 16 frames at most
_FAR = 1 << 40  # ticks: beyond the end of any stream


def open_media(path: Path, pictures: bool = True) -> InputContainer:
    """Open a file for decoding; without `pictures`, nothing is found out about them, which saves decoding some.

    Raises:
        DataError: an empty file.
        av.error.FFmpegError: no file that FFmpeg knows how to read.

    """
    if path.stat().st_size == 0:
        raise DataError("empty file")
    options = {} if pictures else {"skip_frame": "all"}
    return av.open(str(path), options=options, metadata_errors="replace")


def film_of(container: InputContainer) -> av.VideoStream:
    """Find the pictures that move: the cover of a song is none.

    Raises:
        DataError: there is no video stream.

    """
    for stream in container.streams.video:
        if not stream.disposition & stream.disposition.attached_pic:
            return stream
    raise DataError("no video stream")


def track_of(container: InputContainer) -> av.AudioStream:
    """Find the first sound track.

    Raises:
        DataError: there is none.

    """
    if not container.streams.audio:
        raise DataError("no sound track")
    return container.streams.audio[0]


def read_only(container: InputContainer, stream: av.VideoStream | av.AudioStream) -> None:
    """Let packets of other streams be passed over: handing them to Python costs as much as decoding some of them."""
    for other in container.streams.get():
        other.discard = Discard.default if other.index == stream.index else Discard.all


def tick_of(stream: av.VideoStream | av.AudioStream) -> float:
    """Tell the unit of a stream's time stamps, in seconds."""
    assert stream.time_base is not None
    return float(stream.time_base)


def span(container: InputContainer, stream: av.VideoStream | av.AudioStream) -> tuple[float, float]:
    """Tell when a stream begins and ends, in seconds: by its header, or else by its first and last packets.

    Raises:
        DataError: it has no time stamps.

    """
    tick, begin, length = tick_of(stream), stream.start_time, stream.duration
    if begin is None or (stream.type == "video" and container.format.name == "avi"):  # whose header ignores reordering
        container.seek(0)
        begin = min(_stamps(islice(container.demux(stream), _REORDERED)), default=None)
        length = None
    if begin is None:
        raise DataError(f"a {stream.type} stream without time stamps")
    if length:
        return begin * tick, (begin + length) * tick
    container.seek(_FAR, stream=stream)
    end = max(_stamps(container.demux(stream), ends=True), default=None)
    if end is None:  # a container that cannot find its last keyframe
        container.seek(0)
        end = max(_stamps(container.demux(stream), ends=True), default=begin)
    return begin * tick, end * tick


def _stamps(packets: Iterable[av.Packet[Any]], ends: bool = False) -> Iterator[int]:
    for packet in packets:
        if packet.pts is not None:
            yield packet.pts + (packet.duration or 0 if ends else 0)
