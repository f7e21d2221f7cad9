"""Planes that separate: linear SVMs with a cost chosen by cross-validation, what `svm` and `low_shot` are made of."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC
from torch import Tensor

from pretext.core.rng import seed_of
from pretext.evaluation.statistics.average_precision import average_precision

COSTS = (0.01, 0.1, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 50.0, 100.0, 1000.0)
"""VISSL's list."""
FAIR_COSTS = tuple(sorted([10.0**power for power in range(-7, 3)] + [0.5**power for power in range(4, 20)]))
"""The list of fair_self_supervision_benchmark, VISSL's predecessor: 26 costs."""
FOLDS = 3
MAX_ITER = 2000
TOLERANCE = 1e-4
PRESENT_WEIGHT = 2.0
_NORM = 1e-5  # is added to the length of features, so that nothing stays nothing
_WORTH = 0.75  # of the work must remain at most, for a turn to be worth its time
_ROWS = 1024  # of test items that are brought to length 1 at a time

Array = NDArray[np.float64]


class JudgedItems(NamedTuple):
    """A class that is to be separated from the others; n items that are judged, in R coordinates."""

    rows: Array
    """(n, R)"""
    signs: Array
    """(n,), 1 present, -1 absent."""
    axes: Array | None
    """(D, R) with orthonormal columns that span the items; None: R is D and nothing was turned."""


class Hyperplane(NamedTuple):
    """A fitted SVM."""

    weight: Array
    """(R,) or, once turned back, (D,)"""
    bias: float
    converged: bool
    """False: it stopped at `MAX_ITER` passes over its items, short of `TOLERANCE`."""


class ChosenCosts(NamedTuple):
    """What cross-validation chose, and at what effort."""

    costs: list[float]
    """C of each class."""
    validation: float
    """Mean over classes of the average precision on the items held out, at these costs."""
    fits: int
    unconverged: int


def unit_length(features: Tensor) -> Array:
    """Divide features (N, D) by their length + 1e-5; float64."""
    x: Array = features.cpu().to(torch.float64, copy=True).numpy()
    x /= np.linalg.norm(x, axis=1, keepdims=True) + _NORM
    return x


def in_span(x: Array) -> tuple[Array, Array | None]:
    """Turn few items (n, D) of many features to the (n, n) coordinates of their span, and return its axes (D, n).

    The solver sees products of items alone, so that solution and passes stay the same while each pass is cheaper. Left
    as it is where that saves little; LIBLINEAR leaves out zeros, so features with many of them count as fewer.
    """
    if len(x) == 0 or len(x) > _WORTH * np.count_nonzero(x) / len(x):
        return x, None
    axes, right = np.linalg.qr(x.T)
    return np.ascontiguousarray(right.T), axes


def judged_items(x: Array, labels: Tensor) -> JudgedItems:
    """Keep of `x` (N, D) the items that are judged by `labels` (N,): 1 present, 0 absent, -1 neither."""
    judged = labels.numpy() >= 0
    rows, axes = in_span(x if judged.all() else x[judged])
    return JudgedItems(rows, np.where(labels.numpy()[judged] == 1, 1.0, -1.0), axes)


def fit(rows: Array, signs: Array, cost: float) -> Hyperplane:
    """Fit one SVM by LIBLINEAR's dual coordinate descent, whose order of items is always the same."""
    machine = LinearSVC(
        penalty="l2",
        loss="squared_hinge",
        dual=True,
        C=cost,
        tol=TOLERANCE,
        max_iter=MAX_ITER,
        class_weight={1: PRESENT_WEIGHT, -1: 1.0},
        random_state=seed_of("svm", "order") % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # counted instead: hundreds of fits would say it each
        machine.fit(rows, signs)
    return Hyperplane(machine.coef_[0], float(machine.intercept_[0]), int(machine.n_iter_) < MAX_ITER)


def in_feature_space(plane: Hyperplane, axes: Array | None) -> Hyperplane:
    """Express a plane of a span's coordinates in those of the features."""
    return plane if axes is None else plane._replace(weight=axes @ plane.weight)


def decision_values(fitted: Sequence[Hyperplane], test: Tensor) -> Tensor:
    """Compute each plane's signed distance, up to the length of its weight, of test features (M, D): (M, K) float64."""
    weight, bias = np.stack([plane.weight for plane in fitted], 1), np.array([plane.bias for plane in fitted])
    return torch.from_numpy(np.concatenate([unit_length(part) @ weight + bias for part in torch.split(test, _ROWS)]))


def fit_classes(x: Array, y: Tensor, costs: Sequence[float]) -> list[Hyperplane]:
    """Fit each class of `y` (N, K) to items (N, D), at its own cost."""
    fitted = []
    for k, cost in enumerate(costs):
        rows, signs, axes = judged_items(x, y[:, k])
        fitted.append(in_feature_space(fit(rows, signs, cost), axes))
    return fitted


def choose_costs(x: Array, y: Tensor, costs: Sequence[float], folds: int, shared: bool) -> ChosenCosts:
    """Choose each class's cost by average precision in stratified cross-validation; `shared`: one for all, by the mean.

    Of equally good costs the smallest. A class with fewer than `folds` present items gets as many folds as it has.
    """
    ascending, fits, unconverged = sorted(costs), 0, 0
    precision = np.zeros((y.shape[1], len(costs)))
    for k in range(y.shape[1]):
        rows, signs, _ = judged_items(x, y[:, k])  # one class at a time: each may be a copy of nearly all items
        for kept, held in _folds_of(signs, folds, k):
            kept_rows, held_rows, present = rows[kept], rows[held], torch.from_numpy(signs[held] > 0).to(torch.int8)
            for c, cost in enumerate(ascending):
                plane = fit(kept_rows, signs[kept], cost)
                precision[k, c] += average_precision(torch.from_numpy(held_rows @ plane.weight + plane.bias), present)
                fits, unconverged = fits + 1, unconverged + (not plane.converged)
        precision[k] /= _fold_count(signs, folds)
    best = np.repeat(precision.mean(0).argmax(), len(precision)) if shared else precision.argmax(1)
    validation = float(precision[np.arange(len(precision)), best].mean())
    return ChosenCosts([ascending[c] for c in best], validation, fits, unconverged)


def _fold_count(signs: Array, folds: int) -> int:
    return min(folds, int((signs > 0).sum()), int((signs < 0).sum()))


def _folds_of(signs: Array, folds: int, k: int) -> Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Divide the items of class `k` into those to fit on and those held out, as often as there are folds."""
    seed = seed_of("svm", "folds", k) % 2**32
    divided: Iterable[tuple[NDArray[np.intp], NDArray[np.intp]]] = StratifiedKFold(
        _fold_count(signs, folds), shuffle=True, random_state=seed
    ).split(signs, signs)
    return divided


def check_choice(asker: str, costs: Sequence[float], folds: int) -> None:
    """Refuse costs and folds that nothing can be chosen with, in the name of `asker`.

    Raises:
        ValueError: a cost that is not positive, none at all, less than two folds.

    """
    if not costs or min(costs) <= 0 or folds < 2:
        raise ValueError(
            f"{asker} got costs={tuple(costs)}, folds={folds}; it wants one or more positive costs and at least 2 folds"
        )
