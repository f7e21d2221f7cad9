"""Pictures of a study, as SVG whose colours follow the page (see evolve.html), light or dark."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Collection, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from pretext.report.charts import LETTER
from pretext.report.leaderboard_heat import COLOURS, Shades
from pretext.report.run import scroll_box
from pretext.report.search_marks import LINE, Axis, breakable, dots, grid, hover, kind_of, mark, short, spread, text
from pretext.search.analysis import (
    best_so_far,
    called,
    controls,
    ended,
    fitness,
    fittest,
    fittest_quarters,
    probed,
    searched,
    share,
    told_apart,
    weights_of,
)
from pretext.search.study import Candidate

Column = np.ndarray[Any, Any]
"""Of every candidate one number."""


def over_time(candidates: Sequence[Candidate]) -> str:
    """Draw the fitness of all that ended in that order, the best so far as a line, controls as levels with names."""
    shown, levels = ended(candidates), controls(candidates)
    values = [fitness(c) for c in [*shown, *levels]]
    if not any(math.isfinite(value) for value in values):
        return ""
    y = Axis.around(values, 290, 10, fenced=True)
    x = Axis(0.5, max(len(shown), 1) + 0.5, 52, 400)
    body = grid(y, 52, 400)
    body += "".join(text(x.at(tick), 308, f"{tick:g}", "middle") for tick in x.ticks(6, whole=True) if tick >= 1)
    body += text(400, 324, "searched candidates, in order of finishing", "end")
    body += _levels(levels, told_apart(candidates), y)
    body += _trace(shown, x, y)
    for place, c in enumerate(shown, 1):
        height = y.at(fitness(c)) if math.isfinite(fitness(c)) else y.start
        body += f'<g class="{kind_of(c)}">{mark(kind_of(c), x.at(place), height, hover(c))}</g>'
    title = "Fitness of every candidate, and the best so far"
    svg = f'<svg class="scatter" viewBox="0 0 560 328" role="img" aria-label="{title}">{body}</svg>'
    below = sum(math.isfinite(value) and value < y.low for value in values)
    note = f'<p class="soft">At the lower edge: {below} far below the others.</p>' if below else ""
    return scroll_box(title, svg) + note


def _trace(shown: Sequence[Candidate], x: Axis, y: Axis) -> str:
    """Draw the best so far as steps."""
    done = [(place, c) for place, c in enumerate(shown, 1) if c in searched([c])]
    if not done:
        return ""
    best = best_so_far(c for _, c in done)
    steps = (f"H{x.at(place):.1f}V{y.at(value):.1f}" for (place, _), value in zip(done, best, strict=True))
    path = f"M{x.at(done[0][0]):.1f} {y.at(best[0]):.1f}{''.join(steps)}H{x.end}"
    return f'<g class="searched"><path class="line" d="{path}"/></g>'


def _levels(levels: Sequence[Candidate], named: Sequence[Candidate], y: Axis) -> str:
    """Draw controls as level lines, their names to the right, as near as they can be without covering each other."""
    body = "".join(
        f'<g class="{"control" if c in named else "other"}"><path class="line" d="M52 {y.at(fitness(c)):.1f}H400">'
        f"<title>{escape(hover(c))}</title></path></g>"
        for c in reversed(levels)
    )
    heights = [y.at(fitness(c)) for c in named]
    for c, height, label in zip(named, heights, spread(heights, 14, 286), strict=True):
        body += f'<g class="control"><path class="leader" d="M400 {height:.1f}L414 {label:.1f}"/></g>'
        body += text(418, label + 4, f"{short(called(c), 14)} {fitness(c):.3g}", "start")
    return body


# ---- The evolution of every weight


def weight_panels(candidates: Sequence[Candidate], names: Sequence[str]) -> str:
    """Draw a small panel per weight on one scale: every searched candidate's, and the mean of the fittest quarter."""
    shown = searched(candidates)
    if not shown or not names:
        return ""
    table, quarters = weights_of(shown, names), fittest_quarters(shown)
    means = np.array([table[quarter].mean(0) for quarter in quarters])
    highest = float(np.nanmax(table, initial=0.0))
    y = Axis(0.0, 1.0 if highest > 0.5 else highest or 1.0, 116, 8)
    x = Axis(0.5, len(shown) + 0.5, 36, 216)
    axes = grid(y, 30, 216, most=2) + text(x.at(1), 134, "1", "middle")
    axes += text(x.at(len(shown)), 134, str(len(shown)), "middle") if len(shown) > 1 else ""
    columns = zip(names, table.T, means.T, strict=True)
    panels = "".join(_panel(name, column, mean, set(quarters[-1]), axes, x, y) for name, column, mean in columns)
    return f'<div class="panels">{panels}</div>'


