"""Linear SVMs on few labels, drawn as on Pascal VOC 2007 by Goyal et al.

Scaling and Benchmarking Self-Supervised Visual Representation Learning, ICCV 2019, https://arxiv.org/abs/1905.01235.
Unlike the public code, the cost is not chosen on test items.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from statistics import mean, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.evaluation.multilabel import labels_by_class
from pretext.evaluation.solvers.linear_svm import (
    COSTS,
    FOLDS,
    Array,
    ChosenCosts,
    check_choice,
    choose_costs,
    decision_values,
    fit_classes,
    unit_length,
)
from pretext.evaluation.statistics.average_precision import average_precision
from pretext.evaluation.statistics.intervals import student

KS = (1, 2, 4, 8, 16, 32, 64, 96)
NEGATIVES = 19
"""Absent items for each present one where labels are few."""
SINGLE_COST = 1.0
"""C where a class has one present item, on which nothing can be validated."""


class Shots(NamedTuple):
    """What linear SVMs found with few labels."""

    k: int
    """Present items of each class."""
    value: float
    """Mean over draws of the mean average precision or, where an item has one label, of the accuracy."""
    std: float
    """Standard deviation over draws (divided by their number - 1)."""
    low: float
    """Of the 95 % interval of the mean over draws, Student's t, as `high`; the test items are taken as given."""
    high: float
    each: list[float]
    """The value of each draw."""
    fits: int
    """As in `protocols.svm.Svm`."""
    unconverged: int
    """As in `protocols.svm.Svm`."""


def low_shot(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    answers: Tensor,
    ks: Sequence[int] = KS,
    draws: int = 5,
    costs: Sequence[float] = COSTS,
    folds: int = FOLDS,
) -> list[Shots]:
    """Fit linear SVMs on few labels: for each class `k` present items of `train` (N, D) and 19 k absent ones.

    Arguments and measures as in `protocols.svm.svm`. Each draw has items of its own, chosen by its number alone; those
    of a smaller k are among those of a larger one. Where a class has fewer than 19 k absent items, all of them; a `k`
    that some class has not got is left out. The cost is chosen within the draw, by at most k folds, one for all
    classes: chosen class by class, few items mislead it (at k = 2 on scikit-learn's digits, mean average precision was
    8 points lower). For k = 1 it is `SINGLE_COST`. The public code reports the cost that is best on the test items.

    Raises:
        ValueError: as in `protocols.svm.svm`; a `k` below 1; less than two draws.

    """
    y, wanted = labels_by_class("low_shot", train, labels, test, answers, 1)
    check_choice("low_shot", costs, folds)
    if draws < 2 or not ks or min(ks) < 1:
        raise ValueError(
            f"low_shot got draws={draws}, ks={tuple(ks)}; it wants at least 2 draws, and each k at least 1"
        )
    x, enough = unit_length(train), [k for k in ks if k <= int((y == 1).sum(0).min())]
    return [_shots(k, x, y, test, wanted, labels.ndim == 1, draws, costs, folds) for k in enough]


def _shots(
    k: int,
    x: Array,
    y: Tensor,
    test: Tensor,
    wanted: Tensor,
    single: bool,
    draws: int,
    costs: Sequence[float],
    folds: int,
) -> Shots:
    each, fits, unconverged = [], 0, 0
    for draw in range(draws):
        few = _draw(y, k, draw)
        choice = (
            choose_costs(x, few, costs, folds, shared=True)
            if k > 1
            else ChosenCosts([SINGLE_COST] * y.shape[1], nan, 0, 0)
        )
        fitted = fit_classes(x, few, choice.costs)
        each.append(_value(decision_values(fitted, test), wanted, single))
        fits += choice.fits + len(fitted)
        unconverged += choice.unconverged + sum(not plane.converged for plane in fitted)
    return Shots(k, mean(each), stdev(each), *student(each), each, fits, unconverged)


def _draw(y: Tensor, k: int, draw: int) -> Tensor:
    """Leave of `y` (N, K) in each class k present and 19 k absent items, the others not to be judged."""
    few = torch.full_like(y, -1)
    for c in range(y.shape[1]):
        generator = rng("cpu", "svm", "shots", draw, c)
        for label, count in ((1, k), (0, NEGATIVES * k)):
            items = (y[:, c] == label).nonzero()[:, 0]
            few[items[torch.randperm(len(items), generator=generator)[:count]], c] = label
    return few


def _value(decisions: Tensor, wanted: Tensor, single: bool) -> float:
    """Return the accuracy or the mean average precision of scores (M, K)."""
    if single:
        return float((decisions.argmax(1) == wanted.argmax(1)).double().mean())
    return mean(average_precision(decisions[:, k], wanted[:, k]) for k in range(decisions.shape[1]))
