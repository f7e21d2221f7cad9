"""Every single score of some boards as flat rows, as `leaderboard.csv` holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pretext.benchmark.results import Board, CellResult
from pretext.evaluation.protocol import Description


def every_score(boards: Sequence[Board]) -> tuple[list[str], list[list[Any]]]:
    """Return columns, and a row per board, entry, seed and stage (of a failed cell a row without a stage).

    Columns of scores are paths, such as "linear/accuracy", "nearest/20/low", "low_label/5 per class/accuracy". What was
    not measured is None.
    """
    rows = [row for board in boards for cell in board.cells for row in _rows(board, cell)]
    columns = dict.fromkeys(["board", "entry", "kind", "seed", "stage", "chosen", "dims", "failed"])
    columns |= dict.fromkeys(column for row in rows for column in row)
    return list(columns), [[row.get(column) for column in columns] for row in rows]


def _rows(board: Board, cell: CellResult) -> Iterator[dict[str, Any]]:
    run = {"board": board.name, "entry": cell.entry, "kind": cell.kind, "seed": cell.seed}
    costs = dict(_flat({"pretext": cell.pretext, "seconds": cell.seconds, "test": cell.test}))
    if not cell.finished:
        yield {**run, "failed": cell.reason or "no rows", **costs}
        return
    for row in cell.rows:
        along = {own.name: _points(cell, own, row.stage) for own in board.descriptions if own.curve}
        yield {**run, "chosen": False, **dict(_flat({**row.to_json(), **along})), **costs}


def _points(cell: CellResult, own: Description, stage: str) -> dict[str, Any]:
    """Return the points of a curve at a stage by their names."""
    key = own.curve.name if own.curve else ""
    here = [point.score.figures for point in cell.curves.get(own.name, ()) if point.stage == stage]
    return {score[key]: {k: v for k, v in score.items() if k != key} for score in here}


def _flat(scores: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in scores.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}/")
        elif value is not None:
            yield f"{path}{key}", value
