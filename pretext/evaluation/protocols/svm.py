"""The linear SVM: the protocol of self-supervised learning on Pascal VOC 2007, on many labels or few.

Goyal et al. (Scaling and Benchmarking Self-Supervised Visual Representation Learning, ICCV 2019,
https://arxiv.org/abs/1905.01235): features of length 1, for each class a linear SVM (LIBLINEAR's dual solver, squared
hinge loss, L2 penalty, present items weighed twice), its cost C chosen by cross-validation on average precision.

Unlike the public code, items that are not to be judged (-1) are left out in training too, where that makes negatives of
them; with few labels the cost is not chosen on test items; and fits that stop early are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from statistics import mean, stdev
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.evaluation.multilabel import presence
from pretext.evaluation.solvers.linear_svm import Array, Choice, choose, planes, scores, span, turned_back, unit
from pretext.evaluation.statistics.average_precision import average_precision, mean_average_precision
from pretext.evaluation.statistics.intervals import student, wilson

COSTS = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
"""VISSL's list."""
FAIR_COSTS = tuple(sorted([10.0**power for power in range(-7, 3)] + [0.5**power for power in range(4, 20)]))
"""The list of fair_self_supervision_benchmark, VISSL's predecessor: 26 costs."""
FOLDS = 3
KS = (1, 2, 4, 8, 16, 32, 64, 96)
NEGATIVES = 19
"""Absent items for each present one where labels are few."""
SINGLE_COST = 1.0
"""C where a class has one present item, on which nothing can be validated."""


class Svm(NamedTuple):
    """What linear SVMs found, one for each of K classes."""

    scores: Tensor
    """(M, K) float64: on which side of each class's plane the test items are, and how far; positive: present."""
    map: float | None
    """Mean average precision on the test items, where an item may have several labels."""
    accuracy: float | None
    """Share of test items whose largest score is their class's, where an item has one label."""
    low: float
    """Of the 95 % interval of whichever it is, as `high`: the bootstrap's over items or Wilson's."""
    high: float
    each: list[float]
    """Average precision of each class on the test items; NaN where they have none of it."""
    costs: list[float]
    """C of each class, as chosen."""
    validation: float
    """Mean over classes of the average precision in cross-validation, at these costs."""
    fits: int
    """How many SVMs were fitted, those of cross-validation included."""
    unconverged: int
    """How many of them stopped after 2,000 passes, short of the tolerance."""
    unfinished: int
    """How many of these are among the K that are reported."""


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
    """As in `Svm`."""
    unconverged: int
    """As in `Svm`."""


