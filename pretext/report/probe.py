"""The result of a probe: tables, charts for a page and a picture, each protocol by what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from matplotlib.figure import Figure

from pretext.evaluation.available import descriptions
from pretext.evaluation.measured import Measured, curves, measured, preferred
from pretext.evaluation.protocol import Curve, Description
from pretext.evaluation.results import Point, ProbeResult, Value
from pretext.evaluation.verdict import best_row
from pretext.report.chart import Chart, Level, Series
from pretext.report.page import Tile
from pretext.report.plot import Key, legend
from pretext.report.table import STAR, Cell, Column, Content, Row, Table, of_metric, of_value
from pretext.report.words import figure as said
from pretext.report.words import protocol_facts

STARRED, INTERVALS = f"{STAR} best stage on a validation share of train", "beside scores their 95 % intervals"
KEYS = [Key("trained", "trained"), Key("random", "random initialisation"), Key("raw", "raw input", "")]
LOOKS: dict[str, dict[str, Any]] = {  # in the picture
    "trained": {"color": "tab:blue", "marker": "o", "label": "trained"},
    "random": {"color": "tab:gray", "marker": "s", "label": "random initialisation"},
    "raw": {"color": "tab:green", "ls": "--", "label": "raw input"},
    "chance": {"color": "black", "ls": ":", "label": "chance"},
    "chosen": {"color": "tab:blue", "marker": "o", "ms": 13, "mfc": "none", "ls": "", "label": "chosen on validation"},
}
GUESSED = ("accuracy", "map")  # metrics of which a probe says what a blind guess scores


def about(result: ProbeResult) -> str:
    """Say what was probed on."""
    data, chance = result.data or {}, (result.protocol or {}).get("chance")
    whose = f", {data['modality']}" if "modality" in data else ""
    sizes = f"{data['train']:,} train, {data['test']:,} test items"
    sizes += f" of {len(data['classes'])} classes" if data["classes"] else ""
    return f"{data['class']}{whose}: {sizes}" + ("" if chance is None else f"; chance {100 * chance:.1f} %")


# ---- Tables


def tables(result: ProbeResult) -> list[Table]:
    """Lay out what a probe measured: scores by stage, scores along a curve, what each protocol keeps apart."""
    shown = measured(result)
    title = f"{about(result)}. {shown[0].protocol.title}" if _of_one(shown) else about(result)
    drawn = (
        [_by_stage(result, title, shown, f"{_legend(result)}{_averaged(result)}{_options(result)}")] if shown else []
    )
    drawn += [_by_point(*each) for each in curves(result)]
    for own in descriptions(result.described):
        drawn += _by_variant(result, own) if own.variants_title else []
    for protocol, apart in groupby(measured(result, apart=True), key=lambda one: one.protocol):
        title = protocol.title if shown else f"{about(result)}. {protocol.title}"
        drawn.append(_by_stage(result, title, list(apart)))
    return drawn


def _legend(result: ProbeResult) -> str:
    """Say what the star means, if there is one, and what the intervals are."""
    return f"{STARRED}; {INTERVALS}" if any(row.chosen for row in result.stages) else INTERVALS.capitalize()


def _averaged(result: ProbeResult) -> str:
    """Say of how many views test items were averaged, if they were."""
    _, of_test, averaged = str((result.protocol or {}).get("view", "")).partition("; test averaged ")
    return f". Test items are averaged {averaged}" if of_test else ""


def _options(result: ProbeResult) -> str:
    """Name the options of the data that are not its defaults."""
    if not result.options:
        return ""
    named = ", ".join(f"{name} {value}" for name, value in result.options.items())
    return f". Options of the data that are not its defaults: {named}"


def _of_one(shown: Sequence[Measured]) -> bool:
    """Are these several metrics of one protocol? Then its name is told once, above them."""
    return len(shown) > 1 and len({one.protocol.name for one in shown}) == 1


def _by_stage(result: ProbeResult, title: str, shown: Sequence[Measured], caption: str = "") -> Table:
    """Lay out metrics with a row for each stage; beside headlines how wide the stage is, and what was chosen."""
    apart = shown[0].protocol.apart
    brief = apart or _of_one(shown)
    columns = [Column("Features", words=True), Column("Stage", words=True), *[Column("Dims")] * (not apart)]
    firsts = {one.protocol.name: i for i, one in reversed(list(enumerate(shown)))}  # settings stand once
    settings = [
        tuple(one.protocol.settings.items()) if firsts[one.protocol.name] == i and not apart else ()
        for i, one in enumerate(shown)
    ]
    for one, own in zip(shown, settings, strict=True):
        name = one.metric.short or one.metric.key if brief else f"{one.protocol.heading} {one.metric.short}".strip()
        columns += [of_metric(name, one.metric), *(Column(heading) for _, heading in own)]
    rows = []
    for row in result.stages:
        cells: list[Content] = [row.features, Cell(row.stage, star=STAR * bool(row.chosen)), *[row.dims] * (not apart)]
        for one, own in zip(shown, settings, strict=True):
            score = row.score(one.protocol.name)
            cells += [of_value(one.of(row)), *(score.figures.get(key) if score else None for key, _ in own)]
        rows.append(Row(cells, "chosen" * bool(row.chosen), row.features or ""))
    return Table(title, columns, rows, caption)


def _by_variant(result: ProbeResult, own: Description) -> list[Table]:
    """Lay out the scores of every setting of a protocol with a row for each; nothing where it measured nothing."""
    scores = [(row, name, score) for row in result.stages for name, score in row.variants(own.variants).items()]
    shown = [m for m in (Measured(own, metric) for metric in own.metrics) if any(m.value(s) for _, _, s in scores)]
    columns = [
        Column("Features", words=True),
        Column("Stage", words=True),
        Column(next(iter(own.settings.values())), words=True),
    ]
    columns += [of_metric(one.metric.short or one.metric.key, one.metric) for one in shown]
    rows = [
        Row([row.features, row.stage, name, *(of_value(one.value(score)) for one in shown)], "", row.features or "")
        for row, name, score in scores
    ]
    return [Table(own.variants_title, columns, rows)] if rows else []


def _by_point(one: Measured, curve: Curve, points: Sequence[Point]) -> Table:
    """Lay out points with a row for each name, such as a number of labels, and a column for each kind of features."""
    whose = list(dict.fromkeys(point.features or "" for point in points))
    at = {(point.features or "", point.score.figures[curve.name]): one.value(point.score) for point in points}
    places = {point.score.figures[curve.name]: point.score.figures[curve.at] for point in points}
    columns = [Column(curve.name_title, words=True), Column(curve.at_title), *(of_metric(w, one.metric) for w in whose)]
    rows = [Row([name, place, *(of_value(at.get((w, name))) for w in whose)]) for name, place in places.items()]
    return Table(one.protocol.title, columns, rows)


# ---- Charts, for the page of a run and for a picture


def section(result: ProbeResult) -> dict[str, Any]:
    """Draw a probe for the page of a run."""
    return {
        "title": about(result),
        "legend": legend(KEYS, {row.features or "" for row in result.stages}),
        "charts": [chart for _, chart in charts(result)],
        "tables": tables(result),
        "facts": protocol_facts(result.data, result.protocol)
        | {f"option: {name}": value for name, value in (result.options or {}).items()}
        | ({} if result.seconds is None else {"seconds": result.seconds}),
    }


def headline(result: ProbeResult) -> Iterator[Tile]:
    """Take each protocol's score at the stage that it chose itself, with those of random features and the raw input."""
    for one in preferred(result):
        chosen = {
            kind: row
            for kind in dict.fromkeys(row.features for row in result.stages)
            if (row := best_row(result.stages, kind, one))
        }
        best = chosen.pop("trained", None)
        if best and (value := one.of(best)):
            unit, (_, low, high) = one.metric.unit, _scaled(value, one)
            bounds = f"95 % interval {low:.1f} to {high:.1f}" if unit else f"95 % interval {low:.4g} to {high:.4g}"
            others = (
                (row.stage if kind == "raw" else f"{kind} {row.stage}", one.of(row)) for kind, row in chosen.items()
            )
            notes = [bounds] * (low <= high) + [f"{kind} {said(other.value, unit)}" for kind, other in others if other]
            name = one.protocol.title  # a sentence goes on: "linear probe", but "kNN"
            name = name[:1].lower() + name[1:] if name[1:2].islower() else name
            yield f"{name} · {best.stage}", said(value.value, unit), notes


