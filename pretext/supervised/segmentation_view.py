"""The picture of a segmentation: a few photos with their masks and what was predicted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from pretext.evaluation.segment import IGNORED

SHOWN = 6  # test items in the picture
_COLOURS = np.array(
    [(68, 119, 170), (238, 102, 119), (34, 136, 51), (204, 187, 68), (102, 204, 238), (170, 51, 119)], np.uint8
)  # of the classes, in turn: Paul Tol's bright scheme, which the colour-blind can tell apart
_GREY = np.array((187, 187, 187), np.uint8)  # not judged


class Shown(NamedTuple):
    """One test item of the picture."""

    lot: float
    """Its draw: the items with the smallest are shown."""
    image: Tensor
    """(3, S, S) uint8"""
    answer: Tensor
    """(S, S) uint8"""
    prediction: Tensor
    """(S, S) uint8"""


def draw(shown: list[Shown], classes: list[str]) -> Figure:
    """Draw each item as a row: the photo, its mask and the prediction, grey where it is not judged."""
    figure = Figure(figsize=(6.6, 2.2 * len(shown) + 0.6), layout="constrained")
    for row, item in zip(figure.subplots(len(shown), 3, squeeze=False), shown, strict=True):
        pictures = (item.image.permute(1, 2, 0).numpy(), _painted(item.answer), _painted(item.prediction))
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture)
            axes.set_axis_off()
    for axes, name in zip(figure.axes[:3], ("photo", "mask", "prediction"), strict=True):
        axes.set_title(name, fontsize="medium")
    names = [*classes, "not judged"]
    colours = [*(_COLOURS[k % len(_COLOURS)] for k in range(len(classes))), _GREY]
    patches = [Patch(color=tuple(c / 255), label=name) for c, name in zip(colours, names, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(names), 6), frameon=False)
    return figure


def _painted(mask: Tensor) -> NDArray[np.uint8]:
    """Give every class its colour: (S, S) to (S, S, 3) uint8."""
    values = mask.numpy()
    picture: NDArray[np.uint8] = np.where((values == IGNORED)[..., None], _GREY, _COLOURS[values % len(_COLOURS)])
    return picture