def svm(
    train: Tensor, labels: Tensor, test: Tensor, answers: Tensor, costs: Sequence[float] = COSTS, folds: int = FOLDS
) -> Svm:
    """Fit a linear SVM for each class on `train` (N, D) and score it on `test` (M, D), once.

    `labels` and `answers` are either (N, K) and (M, K) of 1 present, 0 absent, -1 not to be judged (for that class such
    an item does not exist, neither in training nor in the test), measured by mean average precision; or (N,) and (M,)
    of one class each, measured by the accuracy of the largest score. There one cost serves all classes, the best on
    average, because scores of different costs are on different scales: with costs chosen class by class, accuracy was
    1.3 points lower on 300 of scikit-learn's digits, 1.8 on 600 photos of CIFAR-10. Of equals the smallest is taken.

    Costs K (costs x folds + 1) fits on one core, whose passes grow with C. On 10,000 x 2,048 features of an untrained
    ResNet-18 one fit takes 0.4 s at C = 0.01, 2 s at 1, 15 s at 10 and, from 20 on, the 33 s or more of all 2,000
    passes; added up, 8 minutes a class with `COSTS`, one with those up to 10.
    Memory: a float64 copy of `train`, another of two thirds of it, and LIBLINEAR's of 16 bytes a value that is not 0.

    Raises:
        ValueError: an empty split, features that are not finite, other shapes or labels than these, a class with less
            than two present or two absent training items or, with several labels, no present test item; a test label
            that no training item has; a cost that is not positive; less than two folds.

    """
    y, wanted = presence("svm", train, labels, test, answers, 2)
    _check_choice("svm", costs, folds)
    single = labels.ndim == 1
    x, axes = span(unit(train))
    choice = choose(x, y, costs, folds, shared=single)
    fitted = planes(x, y, choice.costs)
    found = scores([turned_back(plane, axes) for plane in fitted], test)
    unfinished = sum(not plane.converged for plane in fitted)
    effort = (choice.fits + len(fitted), choice.unconverged + unfinished, unfinished)
    chosen = (choice.costs, choice.validation)
    if single:
        right = int((found.argmax(1) == wanted.argmax(1)).sum())
        each = [_precision(found[:, k], wanted[:, k]) for k in range(len(fitted))]
        return Svm(found, None, right / len(found), *wilson(right, len(found)), each, *chosen, *effort)
    mean_precision = mean_average_precision(found, wanted)
    interval = (mean_precision.low, mean_precision.high)
    return Svm(found, mean_precision.value, None, *interval, mean_precision.each, *chosen, *effort)


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

    Arguments and measures as in `svm`. Each draw has items of its own, chosen by its number alone; those of a smaller k
    are among those of a larger one. Where a class has fewer than 19 k absent items, all of them; a `k` that some class
    has not got is left out. The cost is chosen within the draw, by at most k folds, one for all classes: chosen class
    by class, few items mislead it (at k = 2 on scikit-learn's digits, mean average precision was 8 points lower). For
    k = 1 it is `SINGLE_COST`. The public code reports the cost that is best on the test items.

    Raises:
        ValueError: as in `svm`; a `k` below 1; less than two draws.

    """
    y, wanted = presence("low_shot", train, labels, test, answers, 1)
    _check_choice("low_shot", costs, folds)
    if draws < 2 or not ks or min(ks) < 1:
        raise ValueError(
            f"low_shot got draws={draws}, ks={tuple(ks)}; it wants at least 2 draws, and each k at least 1"
        )
    x, enough = unit(train), [k for k in ks if k <= int((y == 1).sum(0).min())]
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
        choice = choose(x, few, costs, folds, shared=True) if k > 1 else Choice([SINGLE_COST] * y.shape[1], nan, 0, 0)
        fitted = planes(x, few, choice.costs)
        each.append(_value(scores(fitted, test), wanted, single))
        fits += choice.fits + len(fitted)
        unconverged += choice.unconverged + sum(not plane.converged for plane in fitted)
    return Shots(k, mean(each), stdev(each), *student(each), each, fits, unconverged)


def _draw(y: Tensor, k: int, draw: int) -> Tensor:
    """Leave of `y` (N, K) in each class k present and 19 k absent items, the others not to be judged."""
    few = torch.full_like(y, -1)
    for c in range(y.shape[1]):
        chance = rng("cpu", "svm", "shots", draw, c)
        for label, count in ((1, k), (0, NEGATIVES * k)):
            items = (y[:, c] == label).nonzero()[:, 0]
            few[items[torch.randperm(len(items), generator=chance)[:count]], c] = label
    return few


def _value(found: Tensor, wanted: Tensor, single: bool) -> float:
    """Return the accuracy or the mean average precision of scores (M, K)."""
    if single:
        return float((found.argmax(1) == wanted.argmax(1)).double().mean())
    return mean(average_precision(found[:, k], wanted[:, k]) for k in range(found.shape[1]))


def _precision(found: Tensor, wanted: Tensor) -> float:
    return average_precision(found, wanted) if (wanted == 1).any() else nan


def _check_choice(asker: str, costs: Sequence[float], folds: int) -> None:
    if not costs or min(costs) <= 0 or folds < 2:
        raise ValueError(
            f"{asker} got costs={tuple(costs)}, folds={folds}; it wants one or more positive costs and at least 2 folds"
        )
