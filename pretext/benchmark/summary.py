"""The statistics of a leaderboard: of each entry a mean over its seeds, with its interval, its rank and more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pretext.benchmark.measures import Measure, measures, ranked_by
from pretext.benchmark.results import KINDS, Board, CellResult
from pretext.evaluation.measured import Measured
from pretext.evaluation.protocol import Description
from pretext.evaluation.results import Point, Value
from pretext.evaluation.statistics.correlation import Correlation, spearman
from pretext.evaluation.statistics.ranking import Figure, lies_above, mean_over_seeds, places
from pretext.evaluation.verdict import best_row

LEARNT = 0.05
"""Of a blind guess's loss that training removed: below, what a control has left of it is a share of noise."""


@dataclass(frozen=True)
class CurveFigure:
    """A point of an entry's curve: its name ("5 per class"), its place (50 items) and the mean over seeds."""

    name: str
    at: float
    figure: Figure


@dataclass(frozen=True)
class EntrySummary:
    """An entry of a board: means over its seeds, each seed at the stage that it chose on validation.

    Args:
        name: of the entry.
        kind: a key of `KINDS`.
        main: what the board ranks by, see `ranked_by`.
        chosen: stage -> how many seeds chose it.
        stages: what the board ranks by, at every stage.
        others: every other score by the keys of `measures`, such as "knn" and "quality/rankme": headlines at the stage
            that their own validation chose, everything else at the chosen stage.
        curves: by protocol, such as "low_label": its points, from left to right.
        skill: the share of a blind guess's loss that training removed.
        control: what of the pretext score is left on puzzles without the relation that they ask about.
        seconds: what it took, such as {"train": 212.0, "probe": 14.0}.
        failed: which seeds failed, and why.
        ranks: the places that its interval allows among the trained entries.
        above_random: whether its interval lies above that of random initialisation.
        test: of an evaluator: what its own test gives.
        amounts: its place on each curve over an amount that it belongs to.

    """

    name: str
    kind: str
    main: Figure | None
    chosen: Mapping[str, int]
    stages: Mapping[str, Figure]
    others: Mapping[str, Figure]
    curves: Mapping[str, Sequence[CurveFigure]]
    skill: Figure | None
    control: Figure | None
    seconds: Mapping[str, float]
    failed: Sequence[str]
    ranks: tuple[int, int] | None = None
    above_random: bool | None = None
    test: Figure | None = None
    amounts: Mapping[str, float] = field(default_factory=dict)


def summary(board: Board) -> list[EntrySummary]:
    """Summarise a board: its entries, best first, those without any figure last.

    An entry's interval is Student's t over its seeds; of a single seed, or of seeds that all agree (as the raw input's
    do), it is the score's own. For the places that it may take see `places`.

    Raises:
        ValueError: an unknown kind, an entry of two kinds, or two finished cells of the same entry and seed.

    """
    groups: dict[str, list[CellResult]] = {}
    for cell in board.cells:
        groups.setdefault(cell.entry or cell.kind, []).append(cell)
    main, others = ranked_by(board), measures(board)
    curves = [own for own in board.descriptions if own.curve]
    entries = [
        _entry(name, _checked(board, name, cells), main, others.values(), curves) for name, cells in groups.items()
    ]
    entries.sort(key=lambda entry: -entry.main.value if entry.main else math.inf)
    entries = [replace(entry, amounts=board.amounts.get(entry.name, {})) for entry in entries]
    return [replace(entry, ranks=_ranks(entry, entries), above_random=_above(entry, entries)) for entry in entries]


def correlation(entries: Iterable[EntrySummary]) -> Correlation:
    """Compare the order of the entries by pretext skill with that by probe. See `spearman`."""
    return spearman((entry.skill.value, entry.main.value) for entry in entries if entry.skill and entry.main)


def stages(entries: Iterable[EntrySummary]) -> list[str]:
    """List the stages of all entries but the raw input, shallow to deep."""
    return list(dict.fromkeys(stage for entry in entries if entry.kind != "raw" for stage in entry.stages))


def stage_order(chosen: Mapping[str, int]) -> Iterator[str]:
    """Say which stages were chosen, the most frequent first, with how often where seeds differ."""
    for stage, times in sorted(chosen.items(), key=lambda pair: -pair[1]):
        yield stage if len(chosen) == 1 else f"{stage} ({times})"


def _checked(board: Board, name: str, cells: list[CellResult]) -> list[CellResult]:
    kinds = {cell.kind for cell in cells}
    if len(kinds) > 1 or not kinds <= set(KINDS):
        raise ValueError(
            f"summary of {board.name!r}: entry {name!r} is of kind {', '.join(map(repr, sorted(kinds)))}; "
            f"give each entry one kind of {', '.join(map(repr, KINDS))}"
        )
    times = Counter(cell.seed for cell in cells if cell.finished)
    if twice := [seed for seed, count in times.items() if count > 1]:
        raise ValueError(f"summary of {board.name!r}: {name!r} has two finished cells of seed {twice[0]}; keep one")
    return cells


