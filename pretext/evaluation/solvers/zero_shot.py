"""Classifiers of classes without items: they learn from items of seen classes, and know all classes by vectors.

- Direct attribute prediction, DAP (Lampert et al. 2009, https://doi.org/10.1109/CVPR.2009.5206594);
- the nearest attribute vector: ridge regression from features to attributes;
- ESZSL (Romera-Paredes and Torr 2015, https://proceedings.mlr.press/v37/romera-paredes15.html), in closed form;
- ALE (Akata et al. 2016, https://arxiv.org/abs/1503.08677): a ranking loss of sampled violators.

Features x are (N, R), centred and of about unit variance. Settings mean the same for any number of items and classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

from pretext.evaluation.solvers.lbfgs import solve
from pretext.evaluation.solvers.logistic_problem import SharedDesign
from pretext.evaluation.solvers.standardize import Standardizer

Setting = tuple[float, ...]
PENALTIES = (1e-3, 1e-2, 0.1, 1.0, 10.0)
ROUGH = 1e-3  # of the logistic regressions of DAP: their probabilities are multiplied, not compared with one another


class Known(NamedTuple):
    """What is known of K classes."""

    vectors: Tensor
    """(K, A), each attribute of mean 0 and variance 1 over all classes."""
    present: Tensor
    """(K, B) bool, which attributes they have."""

    def take(self, which: Tensor) -> Known:
        """Choose some classes, by a mask (K,) or by numbers."""
        return Known(self.vectors[which], self.present[which])


Scorer = Callable[[Tensor, Known], Tensor]
"""Scores features (M, R) against classes: (M, K), the larger the likelier."""


class Method(ABC):
    """A way to learn from seen classes."""

    name: str
    title: str
    named: tuple[str, ...]
    """What the numbers of a setting are called."""
    settings: tuple[Setting, ...]
    """To choose from."""

    @abstractmethod
    def fit(self, x: Tensor, of: Tensor, seen: Known, settings: Sequence[Setting], rng: Generator) -> list[Scorer]:
        """Learn from `x` (N, R) with classes `of` (N,) of `seen`, once for each setting."""


class DirectAttributes(Method):
    """DAP: a logistic regression for each attribute; a class scores sum_m log p(a_m | x) - log p(a_m).

    The prior p(a_m) is the share of training items with the attribute. What all seen classes have, or none, is left
    out: nothing can be learnt of it.
    """

    name, title, named = "dap", "direct attribute prediction", ("l2",)
    settings = ((0.01,), (0.1,), (1.0,))

    def fit(self, x: Tensor, of: Tensor, seen: Known, settings: Sequence[Setting], rng: Generator) -> list[Scorer]:
        learnable = seen.present.any(0) & ~seen.present.all(0)
        has = seen.present[:, learnable][of].T.long()  # (B, N)
        plain = Standardizer(x.new_zeros(x.shape[1]).float(), x.new_ones(x.shape[1]).float(), None)
        design = SharedDesign(x.float(), plain)
        start = x.new_zeros(len(has), 2, design.width, dtype=torch.float32)
        prior = has.double().mean(1)
        scorers = []
        for (l2,) in sorted(settings, reverse=True):  # the weaker ones begin where the stronger ones ended
            strengths = torch.full((len(has),), l2, dtype=torch.float64)
            start = solve(design, has, strengths, start, ROUGH)
            scorers.append(_of_attributes(start, prior, learnable))
        order = sorted(range(len(settings)), key=lambda i: settings[i], reverse=True)
        return [scorers[order.index(i)] for i in range(len(settings))]


class NearestAttributes(Method):
    """Predict the attributes by ridge regression; a class scores less the squared distance to its vector."""

    name, title, named = "nearest", "nearest attribute vector", ("gamma",)
    settings = tuple((gamma,) for gamma in PENALTIES)

    def fit(self, x: Tensor, of: Tensor, seen: Known, settings: Sequence[Setting], rng: Generator) -> list[Scorer]:
        wanted = seen.vectors[of]
        middle = wanted.mean(0)
        values, axes = torch.linalg.eigh((x.T @ x).double() / len(x))
        along = axes.T @ (x.T @ (wanted - middle).to(x)).double() / len(x)
        return [_nearest(axes @ (along / (values + gamma)[:, None]), middle) for (gamma,) in settings]


class Eszsl(Method):
    """ESZSL on vectors of length 1; a class scores x^T W s. The penalties are `eszsl`'s over N items and Z classes."""

    name, title, named = "eszsl", "ESZSL", ("gamma", "lambda")
    settings = tuple((gamma, penalty) for gamma in PENALTIES for penalty in (0.01, 0.1, 1.0))

    def fit(self, x: Tensor, of: Tensor, seen: Known, settings: Sequence[Setting], rng: Generator) -> list[Scorer]:
        s = normalize(seen.vectors, dim=1)
        sizes = len(x), len(s)
        return [_bilinear(w) for w in eszsl(x, of, s, [(g * sizes[0], p * sizes[1]) for g, p in settings])]


