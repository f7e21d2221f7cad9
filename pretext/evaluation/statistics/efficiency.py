"""How good is the best of m by a proxy? The curve of a random experiment, exactly.

https://arxiv.org/abs/2003.12056, figure 5 (after Bergstra and Bengio, 2012): draw m of n architectures, take the one
with the best proxy, note its reference accuracy. UnNAS repeats this n / m times; here all choices of m are weighted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Experiment(NamedTuple):
    """The reference value of the best by proxy among `size` drawn ones: mean and standard deviation over all draws."""

    size: int
    mean: float
    sd: float


def chances(n: int, m: int) -> np.ndarray[Any, Any]:
    """Give for each place of n in the order of the proxy how likely it is the best of m drawn without replacement.

    That is C(n - 1 - i, m - 1) / C(n, m) for place i from 0, built up as ratios, which do not overflow.
    """
    chance = np.zeros(n)
    chance[0] = m / n
    for i in range(n - m):
        chance[i + 1] = chance[i] * (n - m - i) / (n - 1 - i)
    return chance


def efficiency_curve(proxy: Sequence[float], reference: Sequence[float], sizes: Sequence[int] = ()) -> list[Experiment]:
    """Compute the curve for larger-is-better values of n items; by default at 1, 2, 4, ... and n.

    Of equal proxies each is as likely to count as the better one. At n the standard deviation is 0 where one is best.

    Raises:
        ValueError: no items, as many references as proxies are not there, or a size outside 1 ... n.

    """
    n = len(proxy)
    sizes = sizes or doubling(n)
    if n == 0 or n != len(reference) or not all(1 <= size <= n for size in sizes):
        raise ValueError(
            f"efficiency_curve got {n} proxies, {len(reference)} references and sizes {list(sizes)}; it wants as many "
            "of both, at least one, and sizes from 1 to that number"
        )
    kinds, group = np.unique(-np.asarray(proxy, float), return_inverse=True)
    order = np.argsort(group, kind="stable")
    values, equals = np.asarray(reference, float)[order], group[order]
    count = np.bincount(equals, minlength=len(kinds))
    found = []
    for size in sizes:
        shared = np.bincount(equals, chances(n, size)) / count  # equals have their places by lot
        found.append(Experiment(size, *_moments(values, shared[equals])))
    return found


def doubling(n: int) -> list[int]:
    """List 1, 2, 4, ... below n, and n."""
    return [*(1 << k for k in range(n.bit_length()) if 1 << k < n), n]


def _moments(values: np.ndarray[Any, Any], chance: np.ndarray[Any, Any]) -> tuple[float, float]:
    mean = float(values @ chance)
    return mean, float(np.sqrt((values - mean) ** 2 @ chance))
