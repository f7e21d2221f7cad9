"""Rank correlation of few pairs, with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import norm, spearmanr

from pretext.evaluation.statistics.ranks import by_covariance, centred_ranks

LEAST = 3
EXACT = 8  # entries up to which the p-value counts all orders: 8! = 40,320


class Correlation(NamedTuple):
    """Spearman's rho of n pairs, 95 % interval (Bonett and Wright, 2000) and p-value; NaN where undefined.

    The interval wants four pairs, and is not defined at rho = 1 or -1.
    """

    n: int
    rho: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


def spearman(both: Iterable[tuple[float, float]]) -> Correlation:
    """Compare the order of finite pairs by their first number with that by their second; fewer than 3 say nothing."""
    pairs = np.array(list(both))
    n = len(pairs)
    if n < LEAST or (np.ptp(pairs, axis=0) == 0).any():
        return Correlation(n)
    rho = float(by_covariance(pairs[:, 0], pairs[:, 1]))
    p = _exact(pairs, rho) if n <= EXACT else float(spearmanr(pairs[:, 0], pairs[:, 1]).pvalue)
    if n == LEAST or abs(rho) > 1 - 1e-12:  # the interval's variance, or atanh, is infinite: no interval
        return Correlation(n, rho, p=p)
    reach = float(norm.ppf(0.975)) * math.sqrt((1 + rho * rho / 2) / (n - 3))
    return Correlation(n, rho, math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach), p)


def _exact(pairs: np.ndarray[Any, Any], rho: float) -> float:
    """Count the orders that correlate as strongly: the t approximation of few pairs is far off (0 at rho = 1)."""
    ranks = centred_ranks(pairs.T)
    ranks = ranks / ranks.std(1, keepdims=True)
    orders = np.array(list(permutations(range(len(pairs)))))
    return float((np.abs(ranks[0][orders] @ ranks[1]) / len(pairs) >= abs(rho) - 1e-9).mean())
