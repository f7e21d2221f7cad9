"""Labels that keep out of each other's way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from pretext.report.plot import LETTER, LINE, Frame, Point, text

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def spread(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Move labels apart, each at least a line from the next and inside [low, high], in the order of the heights."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    placed, floor = [0.0] * len(heights), low
    for rank, place in enumerate(order):
        placed[place] = min(max(heights[place], floor), high - LINE * (len(order) - 1 - rank))
        floor = placed[place] + LINE
    return placed


def names(words: Sequence[str], spots: Sequence[Point], width: float, taken: Iterable[Box] = ()) -> Markup:
    """Write each name right of, left of, above or below its spot (a place), where it covers the least of what is there.

    `width` is the view's; `taken` are boxes that they had better not cover, besides the spots.
    """
    boxes, parts = [*((x - 5, y - 5, x + 5, y + 5) for x, y in spots), *taken], []
    for name, (x, y) in zip(words, spots, strict=True):
        wide = LETTER * len(name)
        places = [(x + 8, y - 4), (x - 8 - wide, y - 4), (x + 8, y + 12), (x - 8 - wide, y + 12)]
        places += [(x - wide / 2, y - 10), (x - wide / 2, y + 18)]
        tried = [(left, bottom - 10, left + wide, bottom + 2) for left, bottom in places]
        boxes.append(min(tried, key=lambda box: covered(box, boxes) + 9 * max(0, 44 - box[0], box[2] - width + 4)))
        parts.append(text(boxes[-1][0], boxes[-1][3] - 2, name, kind="words"))
    return Markup("").join(parts)


def covered(box: Box, boxes: Iterable[Box]) -> float:
    """Add up how much of some boxes one covers."""
    sides = ((min(box[2], o[2]) - max(box[0], o[0]), min(box[3], o[3]) - max(box[1], o[1])) for o in boxes)
    return sum(max(0.0, across) * max(0.0, along) for across, along in sides)


def bounds(frame: Frame, x: Sequence[float], y: Sequence[float]) -> Box:
    """Bound values in the view, for `names` to keep out of; NaN adds nothing."""
    xs = [frame.x.at(value) for value in x if not math.isnan(value)]
    ys = [frame.y.at(value) for value in y if not math.isnan(value)]
    return min(xs) - 1, min(ys) - 1, max(xs) + 1, max(ys) + 1
