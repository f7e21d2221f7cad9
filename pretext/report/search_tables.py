"""The tables of a study, which a browser sorts (see evolve.html): the controls beside the search, every candidate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from pretext.report.run import scroll_box
from pretext.report.search_marks import breakable
from pretext.search.analysis import (
    called,
    controls,
    fitness,
    fittest,
    median,
    searched,
    share,
)
from pretext.search.conclusions import counted, duration, number, percent
from pretext.search.importance import Importance
from pretext.search.study import Candidate

ORDER = {state: place for place, state in enumerate(("done", "pruned", "running", "failed", "waiting"))}


class Cell(NamedTuple):
    """What a cell says, and the number or word that it is sorted by; "" comes last."""

    words: str
    value: float | str
    kind: str = ""


def figure(value: float | None, words: str | None = None) -> Cell:
    """Make a cell of a number."""
    if value is None or not math.isfinite(value):
        return Cell("-", "", "n")
    return Cell(words or number(value), value, "n")


def sortable(name: str, head: Sequence[tuple[str, str]], rows: Iterable[tuple[str, Sequence[Cell]]]) -> str:
    """Lay out a table in a box: columns are (name, order in which sorting begins); of each row its CSS class."""
    body, numeric = "", [False] * len(head)
    for kind, cells in rows:
        numeric = [now or cell.kind == "n" for now, cell in zip(numeric, cells, strict=True)]
        parts = "".join(_cell(cell, head=place == 0) for place, cell in enumerate(cells))
        body += f'<tr class="{kind}">{parts}</tr>'
    heads = "".join(
        f'<th scope="col" class="{"n" if right else ""}" data-kind="{"number" if right else "text"}" '
        f'data-first="{first}">{escape(words)}</th>'
        for (words, first), right in zip(head, numeric, strict=True)
    )
    return scroll_box(
        name, f'<table class="board sortable"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
    )


def _cell(cell: Cell, head: bool) -> str:
    facts = f'class="{cell.kind}" data-value="{escape(str(cell.value))}"'
    return f'<th scope="row" {facts}>{escape(cell.words)}</th>' if head else f"<td {facts}>{escape(cell.words)}</td>"


# ---- Controls


def control_table(candidates: Sequence[Candidate]) -> str:
    """Set the controls, the fittest first, beside the best and the median candidate of the search."""
    own = searched(candidates)
    best, middle = fittest(own), median(own)
    rows = [(f"search: fittest (number {best.index})", best)] if best else []
    rows += [(f"search: median (number {middle.index})", middle)] if middle and middle is not best else []
    blank = next((c for c in controls(candidates) if c.control == "all zero"), None)
    rows += [(called(c) + _unmoved(c, blank), c) for c in controls(candidates)]
    others = [c for c in candidates if c.control is not None and c not in controls(candidates)]
    late = f'<p class="soft">Controls that are not done: {escape(counted(others))}.</p>' if others else ""
    if not rows:
        return f'<p class="missing">Nothing is done yet.</p>{late}'
    facts = list(dict.fromkeys(name for _, c in rows for name in c.facts))
    head = [("Candidate", "ascending"), *_head(facts)]
    cells = ((_row_kind(c), [Cell(words, words), *_figures(c, facts)]) for words, c in rows)
    return sortable("Controls", head, cells) + late


def _unmoved(control: Candidate, blank: Candidate | None) -> str:
    """Mark a task that left the judged network as it was: to the last digit it scores as no training does."""
    if blank is None or control is blank or (control.fitness, control.facts) != (blank.fitness, blank.facts):
        return ""
    return " (does not reach the judged network)"


def _head(facts: Sequence[str]) -> list[tuple[str, str]]:
    columns = ["Fitness", *facts, "Probe accuracy", "Steps", "Time"]
    return [(words, "ascending" if words in ("Steps", "Time") else "descending") for words in columns]


def _figures(c: Candidate, facts: Sequence[str]) -> list[Cell]:
    """Write what `_head` names."""
    told = [figure(c.facts.get(name)) for name in facts]
    probe, time = figure(share(c.probe), percent(c.probe)), figure(c.seconds, duration(c.seconds or 0.0))
    return [figure(c.fitness), *told, probe, figure(c.steps, f"{c.steps:,}"), time]


def _row_kind(candidate: Candidate) -> str:
    return "trained" if candidate.control is None else "control"


# ---- Every candidate


def every_candidate(candidates: Sequence[Candidate], names: Sequence[str]) -> str:
    """List all that have begun, the fittest first, with what became of them and their weights."""
    shown = sorted(
        (c for c in candidates if c.state != "waiting"), key=lambda c: (ORDER[c.state], -fitness(c), c.index)
    )
    waiting = len(candidates) - len(shown)
    note = f'<p class="soft">{waiting} more wait.</p>' if waiting else ""
    if not shown:
        return f'<p class="missing">No candidate has begun.</p>{note}'
    facts = list(dict.fromkeys(name for c in shown for name in c.facts))
    head = [("Number", "ascending"), ("Kind", "ascending"), ("State", "ascending"), *_head(facts)]
    head += [("Finished after", "ascending"), ("Worker", "ascending"), *((name, "descending") for name in names)]
    rows = []
    for c in shown:
        finished, worker = figure(c.finished, duration(c.finished or 0.0)), c.worker or ""
        cells = [figure(c.index, str(c.index)), Cell(c.control or "searched", c.control or ""), _state(c)]
        cells += [*_figures(c, facts), finished, Cell(worker or "-", worker)]
        cells += [figure(c.weights.get(name), f"{c.weights.get(name, 0.0):.3f}") for name in names]
        rows.append((_row_kind(c), cells))
    return sortable("All candidates", head, rows) + note


def _state(c: Candidate) -> Cell:
    """Say what became of a candidate, why it failed, and whether its worker had died on the way."""
    words = c.state + (f": {' '.join(c.reason.split())}" if c.reason else "")
    words += f" ⚠ {c.tries} tries" if c.tries > 1 else ""
    return Cell(words, words, "reason" if c.reason else "")


# ---- Importance


def importance_table(found: Importance) -> str:
    """Draw a bar per weight, the largest first, a mark at what chance reaches."""
    most = max([*found.shares.values(), found.chance]) or 1.0
    rows = ""
    for name, part in found.shares.items():
        bar = f'<b style="width:{100 * part / most:.1f}%"></b><u style="left:{100 * found.chance / most:.1f}%"></u>'
        words = f"{part:.2f}" + " *" * (part > found.chance)
        rows += f'<tr><th scope="row">{breakable(name)}</th><td><div>{bar}</div></td><td class="soft">{words}</td></tr>'
    return scroll_box("Importance of each weight", f'<table class="wide facts cost">{rows}</table>')
