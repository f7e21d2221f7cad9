"""Curves over an amount, of images without labels or of labels: what entries of a board are worth as there is more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pretext.benchmark.measures import ranked_by
from pretext.benchmark.results import Board
from pretext.benchmark.summary import EntrySummary
from pretext.evaluation.statistics.ranking import Figure

OWN = "Test of the classifier itself"
LEVELS = ("random", "raw", "supervised")
"""Kinds of entries that no amount belongs to, with which curves are compared."""


@dataclass(frozen=True)
class AmountCurves:
    """One score of the entries of a board that belong to curves over an amount.

    Args:
        title: of the score.
        unit: "%" of shares.
        curves: by name: amount -> mean over seeds, from left to right.
        levels: by kind: what the best entry of it that belongs to no curve scores.

    """

    title: str
    unit: str
    curves: Mapping[str, Mapping[float, Figure]]
    levels: Mapping[str, Figure]


def amount_curves(board: Board, entries: Sequence[EntrySummary]) -> list[AmountCurves]:
    """Gather every score that a board has curves of: the probe, the probe with few labels, an evaluator's own test.

    An entry that has a test of its own stands in the test's curves and not in the probe's.
    """
    return [one for one in _every(board, entries) if one.curves]


def _every(board: Board, entries: Sequence[EntrySummary]) -> Iterator[AmountCurves]:
    probed = [entry for entry in entries if not (entry.test and entry.amounts)]
    main = ranked_by(board)
    yield _curves(board, OWN, "%", [(entry, entry.test) for entry in entries if entry.amounts])
    yield _curves(board, main.title, main.metric.unit, [(entry, entry.main) for entry in probed])
    for own in (own for own in board.descriptions if own.curve):
        points = {p.at: p.name for entry in reversed(probed) for p in reversed(entry.curves.get(own.name, ()))}
        for _, name in sorted(points.items()):  # of names for as many labels ("10 per class", "1 %") the first
            figures = [
                (entry, next((p.figure for p in entry.curves.get(own.name, ()) if p.name == name), None))
                for entry in probed
            ]
            yield _curves(board, f"{own.heading}: {name}", own.metrics[0].unit, figures)


def _curves(board: Board, title: str, unit: str, figures: Sequence[tuple[EntrySummary, Figure | None]]) -> AmountCurves:
    """Sort figures, the best entry first, into curves and levels."""
    points: dict[str, dict[float, Figure]] = {name: {} for amounts in board.amounts.values() for name in amounts}
    levels: dict[str, Figure] = {}
    for entry, figure in ((entry, figure) for entry, figure in figures if figure):
        for name, amount in entry.amounts.items():
            points[name][amount] = figure
        if not entry.amounts and entry.kind in LEVELS:
            levels.setdefault(entry.kind, figure)
    curves = {name: dict(sorted(there.items())) for name, there in points.items() if there}
    return AmountCurves(title, unit, curves, levels)
