"""Results as tables where they are printed: in a terminal as text, in a notebook as HTML."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from markupsafe import Markup
from rich.console import Console, RenderableType

from pretext.benchmark.results import Board
from pretext.benchmark.summary import summary
from pretext.benchmark.verdict import verdict
from pretext.evaluation.results import ProbeResult
from pretext.report import leaderboard
from pretext.report.plot import tag
from pretext.report.probe import tables
from pretext.report.table import Table
from pretext.report.verdicts import of_board, of_probe

WIDTH = 110  # letters of a line


def probe_text(result: ProbeResult) -> str:
    """Write a probe for a terminal: what was found, and its tables."""
    if not result.data:  # of an early release
        return f"ProbeResult of {len(result.stages)} stages, of which data is not known"
    return _text([*of_probe(result), "", *(part for table in tables(result) for part in (table.rich(), ""))])


def probe_html(result: ProbeResult) -> str:
    """Write a probe for a notebook."""
    return _html(of_probe(result), tables(result))


def boards_text(boards: Sequence[Board]) -> str:
    """Write leaderboards for a terminal."""
    parts: list[RenderableType] = []
    for board in boards:
        parts += [of_board(board, verdict(summary(board))), "", leaderboard.table(board), ""]
    return _text(parts)


def boards_html(boards: Sequence[Board]) -> str:
    """Write leaderboards for a notebook."""
    told = [words for board in boards for words in (of_board(board, verdict(summary(board))), *board.notes)]
    drawn = [leaderboard.ranking(board, summary(board))._replace(title=board.name) for board in boards]
    return _html(told, drawn)


def _text(parts: Iterable[RenderableType]) -> str:
    console = Console(file=io.StringIO(), width=WIDTH)
    for part in parts:
        console.print(part, markup=False, highlight=False)
    written = console.file
    assert isinstance(written, io.StringIO)
    return written.getvalue().rstrip()


def _html(told: Iterable[str], drawn: Iterable[Table]) -> str:
    parts = [tag("p", tag("strong", sentence)) for sentence in told]
    parts += [tag("p", table.title) + Markup(table.__html__()) for table in drawn]
    return str(Markup("").join(parts))
