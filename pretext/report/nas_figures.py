"""Pictures of a comparison of architectures: each proxy against the reference, and the best of m by each proxy."""

from __future__ import annotations

from math import isnan

from markupsafe import Markup

from pretext.report.chart import Chart, Level, Series
from pretext.report.plot import Axis, Frame, Key, figure, group, legend, svg, tag
from pretext.search.nas.results import Compared


def scatters(results: Compared) -> Markup:
    """Draw a panel for each proxy: a dot for each architecture, and the one that the proxy would take."""
    if not results.taken:
        return Markup("")
    reference = results.reference
    heights = [one.scores[reference] for one in results.complete]
    panels = []
    for name in results.measures[:-1]:
        x = Axis.around([one.scores[name] for one in results.complete], 52, 388)
        frame = Frame(x, Axis.around(heights, 226, 10))
        parts = [frame.rows(), frame.below({tick: x.write(tick) for tick in x.ticks(4)}, words=name)]
        for one in results.complete:
            hover = f"architecture {one.name}: {name} {one.scores[name]:.4g}, {reference} {one.scores[reference]:.4g}"
            mark = frame.mark(one.scores[name], one.scores[reference], hover)
            parts.append(group("control" if one is results.taken[name] else "searched", mark))
        rank = results.pair(name, reference).rank
        said = tag(
            "span",
            " no rank correlation: one of them is the same for all" if isnan(rank.rho) else f" rho = {rank.rho:.2f}",
        )
        panels.append(figure(Markup("").join([reference, " against ", name, said]), svg(name, 400, 262, *parts)))
    keys = [Key("searched", "architecture", line=False), Key("control", "taken by the proxy", line=False)]
    return legend(keys) + tag("div", *panels, kind="charts")


def curves(results: Compared) -> Markup:
    """Draw for each proxy what the best of m by it is worth: mean and two standard deviations over all draws of m."""
    if not results.curves:
        return Markup("")
    best = max(one.scores[results.reference] for one in results.complete)
    charts = []
    for name in results.measures:
        points = results.curves[name]
        means = [(float(place), point.mean) for place, point in enumerate(points)]
        reach = [(point.mean - 2 * point.sd, point.mean + 2 * point.sd) for point in points]
        levels = [Level("chance", best, f"best of all by {results.reference}")]
        sizes = [str(point.size) for point in points]
        charts.append(Chart(f"Best of m by {name}", [Series("trained", means, reach)], levels, sizes))
    return tag("div", *charts, kind="charts")
