"""The page and the table of a comparison of architectures: the results of `pretext nas sample`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretext.core.files import write_whole
from pretext.report.colours import Shades
from pretext.report.nas_figures import curves, scatters
from pretext.report.page import Tile, write_page
from pretext.report.table import Cell, Column, Row, Table
from pretext.report.words import rho
from pretext.search.nas.results import ELSEWHERE, Architecture, Compared, Pair

FEW = 20
"""Architectures below which an interval is so wide that the page says so."""
MOST_CHOICES = 12
CELLS = (
    "The cells of architecture N are genotypes/N.json beside this page: pretext nas show FILE draws them, "
    "--model.backbone pretext.Cells --model.backbone.genotype FILE trains them"
)
"""Choices beyond which they are no columns of the page: a genotype has 32."""


def write_comparison(results: Compared, file: Path, title: str, facts: Mapping[str, Any]) -> None:
    """Write the page of a comparison, finished or not, and beside it two tables as CSV: scores, and correlations.

    All are replaced as a whole, and the correlations stand in FILE_correlations.csv.

    `facts` are printed at the end, "command" as what repeats it.
    """
    done = len(results.complete)
    about = f"{done} of {len(results.architectures)} architectures complete, {len(results.failed)} failed"
    write_page(
        file, "nas.html", title, about,
        results=results, tiles=_tiles(results), correlations=_correlations(results), few=FEW, pairs=_pairs(results),
        across=_across(results), scatters=scatters(results), curves=curves(results), taken=_taken(results),
        every=_every(results), rho=rho, command=facts.get("command"), facts=facts,
    )  # fmt: skip
    write_whole(file.with_suffix(".csv"), every_score(results).csv())
    write_whole(file.with_name(f"{file.stem}_correlations.csv"), every_correlation(results).csv())


def interval(pair: Pair) -> str:
    """Write an interval of the bootstrap; "" where there is none."""
    low, high = pair.interval
    return "" if math.isnan(low) else f"{low:.2f} to {high:.2f}"


def _tiles(results: Compared) -> list[Tile]:
    """Choose numbers to remember: each proxy's correlation with the reference."""
    tiles: list[Tile] = []
    for name in results.measures[:-1]:
        pair = results.pair(name, results.reference)
        value = "-" if math.isnan(pair.rank.rho) else f"{pair.rank.rho:.2f}"
        notes = [f"rank correlation with {results.reference}"]
        tiles.append((name, value, [*notes, f"95 %: {interval(pair)}"] if interval(pair) else notes))
    return tiles


def _correlations(results: Compared) -> Table | None:
    """Set every measure against every other: Spearman's rho with its interval."""
    if len(results.complete) < 2:
        return None
    shades = Shades(-1.0, 1.0)
    columns = [Column("Spearman's rho", words=True), *(Column(name, form=".2f") for name in results.measures)]
    rows = []
    for first in results.measures:
        cells: list[Cell] = [Cell(first)]
        for second in results.measures:
            if first == second:
                cells.append(Cell(1.0, style=shades.style(1.0)))
                continue
            pair = results.pair(first, second)
            known = not math.isnan(pair.rank.rho)
            words = f"{pair.rank.rho:.2f} ({interval(pair) or 'no interval'})" if known else ""
            cells.append(Cell(pair.rank.rho, text=words, style=shades.style(pair.rank.rho) if known else ""))
        rows.append(Row(cells, "trained"))
    return Table("Rank correlation of every pair", columns, rows, look="heat")


def _pairs(results: Compared) -> Table:
    """List each proxy's correlation with the reference in full."""
    columns = [Column("Measure", words=True), Column("Rank correlation", words=True), Column("Bootstrap", words=True)]
    rows = []
    for name in results.measures[:-1]:
        pair = results.pair(name, results.reference)
        rows.append(Row([name, rho(pair.rank, "architectures"), interval(pair) or "-"], "trained"))
    for pair in results.controls:
        rows.append(Row([f"{pair.first} (control)", rho(pair.rank, "architectures"), interval(pair) or "-"], "control"))
    return Table(f"With {results.reference}", columns, rows, look="wide")


