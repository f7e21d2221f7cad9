"""From a trimap to a mask: the pixels of the Oxford-IIIT Pet data set, renamed, in the square of their photo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from datamodules.errors import DataError

IGNORED = 255
"""In a mask: not to be judged."""
_MEANING = {1: 1, 2: 0, 3: IGNORED}  # the trimaps' pet, background and border
_UPRIGHT = 1
_EXIF_ORIENTATION = 0x0112


def read_mask(photo: Path, mask: Path, canvas: int, max_pixels: int) -> Tensor:
    """Decode the centre square of a photo's mask, resized to the nearest pixels: uint8 (canvas, canvas).

    Raises:
        DataError: it does not fit the photo, or says something else than 1, 2 and 3.
        Exception: whatever the decoder raises at a corrupt or missing file.

    """
    if not photo.is_file():
        raise DataError(f"there is no photo {photo.name} for it")
    with Image.open(photo) as picture, Image.open(mask) as drawn:  # only the headers so far
        if picture.getexif().get(_EXIF_ORIENTATION, _UPRIGHT) != _UPRIGHT:
            raise DataError("its photo is turned by an EXIF orientation, the mask perhaps not; save the photo upright")
        if drawn.size != picture.size:
            raise DataError(f"{_size(drawn)} pixels, but its photo has {_size(picture)}")
        if drawn.width * drawn.height > max_pixels:
            raise DataError(f"{_size(drawn)} pixels, more than max_pixels={max_pixels}")
        pixels = np.asarray(drawn)
    if pixels.ndim != 2 or pixels.dtype != np.uint8 or not np.isin(pixels, list(_MEANING)).all():
        raise DataError("its pixels are not all 1 (pet), 2 (background) or 3 (border)")
    height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2  # the square of datamodules.images.decode
    table = np.zeros(max(_MEANING) + 1, np.uint8)
    table[list(_MEANING)] = list(_MEANING.values())
    square = torch.from_numpy(table[pixels[top : top + side, left : left + side]])
    return interpolate(square[None, None], (canvas, canvas), mode="nearest-exact")[0, 0]


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"
