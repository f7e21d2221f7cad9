"""When a stream begins and ends: as its header says or, where the file is cut off, as far as it goes."""

from __future__ import annotations

from bisect import bisect_right
from itertools import islice
from math import inf
from typing import NamedTuple, final

import av
from av.container import InputContainer

from datamodules.errors import DataError
from datamodules.media.containers import seek, tick_of

Stream = av.VideoStream | av.AudioStream

_REORDERED = 32  # packets among which the first frame to be shown is: codecs reorder by 16 frames at most
_FAR = 1 << 40  # ticks: beyond the end of any stream
_LACKING = 0.5  # seconds that may be missing of what a header promises: headers round, and count other streams in
_TRAILING = 1024  # bytes that may be missing of a RIFF file: players ignore the last ones too
_STREAMED = 0xFFFFFF00  # bytes from which on a RIFF header means "unknown"


class Span(NamedTuple):
    """When a stream begins and ends, in seconds."""

    begin: float
    end: float
    cut_off: bool
    """Whether the file lacks what its header promises; all frames before `end` are there whole."""


def span(container: InputContainer, stream: Stream) -> Span:
    """Tell when a stream begins and ends: by its header, or else by its first and last packets.

    A file that is cut off counts up to the decoding time of the first packet that is missing: whatever is lost would
    be shown later.

    Raises:
        DataError: it has no time stamps, or is cut off before its first frame.

    """
    tick, begin, length = tick_of(stream), stream.start_time, stream.duration
    if begin is None or (stream.type == "video" and container.format.name == "avi"):  # whose header ignores reordering
        container.seek(0)
        first = (packet.pts for packet in islice(container.demux(stream), _REORDERED) if packet.pts is not None)
        begin, length = min(first, default=None), None
    if begin is None:
        raise DataError(f"a {stream.type} stream without time stamps")
    lost = _first_lost(container, stream)
    if lost is not None:
        if lost <= begin:
            raise DataError("cut off before its first frame" if stream.type == "video" else "cut off before its sound")
        return Span(begin * tick, lost * tick, True)
    if length:
        return Span(begin * tick, (begin + length) * tick, False)
    return _by_packets(container, stream, begin * tick)


def cut_off(container: InputContainer, stream: Stream, end: float) -> bool:
    """Tell whether a file lacks what its header promises, of a stream that was read to its `end` (seconds)."""
    if _first_lost(container, stream) is not None or _riff_lacks(container):
        return True
    return container.format.name in _PROMISING and (container.duration or 0) / av.time_base - end > _LACKING


_PROMISING = ("matroska,webm", "flv", "asf", "flac", "aiff")
"""Containers whose header tells how long they are; of others FFmpeg measures or guesses it."""


def _first_lost(container: InputContainer, stream: Stream) -> int | None:
    """Find the decoding time, in ticks, of the first packet that a file's index names and the file lacks."""
    entries, size = stream.index_entries, container.size
    if not len(entries) or entries[-1].pos + entries[-1].size <= size:
        return None
    first = bisect_right(range(len(entries)), size, key=lambda k: entries[k].pos + entries[k].size)
    return int(entries[first].timestamp)


def _riff_lacks(container: InputContainer) -> bool:
    """Tell whether an AVI or WAV file is shorter than its first chunk says."""
    if container.format.name not in ("avi", "wav") or not isinstance(container.name, str):
        return False
    with open(container.name, "rb") as file:  # noqa: PTH123  (a name as FFmpeg has it)
        head = file.read(8)
    promised = 8 + int.from_bytes(head[4:], "little")
    return head[:4] == b"RIFF" and promised - container.size > _TRAILING and promised < _STREAMED


def _by_packets(container: InputContainer, stream: Stream, begin: float) -> Span:
    """Find the end in the packets from the last keyframe on, or in all where that cannot be found."""
    tail = _Tail(container, stream) if seek(container, stream, _FAR) else None
    if tail is None or tail.end == -inf:
        container.seek(0)
        tail = _Tail(container, stream)
    if tail.end > -inf and cut_off(container, stream, tail.any_end):
        return Span(begin, max(begin, tail.last), True)
    return Span(begin, max(begin, tail.end), False)


@final
class _Tail:
    """What the packets from here to the end of a file say, in seconds."""

    def __init__(self, container: InputContainer, stream: Stream) -> None:
        self.end = -inf  # when the last frame of the stream disappears
        self.any_end = -inf  # the same of all streams
        self.last = -inf  # when the stream's last packet is decoded: it may be half a packet
        for packet in container.demux():
            if packet.pts is None:
                continue
            tick = float(packet.time_base)
            end = (packet.pts + (packet.duration or 0)) * tick
            self.any_end = max(self.any_end, end)
            if packet.stream_index == stream.index:
                self.end = max(self.end, end)
                self.last = (packet.pts if packet.dts is None else packet.dts) * tick
