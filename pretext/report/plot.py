"""Charts as SVG, so that their colours follow the page, light or dark: axes, marks, labels, a legend.

    frame = Frame(Axis.around(steps, 50, 386), Axis.around(losses, 204, 14))  # places: x from the left, y from the top
    body = [frame.rows(), frame.below(), group("val", frame.line(points), frame.mark(x, y, "step 9: 0.31"))]
    svg("Loss by step", 400, 230, *body)

All that is drawn in a `Frame` is given in values. Colour, dashes and fill come from the class of its `group` (see
`templates/style.css`): trained, random, raw, supervised, chance, val, train, searched, control, other ...
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from matplotlib.ticker import MaxNLocator

from pretext.report.page import macro

LETTER, LINE = 6.5, 14.0  # width of a letter, about, and height of a line
STEPS = [1, 2, 2.5, 5, 10]  # what ticks are multiples of, times a power of ten
BETTER = 0.1  # of a fenced axis, the least part that its better half takes; what this leaves no room for is far out

Point = tuple[float, float]


def tag(name: str, *inside: object, hover: str = "", **attributes: object) -> Markup:
    """Write an element: `kind` is its class, floats get one digit, _ in names becomes -, no class is left out."""
    inside = (tag("title", hover), *inside) if hover else inside
    said = ((key.replace("_", "-") if key != "kind" else "class", value) for key, value in attributes.items())
    known = ((key, f"{v:.1f}" if isinstance(v, float) else v) for key, v in said if key != "class" or v)
    plain = (f' {key}="{escape(value)}"' for key, value in known)
    return Markup(f"<{name}{''.join(plain)}>{''.join(map(escape, inside))}</{name}>")


class Axis(NamedTuple):
    """A scale from values to places in the view; what lies outside is drawn at its edge, NaN at its start."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    times: float = 1.0  # what values are multiplied by where they are written: 100 for shares in per cent

    @classmethod
    def around(
        cls, values: Iterable[float], start: float, end: float, ends: Iterable[float] = (), fenced: bool = False
    ) -> Axis:
        """Fit a scale with a little room around finite values.

        `ends` of intervals are shown unless they are far wider than the values (Student's t of two seeds is).
        `fenced`: without what lies so far below that the better half of the values would be squeezed at the end.
        """
        finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if fenced:
            reach = (high - float(np.median(finite))) / BETTER or math.inf
            low = min(value for value in finite if value >= high - reach)
        spare = max(0.5 * (high - low), 0.05 * abs(high))
        there = [min(max(end, low - spare), high + spare) for end in ends if math.isfinite(end)]
        low, high = min([low, *there]), max([high, *there])
        room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """Place a value."""
        if not math.isfinite(value):
            share = float(value > 0)
        elif self.high <= self.low:
            share = 0.5
        elif self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, share))

    def write(self, value: float) -> str:
        """Write a value."""
        return f"{self.times * value:.6g}"

    def ticks(self, most: int = 5, whole: bool = False) -> list[float]:
        """Choose round values."""
        round_values = MaxNLocator(most, steps=STEPS, integer=whole).tick_values(self.low, self.high)
        return [float(value) for value in round_values if self.low <= value <= self.high]


