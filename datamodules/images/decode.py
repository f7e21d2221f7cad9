"""From one image file to its canvas: upright, its centre square, resized once; and how to find such files."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode

from datamodules.base import DataError

Pixels = NDArray[np.uint8]
"""Bytes of pictures, as workers handle them."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""The files that count as images, in upper or lower case."""

# torchvision's decoder without its Python wrapper, which since 0.29 warns at each call that TorchCodec will replace it.
_decode = torch.ops.image.decode_image
_RGB = ImageReadMode.RGB.value
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
_LARGE = 16_000_000  # pixels: above, threads decode one file at a time, or each could hold gigabytes at once
_LARGE_ONE_BY_ONE = Lock()


def scan(root: Path, below: str = "", suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
    """List files by their suffixes below a folder, at any depth, sorted, as paths from `root`; without hidden ones.

    Links are followed, but never in a circle; one that leads nowhere is listed, as a file that cannot be read.
    """
    names: list[str] = []
    todo = [(below, frozenset(map(str, (root / below).resolve().parents)))]
    while todo:
        folder, above = todo.pop()
        real = os.path.realpath(root / folder)
        if real in above:  # a link back to where we came from
            continue
        with os.scandir(root / folder) as entries:
            for entry in entries:
                name = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    todo.append((name, above | {real}))
                elif entry.name.lower().endswith(suffixes) and (entry.is_file() or _leads_nowhere(entry)):
                    names.append(name)
    return sorted(names)


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not Path(entry.path).exists()


def decode(path: Path, canvas: int, max_pixels: int, whole: bool = False) -> Pixels:
    """Decode the centre square of an image file, upright, resized once: uint8 (3, canvas, canvas), RGB.

    `whole`: the whole image instead, squeezed into the square.

    Copies are left to NumPy: torch would share each one out among its own threads, and many workers that each wait for
    others are slower by far, most of all on a busy machine.

    Raises:
        DataError: an empty file, no image, or more than `max_pixels` (found before anything is decoded).
        Exception: whatever the decoders raise at a corrupt or truncated file.

    """
    with path.open("rb") as file:
        orientation, size = _read_header(file, max_pixels)
        file.seek(0)
        data = torch.from_numpy(np.fromfile(file, np.uint8))
    with _LARGE_ONE_BY_ONE if size > _LARGE else nullcontext():
        image = _decode(data, _RGB, True)  # True: turn it as its EXIF orientation says
        if image.dtype == torch.uint16:  # PNG with 16 bits: 65535 becomes 255
            image = ((image.int() + 128) // 257).byte()
    pixels = _turn(image.permute(1, 2, 0).numpy(), orientation)
    height, width = pixels.shape[:2]
    tall, wide = (height, width) if whole else (min(height, width),) * 2
    top, left = (height - tall) // 2, (width - wide) // 2
    square = torch.from_numpy(np.ascontiguousarray(pixels[top : top + tall, left : left + wide]))
    square = square.permute(2, 0, 1)[None]  # channels last, for which torch has a fast kernel of bytes
    small: Pixels = interpolate(square, (canvas, canvas), mode="bilinear", antialias=True)[0].numpy()
    return small


def _read_header(file: BinaryIO, max_pixels: int) -> tuple[int, int]:
    """Refuse what is no image or too large a one; return the orientation to undo (1: none), and its pixels."""
    magic = file.read(12)
    if not magic:
        raise DataError("empty file")
    file.seek(0)
    # These classes, and not PIL.Image.open, because its own limit warns or raises in whichever thread meets it.
    if magic.startswith(b"\xff\xd8"):
        size, orientation = JpegImagePlugin.JpegImageFile(file).size, 1
    elif magic.startswith(b"\x89PNG"):
        size, orientation = PngImagePlugin.PngImageFile(file).size, 1
    elif magic.startswith(b"RIFF") and magic.endswith(b"WEBP"):
        image = WebPImagePlugin.WebPImageFile(file)
        size, orientation = image.size, image.getexif().get(_EXIF_ORIENTATION, 1)  # torchvision does not look at it
    else:
        raise DataError("not a JPEG, PNG or WebP image")
    if size[0] * size[1] > max_pixels:
        raise DataError(f"{size[0]} x {size[1]} pixels, more than max_pixels={max_pixels}")
    return orientation, size[0] * size[1]


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation of (H, W, 3)."""
    swap, flips = _TURNS.get(orientation, (False, ()))
    return np.flip(pixels.transpose(1, 0, 2) if swap else pixels, flips)


def cause_of(error: Exception) -> str:
    """Say in one line what went wrong with a file, without the decoder's own source position."""
    text = str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]
    return re.sub(r"^.*\.cpp:\d+, ", "", text)
