"""What pictures of a study are drawn with: an axis, marks and words, as SVG whose colours follow the page."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

from pretext.report.charts import STEPS
from pretext.search.analysis import called, fitness, share
from pretext.search.study import Candidate

LINE = 14.0  # height of a line of text
BETTER = 0.1  # of a fenced axis, the least part that its better half takes; what this leaves no room for is far out


class Axis(NamedTuple):
    """A scale from values to places in the view; what lies outside is drawn at its edge."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float, fenced: bool = False) -> Axis:
        """Fit a scale with a little room around finite values.

        `fenced`: without what lies so far below that the better half of the values would be squeezed at the top.
        """
        found = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(found), max(found)
        if fenced:
            reach = (high - float(np.median(found))) / BETTER or math.inf
            low = min(value for value in found if value >= high - reach)
        room = 0.06 * (high - low) or 0.1 * abs(high) or 1.0
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        """Place a value."""
        part = (value - self.low) / (self.high - self.low) if math.isfinite(value) else float(value > 0)
        return self.start + (self.end - self.start) * min(1.0, max(0.0, part))

    def ticks(self, most: int, whole: bool = False) -> list[float]:
        """Choose round values."""
        found = MaxNLocator(most, steps=STEPS, integer=whole).tick_values(self.low, self.high)
        return [float(value) for value in found if self.low <= value <= self.high]


def keys(kinds: Iterable[tuple[str, str]]) -> str:
    """Write the legend of some kinds of mark: each its CSS class and its words."""
    svg = '<svg viewBox="0 0 32 12" aria-hidden="true">{}</svg>'
    marks = {"failed": mark("failed", 16, 6), "line": '<path class="line" d="M1 6H31"/>'}
    parts = []
    for kind, words in kinds:
        sample = svg.format(marks.get(kind.split()[-1], mark(kind, 16, 6)))
        parts.append(f'<span class="{kind}">{sample}<i>{escape(words)}</i></span>')
    return f'<p class="keys">{"".join(parts)}</p>'


def spread(heights: Sequence[float], low: float, high: float) -> list[float]:
    """Move labels apart, each at least a line from the next and inside [low, high], in the order of the heights."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    placed, floor = [0.0] * len(heights), low
    for rank, place in enumerate(order):
        placed[place] = min(max(heights[place], floor), high - LINE * (len(order) - 1 - rank))
        floor = placed[place] + LINE
    return placed


def kind_of(candidate: Candidate) -> str:
    """Name the CSS class of a candidate's mark."""
    return candidate.state if candidate.state != "done" else "searched" if candidate.control is None else "control"


def mark(kind: str, x: float, y: float, words: str = "") -> str:
    """Draw a dot, a square for a control, a cross for what failed; its words on hover."""
    title = f"<title>{escape(words)}</title>" if words else ""
    if kind == "failed":
        return f'<path class="bar" d="M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6">{title}</path>'
    if kind == "control":
        return f'<rect class="dot" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7">{title}</rect>'
    return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5">{title}</circle>'


def hover(candidate: Candidate) -> str:
    """Say a candidate's figures."""
    if candidate.state == "failed":
        return f"{called(candidate)}: failed"
    words = f"{called(candidate)}: fitness {fitness(candidate):.4g}" + ", pruned" * (candidate.state == "pruned")
    accuracy = share(candidate.probe)
    return words + (f", probe {100 * accuracy:.1f} %" if math.isfinite(accuracy) else "")


def dots(spots: Iterable[tuple[float, float]]) -> str:
    """Draw many small dots as one path, of strokes without length."""
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in spots)
    return f'<path class="points" d="{path}"/>' if path else ""


def grid(y: Axis, left: float, right: float, most: int = 5) -> str:
    """Draw the lines of an axis with their values."""
    lines = (f'<path class="grid" d="M{left} {y.at(tick):.1f}H{right}"/>' for tick in y.ticks(most))
    return "".join(lines) + "".join(text(left - 6, y.at(tick) + 4, f"{tick:.6g}", "end") for tick in y.ticks(most))


def breakable(name: str) -> str:
    """Let a name's line break after its parts, as HTML."""
    return escape(name).replace("/", "/<wbr>").replace("_", "_<wbr>")


def short(words: str, most: int) -> str:
    """Cut words to a number of letters."""
    return words if len(words) <= most else words[: most - 1] + "…"


def text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    """Write words at a place, which is where they start or end, or their middle."""
    side = f'text-anchor="{anchor}"' + (f' class="{kind}"' if kind else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" {side}>{escape(words)}</text>'