class Ale(Method):
    """ALE on vectors of length 1; a class scores x^T W s."""

    name, title, named = "ale", "ALE", ("rate",)
    settings = ((1.0,), (10.0,), (100.0,))
    steps, batch = 300, 128

    def fit(self, x: Tensor, of: Tensor, seen: Known, settings: Sequence[Setting], rng: Generator) -> list[Scorer]:
        s = normalize(seen.vectors, dim=1).to(x)
        batches = torch.randint(len(x), (self.steps, self.batch), generator=rng).to(x.device)
        orders = torch.rand(self.steps, self.batch, len(s), generator=rng).to(x.device)
        rates = torch.tensor(settings).to(x)[:, :, None] / x.shape[1]
        w = x.new_zeros(len(rates), x.shape[1], s.shape[1])
        for step, (rows, order) in enumerate(zip(batches, orders, strict=True)):
            w -= (1 - step / self.steps) * rates * ale_gradient(w, x[rows], of[rows], s, order)
        return [_bilinear(each.double()) for each in w]


METHODS: tuple[Method, ...] = (DirectAttributes(), NearestAttributes(), Eszsl(), Ale())


def eszsl(x: Tensor, of: Tensor, s: Tensor, penalties: Sequence[tuple[float, float]]) -> list[Tensor]:
    """Solve W = (X^T X + gamma I)^-1 X^T Y S (S^T S + lambda I)^-1, with Y = 1 for an item's class and -1 for others.

    Args:
        x: (N, R).
        of: (N,) int64, the class of each item.
        s: (Z, A).
        penalties: pairs of gamma and lambda, all of which share two factorisations.

    Returns:
        (R, A) float64 for each pair.

    """
    y = x.new_full((len(x), len(s)), -1.0)
    y[torch.arange(len(x), device=x.device), of] = 1
    s = s.double()
    of_x, axes = torch.linalg.eigh((x.T @ x).double())
    of_s, turn = torch.linalg.eigh(s.T @ s)
    target = axes.T @ (x.T @ y).double() @ s @ turn
    return [axes @ (target / (of_x + gamma)[:, None] / (of_s + penalty)) @ turn.T for gamma, penalty in penalties]


def ale_gradient(w: Tensor, x: Tensor, of: Tensor, s: Tensor, order: Tensor) -> Tensor:
    """Find the gradients (P, R, A) of the weighted ranking loss at P places, averaged over a batch.

    Wrong classes are looked at in a random order until one violates the margin of 1, at trial t; the hinge of that one
    counts beta_k = 1 + 1/2 + ... + 1/k times, k = floor((Z - 1) / t).

    Args:
        w: (P, R, A).
        x: (n, R).
        of: (n,) int64.
        s: (Z, A).
        order: (n, Z), random numbers by which the wrong classes are sorted.

    """
    scores = x @ w @ s.T
    own = scores.gather(2, of[:, None].expand(len(w), -1, 1))
    turn = order.scatter(1, of[:, None], 2.0).argsort(1)[:, :-1].expand(len(w), -1, -1)  # without its own class
    violates = scores.gather(2, turn) > own - 1
    trials = violates.int().argmax(2) + 1
    harmonic = (1 / torch.arange(1, len(s), device=x.device, dtype=x.dtype)).cumsum(0)
    weight = harmonic[(len(s) - 1) // trials - 1] * violates.any(2)
    violator = turn.gather(2, trials[..., None] - 1)[..., 0]
    return (x * weight[..., None]).mT @ (s[violator] - s[of]) / len(x)


def _bilinear(w: Tensor) -> Scorer:
    return lambda x, classes: x @ w.to(x) @ normalize(classes.vectors, dim=1).to(x).T


def _nearest(w: Tensor, middle: Tensor) -> Scorer:
    return lambda x, classes: -torch.cdist((x @ w.to(x)).double() + middle, classes.vectors).square()


def _of_attributes(weight: Tensor, prior: Tensor, learnable: Tensor) -> Scorer:
    def score(x: Tensor, classes: Known) -> Tensor:
        z = torch.cat([x, x.new_ones(len(x), 1)], 1).float()
        said = (z @ weight.flatten(0, 1).T).view(len(x), -1, 2).double().log_softmax(2)
        ratio = said - torch.stack([1 - prior, prior], 1).log()
        has = classes.present[:, learnable].double()
        return ratio[..., 1] @ has.T + ratio[..., 0] @ (1 - has).T

    return score
