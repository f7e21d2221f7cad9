"""Pictures of a leaderboard, as SVG and tables whose colours follow the page (see leaderboard.html), light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple

from matplotlib.ticker import MaxNLocator

from pretext.benchmark.summary import CurveFigure, EntrySummary
from pretext.evaluation.statistics.ranking import Figure
from pretext.report.charts import LETTER, STEPS

KEYS = {"trained": "trained without labels", "random": "random initialisation", "raw": "raw input"}
KEYS |= {"supervised": "trained with labels", "chance": "chance"}

_Scale = Callable[[float], float]
_Span = tuple[float, float]


def _scale(low: float, high: float, start: float, end: float) -> _Scale:
    """Map [low, high] to [start, end], a single value to the middle, and what lies outside to the edge."""

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return start + (end - start) * (share if math.isnan(share) else min(1.0, max(0.0, share)))

    return place


def _ticks(low: float, high: float, most: int) -> list[float]:
    return [float(y) for y in MaxNLocator(most, steps=STEPS).tick_values(low, high) if low <= y <= high]


def _span(figures: Iterable[Figure], levels: Iterable[float] = ()) -> _Span:
    """Bound figures and levels with a little room, and intervals unless they are far wider (t of two seeds is)."""
    figures = list(figures)
    values = [*(figure.value for figure in figures), *levels]
    if not values:
        return 0.0, 1.0
    least, most = min(values), max(values)
    spare = max(0.5 * (most - least), 0.03)
    ends = [end for figure in figures for end in (figure.low, figure.high) if math.isfinite(end)]
    least, most = max(least - spare, min([least, *ends])), min(most + spare, max([most, *ends]))
    room = 0.06 * (most - least) or 0.05
    return least - room, most + room


def _reach(figure: Figure) -> list[float]:
    return [figure.value, figure.low, figure.high]


def baselines(entries: Iterable[EntrySummary], chance: float | None) -> dict[str, float]:
    """Collect what to compare with: by kind the (first, so best) entry's figure, and chance."""
    levels = {"chance": chance} if chance is not None else {}
    for entry in entries:
        if entry.kind != "trained" and entry.main:
            levels.setdefault(entry.kind, entry.main.value)
    return levels


def keys(kinds: Iterable[str]) -> str:
    """Write the legend of some kinds of mark."""
    kinds = set(kinds)
    line = '<svg viewBox="0 0 32 12" aria-hidden="true"><path class="line" d="M1 6H31"/>{}</svg>'
    dot = '<circle class="dot" cx="16" cy="6" r="3.5"/>'
    parts = (
        f'<span class="{kind}">{line.format(dot if kind == "trained" else "")}<i>{KEYS[kind]}</i></span>'
        for kind in KEYS
        if kind in kinds
    )
    return f'<p class="keys">{"".join(parts)}</p>'


# ---- Intervals, a row each


class Strip(NamedTuple):
    """The scale on which every row of a table draws its interval, and the baselines that run through all of them."""

    low: float
    high: float
    levels: Mapping[str, float]

    @classmethod
    def of(cls, entries: Iterable[EntrySummary], levels: Mapping[str, float]) -> Strip:
        """Fit a scale around some entries."""
        return cls(*_span([entry.main for entry in entries if entry.main], levels.values()), levels)

    def head(self) -> str:
        """Draw the axis: shares in per cent."""
        x_of = _scale(self.low, self.high, 4, 166)
        labels = (
            f'<text x="{x_of(x):.1f}" y="11" text-anchor="middle">{100 * x:.3g}</text>'
            for x in _ticks(self.low, self.high, 4)
        )
        return f'<svg class="strip" viewBox="0 0 170 14" aria-hidden="true">{"".join(labels)}</svg>'

    def row(self, entry: EntrySummary) -> str:
        """Draw one entry's figure and interval; its numbers stand beside it, so it is no text to be read aloud."""
        x_of = _scale(self.low, self.high, 4, 166)
        parts = [
            f'<g class="{kind}"><path class="line" d="M{x_of(x):.1f} 0V30"/></g>' for kind, x in self.levels.items()
        ]
        if entry.main:
            x, low, high = map(x_of, _reach(entry.main))
            bar = "" if math.isnan(low + high) else f'<path class="bar" d="M{low:.1f} 15H{high:.1f}"/>'
            parts.append(f'<g class="{entry.kind}">{bar}<circle class="dot" cx="{x:.1f}" cy="15" r="4"/></g>')
        return f'<svg class="strip" viewBox="0 0 170 30" aria-hidden="true">{"".join(parts)}</svg>'


