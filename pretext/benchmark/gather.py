"""What is finished of a benchmark, read from the files of its cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pretext.benchmark.cells import cells, file_of
from pretext.benchmark.results import Board, CellResult
from pretext.benchmark.suite import Suite
from pretext.jobs.files import read_result

Architecture = tuple[str, str]
"""Kind of a baseline, and what the networks that it is compared with have in common."""


def boards(suite: Suite, folder: Path) -> list[Board]:
    """Read all boards, for the leaderboard."""
    return [_board(suite, folder, name) for name in suite.boards]


def _board(suite: Suite, folder: Path, name: str) -> Board:
    results = finished(suite, folder, name)
    measured = [cell for cell in results if cell.data is not None]
    data, protocol = (measured[0].data or {}, dict(measured[0].protocol or {})) if measured else ({}, {})
    sizes = {(cell.data["train"], cell.data["test"]) for cell in measured if cell.data is not None}
    if len(sizes) > 1:
        protocol["attention"] = f"entries were measured on different items (train, test): {sorted(sizes)}"
    baselines = sum(cell.architecture is not None for cell in results)
    planned = sum(cell.board == name for cell in cells(suite)) + baselines
    own = suite.boards[name]
    amounts = {entry: one.amounts for entry, one in own.entries.items() if one.amounts}
    return Board(name, data, protocol, planned, tuple(results), amounts, own.amount)


def finished(suite: Suite, folder: Path, board: str) -> list[CellResult]:
    """Read what is finished of a board, what failed, and what both are compared with."""
    results: list[CellResult] = []
    users: dict[str, list[str]] = {}  # of each baseline's file the entries that are compared with it
    for cell in (cell for cell in cells(suite) if cell.board == board):
        if (plain := read_result(file_of(suite, folder, cell))) is not None:
            results.append(CellResult.from_json(plain))
            for file in results[-1].compared or ():
                users.setdefault(file, []).append(cell.name)
    baselines = {file: CellResult.from_json(read_result(folder / "cells" / board / file)) for file in users}
    return results + _named(*_distinct(baselines, users))


def _distinct(
    baselines: Mapping[str, CellResult], users: Mapping[str, Sequence[str]]
) -> tuple[dict[str, CellResult], dict[str, list[str]]]:
    """Join baselines that agree in every figure, as of networks that differ in a part that is not probed."""
    kept: dict[str, CellResult] = {}
    theirs: dict[str, list[str]] = {}
    for file, cell in baselines.items():
        same = (one for one, other in kept.items() if other.rows and (other.kind, other.rows) == (cell.kind, cell.rows))
        first = next(same, file)
        kept.setdefault(first, cell)
        theirs.setdefault(first, []).extend(users[file])
    return kept, theirs


def _named(baselines: Mapping[str, CellResult], users: Mapping[str, Sequence[str]]) -> list[CellResult]:
    """Name baselines: the one that most entries have by its kind alone, others by an entry that has them."""
    entries: dict[Architecture, list[str]] = {}
    for file, cell in baselines.items():
        entries.setdefault(_architecture(cell), []).extend(users[file])
    usual = {
        kind: max((one for one in entries if one[0] == kind), key=lambda k: len(entries[k])) for kind, _ in entries
    }
    numbers: Counter[Architecture] = Counter()
    named = []
    for cell in baselines.values():
        own = _architecture(cell)
        name = cell.kind if usual[cell.kind] == own else f"{cell.kind}, as {entries[own][0]}"
        named.append(replace(cell, entry=name, seed=numbers[own]))  # numbered: the seeds of runs may be equal
        numbers[own] += 1
    return named


def _architecture(cell: CellResult) -> Architecture:
    return cell.kind, cell.architecture or ""