def charts(result: ProbeResult) -> Iterator[tuple[Measured, Chart]]:
    """Chart scores by stage, the preferred first, those of the raw input as levels, and scores along curves."""
    stages = list(dict.fromkeys(row.stage for row in result.stages if row.features != "raw"))
    for one in preferred(result):
        spots = [(r.features or "", stages.index(r.stage), one.of(r)) for r in result.stages if r.stage in stages]
        levels = []
        for row in result.stages:
            if row.features == "raw" and (value := one.of(row)):
                words, shown = f"{row.stage} {said(value.value, one.metric.unit)}", _scaled(value, one)
                levels.append(Level("raw", shown.value, words, shown[1:]))
        yield one, Chart(one.title, _lines(spots, one), levels, stages)
    for one, curve, points in curves(result):
        places = sorted({point.score.figures[curve.at] for point in points})
        spots = [(p.features or "", places.index(p.score.figures[curve.at]), one.value(p.score)) for p in points]
        title = f"{one.title}, by {curve.at_title.lower()}"
        yield one, Chart(title, _lines(spots, one), names=[f"{place:,}" for place in places])


def _lines(spots: Sequence[tuple[str, int, Value | None]], one: Measured) -> list[Series]:
    """Make a line of each kind of features, left to right."""
    lines = []
    for kind in dict.fromkeys(kind for kind, _, value in spots if value):
        there = sorted((float(x), _scaled(value, one)) for own, x, value in spots if own == kind and value)
        points, bounds = [(x, value.value) for x, value in there], [(value.low, value.high) for _, value in there]
        lines.append(Series(kind, points, bounds))
    return lines