# ---- Few labels: small panels on one scale


def curves(entries: Sequence[EntrySummary]) -> str:
    """Draw a panel per entry without labels: its accuracy by number of labels among all others' (in grey)."""
    drawn = [entry for entry in entries if entry.curves.get("low_label", ())]
    items = sorted({few.at for entry in drawn for few in entry.curves.get("low_label", ())})
    if not items:
        return ""
    x_of = _scale(math.log(items[0]), math.log(items[-1]), 38, 206)
    low, high = _span(few.figure for entry in drawn for few in entry.curves.get("low_label", ()))
    y_of = _scale(low, high, 126, 8)
    axes = "".join(
        f'<path class="grid" d="M30 {y_of(y):.1f}H214"/>{_text(26, y_of(y) + 4, f"{100 * y:.3g}", "end")}'
        for y in _ticks(low, high, 4)
    )
    taken = -math.inf
    for count in items:
        x, label = x_of(math.log(count)), f"{count:,}"
        if x - LETTER * len(label) / 2 > taken + 4:
            axes += _text(x, 142, label, "middle")
            taken = x + LETTER * len(label) / 2
    panels = (_panel(entry, drawn, axes, x_of, y_of) for entry in drawn if entry.kind == "trained")
    return f'<div class="panels">{"".join(panels)}</div>'


def _panel(entry: EntrySummary, drawn: Sequence[EntrySummary], axes: str, x_of: _Scale, y_of: _Scale) -> str:
    others = [other for other in drawn if other.name != entry.name]
    lines = "".join(_curve(other, "other" if other.kind == "trained" else other.kind, x_of, y_of) for other in others)
    own = _curve(entry, "trained", x_of, y_of) + "".join(
        _few_dot(few, x_of, y_of) for few in entry.curves.get("low_label", ())
    )
    name = escape(entry.name)
    svg = f'<svg viewBox="0 0 220 146" role="img" aria-label="{name}, accuracy by labelled items">'
    return f"<figure><figcaption>{name}</figcaption>{svg}{axes}{lines}{own}</svg></figure>"


def _few_dot(few: CurveFigure, x_of: _Scale, y_of: _Scale) -> str:
    """Draw a point with its interval, which says its numbers on hover."""
    x, figure = x_of(math.log(few.at)), few.figure
    y, low, high = map(y_of, _reach(figure))
    bar = "" if math.isnan(low + high) else f'<path class="bar" d="M{x:.1f} {low:.1f}V{high:.1f}"/>'
    bounds = f" ({100 * figure.low:.1f} to {100 * figure.high:.1f})" if figure.over else ""
    words = escape(f"{few.name}, {few.at:,.0f} items: {100 * figure.value:.1f} %{bounds}")
    dot = f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{words}</title></circle>'
    return f'<g class="trained">{bar}{dot}</g>'


def _curve(entry: EntrySummary, kind: str, x_of: _Scale, y_of: _Scale) -> str:
    points = (f"{x_of(math.log(few.at)):.1f} {y_of(few.figure.value):.1f}" for few in entry.curves.get("low_label", ()))
    return (
        f'<g class="{kind}"><path class="line" d="M{"L".join(points)}"/></g>'
        if entry.curves.get("low_label", ())
        else ""
    )


# ---- Skill against probe


