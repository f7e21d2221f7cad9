"""Holes of a table: what can be recovered exactly, what only from features, and Taskonomy's table."""

from copy import copy

import numpy as np
import pytest
import torch
from reference import TASKONOMY, needs_reference

from pretext.core.rng import rng
from pretext.transfer import names
from pretext.transfer.complete import complete, known_of, standardise
from pretext.transfer.completion import METHODS, GraphMethod, LowRank, SourceMean
from pretext.transfer.graph_autoencoder import Gravity, InnerProduct
from pretext.transfer.recovery import compare, hide, leave_one_out, recover, repeated
from pretext.transfer.tables import Matrix, first_order, read_transfers


def table(sources=8, targets=7, rank=1, seed=0):
    """Make a table of biases and `rank` factors, whose features are those factors."""
    draw = np.random.default_rng(seed)
    bias, rows, columns = (
        draw.normal(size=sources),
        draw.normal(size=(sources, rank)),
        draw.normal(size=(targets, rank)),
    )
    names = tuple(f"s{k}" for k in range(sources)), tuple(f"t{k}" for k in range(targets))
    values = bias[:, None] + draw.normal(size=targets) + rows @ columns.T
    features = {n: [b, *r, 0.0, *[0.0] * rank] for n, b, r in zip(names[0], bias, rows, strict=True)}
    features |= {n: [0.0, *[0.0] * rank, 1.0, *c] for n, c in zip(names[1], columns, strict=True)}
    return Matrix(*names, values), features


def taskonomy():
    transfers = read_transfers(TASKONOMY / "all_affinities_16k.csv")
    return first_order([t for t in transfers if t.sources[0] not in ("self", "random", t.target)])


def test_biases_and_factors_come_back_exactly():
    """Two factors: divided by the deviation of each target, the biases of the sources are a factor too."""
    matrix, _ = table(20, 16)
    hidden = hide(matrix, 0.2, seed=1)
    found = complete(hidden.matrix, LowRank(rank=2, l2=1e-9, sweeps=300), scale="linear", refits=0)
    np.testing.assert_allclose(found.matrix.values, matrix.values, atol=1e-3)
    assert (found.predicted == hidden.mask).all()


def test_the_mean_of_a_source_is_drawn_towards_zero_by_one_entry():
    values = np.array([[1.0, 5.0, np.nan], [3.0, 1.0, 2.0]])
    matrix = Matrix(("a", "b"), ("t", "u", "v"), values)
    standard = standardise(matrix, "linear")
    predicted = SourceMean().predict(known_of(matrix, standard.values, None), rng("cpu", "m"))
    assert predicted[0].tolist() == [0.0] * 3  # -1 and 1, over 2 + 1
    assert predicted[1].tolist() == [0.0] * 3  # 1, -1 and 0


