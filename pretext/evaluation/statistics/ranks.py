"""Spearman's rank correlation by its two formulas, and how far it may be off, by the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from pretext.core.rng import seed_of
from pretext.evaluation.statistics.intervals import Interval

RESAMPLES = 2000
LEAST = 4  # pairs below which resamples are too few kinds to say anything

Array = np.ndarray[Any, Any]


def centred_ranks(values: Array) -> Array:
    """Rank along the last axis from 1, equal values sharing the mean of their ranks, and subtract the mean rank.

    Without ties the squares sum to n (n^2 - 1) / 12. Ranks are halves of whole numbers, so sums of them are exact.
    """
    ranks: Array = rankdata(values, axis=-1)
    ranks -= (values.shape[-1] + 1) / 2
    return ranks


def by_covariance(x: Array, y: Array) -> Array:
    """Divide the covariance of the ranks by their standard deviations, along the last axis; NaN where all are equal."""
    a, b = centred_ranks(x), centred_ranks(y)
    spread = (a * a).sum(-1) * (b * b).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: Array = (a * b).sum(-1) / np.sqrt(spread)
    return rho


def by_differences(x: Sequence[float], y: Sequence[float]) -> float:
    """Compute 1 - 6 sum d^2 / (n (n^2 - 1)) from the differences d of the ranks, which holds without ties alone.

    Raises:
        ValueError: there are ties, or fewer than two pairs.

    """
    n = len(x)
    if n < 2 or len(set(x)) < n or len(set(y)) < n:
        raise ValueError(
            f"by_differences got {n} pairs of {len(set(x))} and {len(set(y))} different values; the formula wants two "
            "or more without ties, take by_covariance"
        )
    differences = rankdata(x) - rankdata(y)
    return 1 - 6 * float(differences @ differences) / (n * (n * n - 1))


def bootstrap(x: Sequence[float], y: Sequence[float], resamples: int = RESAMPLES) -> Interval:
    """Bound the rank correlation with 95 % confidence: percentiles over pairs drawn again with replacement.

    It says how much the correlation would change with other pairs of the same kind, and stays within [-1, 1]. Draws
    follow from a fixed key, so the same pairs have the same interval. Resamples with one value only are left out; of
    fewer than four pairs, or where one side is the same for all, both ends are NaN.
    """
    a, b = np.asarray(x, float), np.asarray(y, float)
    if len(a) < LEAST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return Interval(math.nan, math.nan)
    draws = np.random.default_rng(seed_of("spearman", "bootstrap", len(a))).integers(len(a), size=(resamples, len(a)))
    rhos = by_covariance(a[draws], b[draws])
    low, high = np.percentile(rhos[np.isfinite(rhos)], (2.5, 97.5))
    return Interval(float(low), float(high))
