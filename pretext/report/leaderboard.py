"""The leaderboard: what `pretext bench` measured, for the terminal, as a page, as Markdown and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table as RichTable

from pretext.benchmark.amounts import amount_curves
from pretext.benchmark.measures import Measure, measures, ranked_by
from pretext.benchmark.results import KINDS, Board
from pretext.benchmark.scores import every_score
from pretext.benchmark.summary import EntrySummary, correlation, stage_order, stages, summary
from pretext.core.files import write_whole
from pretext.evaluation.statistics.correlation import Correlation
from pretext.report.colours import Shades
from pretext.report.leaderboard_amounts import amounts_table
from pretext.report.table import STAR, Cell, Column, Row, Table, of_metric, of_value, plain
from pretext.report.words import rho

LEGEND = (
    "Each seed at the stage that it chose on a validation share of train. Rank: the places that the 95 % interval "
    "allows among the entries trained without labels. ° interval not above that of random initialisation."
)
SKILL = (
    "Skill: the share of a blind guess's loss that training removed, mean over the run's tasks. Tasks differ in what a "
    "perfect answer would cost, so it compares across tasks only roughly."
)
CONTROL = (
    "Control: what share of the pretext score above a blind guess is left when tiles, frames or sounds of other items "
    "take the places of an item's own: what needs no sight of how parts belong together. Below 0: heads that are sure "
    "of themselves do worse there than a blind guess. Left out below a skill of 0.05: it would be a share of noise."
)
OVER = {
    "seeds": "Student's t over seeds (what other seeds would give on the same test items)",
    "items": "of a single seed, or of seeds that all agree, the score's own over test items",
}


# ---- Words


def title(board: Board) -> str:
    """Say what a board is measured on."""
    data, chance = board.data, board.protocol.get("chance")
    parts = [str(data.get("class", "")) + (f", {data['modality']}" if "modality" in data else "")]
    parts += [f"{data[split]:,} {split} items" for split in ("train", "test") if isinstance(data.get(split), int)]
    parts += [f"{len(data['classes'])} classes"] if data.get("classes") else []
    parts += [f"chance {100 * chance:.1f} %"] if isinstance(chance, float) else []
    return " · ".join(part for part in parts if part)


def name(entry: EntrySummary) -> str:
    """Name an entry, a baseline by what it is, and mark what says no more than random initialisation."""
    words, rest = KINDS[entry.kind], entry.name.removeprefix(entry.kind)
    ours = rest == "" or rest.startswith(",")  # "random" and "random, ResNet" are called by their kind's words
    said = f"{words}{rest}" if words and ours else f"{entry.name} ({words})" if words else entry.name
    return said + "°" * (entry.above_random is False)


def over(entries: Sequence[EntrySummary]) -> str:
    """Say what the intervals of a board are over."""
    kinds = {entry.main.over for entry in entries if entry.main}
    said = "; ".join(words for kind, words in OVER.items() if kind in kinds)
    return f"95 % intervals: {said}." if said else ""


def skill_words(entries: Sequence[EntrySummary]) -> str:
    """Explain the columns of the pretext score, those that there are."""
    return f"{SKILL} {CONTROL}" if any(entry.control for entry in entries) else SKILL


def spearman(rank: Correlation) -> str:
    """Say whether the pretext skill predicts the probe."""
    return f"Spearman's rank correlation of skill and probe: {rho(rank, 'entries')}."


# ---- Tables for every face


def table(board: Board) -> RichTable:
    """Lay a board out for a terminal of 80 columns. Raises as `summary` does."""
    entries = summary(board)
    whole = ranking(board, entries)
    rows = [row._replace(cells=row.cells[:-1]) for row in whole.rows]  # there is no room for the number of seeds
    shown = whole._replace(columns=whole.columns[:-1], rows=rows).filled()
    heading = f"{_heading(board)}\n{board.status}"
    skilled = any(column.title == "Skill" for column in shown.columns)
    told = [LEGEND, over(entries), spearman(correlation(entries)) if skilled else "", *board.notes]
    caption = " ".join(filter(None, told))
    return shown._replace(title=heading, caption=caption).rich()


def _heading(board: Board) -> str:
    """Name a board and what it is measured on; a board that is called by that says each part once."""
    about = title(board)
    name = " · ".join(part for part in board.name.split(" · ") if part not in _parts(about))
    return f"{name}: {about}" if name else about


def about(board: Board) -> str:
    """Say what a board is measured on, below a heading that is its name: what the name has is not said again."""
    named = _parts(board.name)
    said = " · ".join(part for part in title(board).split(" · ") if not set(_parts(part)) <= set(named))
    return " ".join([f"{said or title(board)}.", f"{board.status}.", *board.notes])


def _parts(text: str) -> list[str]:
    return text.replace(", ", " · ").split(" · ")


def markdown(boards: Sequence[Board]) -> str:
    """Write the boards as Markdown: of each a table, its every stage and the rank correlation. Raises as `summary`."""
    return "\n".join(line for board in boards for line in _markdown(board))


def _markdown(board: Board) -> Iterator[str]:
    entries = summary(board)
    told = [f"{title(board)}.", f"{board.status}.", *board.notes]
    yield from (f"## {plain(board.name)}", "", plain(" ".join(told)), "")
    yield from (ranking(board, entries).markdown(), "")
    yield from (f"{LEGEND} {over(entries)} {skill_words(entries)} {spearman(correlation(entries))}", "")
    if there := amount_curves(board, entries):
        yield from (f"By {plain(board.amount)}, %:", "", amounts_table(there, board.amount).markdown(), "")
    if stages(entries):
        yield from (f"{ranked_by(board).title} at every stage, %:", "", every_stage(board, entries).markdown())
        yield from ("", f"{STAR} chosen on validation by at least one seed.", "")


def write_csv(boards: Sequence[Board], file: Path) -> None:
    """Write a row per board, entry, seed and stage, see `every_score`."""
    columns, rows = every_score(boards)
    write_whole(file, Table("Every score", [Column(column) for column in columns], [Row(row) for row in rows]).csv())


def column(measure: Measure, title: str = "") -> Column:
    """Make a column of a measure, perhaps with a title that does not say it."""
    return of_metric(title or measure.title, measure.metric)._replace(bare=bool(title))


def warned(entry: EntrySummary, words: str) -> Cell:
    """Name an entry on a page, where it says which of its seeds failed."""
    return Cell(words, star="⚠", hover=f"failed: {'; '.join(entry.failed)}") if entry.failed else Cell(words)


def ranking(board: Board, entries: Sequence[EntrySummary]) -> Table:
    """Lay out a board, the best first; beside its measure kNN, and the headlines of a user's own protocols."""
    own = {protocol for one in board.cells for protocol in one.described or {}}
    beside = {"knn": Column("kNN", "%", first="descending")}
    for key, measure in measures(board).items():
        if measure.protocol.name in own and measure.headline and not measure.setting:
            beside[key] = column(measure)
    columns = [Column("Rank", first="ascending"), Column("Entry", words=True, first="ascending", width=17)]
    columns += [column(ranked_by(board)), *beside.values(), Column("Stage", words=True, first="ascending")]
    pretext = {"Skill": [entry.skill for entry in entries]}
    if any(entry.control for entry in entries):
        pretext["Control"] = [entry.control for entry in entries]
    columns += [Column(title, form=".2f", first="descending") for title in pretext]
    columns += [Column("Seeds", first="descending")]
    rows = []
    for entry, *skills in zip(entries, *pretext.values(), strict=True):
        first, last = entry.ranks or (None, None)
        rank = Cell(first, text=f"{first}-{last}" if first != last else "")
        scores = [of_value(value) for value in (entry.main, *map(entry.others.get, beside))]
        where = ",\n".join(stage_order(entry.chosen)) or None
        seeds = entry.main.seeds if entry.main else 0
        rows.append(Row([rank, name(entry), *scores, where, *(of and of.value for of in skills), seeds], entry.kind))
    return Table("Leaderboard", columns, rows, names=1, sorted_by=2, look="board")


def every_stage(board: Board, entries: Sequence[EntrySummary], shades: Shades | None = None) -> Table:
    """Lay out means at every stage; on a page in `shades`, with full stars at what all seeds of an entry chose."""
    measure, rows = ranked_by(board), []
    columns = [column(measure, stage)._replace(first=None) for stage in stages(entries)]
    for entry in (entry for entry in entries if entry.stages and entry.kind != "raw"):
        full = STAR if len(entry.chosen) == 1 or not shades else "☆"
        cells = []
        for shown in columns:
            value, star = entry.stages.get(shown.title), full if shown.title in entry.chosen else ""
            if value and shades:
                hover = shown.interval(of_value(value), " to ")
                cells.append(Cell(value.value, star=star, hover=hover, style=shades.style(value.value)))
            else:
                cells.append(Cell(value.value if value else None, star=star))
        rows.append(Row([entry.name, *cells], entry.kind) if shades else Row([name(entry), *cells]))
    return Table("Every stage", [Column("Entry", words=True), *columns], rows, look="heat")
