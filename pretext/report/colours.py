"""Colours for values: a scale of them with its legend, and bars."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import to_hex

from pretext.report.plot import Axis, svg, tag, text

COLOURS = "cividis"  # rises evenly in lightness, for colour-blind readers too


class Shades(NamedTuple):
    """A scale of colours for the values between two bounds."""

    low: float
    high: float

    def hue(self, value: float) -> str:
        """Give a value its colour."""
        return to_hex(colormaps[COLOURS](Axis(self.low, self.high, 0, 1).at(value)))

    def style(self, value: float) -> str:
        """Colour a cell, and its text black or white, whichever stands out more (by 4.5 to 1 or better)."""
        hue = self.hue(value)
        return f"background:{hue};color:{'#000' if luminance(hue) > 0.179 else '#fff'}"

    def legend(self, levels: Mapping[str, float], form: str = "{:.1%}") -> Markup:
        """Draw the scale with its ends and those levels, by name, that lie between them."""
        axis, parts = Axis(self.low, self.high, 20, 380), []
        for left, right in pairwise(np.linspace(self.low, self.high, 25).tolist()):
            fill, x = self.hue((left + right) / 2), axis.at(left)
            parts.append(tag("rect", x=x, y=16, width=axis.at(right) - x + 0.5, height=12, fill=fill))
        for end in (self.low, self.high):
            parts.append(text(axis.at(end), 40, form.format(end).replace("%", " %"), "middle"))
        for name, level in levels.items():
            if self.low <= level <= self.high:
                upright = tag("path", kind="mark", d=f"M{axis.at(level):.1f} 13V31")
                parts += [upright, text(axis.at(level), 10, name, "middle")]
        return svg("", 400, 44, *parts, kind="scale")


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", as the Web Content Accessibility Guidelines define it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def bars(parts: Mapping[str, float], most: float, level: float | None = None) -> Markup:
    """Draw a row of bars, as long as their share of `most`, each in the colour of its name, perhaps with a `level`."""
    drawn = [tag("b", kind=kind, style=f"width:{100 * part / most:.1f}%") for kind, part in parts.items()]
    upright = [] if level is None else [tag("u", style=f"left:{100 * level / most:.1f}%")]
    return tag("div", *drawn, *upright, kind="bars")
