"""A whole table from a part of it: what `completion`'s methods say, in the table's own units, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretext.core.rng import rng
from pretext.transfer.completion import DTYPE, METHODS, Known, Method, constant_within_targets
from pretext.transfer.names import REFITS as REFITS
from pretext.transfer.tables import Matrix

Scale = Literal["log", "linear"]
Array = NDArray[np.float64]
_RESIDUALS = 200  # at most, that are added to each refit's prediction


class Standardised(NamedTuple):
    """A table whose targets can be compared."""

    values: Tensor
    """(S, T), of mean 0 and deviation 1 over the known entries of each target; NaN where unknown"""
    middle: Tensor
    """(T,)"""
    spread: Tensor
    """(T,)"""
    scale: Scale

    def back(self, values: Tensor) -> Tensor:
        """Return (..., S, T) in the table's own units."""
        plain = self.middle + self.spread * values
        return plain.exp() if self.scale == "log" else plain


class Completion(NamedTuple):
    """A complete table."""

    matrix: Matrix
    """What was measured where it was, and what is predicted elsewhere."""
    low: Array
    """(S, T): 95 % interval of what is predicted; NaN where it was measured"""
    high: Array
    predicted: NDArray[np.bool_]
    """(S, T)"""
    constant: bool
    """The method has one value for all sources: it knows nothing of their order."""


def complete(
    matrix: Matrix,
    method: str | Method = "low_rank",
    features: Mapping[str, Sequence[float]] | None = None,
    scale: Scale = "log",
    refits: int = REFITS,
    seed: int = 0,
) -> Completion:
    """Predict what was not measured.

    The interval of an entry is that of its predictions by `refits` fits to known entries drawn with replacement, each
    with the errors added that these fits make where they were not drawn: so it is about as wide as one of a
    measurement that is still to come. NaN with fewer than two refits.

    Args:
        matrix: with holes.
        method: of `completion.METHODS`, or one of your own.
        features: of every task, by name; without them nothing can be said of a task that has no entry.
        scale: "log" for positive values such as affinities, "linear" for others.
        refits: how many.
        seed: of what is drawn.

    Raises:
        ValueError: an unknown method, values that have no logarithm, features that are missing, or a task without an
            entry and without features.

    """
    one = method_named(method)
    standardised = standardise(matrix, scale)
    known = known_of(matrix, standardised.values, features)
    name = type(one).__name__
    found = one.predict(known, rng("cpu", "complete", name, seed))
    draws = [_refit(one, known, rng("cpu", "complete", name, seed, k)) for k in range(refits)]
    hole = np.isnan(matrix.values)
    low, high = _interval(standardised, draws, hole)
    values = np.where(hole, standardised.back(found).numpy(), matrix.values)
    return Completion(Matrix(*matrix[:2], values), low, high, hole, constant_within_targets(found))


def method_named(method: str | Method) -> Method:
    """Return a method by its name.

    Raises:
        ValueError: there is no such method.

    """
    if isinstance(method, Method):
        return method
    if method not in METHODS:
        raise ValueError(f"complete got the method {method!r}; it wants one of {', '.join(METHODS)}")
    return METHODS[method]


def standardise(matrix: Matrix, scale: Scale) -> Standardised:
    """Bring each target's known values to mean 0 and deviation 1; one with fewer than two has the others' deviation.

    Raises:
        ValueError: nothing is known, or a value that has no logarithm.

    """
    plain = torch.tensor(matrix.values, dtype=DTYPE)
    there = ~plain.isnan()
    if int(there.sum()) < 2:
        raise ValueError(f"complete got {int(there.sum())} values; it wants some to learn from")
    if scale == "log":
        bad = (plain <= 0).nonzero()
        if len(bad):
            s, t = bad[0].tolist()
            raise ValueError(
                f"complete got {plain[s, t].item():g} for {matrix.sources[s]} to {matrix.targets[t]}, which has no "
                'logarithm; affinities are positive, for other values take scale="linear"'
            )
        plain = plain.log()
    count = there.sum(0)
    middle = plain.nan_to_num().sum(0) / count
    middle = torch.where(count > 0, middle, plain[there].mean())
    deviation = ((plain - middle).nan_to_num().square().sum(0) / count).sqrt()
    usable = (count > 1) & (deviation > 0)
    usual = deviation[usable].median() if usable.any() else deviation.new_ones(())
    spread = torch.where(usable, deviation, usual)
    return Standardised((plain - middle) / spread, middle, spread, scale)


def known_of(matrix: Matrix, values: Tensor, features: Mapping[str, Sequence[float]] | None) -> Known:
    """Give each task one node, be it a source, a target or both, and each entry that is not NaN the weight 1.

    Raises:
        ValueError: features are missing, or a task has neither an entry nor features.

    """
    nodes = list(dict.fromkeys([*matrix.sources, *matrix.targets]))
    sources, targets = (torch.tensor([nodes.index(name) for name in names]) for names in matrix[:2])
    weights = (~values.isnan()).to(DTYPE)
    found = None if features is None else _features(nodes, features)
    known = Known(values, weights, sources, targets, found)
    if found is None and known.inductive:
        empty = [name for name, n in zip(matrix.sources, weights.sum(1), strict=True) if n == 0]
        empty += [name for name, n in zip(matrix.targets, weights.sum(0), strict=True) if n == 0]
        raise ValueError(
            f"complete: {', '.join(empty)} has no value at all; measure one, or give features of the tasks"
        )
    return known


def _features(nodes: Sequence[str], features: Mapping[str, Sequence[float]]) -> Tensor:
    """Arrange features by node, (n, F), each of mean 0 and deviation 1."""
    lost = [name for name in nodes if name not in features]
    if lost:
        raise ValueError(f"complete: the features have no row for {', '.join(lost)}; it wants one for every task")
    rows = torch.tensor([list(features[name]) for name in nodes], dtype=DTYPE)
    return (rows - rows.mean(0)) / rows.std(0, correction=0).clamp(min=1e-12)


class _Draw(NamedTuple):
    """One refit."""

    values: Tensor
    """(S, T)"""
    errors: Tensor
    """(E,): known less predicted, where an entry was not drawn"""


def _refit(method: Method, known: Known, generator: torch.Generator) -> _Draw:
    """Fit to known entries drawn with replacement."""
    there = known.weights > 0
    count = int(there.sum())
    drawn = torch.randint(count, (count,), generator=generator).bincount(minlength=count).to(DTYPE)
    weights = torch.zeros_like(known.weights)
    weights[there] = drawn
    values = torch.where(weights > 0, known.values, torch.nan)
    found = method.predict(known._replace(values=values, weights=weights), generator)
    left = there & (weights == 0)
    return _Draw(found, (known.values - found)[left][:_RESIDUALS])


def _interval(standardised: Standardised, draws: Sequence[_Draw], hole: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Take the middle 95 % of all predictions with all of their own fit's errors added."""
    nothing = np.full(hole.shape, np.nan)
    if len(draws) < 2 or not hole.any():
        return nothing, nothing.copy()
    holes = torch.tensor(hole)
    spread = torch.cat([(draw.values[holes][:, None] + draw.errors) for draw in draws], dim=1)
    bounds = spread.quantile(torch.tensor([0.025, 0.975], dtype=DTYPE), dim=1)
    found = []
    for bound in bounds:
        table = torch.full(hole.shape, torch.nan, dtype=DTYPE)
        table[holes] = bound
        found.append(standardised.back(table).numpy())
    return found[0], found[1]
