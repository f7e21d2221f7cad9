"""Scores without training: closed forms, and what two computations of the literature agree on."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits, load_iris

from pretext.evaluation.statistics.transferability import h_score, leep, log_me, nce

EPS = torch.finfo(torch.float64).eps


def dataset(load):
    x, y = load(return_X_y=True)
    return torch.from_numpy(x), torch.from_numpy(y).long()


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("n", "d"), [(30, 5), (12, 30), (20, 20)])
def test_logme_is_the_largest_gaussian_log_density(n, d):
    """Found by another optimiser on the density as SciPy computes it; where D > N a popular code is 7.5 off."""
    x, y = draw(n, d), torch.arange(n) % 3

    def density(logs, target):
        alpha, beta = np.exp(logs)
        return multivariate_normal.logpdf(target, cov=np.eye(n) / beta + (x @ x.T).numpy() / alpha) / n

    best = []
    for k in range(3):
        target = (y == k).double().numpy()
        found = minimize(
            lambda logs, target=target: -density(logs, target),
            [1, 1],
            method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-14, "maxiter": 4000},
        )
        best.append(-found.fun)
    assert log_me(x, y) == pytest.approx(np.mean(best), abs=1e-10)


def test_logme_of_iris_and_digits_is_known():
    assert log_me(*dataset(load_iris)) == pytest.approx(-0.160060, abs=1e-6)
    x, y = dataset(load_digits)
    assert log_me(x, y) == pytest.approx(0.270278, abs=1e-6)
    shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    assert log_me(x, shuffled) == pytest.approx(-0.219, abs=0.01)


def test_h_score_of_iris_and_of_one_hot_features_is_known():
    assert h_score(*dataset(load_iris)) == pytest.approx(1.1918988, abs=5e-8)
    labels = torch.arange(40) % 4
    assert h_score(torch.nn.functional.one_hot(labels).double(), labels) == pytest.approx(3, abs=1e3 * EPS)


def test_h_score_of_independent_features_is_that_of_chance_and_less_when_shrunk():
    x, y = draw(2000, 10), torch.arange(2000) % 5
    chance = 10 * 4 / 2000
    assert h_score(x, y) == pytest.approx(chance, abs=4 * math.sqrt(2 * 40) / 2000)  # chi-square of 40 degrees, over N
    assert h_score(x[:40], y[:40], shrink=True) < h_score(x[:40], y[:40])


def test_leep_of_hard_sources_is_nce():
    source, labels = torch.arange(60) % 4, (torch.arange(60) // 7) % 3
    one_hot = torch.nn.functional.one_hot(source).double()
    counts = np.array([[((source == z) & (labels == y)).sum() for z in range(4)] for y in range(3)])
    known = (counts * np.log(np.where(counts, counts, 1) / counts.sum(0))).sum() / 60
    assert leep(one_hot, labels) == nce(source, labels) == pytest.approx(known, abs=60 * EPS)


def test_who_knows_all_scores_zero_and_who_knows_nothing_minus_log_3():
    labels = torch.arange(30) % 3
    assert nce(labels, labels) == 0
    assert nce(torch.zeros(30), labels) == pytest.approx(-math.log(3), abs=30 * EPS)
    assert leep(torch.full((30, 5), 0.2), labels) == pytest.approx(-math.log(3), abs=30 * EPS)


def test_a_class_that_the_source_never_names_changes_nothing():
    theta = torch.softmax(draw(20, 3), 1)
    labels = torch.arange(20) % 2
    wider = torch.cat([theta, torch.zeros(20, 1)], 1)
    assert leep(wider, labels) == leep(theta, labels)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (
            lambda: log_me(draw(5, 2), torch.zeros(5).long()),
            r"log_me got features \(5, 2\) and labels \(5,\) of 1 class",
        ),
        (lambda: h_score(draw(5, 2), torch.arange(4)), "h_score got"),
        (lambda: leep(draw(5, 2), torch.arange(5)), "rows sum to one"),
    ],
)
def test_what_cannot_be_scored_is_refused(score, message):
    with pytest.raises(ValueError, match=message):
        score()