# ---- Means over seeds


def _entry(
    name: str,
    cells: Sequence[CellResult],
    main: Measure,
    others: Iterable[Measure],
    curves: Iterable[Description],
) -> EntrySummary:
    done = [cell for cell in cells if cell.finished]
    rows = [row for cell in done if (row := cell.chosen)]
    means = {one.key: mean_over_seeds([_of(cell, one) for cell in done], one.metric.unit == "%") for one in others}
    seconds = [{part: _alone(taken) for part, taken in (cell.seconds or {}).items()} for cell in done]
    return EntrySummary(
        name=name,
        kind=cells[0].kind,
        main=mean_over_seeds([main.of(row) for row in rows], main.metric.unit == "%"),
        chosen=dict(Counter(row.stage for row in rows)),
        stages=_means([{row.stage: main.of(row) for row in cell.rows} for cell in done], main.metric.unit == "%"),
        others={key: figure for key, figure in means.items() if figure},
        curves={own.name: points for own in curves if (points := _curve(done, own))},
        skill=mean_over_seeds([_alone((cell.pretext or {}).get("skill")) for cell in done], share=False),
        control=mean_over_seeds([_control(cell) for cell in done], share=False),
        seconds={part: figure.value for part, figure in _means(seconds, share=False).items()},
        failed=[f"seed {cell.seed}: {cell.reason}" for cell in cells if cell.failed],
        test=mean_over_seeds(_tested(cell) for cell in done),
    )


def _of(cell: CellResult, one: Measure) -> Value | None:
    """Read a measure: a protocol's headline at the stage that it chose itself, anything else at the chosen one."""
    row = cell.chosen
    if one.headline and not one.setting:
        row = best_row(cell.rows, None, Measured(one.protocol, one.metric)) or row
    return one.of(row) if row else None


def _tested(cell: CellResult) -> Value | None:
    """Return what an evaluator's own test gives, whatever it measures, with the interval."""
    return None if cell.test is None else Value(*map(float, cell.test.values()))


def _means(seeds: Sequence[Mapping[str, Value | None]], share: bool) -> dict[str, Figure]:
    """Average each key's values over the seeds that have one."""
    names = dict.fromkeys(name for values in seeds for name in values)
    means = {name: mean_over_seeds([values.get(name) for values in seeds], share) for name in names}
    return {name: figure for name, figure in means.items() if figure}


def _alone(value: float | None) -> Value | None:
    return None if value is None else Value(float(value), math.nan, math.nan)


def _control(cell: CellResult) -> Value | None:
    """Read what is left without the relation; None where hardly anything was learnt of which it could be a share."""
    told = cell.pretext or {}
    learnt = (told.get("skill") or 0.0) >= LEARNT
    return _alone(told.get("control")) if learnt else None


def _curve(cells: Sequence[CellResult], own: Description) -> list[CurveFigure]:
    """Average each point of a curve over seeds, at the stage that each chose (or the only one measured)."""
    assert own.curve is not None
    curve, metric = own.curve, own.metrics[0]
    seeds: list[dict[str, Value | None]] = []
    at: dict[str, float] = {}
    for cell in cells:
        scores = [point.score for point in _at_chosen(cell, own.name)]
        at |= {str(score.figures[curve.name]): score.figures[curve.at] for score in scores}
        seeds.append({str(score.figures[curve.name]): score.value(metric.key) for score in scores})
    points = [CurveFigure(name, at[name], f) for name, f in _means(seeds, metric.unit == "%").items()]
    return sorted(points, key=lambda point: point.at)


def _at_chosen(cell: CellResult, name: str) -> list[Point]:
    points, row = cell.curves.get(name, ()), cell.chosen
    measured = {point.stage for point in points}
    stage = row.stage if row and row.stage in measured else next(iter(measured)) if len(measured) == 1 else None
    return [point for point in points if point.stage == stage]


# ---- Comparisons


def _ranks(entry: EntrySummary, entries: Iterable[EntrySummary]) -> tuple[int, int] | None:
    if entry.kind != "trained" or not entry.main:
        return None
    return places(entry.main, [other.main for other in entries if other.kind == "trained" and other.main])


def _above(entry: EntrySummary, entries: Iterable[EntrySummary]) -> bool | None:
    randoms = [other.main for other in entries if other.kind == "random" and other.main]
    if entry.kind != "trained" or not entry.main or not randoms:
        return None
    return lies_above(entry.main, randoms)
