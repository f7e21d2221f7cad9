"""The linear probe: how well can a linear classifier read the class off frozen features?

Multinomial logistic regression, scikit-learn's with C = 1 / (N l2) on standardised features. Strengths are tried from
strong to weak, each starting from the one before, until the held-out items are named worse: weak penalties are those
that cost hundreds of iterations, and hardly ever the ones that are wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.evaluation.folds import VALIDATION_SHARE as VALIDATION_SHARE  # named in reports
from pretext.evaluation.folds import stratified as stratified
from pretext.evaluation.folds import stratified_folds
from pretext.evaluation.solvers.lbfgs import solve
from pretext.evaluation.solvers.logistic_problem import Design, SharedDesign
from pretext.evaluation.solvers.standardize import ROWS, Standardizer, standardizer_of

STRENGTHS = tuple(10.0**power for power in range(-6, 1))
# Tolerances, see `solve`: where only the best strength is wanted, accuracies are 0.2 % from their end at most; for the
# one that is reported, 0.1 %; for coefficients, 0.1 % of the largest.
ROUGH, FINE, EXACT = 3e-4, 1e-7, 1e-9


class Linear(NamedTuple):
    """Linear classifiers of standardised features, one for each of S strengths."""

    standardizer: Standardizer
    solution: Tensor
    """(S, K, R + 1) in the standardizer's coordinates, the last column being the bias."""

    @property
    def weight(self) -> Tensor:
        """(S, K, D), of the standardised features: scikit-learn's `coef_`."""
        return self.standardizer.to_features(self.solution[..., :-1])

    @property
    def bias(self) -> Tensor:
        """(S, K): scikit-learn's `intercept_`, but for a constant that no prediction depends on."""
        return self.solution[..., -1]

    def predict(self, features: Tensor) -> Tensor:
        """Return each strength's class for features (N, D), as positions 0..K-1, (S, N)."""
        weight, bias = self.weight, self.bias[..., None]
        blocks = torch.split(features, ROWS)
        return torch.cat([(weight @ self.standardizer.standardise(rows).T + bias).argmax(1) for rows in blocks], dim=1)


class ChosenStrength(NamedTuple):
    """The strength that names held-out items best."""

    l2: float
    validation: float
    """Share of the held-out items that it names right."""
    start: Tensor
    """(1, K, R), a solution on what was not held out."""


class Probed(NamedTuple):
    """What a linear probe found."""

    predictions: Tensor
    """(M,), the labels that it gives the test items."""
    accuracy: float
    """Share of test items that it names right."""
    l2: float
    """The strength that was best on held-out training items."""
    validation: float
    """Accuracy there."""


@torch.no_grad()
def probe(
    train: Tensor,
    labels: Tensor,
    test: Tensor,
    answers: Tensor,
    strengths: Sequence[float] = STRENGTHS,
    folds: int | None = None,
    held: Tensor | None = None,
) -> Probed:
    """Fit a linear classifier on `train` (N, D) with `labels` (N,) and score it on `test` (M, D) with `answers` (M,).

    The strength is chosen on a stratified share of the training items, or by cross-validation over `folds` stratified
    parts of them, or on those that `held` (N,) marks; then all are fitted again, and the test items are scored once.
    Works where the labels are (CPU or accelerator), in float32. Features may lie elsewhere, memory-mapped too: where
    they do not fit in float32 (more than 2 GiB; of an accelerator a quarter of what is free), each pass brings them in
    blocks.

    Raises:
        ValueError: an empty split, features that are NaN or infinite, other shapes than these, a single class, a test
            label that no training item has, a strength that is not positive, fewer than two folds, nothing left to
            validate on.

    """
    check(train, labels, test, answers)
    positive(strengths)
    classes, positions = torch.unique(labels, return_inverse=True)
    share = stratified(positions) if held is None else held
    if not held_fairly(share, positions):
        got = f"held={int(share.sum())} of {len(share)} items"
        raise ValueError(f"probe got {got}; it wants some, and at least one of each class that is not held")
    parts = share[None] if folds is None else stratified_folds(positions, folds)
    standardizer = standardizer_of(train, device=labels.device)
    design = SharedDesign(train, standardizer)
    choice = choose_strength(design, positions, len(classes), strengths, parts)
    refit = solve(design, positions, positive([choice.l2]), choice.start, FINE)
    predictions = classes[Linear(standardizer, refit).predict(test)[0]]
    accuracy = float((predictions == answers).double().mean())
    return Probed(predictions, accuracy, choice.l2, choice.validation)


