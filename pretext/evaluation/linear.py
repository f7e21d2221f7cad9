"""The linear probe: how well can a linear classifier read the class off frozen features?

Multinomial logistic regression, scikit-learn's with C = 1 / (N l2) on standardised features. Features of a
convolutional network are strongly correlated (condition numbers of 1e6), which costs L-BFGS hundreds of iterations.
Turned to their principal axes, the curvature is nearly diagonal and known beforehand. The turn changes neither
objective nor solution; it costs about as much as 30 passes over the data and leaves 10 to 100 of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.evaluation.lbfgs import solve
from pretext.rng import rng

STRENGTHS = tuple(10.0**power for power in range(-6, 1))
VALIDATION_SHARE = 0.2
MOST_AXES = 4096  # beyond, the eigenvectors would cost more than the iterations that they save
# Tolerances, see `solve`: where only the best strength is wanted, accuracies are 0.2 % from their end at most; for the
# one that is reported, 0.1 %; for coefficients, 0.1 % of the largest.
ROUGH, FINE, EXACT = 1e-3, 1e-7, 1e-9


class Frame(NamedTuple):
    """Coordinates in which the problem is well conditioned: standardised features, seen along their principal axes."""

    centre: Tensor
    """(D,)"""
    scale: Tensor
    """(D,), one over the standard deviation; 0 for a constant feature, from which nothing can be learnt."""
    axes: Tensor | None
    """(D, R) with orthonormal columns that span all training items; None: the standardised features as they are."""

    def standardise(self, features: Tensor) -> Tensor:
        """Bring (N, D) to mean 0 and variance 1 (on the training items)."""
        return (features.float() - self.centre) * self.scale

    def __call__(self, features: Tensor) -> Tensor:
        """Turn (N, D) to (N, R + 1): coordinates along the axes, and a column of ones for the bias."""
        z = self.standardise(features)
        z = z if self.axes is None else z @ self.axes
        return torch.cat([z, z.new_ones(len(z), 1)], dim=1)


class Linear(NamedTuple):
    """Linear classifiers of standardised features, one for each of S strengths."""

    frame: Frame
    solution: Tensor
    """(S, K, R + 1) in the frame's coordinates, the last column being the bias."""

    @property
    def weight(self) -> Tensor:
        """(S, K, D), of the standardised features: scikit-learn's `coef_`."""
        turned = self.solution[..., :-1]
        return turned if self.frame.axes is None else turned @ self.frame.axes.T

    @property
    def bias(self) -> Tensor:
        """(S, K): scikit-learn's `intercept_`, but for a constant that no prediction depends on."""
        return self.solution[..., -1]

    def predict(self, features: Tensor) -> Tensor:
        """Return each strength's class for features (N, D), as positions 0..K-1, (S, N)."""
        scores = self.weight @ self.frame.standardise(features).T + self.bias[..., None]
        return scores.argmax(1)


class Probed(NamedTuple):
    """What a linear probe found."""

    predictions: Tensor
    """(M,), the labels that it gives the test items."""
    accuracy: float
    """Share of test items that it names right."""
    l2: float
    """The strength that was best on the validation share of the training items."""
    validation: float
    """Accuracy there."""


@torch.no_grad()
def probe(
    train: Tensor, labels: Tensor, test: Tensor, answers: Tensor, strengths: Sequence[float] = STRENGTHS
) -> Probed:
    """Fit a linear classifier on `train` (N, D) with `labels` (N,) and score it on `test` (M, D) with `answers` (M,).

    The strength is chosen on a stratified share of the training items, then all of them are fitted again; the test
    items are scored once. Works where the features are (CPU or accelerator), in float32.

    Raises:
        ValueError: an empty split, features that are NaN or infinite, other shapes than these, a single class, a test
            label that no training item has, a strength that is not positive, nothing left to validate on.

    """
    _check(train, labels, test, answers)
    classes, positions = torch.unique(labels, return_inverse=True)
    held = stratified(positions)
    turn = frame(train)
    z = turn(train)
    start = z.new_zeros(len(strengths), len(classes), z.shape[1])
    tried = solve(z[~held], positions[~held], _strengths(strengths), start, ROUGH)
    scores = ((tried @ z[held].T).argmax(1) == positions[held]).double().mean(1)
    best = max(range(len(strengths)), key=lambda i: (float(scores[i]), strengths[i]))  # of equals, the strongest
    refit = solve(z, positions, _strengths(strengths[best : best + 1]), tried[best : best + 1], FINE)
    predictions = classes[Linear(turn, refit).predict(test)[0]]
    accuracy = float((predictions == answers).double().mean())
    return Probed(predictions, accuracy, strengths[best], float(scores[best]))


