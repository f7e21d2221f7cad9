"""https://arxiv.org/abs/1804.08328 (Zamir et al.: Taskonomy, CVPR 2018): losses of every item turned to affinities.

All transfers to one target, of all orders, play a tournament: one wins an item where its loss is smaller. The order of
losses alone counts, so that targets with losses of different kinds can be set side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pretext.evaluation.statistics.intervals import Interval, share_interval

CLIP = 1e-3
"""No transfer is taken to win all: rates are kept in [CLIP, 1 - CLIP], as in the paper."""
Array = NDArray[np.float64]
Method = Literal["eigenvector", "geometric"]


class Priorities(NamedTuple):
    """What an analytic hierarchy process (Saaty 1980) says of K transfers."""

    weights: Array
    """(K,), larger is better; they sum to one."""
    eigenvalue: float
    """The largest of the ratio matrix: K where the ratios contradict each other nowhere, more elsewhere."""
    consistency: float
    """(eigenvalue - K) / (K - 1): 0 where the ratios are consistent."""


def win_rates(losses: ArrayLike, names: Sequence[str] | None = None) -> Array:
    """Compare transfers item by item, (K, N) or (K, R, N): how often does one have the smaller loss?

    Ties count half to each. With R repetitions (seeds of the read-out) each of a transfer's meets each of the other's.

    Returns:
        (K, K): in row i and column j the share of items on which i beats j; 1/2 on the diagonal.

    Raises:
        ValueError: another shape, no item, or a loss that is NaN; `names` of the transfers are for the message.

    """
    runs = np.asarray(losses, dtype=np.float64)
    runs = runs[:, None] if runs.ndim == 2 else runs
    if runs.ndim != 3 or not runs.size:
        raise ValueError(f"win_rates got losses of shape {runs.shape}; it wants (K, N) or (K, R, N), none of them 0")
    lost = np.flatnonzero(np.isnan(runs).any((1, 2)))
    if len(lost):
        names = names or [f"transfer {place}" for place in range(len(runs))]
        raise ValueError(
            f"win_rates got losses that are NaN, of {', '.join(names[int(k)] for k in lost)}; train the read-out at a "
            "smaller rate, or leave the transfer out"
        )
    rates = np.full((len(runs), len(runs)), 0.5)
    for i in range(len(runs)):
        for j in range(i):
            rates[i, j] = _beats(runs[i], runs[j])
            rates[j, i] = 1 - rates[i, j]
    return rates


class Win(NamedTuple):
    """How often one of two models wins an item, with a 95 % interval."""

    rate: float
    low: float
    high: float


def win_rate(mine: ArrayLike, other: ArrayLike) -> Win:
    """Compare two models item by item: how often does the first have the smaller loss? Ties count half.

    Args:
        mine: losses (N,), or (R, N) of R models that were trained alike; each meets each of the other's.
        other: losses of the same items, (N,) or (R', N).

    Raises:
        ValueError: losses of several numbers of items, none, or NaN.

    """
    first, second = (np.atleast_2d(np.asarray(losses, dtype=np.float64)) for losses in (mine, other))
    fits = first.ndim == second.ndim == 2 and first.shape[1] == second.shape[1] and first.size and second.size
    if not fits or np.isnan(first).any() or np.isnan(second).any():
        raise ValueError(
            f"win_rate got losses of shape {first.shape} and {second.shape}, {int(np.isnan(first).sum())} and "
            f"{int(np.isnan(second).sum())} of them NaN; it wants numbers for the same items"
        )
    rate = _beats(first, second)
    return Win(rate, *win_interval(rate, first.shape[1]))


def _beats(mine: Array, other: Array) -> float:
    """Let each of (R, N) meet each of (R', N)."""
    mine = mine[:, None]
    return float((mine < other).mean() + 0.5 * (mine == other).mean())


def win_interval(rate: float, items: int) -> Interval:
    """Bound a win rate over so many items by Wilson's interval; ties only make it narrower than that."""
    return share_interval(rate, items)


def ratio_matrix(rates: Array, clip: float = CLIP) -> Array:
    """Divide clipped win rates (K, K) by those of the opponent: P(i beats j) / P(j beats i).

    Raises:
        ValueError: no square matrix, rates that are NaN or do not complement each other, a clip not in (0, 1/2).

    """
    square = rates.ndim == 2 and rates.shape[0] == rates.shape[1]
    if not square or not np.allclose(rates + rates.T, 1, atol=1e-6) or not 0 < clip < 0.5:
        raise ValueError(
            f"ratio_matrix got rates of shape {rates.shape} and {clip=}; it wants (K, K) without holes, where "
            "the rate of i against j and that of j against i sum to 1, and a clip between 0 and 1/2"
        )
    clipped = np.clip(rates, clip, 1 - clip)
    return np.asarray(clipped / clipped.T)


def eigenvector(ratios: Array) -> Priorities:
    """Take the principal right eigenvector of a positive reciprocal matrix (K, K)."""
    values, vectors = np.linalg.eig(ratios)
    first = int(np.argmax(values.real))
    weights = np.abs(vectors[:, first].real)  # Perron and Frobenius: real, and of one sign
    largest, k = float(values[first].real), len(ratios)
    return Priorities(weights / weights.sum(), largest, (largest - k) / (k - 1) if k > 1 else 0.0)


def geometric_mean(ratios: Array) -> Priorities:
    """Take the geometric mean of each row (Crawford and Williams 1985): the same where K < 4 or all is consistent.

    Its eigenvalue is the mean of (ratios @ weights) / weights.
    """
    weights = np.exp(np.log(ratios).mean(1))
    weights, k = weights / weights.sum(), len(ratios)
    largest = float((ratios @ weights / weights).mean())
    return Priorities(weights, largest, (largest - k) / (k - 1) if k > 1 else 0.0)


def priorities(rates: Array, method: Method = "eigenvector", clip: float = CLIP) -> Priorities:
    """Turn win rates (K, K) to affinities by either method."""
    ratios = ratio_matrix(rates, clip)
    return eigenvector(ratios) if method == "eigenvector" else geometric_mean(ratios)


def affinities(losses: Mapping[str, ArrayLike], method: Method = "eigenvector", clip: float = CLIP) -> dict[str, float]:
    """Turn the losses of all transfers to one target, by name (N,) or (R, N), to affinities that sum to one.

    Any strictly increasing change of the losses leaves them as they are.

    Raises:
        ValueError: no transfer, or as in `win_rates`.

    """
    if not losses:
        raise ValueError("affinities got no transfer; it wants the losses of one at least")
    names = list(losses)
    rates = win_rates(np.stack([np.asarray(losses[name], dtype=np.float64) for name in names]), names)
    return dict(zip(names, priorities(rates, method, clip).weights.tolist(), strict=True))
