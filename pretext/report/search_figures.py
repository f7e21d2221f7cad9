"""Pictures of a study: fitness over time, how every weight moved, and fitness against the probe."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from PIL import Image

from pretext.report.colours import COLOURS, Shades
from pretext.report.labels import names, spread
from pretext.report.page import breakable, data_uri, macro
from pretext.report.plot import LETTER, LINE, Axis, Frame, Key, figure, group, legend, svg, tag, text
from pretext.report.search_words import label
from pretext.report.words import figure as said
from pretext.search.analysis import best_so_far, fitness, fittest_quarters, probe_share, weights_of
from pretext.search.results import Results
from pretext.search.study import Candidate

MARKS = {
    "searched": Key("searched", "searched", line=False),
    "best so far": Key("searched", "best so far", shape=""),
    "pruned": Key("pruned", "pruned, at its last fitness", line=False),
    "failed": Key("failed", "failed", "cross", line=False),
    "control": Key("control", "control", "square", line=False),
    "level": Key("control", "control", shape=""),
    "other": Key("other", "other task alone", shape=""),
}


def over_time(results: Results) -> Markup:
    """Draw the fitness of all that ended in that order, the best so far as a line, controls as levels with names."""
    shown, levels, named = results.ended, results.controls, results.main_controls
    values = [fitness(c) for c in [*shown, *levels]]
    if not any(map(math.isfinite, values)):
        return Markup("")
    frame = Frame(Axis(0.5, max(len(shown), 1) + 0.5, 52, 400), Axis.around(values, 290, 10, fenced=True))
    places = {tick: f"{tick:g}" for tick in frame.x.ticks(6, whole=True) if tick >= 1}
    parts = [frame.rows(), frame.below(places, words="searched candidates, in order of finishing")]
    for c in reversed(levels):
        parts.append(group("control" if c in named else "other", frame.level(fitness(c), _hover(c))))
    for c, height in zip(named, spread([frame.y.at(fitness(c)) for c in named], 14, 286), strict=True):
        leader = tag("path", kind="leader", d=f"M400 {frame.y.at(fitness(c)):.1f}L414 {height:.1f}")
        parts += [group("control", leader), text(418, height + 4, f"{_short(label(c), 14)} {fitness(c):.3g}")]
    done = [place for place, c in enumerate(shown, 1) if c in results.searched]
    best = zip(done, best_so_far(results.searched), strict=True)
    parts.append(group("searched", frame.line(best, hold=True)))
    parts += [_mark(frame, place, fitness(c), c) for place, c in enumerate(shown, 1)]
    kinds: list[str] = [kind for kind in ("pruned", "failed") if kind in {c.state for c in shown}]
    kinds = ["searched", "best so far"] * bool(done) + kinds + ["level"] * bool(levels) + ["other"] * (len(levels) > 3)
    title = "Fitness of every candidate, and the best so far"
    below = sum(math.isfinite(value) and value < frame.y.low for value in values)
    note = [tag("p", f"At the lower edge: {below} far below the others.", kind="soft")] if below else []
    drawn = macro("box", title, svg(title, 560, 328, *parts, kind="scatter"))
    return Markup("").join([legend(MARKS[kind] for kind in kinds), drawn, *note])


def weight_panels(results: Results) -> Markup:
    """Draw a small panel per weight on one scale: every searched candidate's, and the mean of the fittest quarter."""
    shown, titles = results.searched, results.names
    if not shown or not titles:
        return Markup("")
    table, quarters = weights_of(shown, titles), fittest_quarters(shown)
    means = np.array([table[quarter].mean(0) for quarter in quarters])
    highest = float(np.nanmax(table, initial=0.0))
    frame = Frame(Axis(0.5, len(shown) + 0.5, 30, 216), Axis(0.0, 1.0 if highest > 0.5 else highest or 1.0, 116, 8))
    axes = frame.rows(2) + frame.below({1: "1", len(shown): str(len(shown))})
    panels = []
    for name, column, mean in zip(titles, table.T.tolist(), means.T.tolist(), strict=True):
        spots = list(enumerate(column, 1))
        parts = [axes, group("rest", frame.points(spot for spot in spots if spot[0] - 1 not in quarters[-1]))]
        parts.append(group("searched", frame.points(spots[place] for place in sorted(quarters[-1]))))
        parts.append(group("mean", frame.line(enumerate(mean, 1))))
        drawn = svg(f"{name}: mean of the fittest quarter {mean[-1]:.2f}", 220, 138, *parts)
        panels.append(figure(breakable(name) + " " + tag("span", f"{mean[-1]:.2f}"), drawn))
    keys = [Key("mean", "mean of the fittest quarter so far", shape="")]
    keys += [Key("searched", "in the fittest quarter now", line=False), Key("rest", "other candidates", line=False)]
    return legend(keys) + tag("div", *panels, kind="panels")


