"""The page of a leaderboard: for each board its table with intervals, charts, and what few will want folded away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from pretext.benchmark.measures import measures, ranked_by
from pretext.benchmark.results import Board, CellResult
from pretext.benchmark.summary import EntrySummary, correlation, summary
from pretext.evaluation.protocol import Description
from pretext.evaluation.statistics.ranking import Figure
from pretext.report import leaderboard, plot
from pretext.report.leaderboard import cell, column, duration, over, ranking, spearman, title, warned
from pretext.report.page import write_page
from pretext.report.plot import Axis, Frame, group, svg, tag
from pretext.report.table import Cell, Column, Row, Table

WORDS = {"trained": "trained without labels", "random": "random initialisation", "raw": "raw input"}
WORDS |= {"supervised": "trained with labels", "chance": "chance"}
ENTRY = Column("Entry", words=True, first="ascending")


def write_html(boards: Sequence[Board], file: Path, heading: str, command: str, environment: Mapping[str, Any]) -> None:
    """Write the page: one file with everything inside; what a board lacks is left out. Raises as `summary` does."""
    cells = [one for board in boards for one in board.cells]
    seconds = sum(sum((one.seconds or {}).values()) for one in cells)
    total = f"{len(boards)} data sets, {len(cells)} runs, {duration(seconds)} in all"
    about = " · ".join(filter(None, (total, str(environment.get("date", ""))[:16].replace("T", " "))))
    facts = {key: value for key, value in environment.items() if key != "command"}
    sections = [Section(board, summary(board)) for board in boards]
    content = {"boards": sections, "overview": _overview(sections), "command": command, "facts": facts}
    write_page(file, "leaderboard.html", heading, about, **content)


def _overview(sections: Sequence[Section]) -> Table:
    """Lay all boards side by side."""
    by_name = [{entry.name: entry for entry in section.entries} for section in sections]
    first = {entry.name: entry for section in reversed(sections) for entry in section.entries}
    rows = []
    for name in dict.fromkeys(name for entries in by_name for name in entries):
        mains = (cell(entries[name].main if name in entries else None) for entries in by_name)
        rows.append(Row([warned(first[name], name), *mains], first[name].kind))
    ranked = [ranked_by(section.board) for section in sections]
    words = ", ".join(sorted({one.title for one in ranked}))
    columns = [column(one, section.board.name) for one, section in zip(ranked, sections, strict=True)]
    note = f"{words}, in %: mean over seeds, and its 95 % interval."
    return Table("All boards", [ENTRY, *columns], rows, note, look="board")


class Curves(NamedTuple):
    """Small panels, one for each entry without labels, and what is said of them."""

    title: str
    legend: Markup
    panels: list[Markup]
    what: str


class Section(NamedTuple):
    """What the page shows of a board; what there is nothing of is None."""

    board: Board
    entries: Sequence[EntrySummary]

    @property
    def about(self) -> str:
        """What is measured, and how much of it there is."""
        return f"{title(self.board)}. {self.board.status}."

    @property
    def times(self) -> float:
        """What values are multiplied by where they are written."""
        return 100.0 if ranked_by(self.board).metric.unit == "%" else 1.0

    @property
    def levels(self) -> dict[str, float]:
        """What to compare with: chance, and by kind the figure of the first entry, which is the best."""
        chance = self.board.protocol.get("chance")
        levels = {"chance": float(chance)} if isinstance(chance, int | float) else {}
        mains = {entry.kind: entry.main.value for entry in reversed(self.entries) if entry.main}
        return levels | {kind: value for kind, value in mains.items() if kind != "trained"}

    @property
    def legend(self) -> Markup:
        """The kinds of entries and levels."""
        return _keys([*self.levels, *(entry.kind for entry in self.entries)])

    @property
    def table(self) -> Table | None:
        """The ranking, with every interval drawn on one scale through which the baselines run, and with times."""
        whole = ranking(self.board, self.entries)
        note = f"{leaderboard.LEGEND} {over(self.entries)} Time: of a run, its training and its probe."
        note += " ⚠ Some of its seeds failed." if any(entry.failed for entry in self.entries) else ""
        x = _axis([entry.main for entry in self.entries if entry.main], 4, 166, self.times, self.levels.values())
        frame, rows = Frame(x, Axis(0, 30, 30, 0)), []
        lines = [group(kind, tag("path", kind="line", d=f"M{x.at(at):.1f} 0V30")) for kind, at in self.levels.items()]
        for entry, row in zip(self.entries, whole.rows, strict=True):
            rank, name, main, *rest = row.cells
            own = [frame.across(15, *entry.main[1:3]), frame.mark(entry.main[0], 15, size=4)] if entry.main else []
            drawn = Cell(picture=svg("", 170, 30, *lines, group(entry.kind, *own), kind="strip"))
            rows.append(row._replace(cells=[rank, warned(entry, str(name)), main, drawn, *rest, _time(entry)]))
        head = svg(
            "", 170, 14, *(plot.text(x.at(tick), 11, x.write(tick), "middle") for tick in x.ticks(4)), kind="strip"
        )
        columns = [*whole.columns[:3], Column("", picture=head), *whole.columns[3:], Column("Time", first="ascending")]
        return whole._replace(columns=columns, rows=rows, caption=note) if rows else None

    @property
    def stages(self) -> tuple[Table, Markup] | None:
        """Every stage in colours, and the scale of these."""
        values = [one.value for entry in self.entries if entry.kind != "raw" for one in entry.stages.values()]
        if not values:
            return None
        shades, form = plot.Shades(min(values), max(values)), "{:.1%}" if self.times == 100 else "{:.3g}"
        marks = shades.legend({kind: self.levels[kind] for kind in ("chance", "raw") if kind in self.levels}, form)
        return leaderboard.every_stage(self.board, self.entries, shades), marks

    @property
    def curves(self) -> Iterator[Curves]:
        """The scores along a curve, such as the number of labels, one set of panels for each protocol that has one."""
        for own in self.board.descriptions:
            drawn = [entry for entry in self.entries if entry.curves.get(own.name)]
            if own.curve and drawn:
                points = {point.at: point.name for entry in drawn for point in entry.curves[own.name]}
                sizes = ", ".join(f"{name} = {at:,.0f}" for at, name in sorted(points.items()))
                unit = f" in {own.metrics[0].unit}" * bool(own.metrics[0].unit)
                what = f"{own.metrics[0].title.capitalize()}{unit} by {own.curve.at_title.lower()} ({sizes})"
                yield Curves(own.heading, _keys(entry.kind for entry in drawn), list(_panels(own, drawn)), what)

    @property
    def skill(self) -> tuple[Markup, Markup, str] | None:
        """Every entry that has both a skill and a probe, with both intervals and its name."""
        both = [(entry, entry.skill, entry.main) for entry in self.entries if entry.skill and entry.main]
        if not both:
            return None
        levels = {kind: at for kind, at in self.levels.items() if kind != "chance"}
        x = _axis([own for _, own, _ in both], 46, 520)
        y = _axis([main for *_, main in both], 300, 10, self.times, levels.values())
        frame = Frame(x, y)
        parts = [frame.rows(6), frame.below(words="pretext skill")]
        parts += [group(kind, frame.level(at)) for kind, at in levels.items()]
        for entry, own, main in both:
            intervals = frame.across(main.value, *own[1:3]), frame.bar(own.value, *main[1:3])
            hover = f"skill {own.value:.2f}, probe {_said(main.value, y)}"
            parts.append(group(entry.kind, *intervals, frame.mark(own.value, main.value, hover, size=4)))
        taken = [frame.box(own[:3], main[:1]) for _, own, main in both]
        taken += [frame.box(own[:1], main[:3]) for _, own, main in both]
        spots = [(x.at(own.value), y.at(main.value)) for _, own, main in both]
        parts.append(plot.labels([entry.name for entry, *_ in both], spots, 530, taken))
        heading = f"{ranked_by(self.board).title}, %, against the pretext skill"
        drawn = plot.figure(heading, svg(heading, 530, 340, *parts, kind="scatter"), wide=True)
        return _keys([*levels, "trained"]), drawn, f"{spearman(correlation(self.entries))} {leaderboard.SKILL}"

    @property
    def cost(self) -> Table | None:
        """What a run took."""
        most = max((sum(entry.seconds.values()) for entry in self.entries), default=0.0)
        rows = []
        for entry in (entry for entry in self.entries if entry.seconds and most):
            train = entry.seconds.get("train", 0.0)
            drawn = plot.bars({"trained": train, "random": sum(entry.seconds.values()) - train}, most)
            rows.append(Row([entry.name, Cell(style="width:60%", picture=drawn), _time(entry)]))
        columns = [Column("Entry", words=True), Column("Training and probe", words=True), Column("Time")]
        return Table("Cost per run", columns, rows) if rows else None

    @property
    def colours(self) -> Markup:
        """What the colours of the cost mean."""
        probe = plot.swatch("probe, mean over seeds.", "background:var(--second)")
        return plot.swatch("training ", "background:var(--first)") + probe

    @property
    def others(self) -> Table | None:
        """Every other score of the chosen stage."""
        every, rows = measures(self.board), []
        for entry in self.entries:
            scores = (cell(entry.others.get(key)) for key in every)
            rows.append(Row([warned(entry, entry.name), *scores], entry.kind))
        return Table("Other scores", [ENTRY, *map(column, every.values())], rows, look="board") if every else None

    @property
    def runs(self) -> Table:
        """Every run, with the command that repeats it."""
        columns = [Column(words, words=True) for words in ("Entry", "Seed", "Pretext scores", "Command")]
        return Table("Every run", columns, [Row(_run(one)) for one in self.board.cells])

    @property
    def facts(self) -> dict[str, Any]:
        """What was measured, and how."""
        return {**{f"data: {key}": value for key, value in self.board.data.items()}, **self.board.protocol}


def _keys(kinds: Iterable[str]) -> Markup:
    there = set(kinds)
    return plot.legend(
        plot.Key(kind, words, "dot" * (kind == "trained")) for kind, words in WORDS.items() if kind in there
    )


def _axis(values: Sequence[Figure], start: float, end: float, times: float = 1.0, levels: Iterable[float] = ()) -> Axis:
    ends = [end for value in values for end in (value.low, value.high)]
    return Axis.around([*(value.value for value in values), *levels], start, end, ends, times=times)


def _said(value: float, axis: Axis) -> str:
    return f"{100 * value:.1f} %" if axis.times == 100 else f"{value:.4g}"


def _time(entry: EntrySummary) -> Cell:
    seconds = sum(entry.seconds.values())
    return Cell(seconds, text=duration(seconds)) if seconds else Cell()


def _panels(own: Description, drawn: Sequence[EntrySummary]) -> Iterator[Markup]:
    """Draw a panel per entry without labels: its scores along a curve among all others' (in grey)."""
    every = [point for entry in drawn for point in entry.curves[own.name]]
    places, times = [point.at for point in every], 100.0 if own.metrics[0].unit == "%" else 1.0
    y = _axis([point.figure for point in every], 126, 8, times)
    frame = Frame(Axis(min(places), max(places), 38, 206, log=min(places) > 0), y)
    axes = frame.rows(4) + frame.below({at: f"{at:,.0f}" for at in places})
    lines = {entry.name: frame.line((p.at, p.figure.value) for p in entry.curves[own.name]) for entry in drawn}
    for entry in (entry for entry in drawn if entry.kind == "trained"):
        others = [group(o.kind if o.kind != "trained" else "other", lines[o.name]) for o in drawn if o is not entry]
        spots = []
        for point in entry.curves[own.name]:
            value, low, high, *_ = point.figure
            bounds = f" ({_said(low, y)} to {_said(high, y)})" * bool(point.figure.over)
            hover = f"{point.name}, {point.at:,.0f} items: {_said(value, y)}{bounds}"
            spots += [frame.bar(point.at, low, high), frame.mark(point.at, value, hover, size=3)]
        parts = [axes, *others, group("trained", lines[entry.name], *spots)]
        yield plot.figure(entry.name, svg(f"{entry.name}, {own.title}", 220, 146, *parts))


def _run(one: CellResult) -> list[Cell | str | None]:
    told = one.pretext or {}
    guesses = {key: f" (blind guess {value:.4g})" for key, value in (told.get("chance") or {}).items()}
    scores = [f"{key} {value:.4g}{guesses.get(key, '')}" for key, value in (told.get("scores") or {}).items()]
    failed = tag("strong", f"failed: {one.reason} ") if one.failed else Markup("")
    command = Cell(picture=failed + tag("code", one.command or ""))
    return [one.entry, str(one.seed), ", ".join(scores) or None, command]