class Frame(NamedTuple):
    """A horizontal and a vertical axis (which ends at the top), and what is drawn between them."""

    x: Axis
    y: Axis

    def rows(self, most: int = 5) -> Markup:
        """Draw lines across at round values of y, which are written at the left."""
        ticks = self.y.ticks(most)
        lines = (tag("path", kind="grid", d=f"M{self.x.start:g} {self.y.at(y):.1f}H{self.x.end:g}") for y in ticks)
        labels = (text(self.x.start - 6, self.y.at(y) + 4, self.y.write(y), "end") for y in ticks)
        return Markup("").join([*lines, *labels])

    def below(self, labels: Mapping[float, str] | None = None, lines: int = 1, words: str = "") -> Markup:
        """Write values of x, by default round ones, on the first of `lines` with room each; `words` name the axis."""
        labels = {x: self.x.write(x) for x in self.x.ticks()} if labels is None else labels
        free, height, parts = [-math.inf] * lines, self.y.start + 18, []
        for x, label in sorted(labels.items()):
            left, right = (self.x.at(x) + side * LETTER * len(label) / 2 for side in (-1, 1))
            line = next((line for line, end in enumerate(free) if left > end), None)
            if line is not None:
                parts.append(text(self.x.at(x), height + LINE * line, label, "middle"))
                free[line] = right + 4
        name = [text(self.x.end, height + 2 + LINE * lines, words, "end")] if words else []
        return Markup("").join(parts + name)

    def line(self, points: Iterable[Point], hold: bool = False) -> Markup:
        """Connect points; what is not a finite number leaves a gap. `hold` a value until the next, or the end."""
        if hold and (spots := list(points)):
            corners = (corner for (_, y), (x, new) in pairwise(spots) for corner in ((x, y), (x, new)))
            points = [spots[0], *corners, (self.x.high, spots[-1][1])]
        d, pen = "", "M"
        for x, y in points:
            d += f"{pen}{self.x.at(x):.1f} {self.y.at(y):.1f}" if math.isfinite(y) else ""
            pen = "L" if math.isfinite(y) else "M"
        return tag("path", kind="line", d=d)

    def level(self, y: float, hover: str = "") -> Markup:
        """Draw a line across."""
        return tag("path", hover=hover, kind="line", d=f"M{self.x.start:g} {self.y.at(y):.1f}H{self.x.end:g}")

    def bar(self, x: float, low: float, high: float) -> Markup:
        """Draw an interval of y; nothing if an end is NaN."""
        d = f"M{self.x.at(x):.1f} {self.y.at(low):.1f}V{self.y.at(high):.1f}"
        return Markup("") if math.isnan(low + high) else tag("path", kind="bar", d=d)

    def across(self, y: float, low: float, high: float) -> Markup:
        """Draw an interval of x; nothing if an end is NaN."""
        d = f"M{self.x.at(low):.1f} {self.y.at(y):.1f}H{self.x.at(high):.1f}"
        return Markup("") if math.isnan(low + high) else tag("path", kind="bar", d=d)

    def mark(self, x: float, y: float, hover: str = "", shape: str = "dot", size: float = 3.5) -> Markup:
        """Draw a "dot", "square" or "cross", which says `hover` when pointed at."""
        return mark(self.x.at(x), self.y.at(y), hover, shape, size)

    def points(self, points: Iterable[Point]) -> Markup:
        """Draw many small dots as one path, of strokes without length."""
        d = "".join(f"M{self.x.at(x):.1f} {self.y.at(y):.1f}h0" for x, y in points)
        return tag("path", kind="points", d=d) if d else Markup("")


def mark(x: float, y: float, hover: str = "", shape: str = "dot", size: float = 3.5) -> Markup:
    """Draw a mark at a place of the view, as `Frame.mark` does at values."""
    if shape == "cross":
        return tag("path", hover=hover, kind="bar", d=f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6")
    if shape == "square":
        return tag("rect", hover=hover, kind="dot", x=x - size, y=y - size, width=2 * size, height=2 * size)
    return tag("circle", hover=hover, kind="dot", cx=x, cy=y, r=size)


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> Markup:
    """Write words at a place of the view, which is where they start or end, or their middle; kind "words" outlines."""
    return tag("text", words, kind=kind, x=float(x), y=float(y), text_anchor=anchor)


def group(kind: str, *parts: Markup) -> Markup:
    """Give parts a class, and so their colour."""
    return tag("g", *parts, kind=kind)


def svg(title: str, width: float, height: float, *parts: Markup, kind: str = "") -> Markup:
    """Make a picture of parts, with a title for who cannot see it; without one it is hidden from them."""
    role = {"role": "img", "aria_label": title} if title else {"aria_hidden": "true"}
    return tag("svg", *parts, kind=kind, viewBox=f"0 0 {width:g} {height:g}", **role)


def figure(caption: object, drawn: Markup, wide: bool = False) -> Markup:
    """Put a caption above a picture; a `wide` one scrolls in a box."""
    return tag("figure", tag("figcaption", caption), macro("box", caption, drawn) if wide else drawn)


class Key(NamedTuple):
    """An entry of a legend: class, words, and the shape of its mark ("dot", "square", "cross" or "") and line."""

    kind: str
    words: str
    shape: str = "dot"
    line: bool = True


def legend(keys: Iterable[Key], kinds: Iterable[str] | None = None) -> Markup:
    """Write a legend of keys; given `kinds`, of those whose class is one of them."""
    entries, there = [], None if kinds is None else set(kinds)
    for key in (key for key in keys if there is None or key.kind in there):
        line = [tag("path", kind="line", d="M1 6H31")] if key.line else []
        sample = svg("", 32, 12, *line, *([mark(16, 6, shape=key.shape)] if key.shape else []))
        entries.append(tag("span", sample, tag("i", key.words), kind=key.kind))
    return tag("p", *entries, kind="keys")
