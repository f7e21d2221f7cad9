"""Four ways to damage a file, each by a generator of chance: bits flipped, cut off, spliced, hostile sizes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from numpy.random import Generator

FLIPS = (1, 2, 8, 64)  # bits that are flipped in a file
HEAD = 256  # bytes in which a format that is not taken apart below has its sizes
BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"mvex", b"moof", b"traf", b"udta", b"meta")
"""The boxes of an MP4 file that hold boxes."""


class Field(NamedTuple):
    """A whole number in a file."""

    at: int
    width: int
    little: bool = False


def flipped(data: bytes, other: bytes, chance: Generator) -> bytes:
    """Flip some bits anywhere."""
    damaged = bytearray(data)
    for place in chance.integers(0, 8 * len(data), int(chance.choice(FLIPS))).tolist():
        damaged[place // 8] ^= 1 << place % 8
    return bytes(damaged)


def truncated(data: bytes, other: bytes, chance: Generator) -> bytes:
    """Cut the file off anywhere; one of twenty is empty."""
    return data[: int(chance.integers(0, len(data)))] if chance.integers(20) else b""


def spliced(data: bytes, other: bytes, chance: Generator) -> bytes:
    """Put the head of one file before the body of another."""
    cut = int(chance.integers(1, min(2 * HEAD, len(data), len(other))))
    return other[:cut] + data[cut:]


def hostile(data: bytes, other: bytes, chance: Generator) -> bytes:
    """Write extreme numbers where sizes, counts and rates stand."""
    damaged, known = bytearray(data), list(_fields(data))
    for place in chance.integers(0, len(known), int(chance.integers(1, 4))).tolist():
        at, width, little = known[place]
        top = 1 << 8 * width
        extremes = [0, 1, top // 2 - 1, top // 2, top - 1, min(20_000, top - 1), min(100_000_000, top - 1)]
        number = int(chance.choice(extremes)) if width < 8 else top - 1
        damaged[at : at + width] = number.to_bytes(width, "little" if little else "big")
    return _checked(bytes(damaged)) if chance.integers(2) else bytes(damaged)


KINDS: dict[str, Callable[[bytes, bytes, Generator], bytes]] = {
    "bit flips": flipped,
    "truncation": truncated,
    "splice": spliced,
    "hostile sizes": hostile,
}


def _fields(data: bytes) -> Iterator[Field]:
    """Find the numbers of a file that say how large something is."""
    if data.startswith(b"\x89PNG"):
        yield from _of_png(data)
    elif data.startswith(b"\xff\xd8"):
        yield from _of_jpeg(data)
    elif data[4:8] == b"ftyp":
        yield from _of_boxes(data, 0, len(data))
    elif data.startswith(b"RIFF"):
        yield from (Field(at, 4, True) for at in range(4, min(len(data) - 4, 2 * HEAD), 4))
    else:
        end = min(len(data) - 8, HEAD)
        yield from (Field(at, width) for width in (1, 2, 4) for at in range(4, end))


def _of_png(data: bytes) -> Iterator[Field]:
    yield from (Field(16, 4), Field(20, 4), Field(24, 1), Field(25, 1))  # width, height, depth, colours
    at = 8
    while at + 8 <= len(data):
        yield Field(at, 4)
        at += 12 + int.from_bytes(data[at : at + 4])


def _of_jpeg(data: bytes) -> Iterator[Field]:
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        yield Field(at + 2, 2)
        if 0xC0 <= data[at + 1] <= 0xC2:  # a frame: height, width, components and how they are sampled
            yield from (Field(at + 5, 2), Field(at + 7, 2), Field(at + 9, 1), Field(at + 11, 1))
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


def _of_boxes(data: bytes, at: int, end: int) -> Iterator[Field]:
    """Walk the boxes of an MP4 file: the size of each, and the numbers that small ones begin with."""
    while at + 8 <= end:
        (size,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        yield Field(at, 4)
        if kind in BOXES:
            yield from _of_boxes(data, at + 8, min(at + size, end))
        elif kind not in (b"mdat", b"free"):
            yield from (Field(word, 4) for word in range(at + 12, min(at + size, at + 44, end - 4), 4))
        at += max(size, 8)


def _checked(data: bytes) -> bytes:
    """Make the checksum of a PNG's header right again, so that what it says is believed."""
    if not data.startswith(b"\x89PNG"):
        return data
    return data[:29] + zlib.crc32(data[12:29]).to_bytes(4) + data[33:]
