"""Line charts as SVG drawn by hand, so that their colours follow the page (see report.html), light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

SPLITS = {"train": "training", "val": "validation", "test": "test"}
KEYS = {**SPLITS, "chance": "blind guess", "trained": "trained", "random": "random initialisation", "raw": "raw input"}
UNDOTTED = ("train", "chance", "raw")  # in the legend: what has many points, and what is a level line
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 230, 50, 14, 14, 26  # of the view, and around the plot in it
LETTER = 6.5  # width of one, about
MANY = 800  # points that a line is drawn with at most, two per unit of width; of more, every n-th
STEPS = [1, 2, 2.5, 5, 10]  # what ticks are multiples of, times a power of ten
DOTS = 40  # points that get a dot each

_Scale = Callable[[float], float]


class Line(NamedTuple):
    """Points (x, y) from left to right, perhaps with an interval (low, high) each, or a level line with words on it."""

    points: list[tuple[float, float]]
    intervals: Sequence[tuple[float, float]] = ()
    words: str = ""


def level(value: float, words: str, beside: Iterable[Line]) -> Line:
    """Draw a level line along those beside it, its words at the end where these are further away."""
    lines = [line.points for line in beside]
    start, end = (min((abs(line[place][1] - value) for line in lines), default=0.0) for place in (0, -1))
    left, right = (choose((x for line in lines for x, _ in line), default=0.0) for choose in (min, max))
    points = [(left, value), (right, value)]
    return Line(points if end >= start else points[::-1], words=words)


def keys(kinds: Iterable[str]) -> str:
    """Write the legend of some kinds of line."""
    sample = '<svg viewBox="0 0 32 12" aria-hidden="true"><path class="line" d="M1 6H31"/>{}</svg>'
    dot = '<circle class="dot" cx="16" cy="6" r="3.5"/>'
    keys = (
        f'<span class="{kind}">{sample.format("" if kind in UNDOTTED else dot)}<i>{KEYS[kind]}</i></span>'
        for kind in kinds
    )
    return f'<p class="keys">{"".join(keys)}</p>'


def chart(title: str, lines: Mapping[str, Line], names: Sequence[str] = (), around: Iterable[float] = ()) -> str:
    """Draw lines by kind (their CSS class); `names` label x = 0, 1, ...; the y axis also reaches `around`."""
    xs = [x for line in lines.values() for x, _ in line.points]
    ys = [y for line in lines.values() for _, y in line.points]
    y_of, left, y_axis = _y_axis([y for y in (*ys, *around) if math.isfinite(y)] or [0.0])
    beside = 0.4 if names else 0.0
    x_of = _scale(min(xs) - beside, max(xs) + beside, left, WIDTH - RIGHT)
    drawn = "".join(f'<g class="{escape(kind)}">{_drawn(line, x_of, y_of)}</g>' for kind, line in lines.items())
    body = y_axis + _x_axis(min(xs), max(xs), names, x_of) + drawn
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{body}</svg>'
    lost = sum(not math.isfinite(y) for y in ys)
    note = f" <strong>{lost} not a finite number</strong>" if lost else ""
    return f"<figure><figcaption>{escape(title)}{note}</figcaption>{svg}</figure>"


def _y_axis(ys: Sequence[float]) -> tuple[_Scale, float, str]:
    """Say where a value lies, how much room the labels take, and draw them with a line across."""
    pad = 0.07 * (max(ys) - min(ys)) or 0.5 * abs(ys[0]) or 1.0
    low, high = min(ys) - pad, max(ys) + pad
    y_of = _scale(low, high, HEIGHT - BOTTOM, TOP)
    labels = {y: f"{y:.6g}" for y in MaxNLocator(5, steps=STEPS).tick_values(low, high) if low <= y <= high}
    left = max(LEFT, 14 + LETTER * max(map(len, labels.values()), default=0))
    ticks = (
        f'<path class="grid" d="M{left} {y_of(y):.1f}H{WIDTH - RIGHT}"/>'
        f'<text x="{left - 7}" y="{y_of(y) + 4:.1f}" text-anchor="end">{label}</text>'
        for y, label in labels.items()
    )
    return y_of, left, "".join(ticks)


def _x_axis(low: float, high: float, names: Sequence[str], x_of: _Scale) -> str:
    """Label steps, or the names at 0, 1, ..., in two lines by turns where they are too long for one."""
    whole = MaxNLocator(5, steps=STEPS, integer=True).tick_values(low, high)
    labels = dict(enumerate(names)) if names else {x: f"{x:,.0f}" for x in whole if low <= x <= high}
    crowded = LETTER * max(map(len, labels.values()), default=0) > (WIDTH - LEFT - RIGHT) / max(1, len(labels))
    heights = (HEIGHT - 13, HEIGHT - 1) if crowded else (HEIGHT - 8,)
    return "".join(
        f'<text x="{x_of(x):.1f}" y="{heights[place % len(heights)]}" text-anchor="middle">{escape(label)}</text>'
        for place, (x, label) in enumerate(labels.items())
    )


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    """Map [low, high] to [start, end]; a single value to the middle."""
    return lambda value: start + (end - start) * ((value - low) / (high - low) if high > low else 0.5)


def _drawn(line: Line, x_of: _Scale, y_of: _Scale) -> str:
    """Draw one line with its intervals and its dots, which say their value on hover, or with its words."""
    points = line.points[:: math.ceil(len(line.points) / MANY) or 1]
    path, pen = "", "M"
    for x, y in points:
        finite = math.isfinite(y)
        path += f"{pen}{x_of(x):.1f} {y_of(y):.1f}" if finite else ""
        pen = "L" if finite else "M"  # what is not a number leaves a gap
    parts = [f'<path class="line" d="{path}"/>']
    for (x, _), (low, high) in zip(line.points, line.intervals, strict=False):
        parts.append(f'<path class="bar" d="M{x_of(x):.1f} {y_of(low):.1f}V{y_of(high):.1f}"/>')
    if line.words:
        (other, _), (end, level) = line.points
        anchor = "end" if end >= other else "start"
        place = f'x="{x_of(end):.1f}" y="{y_of(level) - 5:.1f}" text-anchor="{anchor}"'
        parts.append(f'<text class="words" {place}>{escape(line.words)}</text>')
    elif len(points) <= DOTS:
        dots = ((x_of(x), y_of(y), y) for x, y in points if math.isfinite(y))
        dot = '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{:.4g}</title></circle>'
        parts += [dot.format(*place) for place in dots]
    return "".join(parts)
