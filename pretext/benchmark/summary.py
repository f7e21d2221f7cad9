"""The statistics of a leaderboard: of each entry a mean over its seeds, with its interval, its rank and more."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from pretext.benchmark.results import (
    KINDS,
    MEASURES,
    Board,
    Cell,
    Row,
    Value,
    chosen_row,
    finished,
    measure,
    reason,
    score,
    value_of,
)
from pretext.evaluation.statistics.correlation import Correlation, spearman


class Figure(NamedTuple):
    """A mean over seeds and its 95 % interval: `over` says of what ("seeds", "items"), "" where none is known (NaN)."""

    value: float
    low: float
    high: float
    seeds: int
    over: str


class Few(NamedTuple):
    """What few labels suffice for."""

    labels: str
    items: int
    figure: Figure


class Entry(NamedTuple):
    """An entry of a board: means over its seeds, each seed at the stage that it chose on validation."""

    name: str
    kind: str
    main: Figure | None  # what the board ranks by, see `measure`
    ranks: tuple[int, int] | None  # the places that its interval allows among the trained entries
    above_random: bool | None  # does its interval lie above that of random initialisation?
    chosen: dict[str, int]  # stage -> how many seeds chose it
    stages: dict[str, Figure]  # what the board ranks by, at every stage
    others: dict[str, Figure]  # every other score of the chosen stage, such as "knn" and "quality/rankme"
    few: list[Few]
    skill: Figure | None
    seconds: dict[str, float]
    failed: list[str]


def summary(board: Board) -> list[Entry]:
    """Summarise a board: its entries, best first, those without any figure last.

    An entry's interval is Student's t over its seeds; of a single seed, or of seeds that all agree (as the raw input's
    do), it is the score's own. An entry may take every place from 1 + the number of entries whose interval lies above
    its own, to the last but the number of those whose interval lies below.

    Raises:
        ValueError: an unknown kind, an entry of two kinds, or two finished cells of the same entry and seed.

    """
    what = measure(board)
    groups: dict[str, list[Cell]] = {}
    for cell in board["cells"]:
        groups.setdefault(cell["entry"], []).append(cell)
    entries = [_entry(name, _checked(board, name, cells), what) for name, cells in groups.items()]
    entries.sort(key=lambda entry: -entry.main.value if entry.main else math.inf)
    return [entry._replace(ranks=_ranks(entry, entries), above_random=_above(entry, entries)) for entry in entries]


def _checked(board: Board, name: str, cells: list[Cell]) -> list[Cell]:
    kinds = {cell["kind"] for cell in cells}
    if len(kinds) > 1 or not kinds <= set(KINDS):
        raise ValueError(
            f"summary of {board['name']!r}: entry {name!r} is of kind {', '.join(map(repr, sorted(kinds)))}; "
            f"give each entry one kind of {', '.join(map(repr, KINDS))}"
        )
    times = Counter(cell["seed"] for cell in cells if finished(cell))
    if twice := [seed for seed, count in times.items() if count > 1]:
        raise ValueError(f"summary of {board['name']!r}: {name!r} has two finished cells of seed {twice[0]}; keep one")
    return cells


# ---- Means over seeds


def _entry(name: str, cells: Sequence[Cell], what: tuple[str, str]) -> Entry:
    done = [cell for cell in cells if finished(cell)]
    rows = [row for cell in done if (row := chosen_row(cell))]
    skills = [_alone((cell.get("pretext") or {}).get("skill")) for cell in done]
    seconds = [{part: _alone(taken) for part, taken in (cell.get("seconds") or {}).items()} for cell in done]
    return Entry(
        name=name,
        kind=cells[0]["kind"],
        main=mean([score(row, what) for row in rows]),
        ranks=None,
        above_random=None,
        chosen=dict(Counter(row["stage"] for row in rows)),
        stages=_means([{row["stage"]: score(row, what) for row in cell.get("rows", [])} for cell in done]),
        others=_means([_others(row, what) for row in rows]),
        few=_few(done),
        skill=mean(skills, share=False),
        seconds={part: figure.value for part, figure in _means(seconds, share=False).items()},
        failed=[f"seed {cell['seed']}: {reason(cell)}" for cell in cells if cell.get("failed")],
    )


def mean(values: Iterable[Value | None], share: bool = True) -> Figure | None:
    """Average over seeds (see `summary`), skipping what is missing; the interval of a `share` stays within [0, 1]."""
    there = [value for value in values if value and math.isfinite(value[0])]
    if not there:
        return None
    middle, low, high = np.mean(there, axis=0).tolist()
    spread = float(np.std([value for value, *_ in there], ddof=1)) if len(there) > 1 else 0.0
    if spread <= 1e-12:  # one seed, or nothing that a seed changes: no interval of zero width
        return Figure(middle, low, high, len(there), "" if math.isnan(low) else "items")
    reach = spread / math.sqrt(len(there)) * float(t.ppf(0.975, len(there) - 1))
    low, high = (max(0.0, middle - reach), min(1.0, middle + reach)) if share else (middle - reach, middle + reach)
    return Figure(middle, low, high, len(there), "seeds")


def _means(seeds: Sequence[Mapping[str, Value | None]], share: bool = True) -> dict[str, Figure]:
    """Average each key's values over the seeds that have one."""
    names = dict.fromkeys(name for values in seeds for name in values)
    found = {n: mean([values.get(n) for values in seeds], share and not n.startswith("quality/")) for n in names}
    return {name: figure for name, figure in found.items() if figure}


