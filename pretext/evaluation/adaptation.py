"""What adaptation is compared with: subspace alignment, and the share of the gap between domains that is closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.evaluation.folds import stratified
from pretext.evaluation.solvers.logistic_problem import SharedDesign
from pretext.evaluation.solvers.logistic_regression import FINE, STRENGTHS, choose_strength, fit
from pretext.evaluation.solvers.standardize import Standardizer, eigenvectors, standardizer_of
from pretext.nn.self_information import Telling, Told

DIMENSIONS = (5, 10, 20, 40, 80, 160)
"""Of subspaces, of which one is chosen."""


def gap_closed(accuracy: float, source_only: float, on_target: float) -> float | None:
    """Return the share of the gap between training on the source and on the target that is closed.

    0: no better than source only, 1: as good as with the target's labels. None where training on the target is no
    better than source only, so that there is no gap.
    """
    gap = on_target - source_only
    return (accuracy - source_only) / gap if gap > 0 else None


class Alignment(NamedTuple):
    """A source whose principal axes are turned to a target's."""

    source: Tensor
    """(N, dims)"""
    standardizer: Standardizer
    """Of the target."""
    axes: Tensor
    """(D, dims), the target's."""

    def target(self, rows: Tensor) -> Tensor:
        """Bring rows (L, D) of the target to its axes, (L, dims)."""
        return self.standardizer.standardise(rows) @ self.axes


def subspace_alignment(source: Tensor, target: Tensor, dims: int) -> Alignment:
    """Turn the principal axes of source features (N, D) to those of a target's (M, D), in closed form.

    Each domain is standardised by itself. With X_s and X_t the leading axes, (D, dims), M = X_s' X_t is the
    least-squares answer to X_s M = X_t; the source becomes S X_s M, the target T X_t. (Fernando et al., ICCV 2013.)

    Raises:
        ValueError: no dimension, or more than the features or the items of a domain.

    """
    most = min(source.shape[1], len(source), len(target))
    require(1 <= dims <= most, "subspace_alignment", f"{dims=}", f"give 1 to {most}")
    of_source, of_target = (standardizer_of(domain)._replace(axes=None) for domain in (source, target))
    z = of_source.standardise(source)
    axes, theirs = leading(z, dims), leading(of_target.standardise(target), dims)
    return Alignment(z @ axes @ (axes.T @ theirs), of_target, theirs)


def leading(z: Tensor, dims: int) -> Tensor:
    """Return the leading principal axes of standardised features (N, D): (D, dims), the largest first."""
    return eigenvectors(z.T @ z / len(z)).flip(1)[:, :dims]


class Readout(NamedTuple):
    """A linear classifier of source features, and what it says of the target."""

    predictions: Tensor
    """(L,) of the target's test items."""
    validation: float
    """Accuracy on held-out items of what it was fitted on."""
    told: Told
    """Of predictions on the target's training items."""
    dims: int
    """Of the subspace; 0: the features as they are."""


@torch.no_grad()
def readout(source: Tensor, labels: Tensor, target: Tensor, test: Tensor, dims: int = 0) -> Readout:
    """Fit logistic regression to source features (N, D) with labels (N,), and classify a target's test features (L, D).

    With `dims`, after subspace alignment to the target's training features (M, D), which have no labels. The penalty is
    chosen on a stratified share of the source.
    """
    s, seen, asked = source, target, test
    if dims:
        alignment = subspace_alignment(source, target, dims)
        s, seen, asked = alignment.source, alignment.target(target), alignment.target(test)
    classes, positions = torch.unique(labels, return_inverse=True)
    design = SharedDesign(s, standardizer_of(s))
    choice = choose_strength(design, positions, len(classes), STRENGTHS, stratified(positions)[None])
    linear = fit(s, positions, [choice.l2], FINE)
    logits = linear.standardizer.standardise(seen) @ linear.weight[0].T + linear.bias[0]
    telling = Telling()
    telling.add(logits)
    return Readout(classes[linear.predict(asked)[0]], choice.validation, telling.told(everywhere=False), dims)


def aligned(source: Tensor, labels: Tensor, target: Tensor, test: Tensor, dims: Sequence[int] = DIMENSIONS) -> Readout:
    """Choose the dimension of a `readout` after alignment by source validation and information in target predictions.

    Raises:
        ValueError: no dimension fits the features and the items.

    """
    most = min(source.shape[1], len(source), len(target))
    fitting = [one for one in dims if one <= most]
    require(bool(fitting), "aligned", f"dims={list(dims)}", f"give one of 1 to {most}")
    found = [readout(source, labels, target, test, one) for one in fitting]
    return max(found, key=lambda one: one.validation + one.told.information)
