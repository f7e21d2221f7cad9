"""The picture of a segmentation: a few photos with their masks and what was predicted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from torch import Tensor

from pretext.evaluation.segment import IGNORED

SHOWN = 6  # test items in the picture
_COLOURS = np.array(
    [(68, 119, 170), (238, 102, 119), (34, 136, 51), (204, 187, 68), (102, 204, 238), (170, 51, 119)], np.uint8
)  # of up to six classes: Paul Tol's bright scheme, which the colour-blind can tell apart
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
    colours = palette(len(classes))
    figure = Figure(figsize=(6.6, 2.2 * len(shown) + 0.6), layout="constrained")
    for row, item in zip(figure.subplots(len(shown), 3, squeeze=False), shown, strict=True):
        masks = [_painted(mask, colours) for mask in (item.answer, item.prediction)]
        pictures = (item.image.permute(1, 2, 0).numpy(), *masks)
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture)
            axes.set_axis_off()
    for axes, name in zip(figure.axes[:3], ("photo", "mask", "prediction"), strict=True):
        axes.set_title(name, fontsize="medium")
    names = [*classes, "not judged"]
    patches = [Patch(color=tuple(c / 255), label=name) for c, name in zip([*colours, _GREY], names, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(len(names), 6), frameon=False)
    return figure


def palette(classes: int) -> NDArray[np.uint8]:
    """Give every class a colour of its own, (K, 3) uint8; none is the grey of what is not judged."""
    if classes <= len(_COLOURS):
        return _COLOURS[:classes]
    if classes <= 18:  # those of the 20 that are no greys, the strong before the pale
        strong = [*range(0, 20, 2), *range(1, 20, 2)]
        some = colormaps["tab20"]([k for k in strong if k not in (14, 15)][:classes])
    else:
        places = np.arange(classes)
        some = hsv_to_rgb(np.stack([places / classes, 0.9 - 0.45 * (places % 2), 0.9 - 0.25 * (places % 3)], 1))
    return np.asarray(np.round(255 * some[:, :3]), np.uint8)


def _painted(mask: Tensor, colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give every class its colour: (S, S) to (S, S, 3) uint8."""
    values = mask.numpy()
    picture: NDArray[np.uint8] = np.where(
        (values == IGNORED)[..., None], _GREY, colours[np.minimum(values, len(colours) - 1)]
    )
    return picture
