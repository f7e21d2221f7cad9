"""The linear SVM: the protocol of self-supervised learning on Pascal VOC 2007.

Goyal et al. (Scaling and Benchmarking Self-Supervised Visual Representation Learning, ICCV 2019,
https://arxiv.org/abs/1905.01235): features of length 1, for each class a linear SVM (LIBLINEAR's dual solver, squared
hinge loss, L2 penalty, present items weighed twice), its cost C chosen by cross-validation on average precision.

Unlike the public code, items that are not to be judged (-1) are left out in training too, where that makes negatives of
them; and fits that stop early are counted. For few labels see `pretext.evaluation.low_shot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any, NamedTuple

from torch import Generator, Tensor

from pretext.evaluation.low_shot import low_shot as low_shot  # where it was in release 0.1
from pretext.evaluation.multilabel import labels_by_class
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.solvers.linear_svm import (
    COSTS,
    FOLDS,
    check_choice,
    choose_costs,
    decision_values,
    fit_classes,
    in_feature_space,
    in_span,
    unit_length,
)
from pretext.evaluation.solvers.linear_svm import FAIR_COSTS as FAIR_COSTS  # where it was in release 0.1
from pretext.evaluation.statistics.average_precision import average_precision, mean_average_precision
from pretext.evaluation.statistics.intervals import wilson


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
    y, wanted = labels_by_class("svm", train, labels, test, answers, 2)
    check_choice("svm", costs, folds)
    single = labels.ndim == 1
    x, axes = in_span(unit_length(train))
    choice = choose_costs(x, y, costs, folds, shared=single)
    fitted = fit_classes(x, y, choice.costs)
    decisions = decision_values([in_feature_space(plane, axes) for plane in fitted], test)
    unfinished = sum(not plane.converged for plane in fitted)
    effort = (choice.fits + len(fitted), choice.unconverged + unfinished, unfinished)
    chosen = (choice.costs, choice.validation)
    if single:
        right = int((decisions.argmax(1) == wanted.argmax(1)).sum())
        each = [_precision(decisions[:, k], wanted[:, k]) for k in range(len(fitted))]
        return Svm(decisions, None, right / len(decisions), *wilson(right, len(decisions)), each, *chosen, *effort)
    mean_precision = mean_average_precision(decisions, wanted)
    interval = (mean_precision.low, mean_precision.high)
    return Svm(decisions, mean_precision.value, None, *interval, mean_precision.each, *chosen, *effort)


def _precision(decisions: Tensor, wanted: Tensor) -> float:
    return average_precision(decisions, wanted) if (wanted == 1).any() else nan


class LinearSvm(Protocol):
    """A linear SVM for each class on a stage's grid, measured by accuracy or, of several labels, average precision."""

    description = Description(
        name="svm",
        title="Linear SVM",
        short="SVM",
        about="linear SVM per class on features of unit length, C by 3-fold cross-validation on train; of items with "
        "one label, one C for all classes; with several, what is not to be judged is left out",
        metrics=(
            Metric("map", "mean average precision", "mAP", "%", interval="bootstrap over items"),
            Metric("accuracy", "accuracy", unit="%", interval="Wilson"),
        ),
        preference=2,
    )

    def suits(self, sets: Sets) -> bool:
        return sets.labelled and not sets.numbers

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        train, test = sets.train, sets.test
        fitted = svm(train.grid[stage], train.labels, test.grid[stage], test.labels)
        figures = {key: _plain(value) for key, value in fitted._asdict().items()}
        return Score({key: value for key, value in figures.items() if value is not None})


def _plain(value: Any) -> Any:
    """Turn what is not a number into none, as JSON has it, and leave out tensors."""
    if isinstance(value, list):
        return [None if each != each else each for each in value]
    return None if isinstance(value, Tensor) else value
