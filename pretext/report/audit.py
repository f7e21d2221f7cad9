"""The table of an audit: what each control scores, what share of the intact score that is, and a verdict."""

from __future__ import annotations

from collections.abc import Sequence

from pretext.audit.results import HALF, MUCH, SOME, Finding, Score, TaskAudit
from pretext.report.table import Cell, Column, Row, Table, plain

NOTE = (
    "Score: on held-out items. Share: of what the intact task scores beyond a blind guess (its interval is MOVER's); "
    "in rows marked *, what the trained network loses where traces are moved; in rows that say what is scored further "
    "in, what borders score beyond as much content from there. Intervals hold for all rows of a task at once in 95 of "
    "100 audits (Bonferroni), and words go by them: a control answers a task where its whole interval is at least "
    f"{HALF:.0%}, part of it from {SOME:.0%} on, and does not (no) where it is below; else it is unclear. What keeps "
    f"more than {MUCH:.0%} of what is shown keeps content, and is not accused."
)
COLUMNS = (
    Column("Task", words=True),
    Column("", words=True),
    Column("What is left", words=True),
    Column("Score", "%"),
    Column("Share", "%", form=".0f"),
    Column("Verdict", words=True),
)


def table(found: Sequence[TaskAudit], title: str = "What answers without seeing") -> Table:
    """Lay out all tasks, each with the blind guess, itself as it is, and every control."""
    rows = [row for one in found for row in rows_of(one)]
    return Table(title, COLUMNS, rows, NOTE, names=2)


def rows_of(audit: TaskAudit) -> list[Row]:
    """Lay out one task: what a blind guess scores, the task as it is, and every control."""
    guess = Row([audit.task, "", f"blind guess ({metric(audit)})", audit.chance, None, ""], "chance", audit.task)
    intact = Row(["", "a", "the task as it is", cell_of(audit.intact), None, audit.note], "chosen", audit.task)
    return [guess, intact, *(_row(audit, one) for one in audit.findings)]


def metric(audit: TaskAudit) -> str:
    """Name what a task is scored by."""
    return audit.metric.replace("_", " ")


def cell_of(score: Score | None) -> Cell:
    """Make a cell of a score."""
    return Cell() if score is None else Cell(score.value, score.low, score.high)


def markdown(found: Sequence[TaskAudit]) -> str:
    """Write the table and the verdicts as Markdown."""
    verdicts = "\n".join(f"- {plain(one.task)}: {plain(one.verdict)}" for one in found)
    return f"{table(found).markdown()}\n\n{verdicts}\n\n{NOTE.replace('*', 'with an asterisk')}\n"


def _row(audit: TaskAudit, one: Finding) -> Row:
    share = None if one.share is None else Cell(one.share.value, one.share.low, one.share.high)
    title = f"{one.title} *" if one.against else one.title
    if one.kept is not None:
        title += f" ({one.kept:.0%} of what is shown)"
    if one.beside is not None:
        title += f", against {one.beside.value:.1%} further in"
    return Row(["", one.letter, title, cell_of(one.score), share, one.verdict or one.note], "", audit.task)
