"""From a trimap to a mask: the pixels of the Oxford-IIIT Pet data set, renamed, in the square of their photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from datamodules.decoder import Decoder, Keep, Parts, State
from datamodules.errors import DataError
from datamodules.images.canvases import Decoding
from datamodules.loader import Pick

IGNORED = 255
"""In a mask: not to be judged."""
_MEANING = {1: 1, 2: 0, 3: IGNORED}  # the trimaps' pet, background and border
_UPRIGHT = 1
_EXIF_ORIENTATION = 0x0112


@final
class Masks(Decoder):
    """Masks, uint8 (N, S, S), of photos that lie in `images` beside the folder of the masks' folder."""

    shared_out = True

    def __init__(self, how: Decoding) -> None:
        self.how = how

    def settings(self) -> tuple[Any, ...]:
        return (self.how.canvas, self.how.max_pixels)

    def facts(self, name: str, label: Any, state: State) -> tuple[Any, ...]:
        return (name, label, state)

    def blank(self, rows: int, pick: Pick) -> Parts:
        return {"mask": np.empty((rows, self.how.canvas, self.how.canvas), np.uint8)}

    def kept(self) -> tuple[Any, ...]:
        return ()

    def load(self, file: Path, position: int, pick: Pick, rows: Parts, keep: Keep) -> None:
        photo = file.parents[2] / "images" / f"{file.stem}.jpg"
        rows["mask"][0] = read_mask(photo, file, self.how.canvas, self.how.max_pixels).numpy()


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
