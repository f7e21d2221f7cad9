"""The page of a map of transfers, its CSV and its JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pretext.core.files import write_json, write_whole
from pretext.report.colours import Shades
from pretext.report.page import Tile, write_page
from pretext.report.table import Cell, Column, Row, Table
from pretext.report.transfer_tree import tree
from pretext.report.words import figure
from pretext.transfer.results import Entry, TransferMap
from pretext.transfer.tables import BAR, REFERENCES, write_transfers

SHADES = Shades(-2.0, 2.0)
"""Of logarithms of affinities, standardised for each target."""
GUESS = "≈"
"""Stands before what is predicted."""


def write_all(found: TransferMap, folder: Path, command: str, environment: Mapping[str, Any]) -> None:
    """Write transfer.html, .csv and .json, and affinities.csv, which `pretext transfer policy` and `complete` read."""
    write_html(found, folder / "transfer.html", command, environment)
    write_whole(folder / "transfer.csv", every(found).csv())
    write_json(folder / "transfer.json", found.to_json())
    measured = [entry.transfer for entry in found.entries if not entry.predicted]
    if measured:
        write_transfers(measured, folder / "affinities.csv")


def write_html(found: TransferMap, file: Path, command: str, environment: Mapping[str, Any]) -> Path:
    """Write the page, finished or not; the file is replaced as a whole."""
    measured = sum(not entry.predicted for entry in found.entries)
    about = f"{measured} of {found.planned} transfers measured, {len(found.sources) - len(REFERENCES)} sources"
    about += f" and {len(found.targets)} targets; random and self beside them"
    return write_page(
        file, "transfer.html", found.title, about,
        found=found, tiles=_tiles(found), heat=heat(found), legend=SHADES.legend({}, "{:+.0f} sd"), wins=wins(found),
        pairs=pairs(found), choices=choices(found), rankings=rankings(found), tree=tree(found.tree),
        entries=every(found), guess=GUESS,
        predicted=sum(entry.predicted for entry in found.entries), command=command, environment=environment,
    )  # fmt: skip


def heat(found: TransferMap) -> Table | None:
    """Colour the affinities of single sources, each target by itself; predictions have a sign before them."""
    columns = [Column("Source", words=True, first="ascending")]
    columns += [Column(target, "%", ".2f", first="descending", bare=True) for target in found.targets]
    scores = _standardised(found)
    rows = []
    for source in found.sources:
        cells: list[Cell] = []
        for target in found.targets:
            entry = found.entry((source,), target)
            cells.append(_heat_cell(entry, scores.get((source, target), 0.0)) if entry else Cell())
        rows.append(Row([source, *cells], _kind(source)))
    return Table("Affinities", columns, rows, look="heat") if found.entries else None


def _heat_cell(entry: Entry, score: float) -> Cell:
    written = f"{100 * entry.affinity:.2f}"
    if entry.predicted:
        hover = f"predicted: {100 * entry.low:.2f} to {100 * entry.high:.2f} %"
        return Cell(entry.affinity, text=f"{GUESS} {written}", hover=hover, style=SHADES.style(score))
    hover = f"loss {entry.loss:.4g}"
    hover += "" if math.isnan(entry.win) else f", beats self on {figure(entry.win)} of the items"
    return Cell(entry.affinity, text=written, hover=hover, style=SHADES.style(score))


def wins(found: TransferMap) -> Table | None:
    """Tell on how many test items each single source beats `self`, with intervals."""
    columns = [Column("Source", words=True, first="ascending")]
    columns += [Column(target, "%", ".0f", first="descending", bare=True) for target in found.targets]
    rows = []
    for source in found.sources:
        entries = [found.entry((source,), target) for target in found.targets]
        cells = [Cell(e.win, e.win_low, e.win_high) if e and not math.isnan(e.win) else Cell() for e in entries]
        rows.append(Row([source, *cells], _kind(source)))
    known = any(not math.isnan(entry.win) for entry in found.entries)
    return Table("Win rates against self", columns, rows, look="board") if known else None


def pairs(found: TransferMap) -> Table | None:
    """List transfers of several sources beside the best of one."""
    columns = [Column("Target", words=True, first="ascending"), Column("Sources", words=True, first="ascending")]
    columns += [
        Column("Affinity", "%", ".2f", first="descending"),
        Column("Best single", "%", ".2f", first="descending"),
    ]
    columns += [Column("Beats self", "%", ".0f", first="descending")]
    rows = []
    for entry in (entry for entry in found.entries if len(entry.sources) > 1):
        single = [e.affinity for e in found.entries if e.target == entry.target and _single(e)]
        win = Cell() if math.isnan(entry.win) else Cell(entry.win, entry.win_low, entry.win_high)
        best = max(single) if single else None
        rows.append(Row([entry.target, " + ".join(entry.sources), entry.affinity, best, win], "trained"))
    return Table("Several sources", columns, rows, look="board", names=1) if rows else None


def choices(found: TransferMap) -> Table | None:
    """List the best sources of each budget."""
    columns = [Column("Budget"), Column("Train", words=True), Column("Affinity, sum", form=".4f")]
    columns += [
        Column("Over the best single", form="+.4f"),
        Column("Beats self", "%", ".0f"),
        Column("Serving", words=True),
    ]
    rows = []
    for choice in found.choices:
        serving = ", ".join(f"{target}: {by.replace(BAR, ' + ')}" for target, by in choice.serving.items())
        serving += f" ({GUESS} partly predicted)" if choice.predicted else ""
        names = ", ".join(choice.sources)
        figures = choice.value, choice.over_single, choice.over_self
        rows.append(Row([choice.budget, names, *figures, serving], "trained"))
    return Table("Best sources", columns, rows, look="board", names=1) if rows else None


def rankings(found: TransferMap) -> Table | None:
    """Tell how scores that took no training rank the sources."""
    columns = [Column("Target", words=True, first="ascending"), Column("Score", words=True, first="ascending")]
    columns += [Column("Sources", first="descending"), Column("Spearman", form=".2f", first="descending")]
    columns += [Column("Kendall", form=".2f", first="descending"), Column("Regret", "%", ".0f", first="ascending")]
    titles = {"log_me": "LogME", "h_score": "H-score", "leep": "LEEP of clusters", "nce": "NCE of clusters"}
    rows = [
        Row([r.target, titles[r.score], r.sources, Cell(r.spearman, r.low, r.high), r.kendall, r.regret], "trained")
        for r in found.rankings
    ]
    return Table("Scores without training", columns, rows, look="board", names=1) if rows else None


def every(found: TransferMap) -> Table:
    """List all entries in full."""
    titles = ("affinity", "predicted", "low", "high", "loss", "win", "win_low", "win_high")
    columns = [Column("sources", words=True), Column("target", words=True), *map(Column, titles)]
    rows = [
        Row([BAR.join(e.sources), e.target, *(_known(getattr(e, title)) for title in titles)], "trained")
        for e in found.entries
    ]
    return Table("Every transfer", columns, rows, look="board")


def _known(value: float | bool) -> float | str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if math.isnan(value) else value


def _single(entry: Entry) -> bool:
    return len(entry.sources) == 1 and not entry.predicted and entry.sources[0] not in REFERENCES


def _kind(source: str) -> str:
    return {"random": "random", "self": "supervised"}.get(source, "trained")


def _standardised(found: TransferMap) -> dict[tuple[str, str], float]:
    """Standardise the logarithms of first-order affinities for each target."""
    scores: dict[tuple[str, str], float] = {}
    for target in found.targets:
        own = {e.sources[0]: math.log(e.affinity) for e in found.entries if e.target == target and len(e.sources) == 1}
        if own:
            values = np.array(list(own.values()))
            spread = float(values.std()) or 1.0
            scores |= {(source, target): (value - float(values.mean())) / spread for source, value in own.items()}
    return scores


def _tiles(found: TransferMap) -> list[Tile]:
    """Choose numbers to remember."""
    tiles: list[Tile] = []
    if found.choices:
        first = found.choices[0]
        tiles.append(("Train one source", first.sources[0], [f"beats self on {figure(first.over_self)} of the items"]))
    if len(found.choices) > 2:
        third = found.choices[2]
        notes = [
            f"{third.over_single / first.value:+.0%} affinity over one",
            f"beats self on {figure(third.over_self)}",
        ]
        tiles.append(("Train three", ", ".join(third.sources), notes))
    done = sum(not entry.predicted for entry in found.entries)
    notes = [f"{len(found.failed)} failed"] if found.failed else []
    return [*tiles, ("Measured", f"{done} of {found.planned}", notes)]
