"""The result of a probe: tables, charts for a page and a picture, each protocol by what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure
from rich.console import Console

from pretext.evaluation.available import descriptions
from pretext.evaluation.protocol import Curve, Description, Metric
from pretext.evaluation.results import Point, ProbeResult, Score, StageRow, Value
from pretext.report.chart import Chart, Level, Series
from pretext.report.plot import Key, legend
from pretext.report.table import STAR, Cell, Column, Content, Row, Table, of_metric

CAPTION = f"{STAR} best stage on a validation share of train; beside scores their 95 % intervals"
WORDS = {"trained": "trained", "random": "random initialisation", "raw": "raw input"}
LOOKS: dict[str, dict[str, Any]] = {  # in the picture
    "trained": {"color": "tab:blue", "marker": "o", "label": WORDS["trained"]},
    "random": {"color": "tab:gray", "marker": "s", "label": WORDS["random"]},
    "raw": {"color": "tab:green", "ls": "--", "label": WORDS["raw"]},
    "chance": {"color": "black", "ls": ":", "label": "chance"},
    "chosen": {"color": "tab:blue", "marker": "o", "ms": 13, "mfc": "none", "ls": "", "label": "chosen on validation"},
}
GUESSED = ("accuracy", "map")  # metrics of which a probe says what a blind guess scores


class Measured(NamedTuple):
    """A metric that some row has, with the protocol that measured it."""

    protocol: Description
    metric: Metric

    @property
    def title(self) -> str:
        """Such as "Linear probe, accuracy in %"."""
        unit = f" in {self.metric.unit}" if self.metric.unit else ""
        return f"{self.protocol.title}, {self.metric.title}{unit}"

    def value(self, score: Score | None) -> Value | None:
        """Read it, in per cent if it is a share."""
        value, scale = score and score.value(self.metric.key), 100 if self.metric.unit == "%" else 1
        return Value(*(scale * number for number in value)) if value else None

    def of(self, row: StageRow) -> Value | None:
        """Read it from a row."""
        return self.value(row.score(self.protocol.name))

    def cell(self, score: Score | None) -> Cell:
        """Write it, with its interval."""
        value = score and score.value(self.metric.key)
        return Cell(*(value if self.metric.interval else value[:1])) if value else Cell()


def measured(result: ProbeResult, apart: bool = False) -> list[Measured]:
    """List what was measured at every stage, the headlines or what stands `apart`."""
    every = (Measured(d, metric) for d in descriptions(result.described) for metric in d.metrics if d.apart == apart)
    return [one for one in every if any(one.of(row) for row in result.rows)]


def curves(result: ProbeResult) -> Iterator[tuple[Measured, Curve, Sequence[Point]]]:
    """List what was measured along a curve, at the chosen stage."""
    for protocol in descriptions(result.described):
        if protocol.curve and (points := result.curves.get(protocol.name)):
            metric = protocol.metric_of(points[0].score) or protocol.metrics[0]
            yield Measured(protocol, metric), protocol.curve, points


# ---- Tables


def tables(result: ProbeResult) -> list[Table]:
    """Lay out what a probe measured: scores by stage, scores along a curve, what each protocol keeps apart."""
    columns = [Column("Dims")]
    cells: list[list[Content]] = [[row.dims] for row in result.rows]
    drawn = []
    for one in (shown := measured(result)):
        heading = f"{one.protocol.heading} {one.metric.short}".strip()
        columns += [of_metric(heading, one.metric), *map(Column, one.protocol.settings.values())]
        for row, line in zip(result.rows, cells, strict=True):
            score = row.score(one.protocol.name)
            line += [one.cell(score), *((score.figures.get(key) if score else None) for key in one.protocol.settings)]
    if shown:
        drawn.append(_by_stage(result, about(result), columns, cells, CAPTION))
    drawn += [_by_point(*each) for each in curves(result)]
    for protocol in dict.fromkeys(one.protocol.name for one in measured(result, apart=True)):
        mine = [one for one in measured(result, apart=True) if one.protocol.name == protocol]
        title = mine[0].protocol.title if shown else f"{about(result)}. {mine[0].protocol.title}"
        apart: list[list[Content]] = [[one.cell(row.score(protocol)) for one in mine] for row in result.rows]
        columns = [of_metric(one.metric.short or one.metric.key, one.metric) for one in mine]
        drawn.append(_by_stage(result, title, columns, apart))
    return drawn


def _by_stage(
    result: ProbeResult, title: str, columns: list[Column], cells: list[list[Content]], caption: str = ""
) -> Table:
    named = [Column("Features", words=True), Column("Stage", words=True), *columns]
    rows = []
    for row, line in zip(result.rows, cells, strict=True):
        stage = Cell(row.stage, star=STAR if row.chosen else "")
        kind = "chosen" if row.chosen else ""
        rows.append(Row([row.features, stage, *line], kind, bool(row.chosen), row.features or ""))
    return Table(title, named, rows, caption)


def _by_point(one: Measured, curve: Curve, points: Sequence[Point]) -> Table:
    """Lay out points with a row for each name, such as a number of labels, and a column for each kind of features."""
    whose = list(dict.fromkeys(point.features or "" for point in points))
    at = {(point.features or "", point.score.figures[curve.name]): point.score for point in points}
    places = {point.score.figures[curve.name]: point.score.figures[curve.at] for point in points}
    columns = [Column(curve.name_title, words=True), Column(curve.at_title), *(of_metric(w, one.metric) for w in whose)]
    rows = [Row([name, place, *(one.cell(at.get((w, name))) for w in whose)]) for name, place in places.items()]
    return Table(one.protocol.title, columns, rows)


def print_tables(result: ProbeResult, console: Console) -> None:
    """Print every table."""
    for table in tables(result):
        console.print(table.rich(), "")


def markdown(result: ProbeResult) -> str:
    """Write every table as Markdown."""
    parts = (
        [f"{table.title}.", "", table.markdown(), "", *[table.caption, ""] * bool(table.caption)]
        for table in tables(result)
    )
    return "\n".join(line for part in parts for line in part)


def about(result: ProbeResult) -> str:
    """Say what was probed on."""
    data, chance = result.data or {}, (result.protocol or {}).get("chance", 0.0)
    whose = f", {data['modality']}" if "modality" in data else ""
    sizes = f"{data['train']:,} train, {data['test']:,} test items of {len(data['classes'])} classes"
    return f"{data['class']}{whose}: {sizes}; chance {100 * chance:.1f} %"


# ---- Charts, for the page of a run and for a picture


class Section(NamedTuple):
    """What the page of a run shows of a probe."""

    legend: Markup
    charts: list[Chart]
    tables: list[Table]
    facts: dict[str, Any]


def section(result: ProbeResult) -> Section:
    """Draw a probe for a page."""
    kinds = {row.features for row in result.rows}
    keys = [Key(kind, words, "dot" * (kind != "raw")) for kind, words in WORDS.items() if kind in kinds]
    facts = {**{f"data: {key}": value for key, value in (result.data or {}).items()}, **(result.protocol or {})}
    facts |= {"seconds": result.seconds} if result.seconds is not None else {}
    return Section(legend(keys), [chart for _, chart in charts(result)], tables(result), facts)


def headline(result: ProbeResult) -> Iterator[tuple[str, str, list[str]]]:
    """Take the chosen stage's scores, with those of random features and of the raw input beside each."""
    chosen = {row.features: row for row in result.rows if row.chosen}
    best = chosen.pop("trained", None)
    for one in _ranked(result):
        if best and (value := one.of(best)):
            others = ((row.stage if kind == "raw" else kind, one.of(row)) for kind, row in chosen.items())
            form = ".1f" if one.metric.unit == "%" else ".4g"
            notes = [f"95 % interval {value.low:{form}} to {value.high:{form}}"] if one.metric.interval else []
            notes += [f"{kind} {_say(other, one)}" for kind, other in others if other]
            name = one.protocol.title  # a sentence goes on: "linear probe", but "kNN"
            name = name[:1].lower() + name[1:] if name[1:2].islower() else name
            yield f"{name} · {best.stage}", _say(value, one), notes


