"""The page of an audit: a verdict for each task, its table, and what each control leaves of its puzzles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretext.audit.results import TaskAudit
from pretext.report.audit import COLUMNS, NOTE, rows_of
from pretext.report.page import embedded, write_page
from pretext.report.table import Table
from pretext.report.words import date


def write_audit(
    found: Sequence[TaskAudit],
    file: Path,
    name: str,
    pictures: Mapping[str, Path],
    command: str,
    environment: Mapping[str, Any],
) -> Path:
    """Write the page, one file with everything inside, and return its path."""
    total = f"{sum(one.worst is not None for one in found)} of {len(found)} tasks accused"
    about = " · ".join(filter(None, (f"What answers without seeing: {total}", date(environment))))
    tasks = [(one, _table(one), embedded(pictures[one.task])) for one in found]
    return write_page(file, "audit.html", name, about, tasks=tasks, note=NOTE, command=command, environment=environment)


def _table(one: TaskAudit) -> Table:
    """Lay out one task, which the heading names."""
    rows = [row._replace(cells=row.cells[1:], section="") for row in rows_of(one)]
    return Table(f"Controls of {one.task}", COLUMNS[1:], rows, names=1)
