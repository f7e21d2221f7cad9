"""What belongs to a photo: a class or numbers for each pixel, or a vector, in the square of the photo."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from datamodules.decoder import Decoder, Keep, Parts, State
from datamodules.errors import DataError
from datamodules.images.canvases import Decoding
from datamodules.loader import Pick

Kind = Literal["classes", "numbers"]
SUFFIXES: dict[Kind, tuple[str, ...]] = {"classes": (".png", ".npy"), "numbers": (".npy", ".png", ".txt")}
"""The files that count, by kind."""
IGNORED = 255
"""Of class maps: a pixel that is not judged."""
_UPRIGHT = 1
_EXIF_ORIENTATION = 0x0112


@final
class Targets(Decoder):
    """Targets of photos: uint8 (N, S, S), float32 (N, C, S, S) or float32 (N, V).

    Args:
        how: the canvas.
        kind: what they are.
        photos: path of the photo of each target's resolved path.
        row: shape of one target on the canvas.
        classes: how many there are.

    """

    shared_out = True

    def __init__(
        self, how: Decoding, kind: Kind, photos: Mapping[Path, Path], row: tuple[int, ...], classes: int
    ) -> None:
        self.how, self.kind, self.photos, self.row, self.classes = how, kind, photos, row, classes

    def settings(self) -> tuple[Any, ...]:
        return (self.how.canvas, self.how.max_pixels, self.kind, self.row)

    def facts(self, name: str, label: Any, state: State) -> tuple[Any, ...]:
        return (name, label, state)

    def blank(self, rows: int, pick: Pick) -> Parts:
        return {"target": np.empty((rows, *self.row), np.uint8 if self.kind == "classes" else np.float32)}

    def kept(self) -> tuple[Any, ...]:
        return ()

    def load(self, file: Path, position: int, pick: Pick, rows: Parts, keep: Keep) -> None:
        found = read_target(file, self.photos[file.resolve()], self.kind, self.how)
        if tuple(found.shape) != self.row:
            raise DataError(f"its shape is {tuple(found.shape)}, that of the first target {self.row}")
        if self.kind == "classes" and int(found[found != IGNORED].max(initial=0)) >= self.classes:
            raise DataError(
                f"it names class {int(found[found != IGNORED].max())}, but there are {self.classes} classes"
            )
        rows["target"][0] = found


def read_target(file: Path, photo: Path, kind: Kind, how: Decoding) -> NDArray[Any]:
    """Decode a target; of a map the centre square of its photo, resized to the nearest pixels.

    Returns:
        uint8 (S, S), float32 (C, S, S) or float32 (V,).

    Raises:
        DataError: it does not fit its photo, or is no such thing.
        Exception: whatever the decoders raise at a corrupt file.

    """
    values = _values(file)
    if kind == "numbers" and values.ndim == 1:
        if not np.isfinite(values).all():
            raise DataError("it holds numbers that are not finite; a vector has finite ones")
        return values.astype(np.float32)
    if kind == "classes" and (values.ndim != 2 or values.dtype != np.uint8):
        raise DataError(f"it holds {values.dtype} {values.shape}; a class map is uint8 (H, W)")
    planes = values[None] if values.ndim == 2 else values
    if planes.ndim != 3:
        raise DataError(f"it holds {values.shape}; a map is (H, W) or (C, H, W), a vector (V,)")
    with Image.open(photo) as picture:  # only the header
        if picture.getexif().get(_EXIF_ORIENTATION, _UPRIGHT) != _UPRIGHT:
            raise DataError("its photo is turned by an EXIF orientation, the map perhaps not; save the photo upright")
        size = (picture.height, picture.width)
    if planes.shape[1:] != size or size[0] * size[1] > how.max_pixels:
        raise DataError(f"it has {planes.shape[1:]} pixels, its photo {size}, at most {how.max_pixels} in all")
    square = _square(torch.from_numpy(planes.astype(np.float32)), how.canvas)
    return square[0].to(torch.uint8).numpy() if kind == "classes" else square.numpy()


def _square(planes: Tensor, canvas: int) -> Tensor:
    """Cut the centre square of (C, H, W), as of photos, and take the pixel nearest to each centre."""
    height, width = planes.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return interpolate(planes[None, :, top : top + side, left : left + side], (canvas, canvas), mode="nearest-exact")[0]


def _values(file: Path) -> NDArray[Any]:
    if file.suffix.lower() == ".npy":
        return np.asarray(np.load(file, allow_pickle=False))
    if file.suffix.lower() == ".txt":
        return np.loadtxt(file, ndmin=1)
    with Image.open(file) as drawn:
        return np.asarray(drawn)
