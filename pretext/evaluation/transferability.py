"""All scores of `statistics.transferability` of one set of features, also where the source has no classes."""

from __future__ import annotations

import torch
from torch import Tensor

from pretext.evaluation.kmeans import centroids_of
from pretext.evaluation.statistics.transferability import h_score, leep, log_me, nce

PER_CLASS = 5
"""Clusters for each class of the target, as in N-LEEP (Li et al., CVPR 2021)."""


def transferability(features: Tensor, labels: Tensor, seed: int) -> dict[str, float]:
    """Score features (N, D) for labels (N,): "log_me", "h_score", "leep" and "nce".

    LEEP and NCE want classes of the source, which a network that was trained without labels has not. Clusters of its
    features take their place, as in N-LEEP: five times as many as the target has classes, by k-means, with an equal
    spherical Gaussian each for LEEP's probabilities. `seed` is that of k-means.

    Raises:
        ValueError: one class, or as in `log_me`.

    """
    labels = torch.unique(labels, return_inverse=True)[1]
    clusters = min(PER_CLASS * int(labels.max() + 1), len(features) // 2)
    source = memberships(features, max(clusters, 1), seed)
    return {
        "log_me": log_me(features, labels),
        "h_score": h_score(features, labels),
        "leep": leep(source, labels),
        "nce": nce(source.argmax(1), labels),
    }


def memberships(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Return the probabilities (N, clusters) of equal spherical Gaussians around the centroids of k-means."""
    x = features.double()
    squares = torch.cdist(x, centroids_of(x, clusters, seed)).square()
    variance = squares.min(1).values.mean() / x.shape[1]
    return torch.softmax(-squares / (2 * variance.clamp(min=torch.finfo(x.dtype).tiny)), dim=1)
