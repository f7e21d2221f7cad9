"""A leaderboard as text: Markdown, a table for the terminal, and every single score as CSV."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.markup import escape as escape_markup
from rich.table import Table

from pretext.benchmark.measures import ranked_by
from pretext.benchmark.results import KINDS, Board, CellResult
from pretext.benchmark.summary import EntrySummary, correlation, stage_order, stages, summary
from pretext.core.files import whole
from pretext.evaluation.protocol import Description
from pretext.evaluation.statistics.correlation import Correlation
from pretext.evaluation.statistics.ranking import Figure

NONE = "-"
LEGEND = (
    "Each seed at the stage that it chose on a validation share of train. Rank: the places that the 95 % interval "
    "allows among the entries trained without labels. ° interval not above that of random initialisation."
)
SKILL = (
    "Skill: the share of a blind guess's loss that training removed, mean over the run's tasks. Tasks differ in what a "
    "perfect answer would cost, so it compares across tasks only roughly."
)


# ---- Words, shared with the page


def percent(figure: Figure | None) -> str:
    """Write a share in per cent."""
    return f"{100 * figure.value:.1f}" if figure else NONE


def interval(figure: Figure | None, to: str = " to ") -> str:
    """Write the interval of a share in per cent; nothing where there is none."""
    return f"{100 * figure.low:.1f}{to}{100 * figure.high:.1f}" if figure and figure.over else ""


def ranks(entry: EntrySummary) -> str:
    """Write the places that an entry may take."""
    first, last = entry.ranks or (0, 0)
    return NONE if not entry.ranks else str(first) if first == last else f"{first}-{last}"


def name(entry: EntrySummary) -> str:
    """Name an entry, a baseline by what it is, and mark what says no more than random initialisation."""
    words, rest = KINDS[entry.kind], entry.name.removeprefix(entry.kind)
    plain = rest == "" or rest.startswith(",")  # "random" and "random, ResNet" are called by their kind's words
    said = f"{words}{rest}" if words and plain else f"{entry.name} ({words})" if words else entry.name
    return said + "°" * (entry.above_random is False)


def title(board: Board) -> str:
    """Say what a board is measured on."""
    data, protocol = board.data, board.protocol
    parts = [str(data.get("class", "")) + (f", {data['modality']}" if "modality" in data else "")]
    parts += [f"{data[split]:,} {split} items" for split in ("train", "test") if isinstance(data.get(split), int)]
    parts += [f"{len(data['classes'])} classes"] if data.get("classes") else []
    parts += [f"chance {100 * protocol['chance']:.1f} %"] if isinstance(protocol.get("chance"), float) else []
    return " · ".join(part for part in parts if part)


def over(entries: Sequence[EntrySummary]) -> str:
    """Say what the intervals of a board are over."""
    words = {
        "seeds": "Student's t over seeds (what other seeds would give on the same test items)",
        "items": "of a single seed, or of seeds that all agree, the score's own over test items",
    }
    kinds = {entry.main.over for entry in entries if entry.main}
    return (
        f"95 % intervals: {'; '.join(text for kind, text in words.items() if kind in kinds)}." if kinds - {""} else ""
    )


def spearman(found: Correlation) -> str:
    """Say whether the pretext skill predicts the probe."""
    if math.isnan(found.rho):
        why = (
            f"{found.n} entries have both: too few"
            if found.n < 4
            else f"one side is the same for all {found.n} entries"
        )
        return f"Spearman's rank correlation of skill and probe: not computed ({why})."
    bounds = "" if math.isnan(found.low) else f", 95 % interval {found.low:.2f} to {found.high:.2f}"
    return f"Spearman's rank correlation of skill and probe: {found.rho:.2f}{bounds}, p = {found.p:.2g}, n = {found.n}."


# ---- Markdown and the terminal


def head(board: Board) -> list[str]:
    """Name the columns of a board's table."""
    return ["Rank", "Entry", f"{ranked_by(board).title}, %", "kNN, %", "Stage", "Skill", "Seeds"]


def _cells(entry: EntrySummary) -> list[str]:
    figures = (entry.main, entry.others.get("knn"))
    shares = [f"{percent(figure)} ({interval(figure, '-')})".removesuffix(" ()") for figure in figures]
    skill = f"{entry.skill.value:.2f}" if entry.skill else NONE
    seeds = str(entry.main.seeds if entry.main else 0)
    return [ranks(entry), name(entry), *shares, ", ".join(stage_order(entry.chosen)) or NONE, skill, seeds]


