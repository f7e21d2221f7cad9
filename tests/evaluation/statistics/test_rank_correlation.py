"""Spearman's rho by two formulas, its bootstrap, and the efficiency curve: SciPy, closed forms, every subset."""

import math
from inspect import signature
from itertools import combinations
from statistics import fmean, pstdev

import numpy as np
import pytest
from scipy import stats

from pretext.evaluation.statistics.correlation import spearman
from pretext.evaluation.statistics.efficiency import chances, doubling, efficiency_curve
from pretext.evaluation.statistics.intervals import Interval
from pretext.evaluation.statistics.ranks import bootstrap, by_covariance, by_differences, centred_ranks

DISTANCE, PRICE = (50, 170, 300), (1.8, 1.25, 0.8)
EPS = 8 * 2.0**-52  # a product, a root and a quotient of exact sums


def tables(n, ties=False, seed=0):
    generator = np.random.default_rng(seed)
    rows = [generator.normal(size=(2, n)) for _ in range(20)]
    return [np.round(row) if ties else row for row in rows]


def test_the_decks_three_stores():
    """Distance and price of three stores are in opposite order."""
    assert by_covariance(np.array(DISTANCE), np.array(PRICE)) == -1
    assert by_differences(DISTANCE, PRICE) == -1
    found = spearman(zip(DISTANCE, PRICE, strict=True))
    assert (found.n, found.rho) == (3, -1)


@pytest.mark.parametrize("n", [2, 3, 7, 24])
def test_squared_centred_ranks_sum_to_a_twelfth_and_both_formulas_agree_without_ties(n):
    for x, y in tables(n):
        assert (centred_ranks(x) ** 2).sum() == n * (n * n - 1) / 12  # exact: halves of whole numbers
        half = ((centred_ranks(x) - centred_ranks(y)) ** 2).sum() / 2
        assert (centred_ranks(x) * centred_ranks(y)).sum() == n * (n * n - 1) / 12 - half  # the deck's derivation
        assert by_differences(x, y) == pytest.approx(float(by_covariance(x, y)), abs=EPS)


def test_ties_share_the_mean_of_their_ranks_as_in_scipy():
    assert (centred_ranks(np.array([7.0, 3.0, 7.0, 1.0])) + 2.5).tolist() == [3.5, 2.0, 3.5, 1.0]
    for x, y in tables(12, ties=True):
        assert float(by_covariance(x, y)) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-14)
        with pytest.raises(ValueError, match="the formula wants two or more without ties"):
            by_differences(x, y)


def test_the_interval_is_that_of_resampled_pairs():
    x, y = tables(24, seed=3)[0]
    y = y + 2 * x
    low, high = bootstrap(x, y)
    assert -1 <= low < by_covariance(x, y) < high <= 1
    assert (low, high) == bootstrap(x, y)  # the same draws
    seed = "rng" if "rng" in signature(stats.bootstrap).parameters else "random_state"  # as SciPy calls it before 1.15
    theirs = stats.bootstrap(
        (x, y),
        lambda a, b, axis: by_covariance(a, b),
        paired=True,
        vectorized=True,
        method="percentile",
        **{seed: np.random.default_rng(1)},
    ).confidence_interval
    # Each end is a quantile of 2,000 draws or more: its place has a standard deviation of
    # sqrt(.025 .975 / 2000), 0.35 %. Four of them, and what 20,000 draws add, lie between the quantiles at 0.5 and 4.5.
    wide, narrow = bootstrap_at(x, y, 0.5), bootstrap_at(x, y, 4.5)
    for found in ((low, high), theirs):
        assert wide[0] <= found[0] <= narrow[0]
        assert narrow[1] <= found[1] <= wide[1]


def bootstrap_at(x, y, percent):
    """Percentiles of other draws."""
    draws = np.random.default_rng(2).integers(len(x), size=(20_000, len(x)))
    return np.percentile(by_covariance(x[draws], y[draws]), (percent, 100 - percent))


def test_where_nothing_differs_there_is_no_interval():
    assert all(map(math.isnan, bootstrap([1, 2, 3], [3, 1, 2])))
    assert all(map(math.isnan, bootstrap([1, 1, 1, 1], [3, 1, 2, 4])))
    assert bootstrap(range(30), range(30)) == Interval(1, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7])
def test_the_curve_is_the_mean_over_every_subset(size):
    proxy, reference = [0.3, 0.9, 0.1, 0.5, 0.5, 0.7, 0.2], [3.0, 1.0, 4.0, 1.5, 5.0, 9.0, 2.6]
    taken = []
    for some in combinations(range(7), size):
        best = [reference[i] for i in some if proxy[i] == max(proxy[k] for k in some)]
        taken += best * (2 // len(best))  # of two equals each once, of one it twice
    (found,) = efficiency_curve(proxy, reference, [size])
    assert found.mean == pytest.approx(fmean(taken), abs=1e-13)
    assert found.sd == pytest.approx(pstdev(taken), abs=1e-13)


def test_at_the_end_of_the_curve_stands_the_one_that_is_taken():
    proxy, reference = [0.2, 0.8, 0.9, 0.1], [7.0, 5.0, 8.0, 6.0]
    *_, last = efficiency_curve(proxy, reference)
    assert last == (4, 8.0, 0.0)
    first = efficiency_curve(proxy, reference)[0]
    assert first.mean == pytest.approx(fmean(reference))  # one drawn at random


def test_equal_proxies_are_taken_by_lot():
    """Two equally good ones in all possible orders: the mean over both orders; a constant proxy knows nothing."""
    reference = [7.0, 5.0, 8.0, 6.0]
    orders = [efficiency_curve(proxy, reference) for proxy in ([2, 9, 8, 1], [2, 8, 9, 1])]
    for found, *both in zip(efficiency_curve([2, 9, 9, 1], reference), *orders, strict=True):
        assert found.mean == pytest.approx(fmean(one.mean for one in both))
    assert efficiency_curve([2, 9, 9, 1], reference)[-1] == pytest.approx((4, 6.5, 1.5))
    for found in efficiency_curve([3.0] * 4, reference):
        assert found[1:] == pytest.approx((fmean(reference), pstdev(reference)))


def test_a_perfect_proxy_is_the_expected_maximum_and_no_proxy_the_mean():
    """Of ranks 1 ... n the expected largest of m drawn is m (n + 1) / (m + 1)."""
    n, ranks = 500, list(range(1, 501))
    assert doubling(n) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 500]
    for found in efficiency_curve(ranks, ranks):
        assert found.mean == pytest.approx(found.size * (n + 1) / (found.size + 1), rel=1e-12)
    assert [sum(chances(n, m)) for m in (1, 77, 500)] == pytest.approx([1, 1, 1])
    for found in efficiency_curve(ranks, [5.0] * n):
        assert found.mean == pytest.approx(5)
        assert found.sd == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("reference", "sizes"), [([1.0], []), ([1.0, 2.0], [3]), ([1.0, 2.0], [0])])
def test_what_is_no_experiment_is_refused(reference, sizes):
    with pytest.raises(ValueError, match="efficiency_curve got 2 proxies"):
        efficiency_curve([1.0, 2.0], reference, sizes)
