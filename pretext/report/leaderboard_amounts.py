"""What a board shows of its curves over an amount: a chart for each score, and all of them in a table."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from pretext.benchmark.amounts import AmountCurves
from pretext.benchmark.results import KINDS
from pretext.evaluation.statistics.ranking import Figure
from pretext.report.plot import Axis, Frame, Key, figure, group, legend, svg
from pretext.report.table import Cell, Column, Row, Table, of_value
from pretext.report.words import figure as said

SHAPES = ("dot", "square", "cross")
COLOURS = 3  # classes curve-0 ... of the style
ASIDE = (
    0.015  # of the width: how far a curve's points stand from the next one's, so that their intervals can be told apart
)


def amounts_table(curves: Sequence[AmountCurves], amount: str) -> Table:
    """Lay out every curve: a row for each amount of it, a column for each score, and below what to compare with."""
    columns = [Column("Curve", words=True), Column(f"{amount[:1].upper()}{amount[1:]}")]
    columns += [Column(one.title, one.unit, "" if one.unit else ".3g") for one in curves]
    rows = []
    for name in dict.fromkeys(name for one in curves for name in one.curves):
        for at in sorted({at for one in curves for at in one.curves.get(name, {})}):
            figures = [of_value(one.curves.get(name, {}).get(at)) for one in curves]
            rows.append(Row([name, Cell(at, text=_number(at)), *figures], section=name))
    for kind in dict.fromkeys(kind for one in curves for kind in one.levels):
        rows.append(Row([KINDS[kind], None, *(of_value(one.levels.get(kind)) for one in curves)], kind, "levels"))
    return Table(f"By {amount}", columns, rows, look="board")


def amounts_charts(curves: Sequence[AmountCurves]) -> tuple[Markup, list[Markup]]:
    """Draw a legend, and a chart for each score."""
    names = list(dict.fromkeys(name for one in curves for name in one.curves))
    kinds = dict.fromkeys(kind for one in curves for kind in one.levels)
    keys = [Key(_colour(place), name, _shape(place)) for place, name in enumerate(names)]
    keys += [Key(kind, KINDS[kind], "") for kind in kinds]
    return legend(keys), [_chart(one, names) for one in curves]


def _chart(one: AmountCurves, names: Sequence[str]) -> Markup:
    """Draw the curves of a score with their intervals, amounts on a logarithmic scale."""
    frame = _frame(one)
    places = sorted({at for points in one.curves.values() for at in points})
    parts = [frame.rows(), frame.below({at: _number(at) for at in places})]
    for kind, level in one.levels.items():
        parts.append(group(kind, frame.level(level.value, f"{KINDS[kind]}: {said(level.value, one.unit)}")))
    for place, name in ((names.index(name), name) for name in one.curves):
        aside = (places[-1] / places[0]) ** (ASIDE * (place - (len(names) - 1) / 2)) if frame.x.log else 1.0
        spots = {aside * at: (at, point) for at, point in one.curves[name].items()}
        marks = [_spot(frame, x, *spot, one.unit, _shape(place)) for x, spot in spots.items()]
        line = frame.line((x, point.value) for x, (_, point) in spots.items())
        parts.append(group(_colour(place), line, *marks))
    title = f"{one.title}, {one.unit}" if one.unit else one.title
    return figure(title, svg(title, 400, 230, *parts))


def _frame(one: AmountCurves) -> Frame:
    figures = [point for points in one.curves.values() for point in points.values()]
    places = [at for points in one.curves.values() for at in points]
    ends = [end for point in figures for end in (point.low, point.high)]
    values = [point.value for point in (*figures, *one.levels.values())]
    log = min(places) > 0
    room = (max(places) / min(places)) ** 0.04 if log else 1.0
    x = Axis(min(places) / room, max(places) * room, 50, 390, log=log)
    return Frame(x, Axis.around(values, 204, 14, ends)._replace(times=100.0 if one.unit == "%" else 1.0))


def _spot(frame: Frame, x: float, at: float, point: Figure, unit: str, shape: str) -> Markup:
    interval = f" ({said(point.low, unit)} to {said(point.high, unit)})" * bool(point.over)
    hover = f"{_number(at)}: {said(point.value, unit)}{interval}"
    return frame.bar(x, point.low, point.high) + frame.mark(x, point.value, hover, shape)


def _colour(place: int) -> str:
    return f"curve-{place % COLOURS}"


def _shape(place: int) -> str:
    return SHAPES[(place + place // COLOURS) % len(SHAPES)]


def _number(at: float) -> str:
    return f"{at:,.6g}"