def weight_map(results: Results) -> Markup:
    """Colour every weight of every searched candidate, the fittest on the left: what the fit share is a stripe."""
    order, titles = sorted(results.searched, key=fitness, reverse=True), results.names
    if len(order) < 2 or not titles:
        return Markup("")
    left, tall = min(200.0, 12 + LETTER * max(map(len, titles))), LINE * len(titles)
    address = data_uri(_png(np.clip(np.nan_to_num(weights_of(order, titles).T), 0.0, 1.0)))
    picture = tag("image", x=left, y=0, width=556 - left, height=tall, preserveAspectRatio="none", href=address)
    parts = [picture, text(left, tall + 14, "fittest")]
    parts.append(text(556, tall + 14, "least fit", "end"))
    room = int((left - 8) / LETTER)
    parts += [text(left - 6, LINE * place + 11, _short(name, room), "end") for place, name in enumerate(titles)]
    title = "Weights of every candidate, the fittest on the left"
    drawn = macro("box", title, svg(title, 560, tall + 18, *parts, kind="scatter map"))
    shades = Shades(0.0, 1.0)
    scale: list[object] = ["Weight: "]
    for weight in (0, 0.25, 0.5, 0.75, 1):
        scale += [tag("span", kind="swatch", style=f"background:{shades.hue(weight)}"), f"{weight:g}\u2003"]
    return drawn + tag("p", *scale, kind="soft")


def _png(shares: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(colormaps[COLOURS](shares, bytes=True)[..., :3].copy()).save(file, "png")
    return file.getvalue()


def against_probe(results: Results) -> Markup:
    """Draw every candidate that has both a fitness and a probe accuracy, with the interval of the accuracy."""
    shown, best = results.probed, results.best
    if not shown:
        return Markup("")
    percents = {c.index: [100 * probe_share(c.probe, key) for key in ("accuracy", "low", "high")] for c in shown}
    x = Axis.around([fitness(c) for c in shown], 46, 540, fenced=True)
    frame = Frame(x, Axis.around([value for values in percents.values() for value in values], 296, 10))
    places = {tick: f"{tick:.6g}" for tick in x.ticks(6)}
    parts = [frame.rows(), frame.below(places, words="fitness")]
    for c in sorted(shown, key=lambda c: (c.control is not None, c is best)):
        accuracy, low, high = percents[c.index]
        bar = group(_kind(c), frame.bar(fitness(c), low, high))
        parts.append(group("spots best" if c is best else "spots", bar, _mark(frame, fitness(c), accuracy, c)))
    named = [c for c in (*results.main_controls, best) if c in shown and c is not None]
    spots = [(x.at(fitness(c)), frame.y.at(percents[c.index][0])) for c in named]
    others = [(x.at(fitness(c)), frame.y.at(percents[c.index][0])) for c in shown if c not in named]
    taken = [(left - 4, top - 4, left + 4, top + 4) for left, top in others]
    bars = ((x.at(fitness(c)), *map(frame.y.at, percents[c.index][1:])) for c in shown)
    taken += [(at - 1, high, at + 1, low) for at, low, high in bars if not math.isnan(low + high)]
    parts.append(names(["fittest" if c is best else label(c) for c in named], spots, 560, taken))
    title = "Probe accuracy, %, against the fitness"
    kinds = ["searched"] * any(c.control is None for c in shown) + ["control"] * any(c.control for c in shown)
    drawn = svg(title, 560, 334, *parts, kind="scatter")
    return legend(MARKS[kind] for kind in kinds) + figure(title, drawn, wide=True)


def _kind(candidate: Candidate) -> str:
    """Give the CSS class of a candidate's mark."""
    return candidate.state if candidate.state != "done" else "searched" if candidate.control is None else "control"


def _mark(frame: Frame, x: float, y: float, candidate: Candidate) -> Markup:
    kind = _kind(candidate)
    return group(kind, frame.mark(x, y, _hover(candidate), MARKS[kind].shape))


def _hover(candidate: Candidate) -> str:
    """Write a candidate's figures."""
    if candidate.state == "failed":
        return f"{label(candidate)}: failed"
    words = f"{label(candidate)}: fitness {fitness(candidate):.4g}" + ", pruned" * (candidate.state == "pruned")
    accuracy = probe_share(candidate.probe)
    return words + (f", probe {said(accuracy)}" if math.isfinite(accuracy) else "")


def _short(words: str, most: int) -> str:
    """Cut words to a number of letters."""
    return words if len(words) <= most else words[: most - 1] + "…"
