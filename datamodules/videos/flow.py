"""Optical flow of small grey pictures, as bytes: central differences, so that a reversed clip has the reversed flow.

The flow of frame t is half of the flow from t to t + 1 less that from t to t - 1, both by OpenCV's DIS (Kroeger et al.
2016). Reversal in time swaps the two, so it turns each vector round, exactly: value v becomes 256 - v.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import DataError

REACH = 8
"""The largest displacement per frame is 1/REACH of the side; a larger one is clipped to it."""
STEPS = 127
"""How many steps of a byte that is, either way from REST."""
REST = 128
"""The byte that means no motion."""
SMALLEST = 12
"""OpenCV refuses pictures of a smaller side."""


def central(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Find the central flow of all frames but the first and the last: (F, H, W) -> (2, F - 2, H, W).

    The first channel is the motion to the right, the second downwards: (value - 128) / 127 of an eighth of the height,
    per frame.

    Raises:
        DataError: fewer than three frames, or too small ones.
        ImportError: OpenCV is missing.

    """
    if len(grey) < 3 or min(grey.shape[1:]) < SMALLEST:
        raise DataError(f"flow of {grey.shape} is wanted, but it takes 3 frames of {SMALLEST} x {SMALLEST} or more")
    dis = _dis()
    middles = range(1, len(grey) - 1)
    flow = np.stack([dis.calc(grey[t], grey[t + 1], None) - dis.calc(grey[t], grey[t - 1], None) for t in middles])
    bytes_per_pixel = STEPS * REACH / grey.shape[1] / 2  # halved: the mean of both directions
    steps = np.rint(flow.transpose(3, 0, 1, 2) * np.float32(bytes_per_pixel))  # rounds both signs alike
    return (np.clip(steps, -STEPS, STEPS) + REST).astype(np.uint8)


def check() -> str:
    """Say which OpenCV there is, whose version decides the flow; or raise that there is none."""
    return str(_cv2().__version__)


def _cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            "flow needs OpenCV, which is not installed: pip install 'pretext-tasks[flow]' (or opencv-python-headless), "
            'or leave "flow" out of modalities'
        ) from error
    return cv2


def _dis() -> Any:
    """Make the estimator, a new one each time: it is not safe to share among threads, and cheap to make."""
    cv2 = _cv2()
    # FAST: 0.05 px off at 128 px, half of what a byte tells apart, and six times as fast as MEDIUM (0.01 px).
    return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