@torch.no_grad()
def fit(features: Tensor, positions: Tensor, strengths: Sequence[float], tolerance: float = EXACT) -> Linear:
    """Fit one classifier for each strength to `features` (N, D) with classes `positions` (N,) in 0..K-1.

    Raises:
        ValueError: features that are NaN or infinite, or a strength that is not positive.

    """
    turn = frame(features)
    z = turn(features)
    start = z.new_zeros(len(strengths), int(positions.max()) + 1, z.shape[1])
    return Linear(turn, solve(z, positions, _strengths(strengths), start, tolerance))


def frame(train: Tensor) -> Frame:
    """Find the frame of training features (N, D); R = min(N, D), or D without a turn if both exceed `MOST_AXES`.

    Raises:
        ValueError: features that are NaN or infinite.

    """
    x = train.float()
    centre = x.mean(0)
    z = x - centre
    spread = z.square().mean(0).sqrt()
    if not (centre.isfinite().all() and spread.isfinite().all()):
        raise ValueError("linear: the training features hold NaN or infinity; look at the backbone's weights")
    scale = torch.where(spread > 1e-6 * centre.abs(), 1 / spread, 0.0)  # below, it is rounding in the mean
    return Frame(centre, scale, None if min(z.shape) > MOST_AXES else _principal(z * scale))


def _principal(z: Tensor) -> Tensor:
    """Return the principal axes of standardised (N, D), (D, min(N, D)) with orthonormal columns."""
    span = None
    if len(z) < z.shape[1]:  # the items span N axes at most, and the penalty keeps the weights among them
        span, r = torch.linalg.qr(z.T)
        z = r.T
    axes: Tensor = torch.linalg.eigh(z.T @ z / len(z))[1]
    return axes if span is None else span @ axes


def stratified(labels: Tensor, share: float = VALIDATION_SHARE) -> Tensor:
    """Mark `share` of each class for validation, at least one item of each class that has two: a mask (N,).

    Always the same items for the same labels. A class with a single item keeps it for training.

    Raises:
        ValueError: no class has two items.

    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels).tolist():
        items = (labels == label).nonzero()[:, 0].cpu()
        count = min(max(1, round(share * len(items))), len(items) - 1)
        held[items[torch.randperm(len(items), generator=rng("cpu", "probe", "split", label))[:count]]] = True
    if not held.any():
        raise ValueError(
            f"no class has two training items ({len(labels)} in all), so nothing can be held out to choose "
            "hyper-parameters on; pass more labelled images"
        )
    return held.to(labels.device)


def _strengths(strengths: Sequence[float]) -> Tensor:
    if not strengths or min(strengths) <= 0:
        raise ValueError(f"linear got strengths {tuple(strengths)}; it wants one or more positive numbers")
    return torch.tensor(strengths, dtype=torch.float64)


def _check(train: Tensor, labels: Tensor, test: Tensor, answers: Tensor) -> None:
    if len(train) == 0 or len(test) == 0:
        raise ValueError(f"probe got {len(train)} training and {len(test)} test items; it wants at least one of each")
    shapes = [tuple(tensor.shape) for tensor in (train, labels, test, answers)]
    if shapes != [(len(train), train.shape[1]), (len(train),), (len(test), train.shape[1]), (len(test),)]:
        raise ValueError(
            f"probe got train, labels, test, answers of shapes {shapes}; it wants (N, D), (N,), (M, D), (M,)"
        )
    if len(torch.unique(labels)) < 2:
        raise ValueError(
            f"probe got one class only, {labels[0].item()}; it wants training items of two classes or more"
        )
    strange = torch.unique(answers[~torch.isin(answers, labels)]).tolist()
    if strange:
        raise ValueError(
            f"probe got test labels {strange} that no training item has; give both splits the same classes"
        )
    if not test.isfinite().all():
        raise ValueError("probe: the test features hold NaN or infinity; look at the backbone's weights")
