"""Standardised features: the coordinates in which a linear classifier is fitted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ROWS = 2048  # of features that are made float32 at a time
MOST_AXES = 1024  # beyond, all eigenvectors would cost more than the iterations that they save


class Standardizer(NamedTuple):
    """Standardised features, turned to their principal axes where these are few."""

    centre: Tensor
    """(D,)"""
    scale: Tensor
    """(D,), one over the standard deviation; 0 for a constant feature, from which nothing can be learnt."""
    axes: Tensor | None
    """(D, R) with orthonormal columns that span all training items; None: the standardised features as they are."""

    @property
    def width(self) -> int:
        """R, or D without a turn: the coordinates, not counting the column of ones."""
        return len(self.centre) if self.axes is None else self.axes.shape[1]

    def standardise(self, features: Tensor) -> Tensor:
        """Bring (N, D) to mean 0 and variance 1 (on the training items), and to the standardizer's device."""
        return features.to(self.centre.device).float().sub(self.centre).mul_(self.scale)

    def __call__(self, features: Tensor) -> Tensor:
        """Turn (N, D) to (N, R + 1): coordinates along the axes, and a column of ones for the bias."""
        z = self.standardise(features)
        z = z if self.axes is None else z @ self.axes
        return torch.cat([z, z.new_ones(len(z), 1)], dim=1)

    def to_features(self, weight: Tensor) -> Tensor:
        """Bring weights (..., R) to those of the standardised features, (..., D)."""
        return weight if self.axes is None else weight @ self.axes.T


def standardizer_of(train: Tensor, most: int = MOST_AXES, device: torch.device | None = None) -> Standardizer:
    """Find the standardizer of training features (N, D); R = min(N, D), or D without a turn if both exceed `most`.

    It computes on `device`, that of the features unless given, and reads them once, or twice for a turn.

    Raises:
        ValueError: features that are NaN or infinite.

    """
    device = train.device if device is None else device
    some = train[:: -(-len(train) // ROWS)].to(device).float().mean(0)  # near the mean: little cancels
    total, squares = (torch.zeros(train.shape[1], dtype=torch.float64, device=device) for _ in range(2))
    for rows in torch.split(train, ROWS):
        off = rows.to(device).float() - some
        total += off.sum(0)
        squares += off.square_().sum(0)
    drift = total / len(train)
    centre = (some + drift).float()
    spread = (squares / len(train) - drift.square()).clamp_min(0).sqrt().float()
    if not (centre.isfinite().all() and spread.isfinite().all()):
        raise ValueError("linear: the training features hold NaN or infinity; look at the backbone's weights")
    scale = torch.where(spread > 1e-6 * centre.abs(), 1 / spread, 0.0)  # below, it is rounding in the mean
    standardizer = Standardizer(centre, scale, None)
    return standardizer._replace(axes=principal_axes(train, standardizer) if min(train.shape) <= most else None)


def principal_axes(train: Tensor, standardizer: Standardizer) -> Tensor:
    """Return all principal axes of standardised (N, D), (D, min(N, D)) with orthonormal columns."""
    if len(train) < train.shape[1]:  # the items span N axes at most, and the penalty keeps the weights among them
        span, r = torch.linalg.qr(standardizer.standardise(train).T)
        spanning: Tensor = span @ eigenvectors(r @ r.T / len(train))
        return spanning
    gram = standardizer.centre.new_zeros(train.shape[1], train.shape[1])
    for rows in torch.split(train, ROWS):
        z = standardizer.standardise(rows)
        gram.addmm_(z.T, z)
    return eigenvectors(gram / len(train))


def eigenvectors(gram: Tensor) -> Tensor:
    """Return the eigenvectors of a covariance (R, R), also of one of low rank.

    LAPACK's division in float32 does not converge on many matrices of a few distinct rows, whose other eigenvalues are
    rounding. A diagonal of that size turns no axis and makes all of them one value, and float64 leaves room below it.
    """
    exact = gram.double()
    ridge = torch.finfo(gram.dtype).eps * exact.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny)
    turn: Tensor = torch.linalg.eigh(exact + ridge * torch.eye(len(exact), dtype=exact.dtype, device=exact.device))[1]
    return turn.to(gram)