def table(board: Board) -> Table:
    """Lay a board out for a terminal of 80 columns. Raises as `summary` does."""
    heading = escape_markup(f"{board.name}: {title(board)}\n{board.status}")
    entries = summary(board)
    caption = f"{LEGEND} {over(entries)} {spearman(correlation(entries))}"
    drawn = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        title=heading,
        caption=caption,
        title_justify="left",
        caption_justify="left",
        padding=(0, 1, 0, 0),
    )
    for column in head(board)[:-1]:  # without the number of seeds, of which there is no room
        words, room = column in ("Entry", "Stage"), 17 if column == "Entry" else None
        side: Literal["left", "right"] = "left" if words else "right"
        drawn.add_column(column, justify=side, no_wrap=not words, overflow="fold", width=room)
    for entry in entries:
        *cells, stage, skill, _ = map(escape_markup, _cells(entry))
        drawn.add_row(*cells, stage.replace(", ", "\n"), skill, style="" if entry.kind == "trained" else "italic")
    return drawn


def markdown(boards: Sequence[Board]) -> str:
    """Write the boards as Markdown: of each a table, its every stage and the rank correlation. Raises as `summary`."""
    return "\n".join(line for board in boards for line in _section(board))


def _section(board: Board) -> Iterator[str]:
    entries = summary(board)
    yield from (f"## {_plain(board.name)}", "", f"{_plain(title(board))}. {_plain(board.status)}.", "")
    rows = [[_marked(entry, place, cell) for place, cell in enumerate(_cells(entry))] for entry in entries]
    yield from _grid(head(board), rows, words=("Entry", "Stage"))
    yield from ("", f"{LEGEND} {over(entries)} {SKILL} {spearman(correlation(entries))}", "")
    names = stages(entries)
    if names:
        yield from (f"{ranked_by(board).title} at every stage, %:", "")
        rows = [
            [_plain(name(entry)), *(percent(entry.stages.get(s)) + " ★" * (s in entry.chosen) for s in names)]
            for entry in entries
            if entry.stages and entry.kind != "raw"
        ]
        yield from _grid(["Entry", *names], rows, words=("Entry",))
        yield from ("", "★ chosen on validation by at least one seed.", "")


def _grid(heading: Sequence[str], rows: Iterable[Sequence[str]], words: Sequence[str]) -> Iterator[str]:
    yield f"| {' | '.join(map(_plain, heading))} |"
    yield f"|{'|'.join('---' if column in words else '--:' for column in heading)}|"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _marked(entry: EntrySummary, place: int, cell: str) -> str:
    return f"*{_plain(cell)}*" if place == 1 and entry.kind != "trained" else _plain(cell)


def _plain(text: str) -> str:
    """Keep a name from being read as markup."""
    for letter, instead in {
        "&": "&amp;",
        "<": "&lt;",
        "\\": "\\\\",
        "|": "\\|",
        "*": "\\*",
        "`": "\\`",
        "\n": " ",
    }.items():
        text = text.replace(letter, instead)
    return text


# ---- Every score


def write_csv(boards: Sequence[Board], file: Path) -> None:
    """Write a row per board, entry, seed and stage (of a failed cell a row without a stage); a column per score.

    Columns of scores are paths, such as "linear/accuracy", "nearest/20/low", "low_label/5 per class/accuracy".
    """
    rows = [row for board in boards for cell in board.cells for row in _rows(board, cell)]
    columns = dict.fromkeys(["board", "entry", "kind", "seed", "stage", "chosen", "dims", "failed"])
    columns |= dict.fromkeys(column for row in rows for column in row)
    with whole(file) as draft, draft.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)


def _rows(board: Board, cell: CellResult) -> Iterator[dict[str, Any]]:
    run = {"board": board.name, "entry": cell.entry, "kind": cell.kind, "seed": cell.seed}
    costs = dict(_flat({"pretext": cell.pretext, "seconds": cell.seconds}))
    if not cell.finished:
        yield {**run, "failed": cell.reason or "no rows", **costs}
        return
    for row in cell.rows:
        once = {own.name: _points(cell, own, row.stage) for own in board.descriptions if own.curve}
        yield {**run, "chosen": False, **dict(_flat({**row.to_json(), **once})), **costs}


def _points(cell: CellResult, own: Description, stage: str) -> dict[str, Any]:
    """Return the points of a curve at a stage by their names."""
    assert own.curve is not None
    here = [point.score.figures for point in cell.curves.get(own.name, ()) if point.stage == stage]
    return {score[own.curve.name]: {k: v for k, v in score.items() if k != own.curve.name} for score in here}


def _flat(scores: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}/")
        elif value is not None:
            yield f"{path}{key}", value
