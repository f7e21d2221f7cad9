"""A chart of lines as data, drawn as SVG for a page and painted with matplotlib for a picture in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from markupsafe import Markup, escape
from matplotlib.axes import Axes

from pretext.report.labels import Box, covered
from pretext.report.plot import LETTER, Axis, Frame, Point, figure, group, svg, tag, text

MANY, DOTS = 800, 40  # points that a line is drawn with at most (of more, every n-th), and that get a dot each


class Series(NamedTuple):
    """A line of a chart: its class, its points from left to right, perhaps with an interval (low, high) of each."""

    kind: str
    points: Sequence[Point]
    intervals: Sequence[Point] = ()


class Level(NamedTuple):
    """A line across a chart, with words on it, perhaps with an interval, which a picture shows as a band."""

    kind: str
    y: float
    words: str
    interval: Point = (math.nan, math.nan)


class Chart(NamedTuple):
    """Lines, with dots that say their value if there are few, and levels; `names` label x = 0, 1, ..."""

    title: str
    series: Sequence[Series]
    levels: Sequence[Level] = ()
    names: Sequence[str] = ()

    @property
    def kinds(self) -> set[str]:
        """The classes of what is drawn, for a legend."""
        return {line.kind for line in self.series} | {level.kind for level in self.levels}

    def __html__(self) -> str:
        """Draw it for a page."""
        xs = [x for line in self.series for x, _ in line.points] or [0.0, 1.0]
        ys = [y for line in self.series for _, y in line.points]
        ends = [end for line in self.series for interval in line.intervals for end in interval]
        y = Axis.around([*ys, *ends, *(level.y for level in self.levels)], 204, 14)
        left = max(50, 14 + LETTER * max(len(y.write(tick)) for tick in y.ticks()))
        beside = 0.4 if self.names else 0.0
        frame = Frame(Axis(min(xs) - beside, max(xs) + beside, left, 386), y)
        below = {float(x): name for x, name in enumerate(self.names)}
        below = below or {x: f"{x:,.0f}" for x in frame.x.ticks(whole=True)}
        parts = [frame.rows(), frame.below(below, lines=2 if self.names else 1)]
        parts += [group(line.kind, *_drawn(line, frame)) for line in self.series]
        parts += [group(level.kind, frame.level(level.y), self._words(level, frame)) for level in self.levels]
        lost = sum(not math.isfinite(y) for y in ys)
        note = tag("strong", f" {lost} not a finite number") if lost else Markup("")
        return figure(escape(self.title) + note, svg(self.title, 400, 238 if self.names else 230, *parts))

    def _words(self, level: Level, frame: Frame) -> Markup:
        """Write a level's words above or below it, where they cover the least of what is drawn."""
        wide, y = LETTER * len(level.words), frame.y.at(level.y)
        last = frame.x.end - wide
        places = [(x, y + down) for down in (-5, 13) for x in (last, frame.x.start, *_between(frame.x.start, last))]
        taken = [box for line in self.series for box in _boxes(line, frame)]
        left, bottom = min(places, key=lambda at: covered((at[0], at[1] - 10, at[0] + wide, at[1] + 2), taken))
        return text(left, bottom, level.words, kind="words")

    def paint(self, axes: Axes, looks: Mapping[str, Mapping[str, Any]]) -> None:
        """Paint it with matplotlib; `looks` are the options of each kind of line and level."""
        for line in self.series:
            (xs, ys), bounds = zip(*line.points, strict=True), line.intervals or [(y, y) for _, y in line.points]
            reach = [[max(0.0, y - low) for y, (low, _) in zip(ys, bounds, strict=True)]]
            reach += [[max(0.0, high - y) for y, (_, high) in zip(ys, bounds, strict=True)]]
            axes.errorbar(xs, ys, reach, capsize=3, **looks[line.kind])
        for level in self.levels:
            axes.axhline(level.y, **looks[level.kind])
            axes.axhspan(*level.interval, color=looks[level.kind]["color"], alpha=0.12, lw=0)
        if self.names:
            axes.set_xticks(range(len(self.names)), self.names, rotation=30 if max(map(len, self.names)) > 7 else 0)
        axes.set_title(self.title, fontsize="medium")
        axes.grid(axis="y", alpha=0.3)


def _between(start: float, end: float) -> list[float]:
    return [start + (end - start) * part / 6 for part in range(1, 6)]


def _boxes(line: Series, frame: Frame) -> Iterator[Box]:
    """Bound what a line draws, piece by piece."""
    for (x, _), (low, high) in zip(line.points, line.intervals, strict=False):
        if not math.isnan(low + high):
            yield frame.x.at(x) - 1, frame.y.at(high), frame.x.at(x) + 1, frame.y.at(low)
    for (x0, y0), (x1, y1) in pairwise([(frame.x.at(x), frame.y.at(y)) for x, y in line.points if math.isfinite(y)]):
        steps = max(1, round((x1 - x0) / 8))
        for step in range(steps + 1):
            x, y = x0 + (x1 - x0) * step / steps, y0 + (y1 - y0) * step / steps
            yield x - 4, y - 3, x + 4, y + 3


def _drawn(line: Series, frame: Frame) -> list[Markup]:
    points = line.points[:: math.ceil(len(line.points) / MANY) or 1]
    intervals = [frame.bar(x, *interval) for (x, _), interval in zip(line.points, line.intervals, strict=False)]
    dots = [frame.mark(x, y, f"{y:.4g}") for x, y in points if math.isfinite(y)] if len(points) <= DOTS else []
    return [frame.line(points), *intervals, *dots]
