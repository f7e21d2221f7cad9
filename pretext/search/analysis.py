"""The results of a search as numbers: which candidates are fittest, in which order they ended, how weights moved."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pretext.evaluation.statistics.correlation import Correlation, spearman
from pretext.search.space import EQUAL, ZERO
from pretext.search.study import Candidate

QUARTER = 4  # the fittest 1 / QUARTER of the candidates (rounded up) show where the search is heading


def fitness(candidate: Candidate) -> float:
    """Give a candidate's fitness; minus infinity where it has none."""
    value = candidate.fitness
    return value if value is not None and math.isfinite(value) else -math.inf


def ended(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Order the searched candidates that are done, pruned or failed by when they ended."""
    over = [c for c in candidates if c.control is None and c.state in ("done", "pruned", "failed")]
    return sorted(over, key=lambda c: (c.finished is None, c.finished or 0.0, c.index))


def searched(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Order the searched candidates that are done and have a fitness by when they ended."""
    return [c for c in ended(candidates) if c.state == "done" and fitness(c) > -math.inf]


def controls(candidates: Iterable[Candidate]) -> list[Candidate]:
    """List the controls that are done and have a fitness, the fittest first."""
    done = [c for c in candidates if c.control is not None and c.state == "done" and fitness(c) > -math.inf]
    return sorted(done, key=fitness, reverse=True)


def fittest(candidates: Iterable[Candidate]) -> Candidate | None:
    """Find the fittest of some candidates, the first of equals; None if there are none."""
    return max(candidates, key=fitness, default=None)


def median(candidates: Iterable[Candidate]) -> Candidate | None:
    """Find the candidate in the middle of the order of fitness, the less fit of two; None if there are none."""
    order = sorted(candidates, key=fitness, reverse=True)
    return order[len(order) // 2] if order else None


def main_controls(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Choose the controls that matter most: all zero, all equal, the fittest task alone."""
    done = controls(candidates)
    alone = next((c for c in done if c.control not in (ZERO, EQUAL)), None)
    return [c for c in done if c.control in (ZERO, EQUAL) or c is alone]


def weight_names(candidates: Iterable[Candidate]) -> list[str]:
    """Name the weights, in the order in which candidates have them."""
    return list(dict.fromkeys(name for candidate in candidates for name in candidate.weights))


def fact_names(candidates: Iterable[Candidate]) -> list[str]:
    """Name the facts that a fitness told of candidates beside itself, in the order in which candidates have them."""
    return list(dict.fromkeys(name for candidate in candidates for name in candidate.facts))


def weights_of(candidates: Sequence[Candidate], names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Lay weights out, (candidates, names); NaN where a candidate lacks one."""
    rows = [[candidate.weights.get(name, math.nan) for name in names] for candidate in candidates]
    return np.array(rows, dtype=float).reshape(len(candidates), len(names))


def best_so_far(candidates: Iterable[Candidate]) -> list[float]:
    """Give the highest fitness up to each candidate."""
    best = -math.inf
    return [best := max(best, fitness(candidate)) for candidate in candidates]


def fittest_quarters(candidates: Sequence[Candidate]) -> list[list[int]]:
    """List after each candidate the places of the fittest quarter so far, rounded up, the fittest first."""
    order: list[tuple[float, int]] = []
    quarters = []
    for place, candidate in enumerate(candidates):
        insort(order, (-fitness(candidate), place))
        quarters.append([at for _, at in order[: math.ceil((place + 1) / QUARTER)]])
    return quarters


def probe_share(probe: dict[str, float] | None, key: str = "accuracy") -> float:
    """Read a probe's accuracy or an end of its interval; NaN where it was not measured."""
    value = (probe or {}).get(key)
    return math.nan if value is None else float(value)


def probed(candidates: Iterable[Candidate]) -> list[Candidate]:
    """List the candidates that have a fitness, being done, and a probe accuracy."""
    return [
        c for c in candidates if c.state == "done" and fitness(c) > -math.inf and math.isfinite(probe_share(c.probe))
    ]


def agreement(candidates: Iterable[Candidate]) -> Correlation:
    """Compare the order by fitness with the order by probe accuracy."""
    return spearman((fitness(candidate), probe_share(candidate.probe)) for candidate in candidates)


def does_not_reach(control: Candidate, candidates: Iterable[Candidate]) -> bool:
    """Tell whether a control left the judged network as it was: to the last digit it scores as no training does."""
    blank = next((c for c in controls(candidates) if c.control == ZERO), None)
    same = blank is not None and (control.fitness, control.facts) == (blank.fitness, blank.facts)
    return same and control.control not in (None, ZERO)
