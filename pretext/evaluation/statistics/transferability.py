"""Scores that guess how well a source will serve a labelled target, without training anything.

https://arxiv.org/abs/1908.08142 (NCE), https://arxiv.org/abs/2002.12462 (LEEP), H-score (Bao et al., ICIP 2019;
https://arxiv.org/abs/2110.06893 shrinks it) and https://arxiv.org/abs/2102.11005 (LogME). Larger is better in all.
"""

from __future__ import annotations

import math

import torch
from scipy.optimize import minimize_scalar
from sklearn.covariance import ledoit_wolf
from torch import Tensor
from torch.nn.functional import one_hot

REACH = 30
"""How far LogME looks for log alpha / beta, on both sides of the logarithm of the mean squared singular value."""
_TINY = 1e-300  # keeps logarithms finite


def nce(source: Tensor, labels: Tensor) -> float:
    """Return minus the conditional entropy of labels (N,) given hard labels (N,) of the source: at most 0.

    Raises:
        ValueError: as in `leep`.

    """
    return leep(one_hot(source.long()).double(), labels)


def leep(source: Tensor, labels: Tensor) -> float:
    """Return the mean log-likelihood of labels (N,) as the source's probabilities (N, C) predict them: at most 0.

    A label's probability is sum_z P(label | z) times the source's probability of z. A class that the source gives no
    probability to in any item is left out.

    Raises:
        ValueError: other shapes, or rows that are no probabilities.

    """
    theta = source.double()
    sums = theta.sum(1) if theta.ndim == 2 else theta
    if (
        theta.ndim != 2
        or len(theta) != len(labels)
        or theta.min() < 0
        or not torch.allclose(sums, torch.ones_like(sums))
    ):
        raise ValueError(
            f"leep got probabilities {tuple(source.shape)} and labels {tuple(labels.shape)}; it wants (N, C), whose "
            "rows sum to one, and (N,)"
        )
    theta = theta[:, theta.sum(0) > 0] / sums[:, None]  # exactly one, also of halves and floats
    joint = one_hot(labels.long()).double().T @ theta / len(theta)  # (K, C)
    conditional = joint / joint.sum(0)
    return float((theta @ conditional.T).gather(1, labels.long()[:, None]).log().mean())


def h_score(features: Tensor, labels: Tensor, shrink: bool = False) -> float:
    """Return tr(cov(F)^+ cov(E[F | y])) of features (N, D): how much of what varies, varies between classes.

    C classes give C - 1 at most. With few items the covariance is poor and the score too high; `shrink` takes Ledoit
    and Wolf's.

    Raises:
        ValueError: as in `log_me`.

    """
    _check("h_score", features, labels)
    x, members = features.double(), one_hot(labels.long()).double()
    x = x - x.mean(0)
    counts = members.sum(0).clamp(min=1)
    means = members @ (members.T @ x / counts[:, None])  # (N, D): the mean of each item's class
    between = means.T @ means / (len(x) - 1)
    if not shrink:
        return float(torch.trace(torch.linalg.pinv(x.T @ x / (len(x) - 1), hermitian=True) @ between))
    covariance, share = ledoit_wolf(x.cpu().numpy(), assume_centered=True)
    inverse = torch.linalg.pinv(torch.as_tensor(covariance, device=x.device), hermitian=True)
    return float((1 - share) * torch.trace(inverse @ between))


def log_me(features: Tensor, labels: Tensor) -> float:
    """Return the largest log evidence per item of linear regression on features (N, D), averaged over classes.

    For each class y is 0 or 1, w ~ N(0, 1 / alpha), y ~ N(F w, 1 / beta), and alpha and beta are those that explain y
    best. The evidence is the log density of N(y; 0, 1 / beta + F F^T / alpha) itself, also where D > N, where the
    code that accompanies the paper's journal version leaves out (D - rank) / 2 log alpha.

    Raises:
        ValueError: other shapes, fewer than two items, or one class.

    """
    _check("log_me", features, labels)
    u, s, _ = torch.linalg.svd(features.double(), full_matrices=False)
    targets = one_hot(labels.long()).double()
    targets = targets[:, targets.sum(0) > 0]
    return float(torch.stack([_evidence(u, s.square(), y) for y in targets.T]).mean())


def _evidence(u: Tensor, squares: Tensor, y: Tensor) -> Tensor:
    """Maximise log N(y; 0, I / beta + F F^T / alpha) / N in the basis of F's left singular vectors u (N, k).

    Given alpha / beta the best beta has a closed form, so one number is searched: on a grid, which finds the highest of
    several peaks, and around its best place by Brent's method. MacKay's fixed point, which the paper's code iterates
    eleven times at most, leads to the same place, and where D > N slowly.
    """
    n, inside = len(y), (u.T @ y).square()
    # Nothing lies outside where N features or more explain all; what rounding leaves there would count as noise.
    outside = inside.new_zeros(()) if u.shape[1] == n else (y.square().sum() - inside.sum()).clamp(min=0)
    scale = math.log(float(squares.mean()) + _TINY)

    def density(log_ratio: Tensor) -> Tensor:
        relative = 1 + squares / log_ratio[:, None].exp()  # variances, in units of 1 / beta
        beta = n / ((inside / relative).sum(1) + outside).clamp(min=_TINY)
        return (n * beta.log() - relative.log().sum(1) - n * (1 + math.log(2 * math.pi))) / (2 * n)

    grid = scale + torch.linspace(-REACH, REACH, 8 * REACH + 1, dtype=y.dtype, device=y.device)
    best = float(grid[density(grid).argmax()])
    found = minimize_scalar(
        lambda at: -float(density(grid.new_tensor([at]))),
        bounds=(best - 0.25, best + 0.25),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return torch.tensor(-found.fun, dtype=y.dtype)


def _check(asker: str, features: Tensor, labels: Tensor) -> None:
    fits = features.ndim == 2 and labels.shape == features.shape[:1] and len(features) > 1
    if not fits or len(torch.unique(labels)) < 2:
        classes = len(torch.unique(labels))
        raise ValueError(
            f"{asker} got features {tuple(features.shape)} and labels {tuple(labels.shape)} of {classes} classes; it "
            "wants (N, D) and (N,) of two classes or more"
        )
