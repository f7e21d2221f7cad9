"""Audit the tasks of a config: cells of task and control, each a file, so that finished ones are not repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pretext.audit.controls import INTACT, Control
from pretext.audit.marks import Marks
from pretext.audit.plan import controls_of, exams
from pretext.audit.results import Finding, Score, TaskAudit, excess_share, judged, lost_share, share_of
from pretext.audit.sitting import Exam, metric_of, sit
from pretext.core.files import write_json
from pretext.jobs.files import FileJob, finish, read_result
from pretext.jobs.keys import key_of, with_contents

VERSION = 3  # of what a cell's figures depend on besides its config
WHOLE = Control(INTACT, "a", "the task as it is")
SEED = "seed_everything"
NOTHING_TO_LOSE = "the network has learnt nothing that it could lose"


class Cell(NamedTuple):
    """A task and what is asked of it."""

    exam: Exam
    control: Control
    others: tuple[Control, ...]
    """Other looks of the trained network."""
    file: Path


def audit(
    config: Mapping[str, Any],
    options: Sequence[str],
    folder: Path,
    names: Sequence[str] | None,
    steps: int,
    after: Callable[[list[TaskAudit]], None],
) -> tuple[list[TaskAudit], list[Exam]]:
    """Audit tasks of a config, all unless `names` are given; the same folder goes on where it was stopped.

    `after` gets what is known each time that a task is finished. `audit.json` is written beside the cells.

    Raises:
        ValueError: as in `exams`.

    """
    made, plain = exams(config, options, names, steps)
    model, data = plain["model"], plain.get("data")
    found: list[TaskAudit] = []
    for exam in made:
        mine = {**model, "tasks": {exam.name: model["tasks"][exam.name]}}
        found.append(examine(exam, folder, [with_contents(part) for part in (mine, data, plain.get(SEED))]))
        write_json(folder / "audit.json", {"budget": steps, "tasks": [one.to_json() for one in found]})
        after(found)
    return found, made


def examine(exam: Exam, folder: Path, facts: Any) -> TaskAudit:
    """Audit one task; `facts` are all that its figures depend on, but for the budget."""
    asked = controls_of(exam)
    cells = _cells(exam, asked, folder / "cells", key_of(VERSION, facts, exam.steps))
    finish(cells, _job, lambda: None, f"audit {exam.name}")
    return _gathered(exam, asked, cells)


def _cells(exam: Exam, asked: Sequence[tuple[Control, str]], folder: Path, key: str) -> list[Cell]:
    """List what is trained for a task: it as it is, and on what each control leaves."""
    can = [control for control, refusal in asked if not refusal]
    swaps = tuple(control for control in can if control.swaps)
    beside = [control.beside for control in can if control.beside]
    trained = [(WHOLE, swaps), *((control, ()) for control in (*can, *beside) if not control.swaps)]
    return [
        Cell(exam, control, others, folder / f"{exam.name}-{control.name.replace(' ', '_')}-{key}.json")
        for control, others in trained
    ]


def _job(cell: Cell) -> FileJob:
    run = partial(sit, cell.exam, cell.control, cell.others)
    return FileJob(cell.control.title, cell.file, run, lambda reason: {"failed": reason})


def _gathered(exam: Exam, asked: Sequence[tuple[Control, str]], cells: Sequence[Cell]) -> TaskAudit:
    """Read what is finished."""
    task, _, puzzle = exam.sample()
    metric, chance = metric_of(task.chance())
    results = {cell.control.name: read_result(cell.file) or {"failed": "not finished"} for cell in cells}
    whole = results[INTACT]
    trained, held = exam.items.sizes()
    rows = 1 + sum(not refusal for _, refusal in asked)

    def score(plain: Mapping[str, Any]) -> Score:
        return Marks(**plain).score(metric, rows)

    intact = None if "failed" in whole else score(whole["score"])
    findings = []
    for control, refusal in asked:
        blank = Finding(control.name, control.letter, control.title, note=refusal)
        result = whole if control.swaps else results.get(control.name, {"failed": refusal})
        if refusal:
            findings.append(blank)
        elif "failed" in result or intact is None:
            findings.append(replace(blank, note=result.get("failed", "the intact task failed")))
        else:
            kept = None if control.kept is None else control.kept(puzzle.question)
            compared = results[control.beside.name] if control.beside else None
            findings.append(_finding(control, task, result, compared, score, intact, chance, kept))
    note = str(whole.get("failed", ""))
    return TaskAudit(exam.name, _kind(task), metric, chance, intact, tuple(findings), held, trained, note)


def _finding(
    control: Control,
    task: Any,
    result: Mapping[str, Any],
    compared: Mapping[str, Any] | None,
    of: Callable[[Mapping[str, Any]], Score],
    intact: Score,
    chance: float,
    kept: float | None,
) -> Finding:
    """Judge what came of one control."""
    blank = Finding(control.name, control.letter, control.title, kept=kept)
    advice = control.change(task)
    if control.swaps:
        score, against = (of(result[control.name][what]) for what in ("score", "against"))
        share = lost_share(score, against, chance)
        if share is None:
            return replace(blank, score=score, against=against, note=NOTHING_TO_LOSE)
        verdict = judged(share, score, chance)
        return replace(blank, score=score, against=against, share=share, verdict=verdict, advice=advice)
    found = replace(blank, score=of(result["score"]), advice=advice, seconds=result["seconds"])
    return _compared(found, compared, of, intact, chance) if compared else _judged(found, intact, chance)


def _judged(found: Finding, intact: Score, chance: float) -> Finding:
    assert found.score is not None
    share = share_of(found.score, intact, chance)
    return replace(found, share=share, verdict=judged(share, found.score, chance, found.kept))


def _compared(
    found: Finding,
    compared: Mapping[str, Any],
    of: Callable[[Mapping[str, Any]], Score],
    intact: Score,
    chance: float,
) -> Finding:
    """Judge a control by what it has beyond another, which keeps content as it does."""
    if "failed" in compared:
        return replace(found, note=f"nothing to compare with: {compared['failed']}")
    assert found.score is not None
    beside = of(compared["score"])
    share = excess_share(found.score, beside, intact, chance)
    # Without a share: what is beyond chance, but not beyond the other, is content.
    kept = 1.0 if share is None and found.score.low <= beside.high else found.kept
    seconds = found.seconds + compared["seconds"]
    return replace(found, beside=beside, share=share, verdict=judged(share, found.score, chance, kept), seconds=seconds)


def _kind(task: Any) -> str:
    """Name a task's class, of an adapter that of the task inside."""
    within = getattr(task, "task", None)
    return type(task).__name__ if within is None else f"{type(task).__name__}({_kind(within)})"