def charts(result: ProbeResult) -> Iterator[tuple[Measured, Chart]]:
    """Chart scores by stage, the preferred first, those of the raw input as levels, and scores along curves."""
    stages = list(dict.fromkeys(row.stage for row in result.rows if row.features != "raw"))
    for one in _ranked(result):
        spots = [
            (row.features or "", float(stages.index(row.stage)), one.of(row))
            for row in result.rows
            if row.stage in stages
        ]
        raw = [(row.stage, value) for row in result.rows if row.features == "raw" and (value := one.of(row))]
        levels = [Level("raw", value[0], f"{stage} {_say(value, one)}", value[1:]) for stage, value in raw]
        yield one, Chart(one.title, _lines(spots, one), levels, stages)
    for one, curve, points in curves(result):
        places = sorted({point.score.figures[curve.at] for point in points})
        spots = [(p.features or "", float(places.index(p.score.figures[curve.at])), one.value(p.score)) for p in points]
        title = f"{one.title}, by {curve.at_title.lower()}"
        yield one, Chart(title, _lines(spots, one), names=[f"{place:,}" for place in places])


def _lines(spots: Sequence[tuple[str, float, Value | None]], one: Measured) -> list[Series]:
    """Make a line of each kind of features, left to right."""
    lines = []
    for kind in dict.fromkeys(kind for kind, *_ in spots):
        there = sorted((x, value) for own, x, value in spots if own == kind and value)
        bounds = [(value.low, value.high) for _, value in there] if one.metric.interval else []
        lines.append(Series(kind, [(x, value.value) for x, value in there], bounds))
    return [line for line in lines if line.points]


def _say(value: Value, one: Measured) -> str:
    return f"{value.value:.1f}\u00a0%" if one.metric.unit == "%" else f"{value.value:.4g}"


def _ranked(result: ProbeResult) -> list[Measured]:
    """List headlines, the preferred first."""
    return sorted(measured(result), key=lambda one: one.protocol.preference or len(LOOKS))


def plot(result: ProbeResult) -> Figure:
    """Paint every chart side by side, with chance and rings around what was chosen."""
    panels = list(charts(result))
    stages = max((len(chart.names) for _, chart in panels), default=0)
    figure = Figure(figsize=(max(4.5 * len(panels), 1.1 * stages + 3), 4.2), layout="constrained")
    best = next((row for row in result.rows if row.features == "trained" and row.chosen), None)
    shared = len({one.metric.unit for one, _ in panels}) == 1
    every = figure.subplots(1, max(1, len(panels)), sharey=shared, squeeze=False)[0]
    for axes, (one, chart) in zip(every, panels, strict=False):
        if one.metric.key in GUESSED and result.protocol:
            guess = Level("chance", 100 * result.protocol["chance"], "chance")
            chart = chart._replace(levels=[*chart.levels, guess])
        chart.paint(axes, LOOKS)
        if best and best.stage in chart.names and (value := one.of(best)):
            axes.plot(chart.names.index(best.stage), value.value, **LOOKS["chosen"])
        axes.set_ylim(**({"bottom": 0} if one.metric.unit == "%" else {}))
    handles = {handle.get_label(): handle for axes in every for handle in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(about(result), fontsize="medium")
    return figure
