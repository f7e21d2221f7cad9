"""Means over seeds with their intervals, and what such intervals allow to say about an order."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.stats import t


class Figure(NamedTuple):
    """A mean over seeds and its 95 % interval: `over` says of what ("seeds", "items"), "" where none is known (NaN)."""

    value: float
    low: float
    high: float
    seeds: int
    over: str


def mean_over_seeds(values: Iterable[tuple[float, float, float] | None], share: bool = True) -> Figure | None:
    """Average the values of several seeds, each with its own interval (low, high) or NaN; None where there is none.

    The interval is Student's t over seeds; of a single seed, or of seeds that all agree, the mean of their own. What is
    missing is skipped. The interval of a `share` stays within [0, 1].
    """
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


def places(figure: Figure, every: Iterable[Figure]) -> tuple[int, int]:
    """Return the first and the last place that a figure may take among `every` one, itself included.

    The first is 1 + the number of those whose interval lies above its own, the last leaves out those whose interval
    lies below. An interval that is not known (NaN) is never apart from another.
    """
    every = list(every)
    better = sum(other.low > figure.high for other in every)
    worse = sum(other.high < figure.low for other in every)
    return 1 + better, len(every) - worse


def lies_above(figure: Figure, others: Iterable[Figure]) -> bool:
    """Say whether the interval of a figure lies above those of all others."""
    return all(figure.low > other.high for other in others)
