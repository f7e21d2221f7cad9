"""Pictures of a board: intervals beside its table, scores along curves, the pretext skill against the probe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from markupsafe import Markup

from pretext.benchmark.measures import ranked_by
from pretext.benchmark.results import Board
from pretext.benchmark.summary import EntrySummary
from pretext.evaluation.protocol import Description
from pretext.evaluation.statistics.ranking import Figure
from pretext.report.labels import bounds, names
from pretext.report.plot import Axis, Frame, Key, figure, group, legend, svg, tag, text
from pretext.report.words import figure as said

KEYS = [
    Key("trained", "trained without labels"),
    Key("random", "random initialisation", ""),
    Key("raw", "raw input", ""),
    Key("supervised", "trained with labels", ""),
    Key("chance", "chance", ""),
]


def levels_of(board: Board, entries: Sequence[EntrySummary]) -> dict[str, float]:
    """Say what to compare with: chance, and by kind the figure of the first entry, which is the best."""
    chance = board.protocol.get("chance")
    levels = {"chance": float(chance)} if isinstance(chance, int | float) else {}
    mains = {entry.kind: entry.main.value for entry in reversed(entries) if entry.main}
    return levels | {kind: value for kind, value in mains.items() if kind != "trained"}


def strips(board: Board, entries: Sequence[EntrySummary], levels: Mapping[str, float]) -> Iterator[Markup]:
    """Draw the ticks of a scale, and then every entry's interval on it, through which the baselines run."""
    x = _axis([entry.main for entry in entries if entry.main], 4, 166, ranked_by(board).metric.unit, levels.values())
    ticks = (text(x.at(tick), 11, x.write(tick), "middle") for tick in x.ticks(4))
    yield svg("", 170, 14, *ticks, kind="strip")
    frame = Frame(x, Axis(0, 30, 30, 0))
    lines = [group(kind, tag("path", kind="line", d=f"M{x.at(at):.1f} 0V30")) for kind, at in levels.items()]
    for entry in entries:
        own = [frame.across(15, *entry.main[1:3]), frame.mark(entry.main[0], 15, size=4)] if entry.main else []
        yield svg("", 170, 30, *lines, group(entry.kind, *own), kind="strip")


def skill(board: Board, entries: Sequence[EntrySummary], levels: Mapping[str, float]) -> Markup:
    """Draw every entry that has both a skill and a probe, with both intervals and its name."""
    both = [(entry, entry.skill, entry.main) for entry in entries if entry.skill and entry.main]
    if not both:
        return Markup("")
    levels = {kind: at for kind, at in levels.items() if kind != "chance"}
    unit = ranked_by(board).metric.unit
    x = _axis([own for _, own, _ in both], 46, 520)
    frame = Frame(x, _axis([main for *_, main in both], 300, 10, unit, levels.values()))
    parts = [frame.rows(6), frame.below(words="pretext skill")]
    parts += [group(kind, frame.level(at)) for kind, at in levels.items()]
    for entry, own, main in both:
        intervals = frame.across(main.value, *own[1:3]), frame.bar(own.value, *main[1:3])
        hover = f"skill {own.value:.2f}, probe {said(main.value, unit)}"
        parts.append(group(entry.kind, *intervals, frame.mark(own.value, main.value, hover, size=4)))
    taken = [bounds(frame, own[:3], main[:1]) for _, own, main in both]
    taken += [bounds(frame, own[:1], main[:3]) for _, own, main in both]
    # Lines across are thin here: a name had better cover one than a dot or another name.
    taken += [(x.start, frame.y.at(at) - 0.01, x.end, frame.y.at(at) + 0.01) for at in levels.values()]
    spots = [(x.at(own.value), frame.y.at(main.value)) for _, own, main in both]
    parts.append(names([entry.name for entry, *_ in both], spots, 530, taken))
    heading = f"{ranked_by(board).title}, %, against the pretext skill"
    drawn = figure(heading, svg(heading, 530, 340, *parts, kind="scatter"), wide=True)
    return legend(KEYS, [*levels, "trained"]) + drawn


def curves(board: Board, entries: Sequence[EntrySummary]) -> Iterator[tuple[str, Markup, list[Markup], str]]:
    """Draw scores along a curve, such as the number of labels: title, legend, a panel per entry, what they show."""
    for own in board.descriptions:
        drawn = [entry for entry in entries if entry.curves.get(own.name)]
        if own.curve and drawn:
            points = {point.at: point.name for entry in drawn for point in entry.curves[own.name]}
            sizes = ", ".join(f"{name} = {at:,.0f}" for at, name in sorted(points.items()))
            unit = f" in {own.metrics[0].unit}" * bool(own.metrics[0].unit)
            what = f"{own.metrics[0].title.capitalize()}{unit} by {own.curve.at_title.lower()} ({sizes})"
            yield own.heading, legend(KEYS, (entry.kind for entry in drawn)), list(_panels(own, drawn)), what


def _panels(own: Description, drawn: Sequence[EntrySummary]) -> Iterator[Markup]:
    """Draw a panel per entry without labels: its scores along a curve among all others' (in grey)."""
    every = [point for entry in drawn for point in entry.curves[own.name]]
    places, unit = [point.at for point in every], own.metrics[0].unit
    x = Axis(min(places), max(places), 38, 206, log=min(places) > 0)
    frame = Frame(x, _axis([point.figure for point in every], 126, 8, unit))
    axes = frame.rows(4) + frame.below({at: f"{at:,.0f}" for at in places})
    lines = {entry.name: frame.line((p.at, p.figure.value) for p in entry.curves[own.name]) for entry in drawn}
    for entry in (entry for entry in drawn if entry.kind == "trained"):
        others = [group(o.kind if o.kind != "trained" else "other", lines[o.name]) for o in drawn if o is not entry]
        spots = []
        for point in entry.curves[own.name]:
            value, low, high, *_ = point.figure
            interval = f" ({said(low, unit)} to {said(high, unit)})" * bool(point.figure.over)
            hover = f"{point.name}, {point.at:,.0f} items: {said(value, unit)}{interval}"
            spots += [frame.bar(point.at, low, high), frame.mark(point.at, value, hover, size=3)]
        parts = [axes, *others, group("trained", lines[entry.name], *spots)]
        yield figure(entry.name, svg(f"{entry.name}, {own.title}", 220, 146, *parts))


def _axis(values: Sequence[Figure], start: float, end: float, unit: str = "", levels: Iterable[float] = ()) -> Axis:
    ends = [end for value in values for end in (value.low, value.high)]
    inside = [*(value.value for value in values), *levels]
    return Axis.around(inside, start, end, ends)._replace(times=100.0 if unit == "%" else 1.0)