def scatter(entries: Sequence[EntrySummary], levels: Mapping[str, float], axis: str) -> str:
    """Draw every entry that has both a skill and a probe, with both intervals and its name."""
    both = [(entry, entry.skill, entry.main) for entry in entries if entry.skill and entry.main]
    if not both:
        return ""
    left, right = _span(skill for _, skill, _ in both)
    low, high = _span([main for _, _, main in both], levels.values())
    x_of, y_of = _scale(left, right, 46, 520), _scale(low, high, 300, 10)
    body = "".join(
        f'<path class="grid" d="M46 {y_of(y):.1f}H520"/>{_text(40, y_of(y) + 4, f"{100 * y:.3g}", "end")}'
        for y in _ticks(low, high, 6)
    )
    body += "".join(_text(x_of(x), 318, f"{x:.3g}", "middle") for x in _ticks(left, right, 6))
    body += _text(520, 334, "pretext skill", "end")
    for kind, y in levels.items():
        body += f'<g class="{kind}"><path class="line" d="M46 {y_of(y):.1f}H520"/></g>'
    body += "".join(_spot(skill, main, entry.kind, x_of, y_of) for entry, skill, main in both)
    spots = [(x_of(skill.value), y_of(main.value)) for _, skill, main in both]
    bars = [_bars(skill, main, x_of, y_of) for _, skill, main in both]
    names = [entry.name for entry, _, _ in both]
    for (entry, _, _), (x, y) in zip(both, _labels(names, spots, [bar for pair in bars for bar in pair]), strict=True):
        body += _text(x, y, entry.name, "start", "words")
    title = escape(f"{axis}, %, against the pretext skill")
    svg = f'<svg class="scatter" viewBox="0 0 530 340" role="img" aria-label="{title}">{body}</svg>'
    return f"<figure><figcaption>{title}</figcaption>{_wide(title, svg)}</figure>"


def _wide(name: str, content: str) -> str:
    return f'<div class="box" tabindex="0" role="region" aria-label="{name}">{content}</div>'


def _spot(skill: Figure, main: Figure, kind: str, x_of: _Scale, y_of: _Scale) -> str:
    x, y = x_of(skill.value), y_of(main.value)
    across = "" if not skill.over else f'<path class="bar" d="M{x_of(skill.low):.1f} {y:.1f}H{x_of(skill.high):.1f}"/>'
    along = "" if not main.over else f'<path class="bar" d="M{x:.1f} {y_of(main.low):.1f}V{y_of(main.high):.1f}"/>'
    words = f"<title>skill {skill.value:.2f}, probe {100 * main.value:.1f} %</title>"
    return f'<g class="{kind}">{across}{along}<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="4">{words}</circle></g>'


_Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def _bars(skill: Figure, main: Figure, x_of: _Scale, y_of: _Scale) -> Iterator[_Box]:
    x, y = x_of(skill.value), y_of(main.value)
    if skill.over:
        yield x_of(skill.low), y - 1, x_of(skill.high), y + 1
    if main.over:
        yield x - 1, y_of(main.high), x + 1, y_of(main.low)


def _labels(
    names: Sequence[str], spots: Sequence[tuple[float, float]], bars: Iterable[_Box] = ()
) -> list[tuple[float, float]]:
    """Place each name right of, left of, above or below its spot, wherever it covers the least of what is there."""
    boxes = [*((x - 5, y - 5, x + 5, y + 5) for x, y in spots), *bars]
    placed = []
    for name, (x, y) in zip(names, spots, strict=True):
        wide = LETTER * len(name)
        tries = [(x + 8, y - 4), (x - 8 - wide, y - 4), (x + 8, y + 12), (x - 8 - wide, y + 12)]
        tries += [(x - wide / 2, y - 10), (x - wide / 2, y + 18)]
        best = min(tries, key=lambda at: sum(_overlap(_box(at, wide), box) for box in boxes) + 9 * _outside(at, wide))
        boxes.append(_box(best, wide))
        placed.append(best)
    return placed


def _box(at: tuple[float, float], wide: float) -> _Box:
    return at[0], at[1] - 10, at[0] + wide, at[1] + 2


def _outside(at: tuple[float, float], wide: float) -> float:
    return max(0.0, 44 - at[0]) + max(0.0, at[0] + wide - 526)


def _overlap(one: _Box, other: _Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    along = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, along)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
