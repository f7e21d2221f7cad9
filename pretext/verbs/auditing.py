"""`pretext.find_shortcuts`, `pretext audit` on the command line: what answers a puzzle without seeing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretext.audit.names import STEPS
from pretext.audit.pictures import drawings
from pretext.audit.results import TaskAudit
from pretext.audit.run import audit
from pretext.core.errors import require, require_count
from pretext.core.files import write_whole
from pretext.core.quiet import quiet
from pretext.jobs.arguments import arguments
from pretext.report.audit import markdown
from pretext.report.audit_page import write_audit
from pretext.report.puzzles import paint
from pretext.training.callbacks.record import environment
from pretext.training.run import read


@dataclass(frozen=True)
class Shortcuts:
    """What answers the puzzles of some tasks without seeing.

    Args:
        tasks: each with a verdict, and what every control leaves of its score.
        page: of all of them.

    """

    tasks: tuple[TaskAudit, ...]
    page: Path


@quiet()
def find_shortcuts(
    config: str | Path | Mapping[str, Any],
    folder: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    budget: int = STEPS,
) -> Shortcuts:
    """Ask whether tasks can be answered without seeing; write audit.html, .json and .md.

    Args:
        config: a training config's file or name, or what stands in it.
        folder: of the results; none: runs/audit/<the config's name>. What is finished there is not done again.
        options: of the config, such as {"data.root": DIR}.
        tasks: names of those to look at; none: all.
        budget: steps of training for each task and control.

    Raises:
        ValueError: there is no such task, or one cannot be posed from the data.

    """
    got = f"config is a {type(config).__name__}"
    require(isinstance(config, str | Path | Mapping), "find_shortcuts", got, "give the file of a training config")
    require_count("find_shortcuts", "budget", budget)
    plain = read(config) if isinstance(config, str | Path) else config
    name = Path(config).stem if isinstance(config, str | Path) else "config"
    home = Path(folder or Path("runs") / "audit" / name)
    return looked_at(plain, arguments(dict(options or {})), home, name, tasks, budget, "pretext.find_shortcuts(...)")


def looked_at(
    config: Mapping[str, Any],
    options: Sequence[str],
    folder: Path,
    name: str,
    tasks: Sequence[str] | None,
    budget: int,
    command: str,
) -> Shortcuts:
    """Do what `find_shortcuts` does, with options of the command line."""

    def tell(found: list[TaskAudit]) -> None:
        write_whole(folder / "audit.md", markdown(found))

    found, exams = audit(config, options, folder, tasks, budget, tell)
    pictures = {exam.name: folder / "pictures" / f"{exam.name}.png" for exam in exams}
    for exam in exams:
        paint(drawings(exam), pictures[exam.name])
    page = write_audit(found, folder / "audit.html", name, pictures, command, environment())
    return Shortcuts(tuple(found), page)
