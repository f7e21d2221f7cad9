"""Ogg files may be chained: one stream after the other, each with a clock and headers of its own (RFC 3533)."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

_HEAD = 27  # bytes of a page before its table of segments
_BEGINS = 2  # the flag of a stream's first page


def links(path: Path) -> Sequence[Path | BinaryIO]:
    """Cut a chained Ogg file into its links; any other file is one whole.

    FFmpeg reads on behind a link's end, but on the clock of the next link, and with what the decoder remembers of the
    last one.
    """
    with path.open("rb") as file:
        if file.read(4) != b"OggS":
            return [path]
    data = path.read_bytes()
    starts = _beginnings(data)
    if len(starts) < 2:
        return [path]
    return [BytesIO(data[begin:end]) for begin, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def _beginnings(data: bytes) -> list[int]:
    """Find where links begin: at a first page of a stream that follows no other one (those of one link do)."""
    starts, at, among_first = list[int](), data.find(b"OggS"), False
    while 0 <= at <= len(data) - _HEAD:
        first, segments = bool(data[at + 5] & _BEGINS), data[at + 26]
        if first and not among_first:
            starts.append(at)
        among_first = first
        behind = at + _HEAD + segments + sum(data[at + _HEAD : at + _HEAD + segments])
        at = data.find(b"OggS", behind)
    return starts