def _scaled(value: Value, one: Measured) -> Value:
    """Scale a share to per cent."""
    return Value(*(100 * number for number in value)) if one.metric.unit == "%" else value


def plot(result: ProbeResult) -> Figure:
    """Paint every chart side by side, with chance and rings around what was chosen."""
    panels = list(charts(result))
    stages = max((len(chart.names) for _, chart in panels), default=0)
    figure = Figure(figsize=(max(4.5 * len(panels), 1.1 * stages + 3), 4.2), layout="constrained")
    best = next((row for row in result.stages if row.features == "trained" and row.chosen), None)
    shared = len({one.metric.unit for one, _ in panels}) == 1
    every = figure.subplots(1, max(1, len(panels)), sharey=shared, squeeze=False)[0]
    for axes, (one, chart) in zip(every, panels, strict=False):
        if one.metric.key in GUESSED and result.protocol:
            guess = Level("chance", 100 * result.protocol["chance"], "chance")
            chart = chart._replace(levels=[*chart.levels, guess])
        chart.paint(axes, LOOKS)
        if best and best.stage in chart.names and (value := one.of(best)):
            axes.plot(chart.names.index(best.stage), _scaled(value, one).value, **LOOKS["chosen"])
        axes.set_ylim(**({"bottom": 0} if one.metric.unit == "%" else {}))
    handles = {handle.get_label(): handle for axes in every for handle in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(about(result), fontsize="medium")
    return figure
