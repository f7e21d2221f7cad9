"""Ridge regression of numbers on features, and how well numbers are predicted: scikit-learn as the reference."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from pretext.evaluation.embed import Embedded
from pretext.evaluation.measure import measure
from pretext.evaluation.solvers.ridge import ridge
from pretext.evaluation.statistics.regression import explained, r2_of, sums


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def embedded(n, seed, unknown=()):
    """Two numbers that one stage knows and another does not."""
    good = draw(n, 5, seed=seed)
    labels = torch.stack([2 * good[:, 0] + 7, good[:, 1] - good[:, 2]], 1) + 0.1 * draw(n, 2, seed=seed + 1)
    labels[list(unknown), 0] = torch.nan
    stages = {"good": good, "bad": draw(n, 5, seed=seed + 2)}
    return Embedded(stages, stages, labels)


def test_r2_is_scikit_learns():
    true, said = draw(40, 3), draw(40, 3) + 0.3 * draw(40, 3, seed=1)
    found = explained(sums(said, true), torch.Generator().manual_seed(0))
    exact = true.double().numpy(), said.double().numpy()
    assert found.r2 == pytest.approx(r2_score(*exact), abs=1e-12)
    assert found.each == pytest.approx(r2_score(*exact, multioutput="raw_values"), abs=1e-12)
    assert found.rmse == pytest.approx(float((said.double() - true.double()).square().mean().sqrt()))
    assert found.low < found.r2 < found.high < 1


def test_what_is_not_known_is_not_judged_and_what_never_varies_has_no_score():
    true, said = draw(20, 2, 3, 3), draw(20, 2, 3, 3, seed=1)
    hidden = torch.rand(true.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    some = torch.where(hidden, torch.nan, true)
    each = r2_of(sums(said, some).sum(0))
    for k in range(2):
        known = ~hidden[:, k]
        exact = (part[:, k][known].double().numpy() for part in (true, said))
        assert each[k] == pytest.approx(r2_score(*exact), abs=1e-12)
    assert torch.equal(r2_of(sums(true, true).sum(0)), torch.ones(2).double())
    constant = torch.full((9, 1), 0.1)
    with pytest.raises(ValueError, match="9 items of numbers that never vary"):
        explained(sums(constant, constant), torch.Generator())
    with pytest.raises(ValueError, match="0 items"):
        explained(sums(constant, constant)[:0], torch.Generator())


@pytest.mark.parametrize("shape", [(30, 6), (8, 20)], ids=["more items", "more values"])
def test_ridge_is_scikit_learns(shape):
    x, y = draw(*shape) * 3 + 1, draw(shape[0], 2, seed=1)
    z = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    for strength, found in zip((0.5, 1e-3), ridge(x, y, (0.5, 1e-3)), strict=True):
        reference = Ridge(alpha=strength * len(x), solver="svd").fit(z, y.double().numpy())
        np.testing.assert_allclose(found.predict(x).numpy(), reference.predict(z), atol=1e-4)
    with pytest.raises(ValueError, match="positive"):
        ridge(x, y, (0.0,))


def test_numbers_are_measured_by_ridge_in_place_of_the_linear_probe():
    measured = measure(embedded(200, 0), embedded(100, 5), ["linear", "knn", "low_label", "quality"])
    good, bad = measured.rows
    assert list(good.parts) == ["quality", "regression"]
    score = good.score("regression").figures
    assert 0.97 < score["low"] < score["r2"] < score["high"] < 1
    assert score["validation"] > 0.95
    assert score["l2"] < 0.1  # noise is small
    assert (good.chosen, bad.chosen) == (True, False)
    assert bad.score("regression").figures["r2"] < 0.1
    assert measured.blind_guess == 0
    again = measure(embedded(200, 0), embedded(100, 5), ["regression"])
    assert again.rows[0].score("regression").figures == score


def test_items_whose_numbers_are_not_known_are_left_out():
    whole = measure(embedded(50, 0), embedded(30, 5), ["regression"]).rows[0].score("regression").figures
    some = measure(embedded(50, 0, range(10)), embedded(30, 5, [3]), ["regression"]).rows[0].score("regression").figures
    assert some["r2"] == pytest.approx(whole["r2"], abs=0.02)
    assert some["r2"] != whole["r2"]
    with pytest.raises(ValueError, match="1 training and 30 test items whose numbers are all known"):
        measure(embedded(50, 0, range(49)), embedded(30, 5), ["regression"])


def test_maps_are_not_for_a_probe():
    stages = {"stage": draw(6, 2)}
    maps = Embedded(stages, stages, draw(6, 1, 4, 4))
    with pytest.raises(ValueError, match=r"pretext\.Regression"):
        measure(maps, maps, ["linear"])
