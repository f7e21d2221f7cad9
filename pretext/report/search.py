"""The page of a study: the results of `pretext evolve` as one HTML file with everything inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pretext.evaluation.available import descriptions
from pretext.report.colours import bars
from pretext.report.glossary import glossary
from pretext.report.page import Tile, breakable, write_page
from pretext.report.plot import tag
from pretext.report.search_figures import against_probe, over_time, weight_map, weight_panels
from pretext.report.search_words import counted, described, label, number, percent
from pretext.report.table import Cell, Column, Row, Table
from pretext.report.words import duration, rho
from pretext.search.analysis import fact_names, fitness, probe_share
from pretext.search.importance import SHUFFLES, Importance
from pretext.search.results import Results, reward, verdict
from pretext.search.study import Candidate

ORDER = {state: place for place, state in enumerate(("done", "pruned", "running", "failed", "waiting"))}


def write_search(results: Results, file: Path, title: str, facts: Mapping[str, Any]) -> None:
    """Write the page of a study, finished or not; the file is replaced as a whole, since other workers write it too.

    `facts` are printed at the end: "command" as what repeats the study, "config" (the text of the best candidate's
    config) folded away, everything else as a table of words.
    """
    candidates = results.candidates
    about = f"{counted(candidates)} of {len(candidates)} candidates, {duration(_total(candidates))} in all"
    late = [c for c in candidates if c.control is not None and c not in results.controls]
    write_page(
        file, "search.html", title, about,
        results=results, counted=counted, described=described, label=label, number=number, percent=percent, rho=rho,
        tried=[c for c in candidates if c.control is None and c.state != "waiting"], tiles=_tiles(results),
        verdict=verdict(results), reward=reward(results),
        over_time=over_time(results), panels=weight_panels(results), map=weight_map(results),
        against_probe=against_probe(results), shuffles=SHUFFLES, importance_table=_importance(results.importance),
        controls=_controls(results), late_controls=late, candidates=_every(results), glossary=_glossary(results),
        command=facts.get("command"), config=facts.get("config"), facts=facts,
    )  # fmt: skip


def _total(candidates: Iterable[Candidate]) -> float:
    return sum(candidate.seconds or 0.0 for candidate in candidates)


def _tiles(results: Results) -> list[Tile]:
    """Choose numbers to remember."""
    candidates, tiles = results.candidates, list[Tile]()
    for name, c in (("Fittest of the search", results.best), ("Fittest control", next(iter(results.controls), None))):
        if c:
            probe = f"probe {percent(c.probe)}" if c in results.probed else "not probed"
            tiles.append((name, number(fitness(c)), [described(c), probe]))
    rest = [c for c in candidates if c.state != "done"]
    done = f"{len(candidates) - len(rest)} of {len(candidates)}"
    tiles.append(("Candidates done", done, [counted(rest)] if rest else []))
    wall = max((c.finished or 0.0 for c in candidates), default=0.0)
    steps = sum(c.steps for c in candidates if c.state != "waiting")
    notes = [f"{steps:,} training steps", f"{duration(wall)} from the first start"]
    return [*tiles, ("Cost", duration(_total(candidates)), notes)]


# ---- Tables


def _glossary(results: Results) -> dict[str, str]:
    """Explain the words of all tables."""
    tables = filter(None, [_controls(results), _every(results), _importance(results.importance)])
    return glossary(tables, descriptions(), ["control"])


def _controls(results: Results) -> Table | None:
    """Set the controls, the fittest first, beside the best and the median candidate of the search."""
    best, middle = results.best, results.median
    named = [(f"search: fittest (number {best.index})", best)] if best else []
    named += [(f"search: median (number {middle.index})", middle)] if middle and middle is not best else []
    unmoved = " (does not reach the judged network)"
    named += [(label(c) + unmoved * (c.index in results.unmoved), c) for c in results.controls]
    facts = fact_names(c for _, c in named)
    columns = [Column("Candidate", words=True, first="ascending"), *_columns(facts)]
    rows = [Row([name, *_cells(c, facts)], _row(c)) for name, c in named]
    return Table("Controls", columns, rows, look="board") if rows else None


def _every(results: Results) -> Table | None:
    """List all that have begun, the fittest first, with what became of them and their weights."""
    begun, names = [c for c in results.candidates if c.state != "waiting"], results.names
    begun.sort(key=lambda c: (ORDER[c.state], -fitness(c), c.index))
    facts = fact_names(begun)
    columns = [Column("Number", first="ascending"), Column("Kind", words=True, first="ascending")]
    columns += [Column("State", words=True, first="ascending"), *_columns(facts)]
    columns += [Column("Finished after", first="ascending"), Column("Worker", words=True, first="ascending")]
    columns += [Column(name, form=".3f", first="descending") for name in names]
    built = [Column("Architecture", words=True)] if any(c.architecture for c in begun) else []
    rows = []
    for c in begun:
        cells = [Cell(c.index), Cell(c.control or "", text=c.control or "searched"), _state(c), *_cells(c, facts)]
        cells += [_figure(c.finished, duration), Cell(c.worker), *(Cell(c.weights.get(name)) for name in names)]
        cells += [Cell(c.backbone or "the config's")] if built else []
        rows.append(Row(cells, _row(c)))
    return Table("All candidates", [*columns, *built], rows, look="board") if rows else None


def _row(candidate: Candidate) -> str:
    return "trained" if candidate.control is None else "control"


def _columns(facts: Sequence[str]) -> list[Column]:
    figures = [Column(title, first="descending") for title in ("Fitness", *facts)]
    probe = Column("Probe accuracy", unit="%", first="descending")
    return [*figures, probe, Column("Steps", form=",.0f", first="ascending"), Column("Time", first="ascending")]


def _cells(c: Candidate, facts: Sequence[str]) -> list[Cell]:
    """Fill the columns of `_columns`."""
    accuracy, low, high = (probe_share(c.probe, key) for key in ("accuracy", "low", "high"))
    figures = [_figure(value, number) for value in (c.fitness, *map(c.facts.get, facts))]
    return [*figures, Cell(accuracy, low, high), Cell(c.steps), _figure(c.seconds, duration)]


def _figure(value: float | None, write: Callable[[float], str]) -> Cell:
    return Cell(value, text=write(value)) if value is not None and math.isfinite(value) else Cell()


def _state(c: Candidate) -> Cell:
    """Say what became of a candidate, why it failed, and whether its worker had died on the way."""
    words = c.state + (f": {' '.join(c.reason.split())}" if c.reason else "")
    words += f" ⚠ {c.tries} tries" if c.tries > 1 else ""
    return Cell(words, picture=tag("span", words, kind="reason") if c.reason else None)


def _importance(importance: Importance) -> Table:
    """Draw a bar per weight, the largest first, with a mark at what luck reaches."""
    most = max([*importance.shares.values(), importance.luck], default=1.0) or 1.0
    columns = [Column(title, words=True) for title in ("Weight", "Share", "")]
    rows = []
    for name, share in importance.shares.items():
        bar, words = bars({"searched": share}, most, importance.luck), f"{share:.2f}" + " *" * (share > importance.luck)
        rows.append(Row([Cell(name, picture=breakable(name)), Cell(share, picture=bar, style="width:40%"), words]))
    return Table("Importance of each weight", columns, rows, look="wide facts")