def _panel(name: str, column: Column, means: Column, last: Collection[int], axes: str, x: Axis, y: Axis) -> str:
    """Draw one weight of every candidate, the `last` fittest quarter in colour, and the running mean of the fittest."""
    spots = [(x.at(place), y.at(value)) for place, value in enumerate(column, 1)]
    rest = dots(spot for place, spot in enumerate(spots) if place not in last)
    best = dots(spots[place] for place in sorted(last))
    line = "L".join(f"{at_x:.1f} {y.at(mean):.1f}" for (at_x, _), mean in zip(spots, means, strict=True))
    words = escape(f"{name}: mean of the fittest quarter {means[-1]:.2f}")
    return (
        f"<figure><figcaption>{breakable(name)} <span>{means[-1]:.2f}</span></figcaption>"
        f'<svg viewBox="0 0 220 138" role="img" aria-label="{words}">{axes}<g class="rest">{rest}</g>'
        f'<g class="searched">{best}</g><g class="mean"><path class="line" d="M{line}"/></g></svg></figure>'
    )


def weight_map(candidates: Sequence[Candidate], names: Sequence[str]) -> str:
    """Colour every weight of every searched candidate, the fittest on the left: what the fit share is a stripe."""
    order = sorted(searched(candidates), key=fitness, reverse=True)
    if len(order) < 2 or not names:
        return ""
    table = np.clip(np.nan_to_num(weights_of(order, names).T), 0.0, 1.0)
    left = min(200.0, 12 + LETTER * max(map(len, names)))
    tall = LINE * len(names)
    pixels = colormaps[COLOURS](table, bytes=True)[..., :3].copy()
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "png")
    picture = (
        f'<image x="{left}" y="0" width="{556 - left:.1f}" height="{tall}" preserveAspectRatio="none" '
        f'href="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"/>'
    )
    room = int((left - 8) / LETTER)
    labels = "".join(text(left - 6, LINE * place + 11, short(name, room), "end") for place, name in enumerate(names))
    labels += text(left, tall + 14, "fittest", "start") + text(556, tall + 14, "least fit", "end")
    title = "Weights of every candidate, the fittest on the left"
    view = f'viewBox="0 0 560 {tall + 18}" role="img" aria-label="{title}"'
    svg = f'<svg class="scatter map" {view}>{picture}{labels}</svg>'
    swatch = '<span class="swatch" style="background:{}"></span>{:g}'
    scale = " ".join(swatch.format(Shades(0.0, 1.0).hue(weight), weight) for weight in (0, 0.25, 0.5, 0.75, 1))
    return f'{scroll_box(title, svg)}<p class="soft">Weight: {scale}</p>'


# ---- Fitness against probe


def against_probe(candidates: Sequence[Candidate]) -> str:
    """Draw every candidate that has both a fitness and a probe accuracy, with the interval of the accuracy."""
    shown = probed(candidates)
    if not shown:
        return ""
    x = Axis.around([fitness(c) for c in shown], 46, 540, fenced=True)
    ends = [100 * share(c.probe, key) for c in shown for key in ("accuracy", "low", "high")]
    y = Axis.around(ends, 296, 10)
    body = grid(y, 46, 540) + "".join(text(x.at(tick), 314, f"{tick:.6g}", "middle") for tick in x.ticks(6))
    body += text(540, 330, "fitness", "end")
    best = fittest(searched(shown))
    for c in sorted(shown, key=lambda c: (c.control is not None, c is best)):
        at_x, (low, high) = x.at(fitness(c)), (100 * share(c.probe, key) for key in ("low", "high"))
        bar = f'<path class="bar" d="M{at_x:.1f} {y.at(low):.1f}V{y.at(high):.1f}"/>' if low <= high else ""
        spot = mark(kind_of(c), at_x, y.at(100 * share(c.probe)), hover(c))
        kind = f"{kind_of(c)} spots{' best' * (c is best)}"
        body += f'<g class="{kind}">{bar}{spot}</g>'
    body += _names(shown, best, x, y)
    title = "Probe accuracy, %, against the fitness"
    svg = f'<svg class="scatter" viewBox="0 0 560 334" role="img" aria-label="{title}">{body}</svg>'
    return f"<figure><figcaption>{title}</figcaption>{scroll_box(title, svg)}</figure>"


def _names(shown: Sequence[Candidate], best: Candidate | None, x: Axis, y: Axis) -> str:
    """Name the fittest of the search and some controls beside their spots, towards the middle of the picture."""
    body = ""
    named = [*told_apart(shown), *([best] if best else [])]
    for right in (False, True):  # names stand towards the middle of the picture
        side = [c for c in named if (x.at(fitness(c)) > 293) == right]
        heights = spread([y.at(100 * share(c.probe)) for c in side], 16, 290)
        for c, height in zip(side, heights, strict=True):
            at_x = x.at(fitness(c)) + (-9 if right else 9)
            body += text(at_x, height + 4, "fittest" if c is best else called(c), "end" if right else "start", "words")
    return body