@torch.no_grad()
def fit(features: Tensor, positions: Tensor, strengths: Sequence[float], tolerance: float = EXACT) -> Linear:
    """Fit one classifier for each strength to `features` (N, D) with classes `positions` (N,) in 0..K-1.

    Raises:
        ValueError: features that are NaN or infinite, or a strength that is not positive.

    """
    numbers, standardizer = positive(strengths), standardizer_of(features)
    design = SharedDesign(features, standardizer)
    start = standardizer.centre.new_zeros(len(strengths), int(positions.max()) + 1, design.width)
    return Linear(standardizer, solve(design, positions, numbers, start, tolerance))


def choose_strength(
    design: Design, positions: Tensor, classes: int, strengths: Sequence[float], held: Tensor
) -> ChosenStrength:
    """Find the strength that names most of the held-out items, `held` (F, N) marking those of each of F folds.

    From strong to weak, all folds at once, until one names fewer than the best by more than luck explains (a standard
    error of their difference, McNemar's: the root of the number of items that just one of them names right); of equals,
    the strongest.
    """
    start = torch.zeros(len(held), classes, design.width, device=held.device)
    best, most, total = ChosenStrength(max(strengths), -1.0, start[:1]), torch.zeros_like(held), int(held.sum())
    for strength in sorted(strengths, reverse=True):
        solved = solve(design, positions, positive([strength] * len(held)), start, ROUGH, ~held)
        right, start = (design.classes(solved) == positions) & held, solved
        if int(most.sum()) - int(right.sum()) > sqrt(int((most != right).sum())):
            break
        if (score := int(right.sum()) / total) > best.validation:
            best, most = ChosenStrength(strength, score, start[:1]), right
    return best


def held_fairly(held: Tensor, positions: Tensor) -> bool:
    """Tell whether something is held out and every class of `positions` (N,) keeps an item."""
    return bool(held.any()) and len(torch.unique(positions[~held])) == len(torch.unique(positions))


def positive(strengths: Sequence[float]) -> Tensor:
    """Return strengths as a tensor, (S,).

    Raises:
        ValueError: there is none, or one that is not positive.

    """
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"linear got strengths {tuple(strengths)}; it wants one or more positive numbers")
    return torch.tensor(strengths, dtype=torch.float64)


def check(train: Tensor, labels: Tensor, test: Tensor, answers: Tensor) -> None:
    """Refuse what `probe` cannot work with.

    Raises:
        ValueError: as there.

    """
    if len(train) == 0 or len(test) == 0:
        raise ValueError(f"probe got {len(train)} training and {len(test)} test items; it wants at least one of each")
    shapes = [tuple(tensor.shape) for tensor in (train, labels, test, answers)]
    if shapes != [(len(train), train.shape[1]), (len(train),), (len(test), train.shape[1]), (len(test),)]:
        raise ValueError(
            f"probe got train, labels, test, answers of shapes {shapes}; it wants (N, D), (N,), (M, D), (M,)"
        )
    odd = [value for part in (labels, answers) if part.is_floating_point() for value in part[part != part.round()][:1]]
    if odd:
        raise ValueError(
            f"probe got labels that are no classes, such as {float(odd[0]):.3g}; it wants whole numbers, int64 (N,), "
            "or, for the protocol regression, numbers (N, V), such as y[:, None]"
        )
    if len(torch.unique(labels)) < 2:
        raise ValueError(
            f"probe got one class only, {labels[0].item()}; it wants training items of two classes or more"
        )
    strange = torch.unique(answers[~torch.isin(answers, labels)]).tolist()
    if strange:
        told = f"{strange[:5]}" if len(strange) <= 5 else f"{strange[:5]} and {len(strange) - 5} more"
        raise ValueError(f"probe got test labels {told} that no training item has; give both splits the same classes")
    if not all(rows.isfinite().all() for rows in torch.split(test, ROWS)):
        raise ValueError("probe: the test features hold NaN or infinity; look at the backbone's weights")
