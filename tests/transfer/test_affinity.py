"""Tournaments of transfers: closed forms, invariances and Taskonomy's own tables."""

import math
from collections import defaultdict

import numpy as np
import pytest
from reference import TASKONOMY, needs_reference

from pretext.evaluation.statistics.intervals import wilson
from pretext.transfer.affinity import (
    CLIP,
    affinities,
    eigenvector,
    geometric_mean,
    priorities,
    ratio_matrix,
    win_interval,
    win_rate,
    win_rates,
)
from pretext.transfer.preferences import preferred
from pretext.transfer.tables import read_transfers

DRAW = np.random.default_rng(0)
EPS = np.finfo(np.float64).eps


def test_who_has_the_smaller_loss_wins_and_ties_count_half():
    rates = win_rates([[1, 1, 1, 4], [2, 1, 0, 5], [9, 9, 9, 9]])
    assert rates.tolist() == [[0.5, 0.625, 1.0], [0.375, 0.5, 1.0], [0.0, 0.0, 0.5]]


def test_each_repetition_meets_each_of_the_others():
    first, second = DRAW.normal(size=(3, 40)), DRAW.normal(size=(3, 40))
    counted = np.mean([(a < b).mean() for a in first for b in second])
    assert win_rates([first, second])[0, 1] == pytest.approx(counted, abs=40 * EPS)


def test_two_models_are_compared_as_in_the_tournament_of_two_and_one_wins_half_of_itself():
    first, second = DRAW.normal(size=(2, 3, 40))
    found = win_rate(first, second)
    assert found.rate == win_rates([second, first])[1, 0]
    assert (found.low, found.high) == win_interval(found.rate, 40)
    assert win_rate(first[0], first[0])[0] == 0.5
    assert win_rate([1.0, 2.0], [[2.0, 2.0], [0.0, 9.0]]).rate == (1 + 0.5 + 0 + 1) / 4
    with pytest.raises(ValueError, match=r"shape \(1, 2\) and \(1, 3\)"):
        win_rate([1, 2], [1, 2, 3])


def test_a_rank_one_tournament_gives_its_strengths_exactly():
    strengths = np.array([0.05, 0.4, 0.1, 0.25, 0.2])
    found = priorities(strengths[:, None] / (strengths[:, None] + strengths))
    np.testing.assert_allclose(found.weights, strengths, rtol=0, atol=50 * EPS)
    assert found.eigenvalue == pytest.approx(5, abs=200 * EPS)
    assert found.consistency == pytest.approx(0, abs=100 * EPS)


def test_three_transfers_have_the_known_weights_and_consistency():
    rates = np.array([[0.5, 0.8, 0.9], [0.2, 0.5, 0.6], [0.1, 0.4, 0.5]])
    np.testing.assert_allclose(ratio_matrix(rates), [[1, 4, 9], [1 / 4, 1, 3 / 2], [1 / 9, 2 / 3, 1]], rtol=10 * EPS)
    for method in (eigenvector, geometric_mean):  # the same for three
        found = method(ratio_matrix(rates))
        assert found.weights.tolist() == pytest.approx([0.743171, 0.162305, 0.094525], abs=1e-6)
        assert found.eigenvalue == pytest.approx(3.0182947, abs=5e-8)
        assert found.consistency == pytest.approx(0.0091474, abs=5e-8)


def test_a_total_winner_of_two_is_clipped():
    found = affinities({"winner": [0.0] * 9, "loser": [1.0] * 9})
    assert found == pytest.approx({"winner": 1 - CLIP, "loser": CLIP}, abs=1e-12)


def test_one_transfer_alone_has_it_all():
    assert affinities({"alone": [1.0, 2.0]}) == {"alone": 1.0}


@pytest.mark.parametrize("method", ["eigenvector", "geometric"])
def test_any_strictly_monotone_change_of_the_losses_leaves_affinities_unchanged(method):
    losses = {name: DRAW.gamma(2, size=(2, 60)) + shift for name, shift in (("a", 0), ("b", 0.2), ("a|b", 0.5))}
    before = affinities(losses, method)
    assert sum(before.values()) == pytest.approx(1, abs=10 * EPS)
    for change in (np.log, np.sqrt, lambda x: 3 * x - 7, lambda x: np.exp(x) + x**3):
        assert affinities({name: change(loss) for name, loss in losses.items()}, method) == before


def test_a_win_rate_has_wilsons_interval():
    assert win_interval(0.3, 50) == pytest.approx(wilson(15, 50), abs=1e-12)
    assert win_interval(1.0, 50).high == 1.0
    with pytest.raises(ValueError, match=r"share_interval got share=1.2"):
        win_interval(1.2, 50)


def test_a_loss_that_is_nan_names_its_transfer():
    with pytest.raises(ValueError, match=r"NaN, of edges\|depth; train the read-out at a smaller rate"):
        affinities({"edges": [1.0, 2.0], "edges|depth": [1.0, math.nan]})


def test_what_is_no_tournament_is_refused():
    with pytest.raises(ValueError, match="got no transfer"):
        affinities({})
    with pytest.raises(ValueError, match=r"shape \(0, 1, 3\)"):
        win_rates(np.zeros((0, 3)))
    with pytest.raises(ValueError, match="sum to 1"):
        ratio_matrix(np.array([[0.5, 0.8], [0.3, 0.5]]))
    with pytest.raises(ValueError, match="without holes"):
        ratio_matrix(np.array([[0.5, math.nan], [0.3, 0.5]]))


@needs_reference
def test_taskonomys_affinities_of_all_orders_sum_to_one_for_each_target():
    sums = defaultdict(float)
    for transfer in read_transfers(TASKONOMY / "all_affinities_16k.csv"):
        sums[transfer.target] += transfer.value
    assert len(sums) == 22
    assert list(sums.values()) == pytest.approx([1.0] * 22, abs=1e-9)


@needs_reference
def test_taskonomys_affinities_predict_the_published_win_rates():
    """The reading of the eigenvector as strengths ties two published files together."""
    table = {(t.name, t.target): t.value for t in read_transfers(TASKONOMY / "all_affinities_16k.csv")}
    wins = {(t.name, t.target): t.value for t in read_transfers(TASKONOMY / "wins_vs_task_16k.csv")}
    both = [key for key in wins if key in table and key[0] != "self"]
    misses = [abs(preferred(*np.log([table[key], table["self", key[1]]])) - wins[key]) for key in both]
    assert len(misses) > 1000
    assert np.mean(misses) < 0.03
