"""From one image file to its canvas: upright, its centre square, resized once."""

from __future__ import annotations

import fcntl
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from torch.nn.functional import interpolate

from datamodules.errors import DataError
from datamodules.keeping.shelf import anonymous

Pixels = NDArray[np.uint8]
"""Bytes of pictures, as workers handle them."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""The files that count as images, in upper or lower case."""

_RGB = 3  # of torchvision.io.ImageReadMode
_EXIF_ORIENTATION = 0x0112
_TURNS: dict[int, tuple[bool, tuple[int, ...]]] = {
    2: (False, (1,)),
    3: (False, (0, 1)),
    4: (False, (0,)),
    5: (True, ()),
    6: (True, (1,)),
    7: (True, (0, 1)),
    8: (True, (0,)),
}
"""What each EXIF orientation undoes: whether to swap the axes, and which to flip then."""
_LARGE = 16_000_000  # pixels: above, processes decode one file at a time, or each could hold gigabytes at once
_TURN = anonymous()  # open as long as the process; workers inherit it


def _load_decoder() -> None:
    """Load torchvision's decoders without the rest of it, which takes seconds to import."""
    spec = find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    (library, *_) = Path(spec.origin).parent.glob("image*.so")
    torch.ops.load_library(str(library))  # type: ignore[no-untyped-call]


_load_decoder()
# torchvision's decoder without its Python wrapper, which since 0.29 warns at each call that TorchCodec will replace it.
_decode = torch.ops.image.decode_image


def decode(path: Path, canvas: int, max_pixels: int, whole: bool = False) -> Pixels:
    """Decode the centre square of an image file, upright, resized once: uint8 (3, canvas, canvas), RGB.

    `whole`: the whole image instead, squeezed into the square. Of an animation the first frame.

    Copies are left to NumPy: torch would share each one out among its own threads, and many workers that each wait for
    others are slower by far, most of all on a busy machine.

    Raises:
        DataError: an empty file, no image, or more than `max_pixels` (found before anything is decoded).
        Exception: whatever the decoders raise at a corrupt or truncated file.

    """
    data = content(path)
    header = _read_header(data, max_pixels)
    with _one_by_one() if header.size > _LARGE else nullcontext():
        # True: turn it as its EXIF orientation says
        image = _first_frame(data) if header.animated else _decode(torch.from_numpy(data), _RGB, True)
        if image.dtype == torch.uint16:  # PNG with 16 bits: 65535 becomes 255
            image = ((image.int() + 128) // 257).byte()
    pixels = image.permute(1, 2, 0).numpy()
    if header.orientation in _TURNS:
        pixels = _turn(pixels, header.orientation)
    height, width = pixels.shape[:2]
    if height == width == canvas:  # nothing to resize, as of many sets of small pictures
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))
    tall, wide = (height, width) if whole else (min(height, width),) * 2
    top, left = (height - tall) // 2, (width - wide) // 2
    square = torch.from_numpy(np.ascontiguousarray(pixels[top : top + tall, left : left + wide]))
    square = square.permute(2, 0, 1)[None]  # channels last, for which torch has a fast kernel of bytes
    small: Pixels = interpolate(square, (canvas, canvas), mode="bilinear", antialias=True)[0].numpy()
    return small


def side_of(path: Path) -> int | None:
    """Return the shorter side of an image file in pixels, of which only the header is looked at; None: it has none."""
    try:
        return _read_header(np.fromfile(path, np.uint8), sys.maxsize).side
    except Exception:  # whatever the decoders raise; who decodes the file tells
        return None


def content(path: str | Path) -> Pixels:
    """Read a file whole, with fewer calls of the system than NumPy takes: small pictures decode in as much time."""
    file = os.open(path, os.O_RDONLY)
    try:
        data = np.empty(os.fstat(file).st_size, np.uint8)
        done = 0
        while done < len(data) and (count := os.readv(file, [data[done:].data])):
            done += count
    finally:
        os.close(file)
    return data[:done]


@contextmanager
def _one_by_one() -> Iterator[None]:
    """Wait until no other worker decodes a large file."""
    fcntl.lockf(_TURN, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(_TURN, fcntl.LOCK_UN)


class _Header(NamedTuple):
    """What is known of an image before it is decoded."""

    orientation: int
    """The EXIF orientation to undo, 1: none."""
    size: int
    """Pixels."""
    side: int
    """The shorter side, pixels."""
    animated: bool
    """Whether it is of a kind that torchvision decodes as a film, or not at all."""


def _read_header(data: Pixels, max_pixels: int) -> _Header:
    """Refuse what is no image or too large a one."""
    magic = data[:12].tobytes()
    if not magic:
        raise DataError("empty file")
    # These classes, and not PIL.Image.open, because its own limit warns or raises in whichever thread meets it.
    orientation, animated = 1, False
    if magic.startswith(b"\xff\xd8"):
        size = _jpeg_size(data.data) or JpegImagePlugin.JpegImageFile(BytesIO(data.data)).size
    elif magic.startswith(b"\x89PNG"):
        size = PngImagePlugin.PngImageFile(BytesIO(data.data)).size
        _refuse_damaged_png(data.data)
    elif magic.startswith(b"RIFF") and magic.endswith(b"WEBP"):
        image = WebPImagePlugin.WebPImageFile(BytesIO(data.data))
        size, animated = image.size, image.is_animated
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)  # torchvision does not look at it
    elif magic.startswith(b"GIF8"):  # browsers show it whatever its name, so collections hold some
        size, animated = GifImagePlugin.GifImageFile(BytesIO(data.data)).size, True
    else:
        raise DataError("not a JPEG, PNG or WebP image")
    if size[0] * size[1] > max_pixels:
        raise DataError(f"{size[0]} x {size[1]} pixels, more than max_pixels={max_pixels}")
    return _Header(orientation, size[0] * size[1], min(size), animated)


def _first_frame(data: Pixels) -> torch.Tensor:
    """Decode the first frame of an animation, (3, H, W)."""
    content = data.tobytes()
    opened = WebPImagePlugin.WebPImageFile if content.startswith(b"RIFF") else GifImagePlugin.GifImageFile
    image = opened(BytesIO(content))
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def _refuse_damaged_png(data: memoryview) -> None:
    """Refuse a PNG of which a chunk that no decoder can do without (its name begins with a capital) was changed.

    At most such files torchvision's decoder crashes. A worker survives that, but starting another takes as long as
    decoding many files; the checksums take a fortieth of decoding.
    """
    at = 8
    while at + 12 <= len(data):
        end, name = at + 8 + int.from_bytes(data[at : at + 4]), bytes(data[at + 4 : at + 8])
        whole, needed = end + 4 <= len(data), name[:1].isupper()
        if whole and needed and zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise DataError(f"damaged: the checksum of its {name.decode('latin-1')} chunk is wrong")
        if name == b"IEND":  # whatever follows is nobody's
            break
        at = end + 4


def _jpeg_size(data: memoryview) -> tuple[int, int] | None:
    """Find width and height in a JPEG's segments; None where they are not as usual: slow Pillow knows more."""
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        if 0xC0 <= kind <= 0xC2:  # a frame: baseline, extended or progressive
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            return (width, height) if data[at + 4] == 8 and height and width else None
        if not (kind in (0xC4, 0xDB, 0xDD, 0xFE) or 0xE0 <= kind <= 0xEF):
            return None
        at += 2 + length
    return None


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation of (H, W, 3)."""
    swap, flips = _TURNS[orientation]
    return np.flip(pixels.transpose(1, 0, 2) if swap else pixels, flips)
