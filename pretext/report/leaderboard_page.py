"""The page of a leaderboard: for each board its table with intervals, charts, and what few will want folded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pretext.benchmark.amounts import amount_curves
from pretext.benchmark.measures import measures, ranked_by
from pretext.benchmark.results import Board, CellResult
from pretext.benchmark.summary import EntrySummary, correlation, summary
from pretext.benchmark.verdict import verdict
from pretext.report import leaderboard
from pretext.report.colours import Shades, bars
from pretext.report.glossary import glossary
from pretext.report.leaderboard import about, column, every_stage, over, ranking, spearman, warned
from pretext.report.leaderboard_amounts import amounts_charts, amounts_table
from pretext.report.leaderboard_figures import KEYS, curves, levels_of, skill, strips
from pretext.report.page import write_page
from pretext.report.plot import legend, tag
from pretext.report.table import Cell, Column, Row, Table, of_value
from pretext.report.verdicts import of_board
from pretext.report.words import date, duration, protocol_facts

NONE = "Nothing was measured yet."
ENTRY = Column("Entry", words=True, first="ascending")


def write_html(boards: Sequence[Board], file: Path, heading: str, command: str, environment: Mapping[str, Any]) -> None:
    """Write the page: one file with everything inside; what a board lacks is left out. Raises as `summary` does."""
    cells = [one for board in boards for one in board.cells]
    seconds = sum(sum((one.seconds or {}).values()) for one in cells)
    total = f"{len(boards)} data sets, {len(cells)} runs, {duration(seconds)} in all"
    below = " · ".join(filter(None, (total, date(environment))))
    summaries = [(board, summary(board)) for board in boards]
    content: dict[str, Any] = {"boards": [_section(*each) for each in summaries], "overview": _overview(summaries)}
    content |= {"verdict": [of_board(board, verdict(entries)) for board, entries in summaries] or [NONE]}
    content |= {"glossary": _glossary(content["boards"], boards)}
    write_page(file, "leaderboard.html", heading, below, **content, command=command, environment=environment)


def _glossary(sections: Sequence[Mapping[str, Any]], boards: Sequence[Board]) -> dict[str, str]:
    """Explain the words of all tables."""
    tables = [section[name] for section in sections for name in ("table", "cost", "others", "runs") if section[name]]
    tables += [section["amounts"]["table"] for section in sections if section["amounts"]]
    described = [own for board in boards for own in board.descriptions]
    return glossary(tables, described, ["random", "raw", "chance"])


def _overview(boards: Sequence[tuple[Board, Sequence[EntrySummary]]]) -> Table:
    """Lay all boards side by side."""
    by_name = [{entry.name: entry for entry in entries} for _, entries in boards]
    first = {entry.name: entry for _, entries in reversed(boards) for entry in entries}
    rows = []
    for name in dict.fromkeys(name for entries in by_name for name in entries):
        mains = (of_value(entries[name].main if name in entries else None) for entries in by_name)
        rows.append(Row([warned(first[name], name), *mains], first[name].kind))
    words = ", ".join(sorted({ranked_by(board).title for board, _ in boards}))
    columns = [column(ranked_by(board), board.name) for board, _ in boards]
    note = f"{words}, in %: mean over seeds, and its 95 % interval."
    return Table("All boards", [ENTRY, *columns], rows, note, look="board")


def _section(board: Board, entries: Sequence[EntrySummary]) -> dict[str, Any]:
    """Lay out all that the page shows of a board; what there is nothing of is empty."""
    levels = levels_of(board, entries)
    return {
        "board": board,
        "about": about(board),
        "legend": legend(KEYS, [*levels, *(entry.kind for entry in entries)]),
        "table": _table(board, entries, levels).filled(),
        "stages": _stages(board, entries, levels),
        "curves": curves(board, entries),
        "amounts": _amounts(board, entries),
        "skill": skill(board, entries, levels),
        "skill_note": f"{spearman(correlation(entries))} {leaderboard.skill_words(entries)}",
        "cost": _cost(entries),
        "others": _others(board, entries),
        "runs": _runs(board.cells).filled(),
        "facts": protocol_facts(board.data, board.protocol),
    }


def _table(board: Board, entries: Sequence[EntrySummary], levels: Mapping[str, float]) -> Table:
    """Lay out the ranking, with every interval drawn on one scale, and with times."""
    whole, (head, *drawn) = ranking(board, entries), strips(board, entries, levels)
    note = f"{leaderboard.LEGEND} {over(entries)} Time: of a run, its training and its probe."
    note += " ⚠ Some of its seeds failed." if any(entry.failed for entry in entries) else ""
    rows = []
    for entry, row, strip in zip(entries, whole.rows, drawn, strict=True):
        rank, name, main, *rest = row.cells
        cells = [rank, warned(entry, str(name)), main, Cell(picture=strip), *rest, _time(entry)]
        rows.append(row._replace(cells=cells))
    columns = [*whole.columns[:3], Column("", picture=head), *whole.columns[3:], Column("Time", first="ascending")]
    return whole._replace(columns=columns, rows=rows, caption=note)


def _stages(board: Board, entries: Sequence[EntrySummary], levels: Mapping[str, float]) -> list[Table | Markup]:
    """Lay out every stage in colours, and the scale of these."""
    values = [one.value for entry in entries if entry.kind != "raw" for one in entry.stages.values()]
    if not values:
        return []
    shades, form = Shades(min(values), max(values)), "{:.1%}" if ranked_by(board).metric.unit == "%" else "{:.3g}"
    marks = {kind: levels[kind] for kind in ("chance", "raw") if kind in levels}
    return [every_stage(board, entries, shades), shades.legend(marks, form)]


def _amounts(board: Board, entries: Sequence[EntrySummary]) -> dict[str, Any]:
    """Draw and list the curves over an amount, if the board has any."""
    there = amount_curves(board, entries)
    if not there:
        return {}
    keys, charts = amounts_charts(there)
    return {"legend": keys, "charts": charts, "table": amounts_table(there, board.amount)}


def _cost(entries: Sequence[EntrySummary]) -> Table:
    """Draw what a run took."""
    most = max((sum(entry.seconds.values()) for entry in entries), default=0.0)
    rows = []
    for entry in (entry for entry in entries if entry.seconds and most):
        train = entry.seconds.get("train", 0.0)
        drawn = bars({"trained": train, "random": sum(entry.seconds.values()) - train}, most)
        rows.append(Row([entry.name, Cell(style="width:60%", picture=drawn), _time(entry)]))
    columns = [Column("Entry", words=True), Column("Training and probe", words=True), Column("Time")]
    return Table("Cost per run", columns, rows)


def _others(board: Board, entries: Sequence[EntrySummary]) -> Table | None:
    """Lay out every other score of the chosen stage."""
    every, rows = measures(board), []
    for entry in entries:
        rows.append(Row([warned(entry, entry.name), *(of_value(entry.others.get(key)) for key in every)], entry.kind))
    return Table("Other scores", [ENTRY, *map(column, every.values())], rows, look="board") if every else None


def _runs(cells: Sequence[CellResult]) -> Table:
    """List every run, with the command that repeats it."""
    rows = []
    for one in cells:
        told = one.pretext or {}
        guesses = {key: f" (blind guess {value:.4g})" for key, value in (told.get("chance") or {}).items()}
        scores = [f"{key} {value:.4g}{guesses.get(key, '')}" for key, value in (told.get("scores") or {}).items()]
        if one.test:
            measure, low, high = one.test.items()
            scores.append(f"test {measure[0]} {measure[1]:.4g} ({low[1]:.4g} to {high[1]:.4g})")
        failed = tag("strong", f"failed: {one.reason} ") if one.failed else Markup("")
        command = Cell(picture=failed + tag("code", one.command or ""))
        rows.append(Row([one.entry, str(one.seed), ", ".join(scores) or None, command]))
    columns = [Column(words, words=True) for words in ("Entry", "Seed", "Pretext scores", "Command")]
    return Table("Every run", columns, rows)


def _time(entry: EntrySummary) -> Cell:
    seconds = sum(entry.seconds.values())
    return Cell(seconds, text=duration(seconds)) if seconds else Cell()
