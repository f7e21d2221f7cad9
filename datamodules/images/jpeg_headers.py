"""What the header of a JPEG says, from its bytes: Pillow, which says the same, takes five to ten times as long."""

from __future__ import annotations

from io import BytesIO
from struct import Struct
from struct import error as StructError
from typing import Literal, NamedTuple

from PIL import JpegImagePlugin

_EXIF_ORIENTATION, UPRIGHT, _NONE = 0x0112, 1, -1
_SHORT = 3
_SEGMENT = Struct(">HH")  # its marker and its length
_SKIPPED = {0xFFC4, 0xFFDD, 0xFFFE, *range(0xFFE0, 0xFFF0)}  # segments that say nothing of what is asked
_TIFF: dict[bytes, tuple[Literal["little", "big"], Struct, Struct, Struct]] = {
    b"II*\0": ("little", Struct("<4xL"), Struct("<H"), Struct("<HHL4s")),
    b"MM\0*": ("big", Struct(">4xL"), Struct(">H"), Struct(">HHL4s")),
}
"""How EXIF data may begin; their byte order, where the entries begin, how many there are, and one of them."""
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes of a value of each type of EXIF."""


class JpegHeader(NamedTuple):
    """What is known of a JPEG before it is decoded."""

    width: int
    height: int
    colours: int
    orientation: int
    """Of EXIF, 1 where it has none."""


def slow_header(data: memoryview) -> JpegHeader:
    """Let Pillow read a header, which takes it 80 us of Python.

    Raises:
        Exception: whatever Pillow raises at a broken one.

    """
    with JpegImagePlugin.JpegImageFile(BytesIO(data)) as image:
        orientation = image.getexif().get(_EXIF_ORIENTATION, UPRIGHT)
        return JpegHeader(*image.size, len(image.getbands()), orientation)


def jpeg_header(data: memoryview) -> JpegHeader | None:
    """Find what Pillow would in a JPEG's segments; None where they are not as usual: slow Pillow knows more."""
    at, last, exif, xmp = 2, len(data) - 4, b"", False
    frame: bytes | None = None
    while at <= last:
        marker, size = _SEGMENT.unpack_from(data, at)
        begin, end = at + 4, at + 2 + size
        if marker == 0xFFFF:  # a fill byte
            at += 1
            continue
        if size < 2 or end > last + 4:
            return None
        if marker == 0xFFDA:  # what follows are pixels
            return _header(frame, exif, xmp)
        if marker == 0xFFE1:
            segment = bytes(data[begin:end])
            if segment.startswith(b"Exif\0\0"):
                exif += segment[6:] if exif else segment  # Pillow puts several together
            else:
                xmp = xmp or b"tiff:Orientation" in segment
        elif 0xFFC0 <= marker <= 0xFFC2 and frame is None:  # baseline, extended or progressive
            frame = bytes(data[begin:end])
        elif not (marker in _SKIPPED or (marker == 0xFFDB and _usual_tables(data[begin:end]))):
            return None
        at = end
    return None


def _usual_tables(data: memoryview) -> bool:
    """Tell whether quantization tables are whole and of 8 bits."""
    return len(data) % 65 == 0 and max(data[::65], default=0) < 16


def _header(frame: bytes | None, exif: bytes, xmp: bool) -> JpegHeader | None:
    """Make sense of a frame's segment; `xmp`: whether an orientation stands there, which counts where EXIF has none."""
    orientation = _orientation(exif[6:])
    if orientation == _NONE:
        orientation = None if xmp else UPRIGHT
    if orientation is None or not frame or len(frame) < 6 or len(frame) != 6 + 3 * frame[5] or frame[0] != 8:
        return None
    height, width = frame[1] << 8 | frame[2], frame[3] << 8 | frame[4]
    return JpegHeader(width, height, frame[5], orientation) if height and width and frame[5] in (1, 3, 4) else None


def _orientation(exif: bytes) -> int | None:
    """Find the orientation in EXIF data, -1: there is none; None where they are not as usual."""
    if not exif or (form := _TIFF.get(exif[:4])) is None:
        return None if exif else _NONE
    order, first, many, entry = form
    try:
        (start,) = first.unpack_from(exif)
        (count,) = many.unpack_from(exif, start)
        for k in range(count):
            tag, kind, values, place = entry.unpack_from(exif, start + 2 + 12 * k)
            size = _SIZES.get(kind, 0) * values
            if tag == _EXIF_ORIENTATION:
                return int.from_bytes(place[:2], order) if (kind, values) == (_SHORT, 1) else None
            if size > 4 and int.from_bytes(place, order) + size > len(exif):
                return None  # Pillow stops there
    except StructError:
        return None
    return _NONE
