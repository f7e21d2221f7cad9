"""What `Online` finds in an embedded set, split in two halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch

from pretext.evaluation.embed import Embedded
from pretext.evaluation.quality import quality
from pretext.evaluation.solvers import logistic_regression as linear
from pretext.evaluation.solvers import nearest_neighbours as knn

Score = Literal["knn", "linear", "quality"]
SCORES: tuple[Score, ...] = get_args(Score)
K = 20  # neighbours; one k, as the better of several would have to be chosen somewhere


def scored(
    features: Embedded, scores: Sequence[Score], stages: Sequence[str], device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Score stages of a set on `device`: {"<stage>/knn", "<stage>/linear", "<stage>/rankme" ..., "held_out"}.

    Accuracies are those of one half of each class, "held_out" items in all, when the other half is fitted on;
    label-free scores are of all items.

    Raises:
        ValueError: as in `knn`, `linear.stratified`, `linear.probe` and `quality`.

    """
    figures: dict[str, float] = {}
    labels = features.labels.to(device)
    held = linear.stratified(labels, 0.5) if {"knn", "linear"} & set(scores) else None
    for stage in stages:
        mean, grid = features.mean[stage].to(device), features.grid[stage].to(device)
        if held is not None and "knn" in scores:
            votes = knn.knn(mean[~held], labels[~held], mean[held], (K,))[K]
            figures[f"{stage}/knn"] = float((votes == labels[held]).double().mean())
        if held is not None and "linear" in scores:
            figures[f"{stage}/linear"] = linear.probe(grid[~held], labels[~held], grid[held], labels[held]).accuracy
        if "quality" in scores:
            figures |= {f"{stage}/{key}": value for key, value in quality(mean).items()}
    return figures if held is None else figures | {"held_out": float(held.sum())}
