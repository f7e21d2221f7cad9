"""A grid of weights: which values, and which of its points each candidate is."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pretext.core.rng import rng
from pretext.search.space import Bounds

LARGEST = 100_000  # points, of which Optuna's GridSampler makes a list


def values_of_grid(space: Bounds, levels: int) -> dict[str, list[float]]:
    """List each weight's values: equally spaced, its bounds among them.

    Raises:
        ValueError: fewer than 2 levels, or more than 100,000 points.

    """
    if levels < 2:
        raise ValueError(f"searcher grid got levels={levels}; it wants 2 or more, of which two are a weight's bounds")
    if levels ** len(space) > LARGEST:
        raise ValueError(
            f"searcher grid got {levels} levels of {len(space)} weights, which is {levels ** len(space):,} points; it "
            f"takes up to {LARGEST:,}: search fewer weights, take fewer levels or another searcher"
        )
    return {weight: np.linspace(*space[weight], levels).tolist() for weight in sorted(space)}


def points_of_grid(space: Bounds, levels: int, seed: int, count: int) -> list[dict[str, Any]]:
    """Give each of `count` candidates its point, as system attributes for Optuna's GridSampler.

    No point comes twice. If there are more points than candidates, they are drawn at random.

    Raises:
        ValueError: the grid has fewer points than there are candidates, or as `values_of_grid`.

    """
    values = values_of_grid(space, levels)
    points = levels ** len(space)
    if count > points:
        fewest = next(more for more in range(levels, count + 1) if more ** len(space) >= count)
        raise ValueError(
            f"searcher grid got {count} candidates for a grid of {points} points ({levels} levels of {len(space)} "
            f"weights), each to be visited once; take at most {points} candidates, or {fewest} levels"
        )
    order = torch.randperm(points, generator=rng("cpu", seed, "grid"))
    return [{"grid_id": point, "search_space": values} for point in order[:count].tolist()]
