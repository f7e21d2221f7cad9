"""From decoded frames to the pictures of a clip: the centre square of each, at one size, in RGB, upright."""

from __future__ import annotations

from typing import Any, final

import av
import numpy as np
import torch
from av.sidedata.sidedata import Type
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray
from torch.nn.functional import interpolate

Pixels = NDArray[np.uint8]
"""Bytes of pictures."""

_AT_ONCE = (
    1 << 23
)  # bytes of pictures that are resized together: few calls for small ones, little memory for large ones
_TO_PLANES = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p")
"""What FFmpeg converts to planes as it does to pixels, but faster; of 10 bits, or NV12, it makes another picture."""


@final
class Squares:
    """The pictures of one clip, filled frame by frame.

    Conversion is FFmpeg's, of the whole frame at its own size, then the square is resized, antialiased: resizing within
    FFmpeg's conversion would make another picture of it.

    Args:
        count: pictures of the clip.
        canvas: side of the pictures.

    """

    def __init__(self, count: int, canvas: int) -> None:
        self._canvas = canvas
        self._out = np.empty((3, count, canvas, canvas), np.uint8)
        self._convert = VideoReformatter().reformat  # one for all frames: its set-up takes longer than a conversion
        self._buffer: Pixels = np.empty((0, 0, 0, 3), np.uint8)
        self._waiting: list[int] = []
        self._matrix: NDArray[np.int32] | None = None

    def put(self, i: int, frame: av.VideoFrame) -> None:
        """Make picture `i` of a frame."""
        side_data: Any = frame.side_data if i == 0 else {}  # PyAV's type of it knows one key only
        if Type.DISPLAYMATRIX in side_data:
            self._matrix = np.frombuffer(side_data[Type.DISPLAYMATRIX], np.int32)
        side = min(frame.height, frame.width)
        top, left = (frame.height - side) // 2, (frame.width - side) // 2
        rows, columns = slice(top, top + side), slice(left, left + side)
        if side == self._canvas and frame.format.name in _TO_PLANES:
            planar = self._convert(frame, format="gbrp", threads=1)
            for plane, channel in zip(planar.planes, (1, 2, 0), strict=True):
                self._out[channel, i] = _bytes(plane)[rows, columns]
            return
        packed = _bytes(self._convert(frame, format="rgb24", threads=1).planes[0])
        square = packed[:, : 3 * frame.width].reshape(frame.height, -1, 3)[rows, columns]
        if self._buffer.shape[1] != side:  # the first one (or a video that changes its size)
            self._resize()
            self._buffer = np.empty((max(1, _AT_ONCE // square.nbytes), side, side, 3), np.uint8)
        self._buffer[len(self._waiting)] = square
        self._waiting.append(i)
        if len(self._waiting) == len(self._buffer):
            self._resize()

    def finish(self) -> Pixels:
        """Hand over all pictures, (3, count, canvas, canvas)."""
        self._resize()
        return self._out if self._matrix is None else _upright(self._out, self._matrix)

    def _resize(self) -> None:
        """Resize those that wait: channels last, for which torch has a fast kernel of bytes."""
        if not self._waiting:
            return
        squares = torch.from_numpy(self._buffer[: len(self._waiting)]).permute(0, 3, 1, 2)
        small = interpolate(squares, (self._canvas, self._canvas), mode="bilinear", antialias=True)
        self._out[:, self._waiting] = small.permute(1, 0, 2, 3).numpy()
        self._waiting = []


def _bytes(plane: Any) -> Pixels:
    """Look at a plane's memory, rows with their padding."""
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


def _upright(pixels: Pixels, matrix: NDArray[np.int32]) -> Pixels:
    """Turn pictures (..., S, S) as a display matrix says, right angles only: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = matrix[[0, 1, 3, 4]].tolist()
    if abs(b) > abs(a):
        pixels, a, d = pixels.swapaxes(-1, -2), c, b
    return np.ascontiguousarray(pixels[..., :: -1 if d < 0 else 1, :: -1 if a < 0 else 1])
