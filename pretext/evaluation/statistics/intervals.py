"""How far to trust an accuracy, or a mean of some: 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from statistics import mean, stdev
from typing import NamedTuple

from scipy.special import betaincinv, ndtri, stdtrit
from scipy.stats import binomtest
from torch import Tensor


class Interval(NamedTuple):
    """Where the true share lies, with 95 % confidence unless asked otherwise."""

    low: float
    high: float


def wilson(right: int, total: int, confidence: float = 0.95) -> Interval:
    """Bound the share of which `right` of `total` independent trials is a sample, by Wilson's score interval.

    Unlike the textbook `p ± z sqrt(p (1 - p) / n)` it stays within [0, 1] and keeps its width at 0 % and 100 %.
    (Wilson, JASA 1927.)

    Raises:
        ValueError: not 0 <= right <= total, or total is 0.

    """
    if not 0 <= right <= total or total == 0:
        raise ValueError(f"wilson got right={right}, total={total}; it wants 0 <= right <= total and total > 0")
    bounds = binomtest(right, total).proportion_ci(confidence, method="wilson")
    return Interval(float(bounds.low), float(bounds.high))


def share_interval(share: float, total: int) -> Interval:
    """Bound a mean of `total` independent numbers in [0, 1], of which ties count half: Wilson's interval of that share.

    A number between 0 and 1 varies less than a 0 or 1 of the same mean, so the interval is at worst too wide.

    Raises:
        ValueError: not a share in [0, 1], or total is 0.

    """
    if not 0 <= share <= 1 or total == 0:
        raise ValueError(f"share_interval got share={share}, total={total}; it wants a share in [0, 1] and total > 0")
    z = float(ndtri(0.975))
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total)) / (1 + z * z / total)
    return Interval(max(0.0, middle - reach), min(1.0, middle + reach))


def exact_interval(share: float, total: int, confidence: float = 0.95) -> Interval:
    """Bound a mean of `total` independent numbers in [0, 1] by the binomial's own quantiles (Clopper and Pearson 1934).

    Of numbers 0 and 1 it is exact: each end is wrong at most as often as it says, however small the share and however
    high the confidence, where Wilson's lower end is wrong several times as often. A share that is no whole number of
    `total` is put between its neighbours.

    Raises:
        ValueError: not a share in [0, 1], or total is 0.

    """
    if not 0 <= share <= 1 or total == 0:
        raise ValueError(f"exact_interval got share={share}, total={total}; it wants a share in [0, 1] and total > 0")
    right, tail = share * total, (1 - confidence) / 2
    low = float(betaincinv(right, total - right + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, total - right, 1 - tail)) if right < total else 1.0
    return Interval(min(low, share), max(high, share))


def student(values: Sequence[float], least: float = 0.0, most: float = 1.0, confidence: float = 0.95) -> Interval:
    """Bound the mean of which two or more `values` in [least, most] are samples, by Student's t."""
    middle = mean(values)
    reach = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * stdev(values) / sqrt(len(values))
    return Interval(max(least, middle - reach), min(most, middle + reach))


def ratio(one: float, of_one: Interval, two: float, of_two: Interval) -> Interval | None:
    """Bound the ratio of two independent estimates from each one's own interval (Donner and Zou 2012, MOVER).

    None where the second's interval does not stay above 0: the ratio may then be anything.
    https://doi.org/10.1177/0962280210383082
    """
    if of_two.low <= 0:
        return None

    def bound(mine: float, larger: float, smaller: float, sign: int) -> float:
        theirs = larger if mine >= 0 else smaller  # a negative ratio is the further from 0, the smaller the second is
        inside = (one * two) ** 2 - mine * theirs * (2 * one - mine) * (2 * two - theirs)
        return (one * two + sign * sqrt(max(0.0, inside))) / (theirs * (2 * two - theirs))

    low, high = of_two
    return Interval(bound(of_one.low, high, low, -1), bound(of_one.high, low, high, 1))


def accuracy_of(predictions: Tensor, answers: Tensor) -> dict[str, float]:
    """Return the accuracy of predictions (M,) with its interval: {"accuracy", "low", "high"}."""
    right = int((predictions == answers).sum())
    return {"accuracy": right / len(answers), **wilson(right, len(answers))._asdict()}
