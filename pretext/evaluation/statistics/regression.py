"""How well are numbers predicted: the share of their variance that is explained, with a bootstrap interval."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from pretext.evaluation.statistics.intervals import Interval

DRAWS = 1000
"""Of the bootstrap: the ends of its interval then move by about 3 % of the interval's width."""


class Explained(NamedTuple):
    """How well V numbers are predicted."""

    r2: float
    """The mean of `each`: 1 is perfect, 0 is what the mean of the test items explains; it may be below."""
    low: float
    """Of the 95 % interval over items, as `high`."""
    high: float
    rmse: float
    """Root of the mean squared error of all numbers, in their own units."""
    each: list[float]
    """R² of each number; NaN of one that never varies."""


def sums(said: Tensor, true: Tensor) -> Tensor:
    """Add up what R² needs of each item: said and true (N, V, ...) to (N, V, 4) float64.

    The four: how many values are known (not NaN), their sum, the sum of their squares, and of squared errors.
    """
    known = ~true.isnan()
    right = true.nan_to_num().double()
    wrong = torch.where(known, said.double() - right, 0.0)
    parts = (known.double(), right, right.square(), wrong.square())
    return torch.stack([part.flatten(2).sum(2) if part.ndim > 2 else part for part in parts], dim=2)


def r2_of(total: Tensor) -> Tensor:
    """Return R² of sums (..., V, 4): (..., V), NaN where nothing varies."""
    count, total_sum, squares, errors = total.unbind(-1)
    spread = squares - total_sum.square() / count.clamp(min=1)
    noise = torch.finfo(torch.float64).eps * squares  # what rounding leaves of a number that never varies
    return torch.where(spread > 8 * noise, 1 - errors / spread, torch.nan)


def explained(items: Tensor, rng: Generator) -> Explained:
    """Sum up items (N, V, 4) as `sums` returned them; `rng` draws items with replacement for the interval.

    Raises:
        ValueError: no item, or no number that varies.

    """
    each = r2_of(items.sum(0)) if len(items) else torch.empty(0)
    if not (~each.isnan()).any():
        raise ValueError(f"explained got {len(items)} items of numbers that never vary; give other test items")
    counts = torch.stack([_drawn(len(items), rng) for _ in range(DRAWS)])
    drawn = r2_of(torch.einsum("dn,nvk->dvk", counts, items.cpu())).nanmean(1)
    drawn = drawn[~drawn.isnan()]
    low, high = torch.quantile(drawn, torch.tensor([0.025, 0.975], dtype=drawn.dtype)).tolist()
    count, _, _, errors = items.sum((0, 1)).unbind(-1)
    return Explained(float(each.nanmean()), *Interval(low, high), float((errors / count).sqrt()), each.tolist())


def _drawn(items: int, rng: Generator) -> Tensor:
    """Draw items with replacement, and count how often each is taken, (N,)."""
    return torch.randint(items, (items,), generator=rng).bincount(minlength=items).double()
