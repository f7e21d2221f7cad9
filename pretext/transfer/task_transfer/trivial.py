"""The trivial ways to the weights of a task: a weighted mean, a regression on correlations, the best source as it is.

Whatever is learnt has to beat them. Each takes what is known, and what each known task is worth to the wanted one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pretext.transfer.task_transfer.known import Known, check

STRENGTHS = (1e-6, 1e-4, 1e-2, 1e-1, 1.0)
"""Of the ridge, as shares of the kernel's mean diagonal."""


def weighted_mean(known: Known, gamma: Tensor) -> Tensor:
    """Average the known tasks, weighted by their correlations; those below 0 count nothing.

    Where none is above 0, all count alike.
    """
    check(known, gamma)
    weights = gamma.clamp(min=0)
    weights = weights / weights.sum() if weights.sum() > 0 else torch.full_like(weights, 1 / len(weights))
    return weights.to(known.means.dtype) @ known.means


def best_source(known: Known, gamma: Tensor) -> Tensor:
    """Take the task of the largest correlation as it is: one of its networks, since a mean of several is another."""
    check(known, gamma)
    return known.weights[int(gamma.argmax()), 0]


def kernel_ridge(known: Known, gamma: Tensor, strength: float | None = None) -> Tensor:
    """Regress weights on correlations: a task is described by what every known task is worth to it.

    The kernel is linear, about the mean. So tasks that lie on a linear manifold, with products as correlations, are
    recovered exactly. A strength that is not given is chosen by leaving each known task out.
    """
    check(known, gamma)
    chosen = _best_strength(known) if strength is None else strength
    return _ridge(known, gamma, chosen)


def _ridge(known: Known, gamma: Tensor, strength: float) -> Tensor:
    described = known.gamma.T.double()  # task by its column
    middle = described.mean(0)
    x, wanted = described - middle, gamma.double() - middle
    kernel = x @ x.T
    size = kernel.diagonal().mean().clamp(min=1e-30)
    dual = torch.linalg.solve(kernel + strength * size * torch.eye(len(x), dtype=x.dtype), x @ wanted)
    means = known.means.double()
    found: Tensor = means.mean(0) + dual @ (means - means.mean(0))
    return found.to(known.weights.dtype)


def _best_strength(known: Known) -> float:
    """Choose what predicts known tasks best when each is left out; with two there is nothing to choose by."""
    if len(known.names) < 3:
        return 1e-2
    errors = []
    for strength in STRENGTHS:
        error = 0.0
        for k in range(len(known.names)):
            others = [i for i in range(len(known.names)) if i != k]
            found = _ridge(known.without(k), known.gamma[others, k], strength)
            error += float((found - known.means[k]).square().sum())
        errors.append(error)
    return STRENGTHS[errors.index(min(errors))]
