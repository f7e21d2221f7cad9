"""Files of video and sound: how they are opened, which of their streams count, and where they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.stream import Discard

from datamodules.errors import DataError

_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""How tags that are no UTF-8 are read; PyAV 19 does so by itself, and knows the option no more."""


def open_media(file: Path | BinaryIO, pictures: bool = True) -> InputContainer:
    """Open a file for decoding; without `pictures`, nothing is found out about them, which saves decoding some.

    Raises:
        DataError: an empty file.
        av.error.FFmpegError: no file that FFmpeg knows how to read.

    """
    if isinstance(file, Path) and file.stat().st_size == 0:
        raise DataError("empty file")
    options = {} if pictures else {"skip_frame": "all"}
    name = str(file) if isinstance(file, Path) else file
    opened: InputContainer = av.open(name, "r", options=options, **_TAGS)
    return opened


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


def seek(container: InputContainer, stream: av.VideoStream | av.AudioStream, tick: int) -> bool:
    """Go to a keyframe at or before a time stamp; tell whether the container could (AVI and FLV refuse some places)."""
    try:
        container.seek(tick, stream=stream)
    except av.error.FFmpegError:
        return False
    return True
