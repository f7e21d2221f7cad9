"""The heat map of a leaderboard: a table whose cells are coloured, their text being readable on every colour."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import NamedTuple

from matplotlib import colormaps

from pretext.benchmark.summary import EntrySummary

COLOURS = "cividis"  # rises evenly in lightness, for colour-blind readers too
SHADES = 24  # of the colour scale's legend


class Shades(NamedTuple):
    """A scale of colours for the shares between two bounds."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Collection[float]) -> Shades:
        """Fit a scale to some shares."""
        return cls(min(values), max(values))

    def hue(self, value: float) -> str:
        """Give a share its colour."""
        rgb = colormaps[COLOURS]((value - self.low) / (self.high - self.low) if self.high > self.low else 0.5)[:3]
        return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)

    def style(self, value: float) -> str:
        """Colour a cell, and its text black or white, whichever stands out more (by 4.5 to 1 or better)."""
        hue = self.hue(value)
        return f"background:{hue};color:{'#000' if luminance(hue) > 0.179 else '#fff'}"

    def legend(self, levels: Mapping[str, float]) -> str:
        """Draw the scale with its ends and the levels on it that lie between them."""
        wide, span = 360 / SHADES, (self.high - self.low) or 1.0
        shades = (
            f'<rect x="{20 + place * wide:.1f}" y="16" width="{wide + 0.5:.1f}" height="12" '
            f'fill="{self.hue(self.low + (place + 0.5) / SHADES * (self.high - self.low))}"/>'
            for place in range(SHADES)
        )
        ends = _text(20, 40, f"{100 * self.low:.1f} %") + _text(380, 40, f"{100 * self.high:.1f} %")
        marks = ""
        for kind, level in levels.items():
            if self.low <= level <= self.high:
                x = 20 + 360 * (level - self.low) / span
                marks += f'<path class="mark" d="M{x:.1f} 13V31"/>' + _text(x, 10, kind)
        return f'<svg class="scale" viewBox="0 0 400 44" aria-hidden="true">{"".join(shades)}{ends}{marks}</svg>'


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", as the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def heat_map(entries: Sequence[EntrySummary], names: Sequence[str], shades: Shades) -> str:
    """Lay out every entry's mean at every stage, stars at what its seeds chose: full if all of them did."""
    head = "".join(f'<th scope="col" class="n">{escape(stage)}</th>' for stage in names)
    body = ""
    for entry in entries:
        cells = "".join(_heat(entry, stage, shades) for stage in names)
        body += f'<tr class="{entry.kind}"><th scope="row"><i>{escape(entry.name)}</i></th>{cells}</tr>'
    return f'<table class="heat"><thead><tr><th scope="col">Entry</th>{head}</tr></thead><tbody>{body}</tbody></table>'


def _heat(entry: EntrySummary, stage: str, shades: Shades) -> str:
    figure = entry.stages.get(stage)
    if not figure:
        return '<td class="n soft">-</td>'
    star = "" if stage not in entry.chosen else "★ " if len(entry.chosen) == 1 else "☆ "
    hover = f' title="{100 * figure.low:.1f} to {100 * figure.high:.1f}"' if figure.over else ""
    return f'<td class="n" style="{shades.style(figure.value)}"{hover}>{star}{100 * figure.value:.1f}</td>'


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{escape(words)}</text>'