def _across(results: Compared) -> Table | None:
    """List the correlations of measures that are taken on two sets of data, the highest first."""
    pairs = sorted(
        (pair for pair in results.pairs if pair.across and not math.isnan(pair.rank.rho)),
        key=lambda pair: -pair.rank.rho,
    )
    columns = [Column("One set", words=True), Column("The other", words=True), Column("Rank correlation", words=True)]
    columns.append(Column("Bootstrap", words=True))
    rows = []
    for pair in pairs:
        names = sorted((pair.first, pair.second), key=lambda name: name.endswith(ELSEWHERE))
        rows.append(Row([*names, rho(pair.rank, "architectures"), interval(pair) or "-"], "trained"))
    return Table("Across two sets of data", columns, rows, look="wide") if rows else None


def _taken(results: Compared) -> Table | None:
    """Say which architecture each measure would take, and what it is worth by the reference."""
    if not results.taken:
        return None
    reference = [one.scores[results.reference] for one in results.complete]
    columns = [Column("Chosen by", words=True), Column("Architecture", words=True), Column("Its own score", form=".4f")]
    columns += [Column(results.reference, form=".4f"), Column("Rank there"), *_sizes()]
    rows = []
    for name in results.measures:
        one = results.taken[name]
        worth = one.scores[results.reference]
        rank = 1 + sum(value > worth for value in reference)
        equals = sum(other.scores[name] == one.scores[name] for other in results.complete)
        said = one.name if equals == 1 else f"{one.name}, the first of {equals} equals"
        rows.append(Row([name, said, one.scores[name], worth, f"{rank} of {len(reference)}", *_size(one)], "trained"))
    return Table("Which architecture to take", columns, rows, CELLS * _of_cells(results), look="board")


def _of_cells(results: Compared) -> bool:
    """Are these networks of drawn cells, which no column has room for?"""
    return len(_choices(results)) > MOST_CHOICES


def _every(results: Compared) -> Table:
    """List all architectures, the best by the reference first."""
    choices = _choices(results)
    shown = choices if len(choices) <= MOST_CHOICES else []
    columns = [Column("Architecture", first="ascending"), Column("State", words=True, first="ascending")]
    columns += [Column(name, form=".4f", first="descending") for name in results.measures]
    columns += [*_sizes(), *(Column(name, first="ascending") for name in shown)]
    order = sorted(results.architectures, key=lambda one: -one.scores.get(results.reference, -math.inf))
    rows = []
    for one in order:
        state = one.state + (f": {one.reason}" if one.reason else "")
        cells = [one.name, state, *(one.scores.get(name) for name in results.measures), *_size(one)]
        kind = "trained" if one.state == "done" else "failed"
        rows.append(Row([*cells, *(_plain(one.choice.get(name)) for name in shown)], kind))
    return Table("All architectures", columns, rows, look="board")


def every_score(results: Compared) -> Table:
    """List all architectures in their order with all that was chosen: the CSV."""
    choices = _choices(results)
    columns = [Column(name) for name in ("architecture", "state", *results.measures, "parameters", "multiply-adds")]
    rows = [
        Row(
            [
                *(one.name, one.state, *(one.scores.get(name) for name in results.measures), *_size(one)),
                *(_plain(one.choice.get(name)) for name in choices),
            ]
        )
        for one in results.architectures
    ]
    return Table("Every score", [*columns, *(Column(name) for name in choices)], rows)


def every_correlation(results: Compared) -> Table:
    """List every pair of measures, and the controls, with rho and the bootstrap's interval: the second CSV."""
    names = ("first", "second", "data", "rho", "low", "high", "p", "architectures")
    rows = []
    for pair in [*results.pairs, *results.controls]:
        data = "two sets" if pair.across and pair not in results.controls else "one set"
        figures = [pair.rank.rho, pair.interval.low, pair.interval.high, pair.rank.p]
        known = [None if math.isnan(value) else value for value in figures]
        rows.append(Row([pair.first, pair.second, data, *known, pair.rank.n]))
    return Table("Every correlation", [Column(name) for name in names], rows)


def _choices(results: Compared) -> list[str]:
    return list(dict.fromkeys(name for one in results.architectures for name in one.choice))


def _sizes() -> list[Column]:
    return [
        Column("Parameters", form=",.0f", first="ascending"),
        Column("Multiply-adds", form=",.0f", first="ascending"),
    ]


def _size(one: Architecture) -> Sequence[float | None]:
    return [one.parameters, one.multiply_adds]


def _plain(value: Any) -> float | str | None:
    return value if isinstance(value, int | float | str) or value is None else json.dumps(value)
