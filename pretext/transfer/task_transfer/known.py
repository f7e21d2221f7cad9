"""What predictions are made from: the weights of known tasks, and their correlations, in a basis of their own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.errors import require

RANK = 1e-6
"""Directions with singular values below this share of the largest are left out."""


class Known(NamedTuple):
    """Known tasks."""

    names: tuple[str, ...]
    weights: Tensor
    """(m, p, P): of each task its p models, of each model its weights, the encoder's first"""
    split: int
    """How many weights are the encoder's"""
    gamma: Tensor
    """(m, m): in row i and column j what i is worth to j"""

    def without(self, task: int) -> Known:
        """Leave one task out."""
        return self.only([k for k in range(len(self.names)) if k != task])

    def only(self, tasks: list[int]) -> Known:
        """Choose some tasks."""
        names = tuple(self.names[k] for k in tasks)
        return Known(names, self.weights[tasks], self.split, self.gamma[tasks][:, tasks])

    @property
    def means(self) -> Tensor:
        """Average the models of each task: (m, P)."""
        return self.weights.mean(1)


def check(known: Known, gamma: Tensor) -> None:
    """Refuse what nothing can be predicted from; `gamma` (m,) is what each known task is worth to the wanted one.

    Raises:
        ValueError: fewer than two tasks, shapes that do not fit, or what is not a finite number.

    """
    m = len(known.names)
    shapes = f"{tuple(known.weights.shape)}, gamma {tuple(known.gamma.shape)} and {tuple(gamma.shape)}"
    fits = known.weights.ndim == 3 and len(known.weights) == m and known.gamma.shape == (m, m) and gamma.shape == (m,)
    require(fits and 0 < known.split < known.weights.shape[2], "Known", f"{m} tasks, weights {shapes}", "see Known")
    require(m > 1, "Known", f"{m} known task", "it wants two or more to learn from")
    finite = all(bool(part.isfinite().all()) for part in (known.weights, known.gamma, gamma))
    require(finite, "Known", "weights or correlations that are no finite numbers", "leave these networks out")


class Principal(NamedTuple):
    """The space that given vectors span about their mean: no more directions than vectors less one."""

    middle: Tensor
    """(P,)"""
    axes: Tensor
    """(k, P), orthonormal"""
    scale: Tensor
    """(): coordinates are divided by it, so that their squares sum to 1 on the average"""

    def into(self, vectors: Tensor) -> Tensor:
        """Give the coordinates (..., k) of vectors (..., P)."""
        return (vectors - self.middle) @ self.axes.T / self.scale

    def back(self, coordinates: Tensor) -> Tensor:
        """Give the vectors (..., P) of coordinates (..., k)."""
        return self.middle + self.scale * coordinates @ self.axes


def principal(vectors: Tensor, most: int = 0) -> Principal:
    """Find the principal axes of vectors (n, P), at most so many; 0: all.

    By the n x n products, since there are far fewer vectors than weights.
    """
    middle = vectors.mean(0)
    off = (vectors - middle).double()
    values, left = torch.linalg.eigh(off @ off.T)
    values, left = values.flip(0), left.flip(1)
    there = int((values > max(float(values[0]), 1e-30) * RANK**2).sum())
    count = max(1, min(there, len(vectors) - 1, most or there))
    axes = left[:, :count].T @ off / values[:count].clamp(min=1e-30).sqrt()[:, None]
    scale = (off.square().sum(1).mean().sqrt()).clamp(min=1e-12)
    return Principal(middle, axes.to(vectors.dtype), scale.to(vectors.dtype))
