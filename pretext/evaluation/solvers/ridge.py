"""Ridge regression in closed form, for several strengths of the penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.evaluation.solvers.standardize import Standardizer, standardizer_of
from pretext.evaluation.statistics.regression import r2_of, sums

STRENGTHS = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4)
"""Of the penalty beside the mean squared error of standardised features."""


class Fitted(NamedTuple):
    """One ridge regression."""

    standardizer: Standardizer
    weights: Tensor
    """(D, V), of standardised features."""
    middle: Tensor
    """(V,): the mean of the training targets."""

    def predict(self, features: Tensor) -> Tensor:
        """Predict (N, V) of features (N, D)."""
        return self.standardizer.standardise(features).to(self.weights) @ self.weights + self.middle


class Regressed(NamedTuple):
    """What was predicted of test items, and what was chosen for it."""

    predictions: Tensor
    """(M, V)"""
    l2: float
    validation: float
    """Mean R² of the held-out items"""


def ridge(features: Tensor, targets: Tensor, strengths: Sequence[float]) -> list[Fitted]:
    """Minimise mean squared error plus `strength` times the squared weights, for each strength.

    Args:
        features: (N, D), standardised here.
        targets: (N, V), all of them known; their mean is not penalised.
        strengths: positive.

    Raises:
        ValueError: a strength that is not positive, or features that are NaN or infinite.

    """
    require(min(strengths) > 0, "ridge", f"{strengths=}", "give positive numbers")
    standardizer = standardizer_of(features, most=0)
    x, middle = standardizer.standardise(features).double(), targets.double().mean(0)
    y = targets.double() - middle
    few = len(x) < x.shape[1]  # then the weights are a sum of items, and a system of N equations tells of which
    gram = x @ x.T if few else x.T @ x
    right = y if few else x.T @ y
    fitted = []
    for strength in strengths:
        penalised = gram + strength * len(x) * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        solved = torch.cholesky_solve(right, torch.linalg.cholesky(penalised))
        fitted.append(Fitted(standardizer, x.T @ solved if few else solved, middle))
    return fitted


def regress(train: Tensor, targets: Tensor, test: Tensor, held: Tensor) -> Regressed:
    """Choose the strength whose R² on `held` (N,) is largest, of equals the larger one, and refit on all of `train`."""
    tried = ridge(train[~held], targets[~held], STRENGTHS)
    scores = [_score(one.predict(train[held]), targets[held]) for one in tried]
    best = max(range(len(scores)), key=lambda k: (scores[k], STRENGTHS[k]))
    (fitted,) = ridge(train, targets, STRENGTHS[best : best + 1])
    return Regressed(fitted.predict(test), STRENGTHS[best], scores[best])


def _score(said: Tensor, true: Tensor) -> float:
    return float(r2_of(sums(said, true).sum(0)).nanmean().nan_to_num(-torch.inf))