def _alone(value: float | None) -> Value | None:
    return None if value is None else (float(value), math.nan, math.nan)


def _others(row: Row, what: tuple[str, str]) -> dict[str, Value | None]:
    """Collect every score of a row but the one that the board ranks by."""
    named = {other[0]: value for other in MEASURES if other != what and (value := score(row, other))}
    nearest = {f"nearest/{k}": value_of(scores, "accuracy") for k, scores in (row.get("nearest") or {}).items()}
    quality = {f"quality/{name}": _alone(value) for name, value in (row.get("quality") or {}).items()}
    return {name: value for name, value in {**named, **nearest, **quality}.items() if value}


def _few(cells: Sequence[Cell]) -> list[Few]:
    """Average what each seed reaches with few labels, at the stage that it chose (or the only one measured)."""
    seeds: list[dict[str, Value | None]] = []
    items: dict[str, int] = {}
    for cell in cells:
        points, row = cell.get("low_label") or [], chosen_row(cell)
        at = {point["stage"] for point in points}
        stage = row["stage"] if row and row["stage"] in at else next(iter(at)) if len(at) == 1 else None
        here = [point for point in points if point["stage"] == stage]
        items |= {point["labels"]: point["items"] for point in here}
        seeds.append({point["labels"]: value_of(point, "accuracy") for point in here})
    few = [Few(labels, items[labels], figure) for labels, figure in _means(seeds).items()]
    return sorted(few, key=lambda few: few.items)


# ---- Comparisons. An interval that is not known (NaN) is never apart from another.


def _ranks(entry: Entry, entries: Iterable[Entry]) -> tuple[int, int] | None:
    mains = [other.main for other in entries if other.kind == "trained" and other.main]
    if entry.kind != "trained" or not entry.main:
        return None
    better = sum(other.low > entry.main.high for other in mains)
    worse = sum(other.high < entry.main.low for other in mains)
    return 1 + better, len(mains) - worse


def _above(entry: Entry, entries: Iterable[Entry]) -> bool | None:
    randoms = [other.main for other in entries if other.kind == "random" and other.main]
    if entry.kind != "trained" or not entry.main or not randoms:
        return None
    return all(entry.main.low > random.high for random in randoms)


def correlation(entries: Iterable[Entry]) -> Correlation:
    """Compare the order of the entries by pretext skill with that by probe. See `spearman`."""
    return spearman((entry.skill.value, entry.main.value) for entry in entries if entry.skill and entry.main)


def stages(entries: Iterable[Entry]) -> list[str]:
    """List the stages of all entries but the raw input, shallow to deep."""
    return list(dict.fromkeys(stage for entry in entries if entry.kind != "raw" for stage in entry.stages))


def stage_order(chosen: Mapping[str, int]) -> Iterator[str]:
    """Say which stages were chosen, the most frequent first, with how often where seeds differ."""
    for stage, times in sorted(chosen.items(), key=lambda pair: -pair[1]):
        yield stage if len(chosen) == 1 else f"{stage} ({times})"
