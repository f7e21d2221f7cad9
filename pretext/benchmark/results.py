"""What a leaderboard is made of, in plain JSON: boards of cells (a run each) of rows (a stage each)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, cast

Score = dict[str, Any]
"""Such as {"accuracy", "low", "high", ...}; in multi-label boards "map" takes the place of "accuracy"."""


class Row(TypedDict):
    """What one stage of one run is worth. Whatever was not measured may be left out."""

    stage: str
    dims: NotRequired[int]
    chosen: NotRequired[bool]  # the best on a validation share of train
    linear: NotRequired[Score | None]
    knn: NotRequired[Score | None]
    svm: NotRequired[Score | None]
    nearest: NotRequired[dict[str, Score] | None]
    quality: NotRequired[dict[str, float] | None]


class Point(TypedDict):
    """Accuracy with few labels: `labels` says how many ("5 per class", "10 %"), `items` counts them."""

    stage: str
    labels: str
    items: int
    draws: NotRequired[int]
    accuracy: float
    low: NotRequired[float]
    high: NotRequired[float]


class Cell(TypedDict):
    """One run of a board: an entry with one seed. `kind` is a key of `KINDS`; `failed` says why there are no rows."""

    entry: str
    kind: str
    seed: int
    rows: NotRequired[list[Row]]
    low_label: NotRequired[list[Point] | None]
    pretext: NotRequired[dict[str, Any] | None]  # {"skill": 0.31, "scores": {"turn/accuracy": 0.64}, "chance": {...}}
    seconds: NotRequired[dict[str, float] | None]  # {"train": 212.0, "probe": 14.0}
    command: NotRequired[str]
    failed: NotRequired[str | None]


class Board(TypedDict):
    """All runs on one set of data, finished (`cells`) or not yet (`planned` counts all)."""

    name: str
    data: dict[str, Any]
    protocol: dict[str, Any]
    planned: int
    cells: list[Cell]


KINDS = {"trained": "", "random": "random initialisation", "raw": "raw input", "supervised": "trained with labels"}
MEASURES = {  # of a row, in order of preference, with its words
    ("linear", "accuracy"): "Linear probe",
    ("svm", "map"): "Linear SVM, mean average precision",
    ("svm", "accuracy"): "Linear SVM",
    ("knn", "accuracy"): "kNN",
}


def finished(cell: Cell) -> bool:
    """Say whether a cell has figures."""
    return not cell.get("failed") and bool(cell.get("rows"))


def status(board: Board) -> str:
    """Say how much of a board there is: "31 of 33 cells; failed: jigsaw, seed 2 (diverged)"."""
    done, failed = sum(map(finished, board["cells"])), [cell for cell in board["cells"] if cell.get("failed")]
    parts = [f"{done} of {max(board['planned'], len(board['cells']))} cells"]
    if failed:
        parts.append("failed: " + ", ".join(f"{c['entry']}, seed {c['seed']} ({reason(c)})" for c in failed))
    return "; ".join(parts)


def reason(cell: Cell) -> str:
    """Say in one line why a cell failed."""
    return " ".join(str(cell.get("failed") or "").split())


def measure(board: Board) -> tuple[str, str]:
    """Choose what a board ranks by: the first of `MEASURES` that any chosen stage has."""
    rows = [row for cell in board["cells"] if (row := chosen_row(cell))]
    return next((what for what in MEASURES if any(score(row, what) for row in rows)), next(iter(MEASURES)))


def chosen_row(cell: Cell) -> Row | None:
    """Find the row that was chosen on validation; the only one there is was not chosen, but leaves no choice."""
    rows = cell.get("rows", []) if finished(cell) else []
    return next((row for row in rows if row.get("chosen") or len(rows) == 1), None)


Value = tuple[float, float, float]
"""Of one seed: a value and its own interval, NaN where it has none."""


def score(row: Row, what: tuple[str, str]) -> Value | None:
    """Read a score of a row, `what` being a key of `MEASURES`."""
    part, name = what
    return value_of(cast(Mapping[str, Any], row).get(part) or {}, name)


def value_of(scores: Mapping[str, Any], name: str) -> Value | None:
    """Read a score with its interval; None where it was not measured."""
    found, low, high = (math.nan if scores.get(key) is None else float(scores[key]) for key in (name, "low", "high"))
    return None if math.isnan(found) else (found, low, high)