@pytest.mark.parametrize("scale", ["log", "linear"])
def test_what_is_standardised_goes_back(scale):
    matrix, _ = table()
    matrix = Matrix(*matrix[:2], np.exp(matrix.values))
    standard = standardise(matrix, scale)
    np.testing.assert_allclose(standard.values.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(standard.values.std(0, correction=0), 1, rtol=1e-12)
    np.testing.assert_allclose(standard.back(standard.values), matrix.values, rtol=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_what_was_measured_and_fills_the_rest(name):
    matrix, _ = table()
    hidden = hide(matrix, 0.3, seed=0).matrix
    method = copy(METHODS[name])
    if isinstance(method, GraphMethod):
        method.epochs = 20  # what it learns is asked elsewhere
    found, again = (complete(hidden, method, scale="linear", refits=refits) for refits in (2, 0))
    there = ~np.isnan(hidden.values)
    np.testing.assert_array_equal(found.matrix.values[there], hidden.values[there])
    assert np.isfinite(found.matrix.values).all()
    np.testing.assert_array_equal(found.matrix.values, again.matrix.values)
    assert (found.low[~there] < found.high[~there]).all()
    assert np.isnan(found.low[there]).all()


def test_who_has_no_order_of_sources_is_told():
    matrix, _ = table()
    hidden = hide(matrix, 0.3, seed=0).matrix
    dead = GraphMethod(InnerProduct(), epochs=200, rate=0.01, weight_decay=10.0)
    assert complete(hidden, dead, scale="linear", refits=0).constant
    assert not complete(hidden, "low_rank", scale="linear", refits=0).constant


def test_a_mass_that_stands_at_the_target_says_nothing_of_the_order_of_sources():
    """With every task in one place, all that is left of gravity is the receiver's mass."""
    matrix, _ = table()
    standard = standardise(matrix, "linear")
    known = known_of(matrix, standard.values, None)
    masses = {}
    for mass in ("source", "target"):
        found = GraphMethod(Gravity(strength=0.0), mass=mass, epochs=100, rate=0.05).predict(known, rng("cpu", mass))
        masses[mass] = (found - found.mean(0)).std()
    assert masses["target"] < 1e-9
    assert masses["source"] > 0.1


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("method", [LowRank(rank=1, l2=0.05), GraphMethod(Gravity(), epochs=40)])
def test_a_task_without_any_entry_is_known_by_its_features(side, method):
    matrix, features = table(8, 7)
    scores = leave_one_out(matrix, method, side, features, scale="linear")
    assert scores.spearman > 0.3  # of 8 sources; without features it is 0
    assert not scores.constant


def test_features_of_a_task_that_has_entries_stand_beside_its_identity():
    matrix, features = table()
    hidden = hide(matrix, 0.3, seed=0).matrix
    method = GraphMethod(Gravity(), epochs=5)
    without = complete(hidden, method, scale="linear", refits=0).matrix.values
    assert not np.allclose(complete(hidden, method, features, "linear", 0).matrix.values, without)


def test_scores_of_a_perfect_and_of_a_reversed_completion():
    matrix, _ = table()
    matrix = Matrix(*matrix[:2], np.exp(matrix.values))
    mask = np.ones_like(matrix.values, bool)
    perfect = compare(matrix, matrix.values, mask, 1.0, False)
    assert (perfect.spearman, perfect.kendall, perfect.hit, perfect.regret) == pytest.approx((1, 1, 1, 0))
    assert (perfect.auc, perfect.average_precision) == (1, 1)
    reversed_ = compare(matrix, -matrix.values, mask, 1.0, False)
    assert (reversed_.spearman, reversed_.kendall, reversed_.hit, reversed_.auc) == pytest.approx((-1, -1, 0, 0))
    worst = 1 - matrix.values.min(0) / matrix.values.max(0)
    assert reversed_.regret == pytest.approx(worst.mean())
    same = compare(matrix, np.ones_like(mask, float), mask, 1.0, True)
    assert (same.spearman, same.auc) == (0, 0.5)


def test_hiding_leaves_each_source_and_target_an_entry():
    matrix, _ = table()
    for share in (0.1, 0.5, 0.7):
        hidden = hide(matrix, share, seed=3)
        assert hidden.mask.sum() == round(share * 56)
        there = ~np.isnan(hidden.matrix.values)
        assert there.any(0).all()
        assert there.any(1).all()
    with pytest.raises(ValueError, match=r"hide got share=0.95; without a source or a target that has no entry"):
        hide(matrix, 0.95, seed=0)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ([], {"method": "nuclear"}, "got the method 'nuclear'; it wants one of source_mean, low_rank, gae"),
        ([((0, 0), -1.0)], {"scale": "log"}, r"got -1 for s0 to t0, which has no logarithm"),
        ([((slice(None), 0), np.nan)], {}, r"t0 has no value at all; measure one, or give features"),
        ([], {"features": {"s0": [1.0]}}, r"the features have no row for s1, s2, t0, t1"),
        ([(slice(None), np.nan)], {}, "got 0 values"),
    ],
)
def test_what_cannot_be_completed_is_told(change, arguments, message):
    matrix, _ = table(3, 2)
    matrix = Matrix(*matrix[:2], np.exp(matrix.values))
    for place, value in change:
        matrix.values[place] = value
    with pytest.raises(ValueError, match=message):
        complete(matrix, refits=0, **{"method": "low_rank", **arguments})


@needs_reference
def test_low_rank_recovers_taskonomys_table_and_says_how_sure_it_is():
    scores = repeated(taskonomy(), "low_rank", 0.3, seeds=5, refits=5)
    assert np.mean([score.spearman for score in scores]) > 0.6
    assert np.mean([score.coverage for score in scores]) > 0.9
    assert np.mean([score.spearman for score in repeated(taskonomy(), "source_mean", 0.3, seeds=5)]) < 0.5


@needs_reference
@pytest.mark.slow  # seconds
def test_directed_decoders_recover_more_of_taskonomys_table_than_symmetric_ones():
    found = {
        name: np.mean([recover(taskonomy(), name, share, seed).spearman for share in (0.3, 0.5) for seed in range(5)])
        for name in ("gae", "source_target_gae", "gravity_gae")
    }
    assert min(found["source_target_gae"], found["gravity_gae"]) > found["gae"]


def test_a_refit_of_one_seed_is_the_same_with_any_number_of_them():
    matrix, _ = table()
    hidden = hide(matrix, 0.3, seed=0).matrix
    assert np.isnan(complete(hidden, "low_rank", scale="linear", refits=1).low).all()
    torch.manual_seed(5)  # nothing draws from the global generator
    few = complete(hidden, "low_rank", scale="linear", refits=2)
    torch.manual_seed(6)
    np.testing.assert_array_equal(few.low, complete(hidden, "low_rank", scale="linear", refits=2).low)


def test_the_command_line_knows_the_names_of_all_methods():
    assert tuple(METHODS) == names.METHODS
    assert names.DEFAULT in METHODS
