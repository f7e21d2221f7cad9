"""Transferability: what cheap scores say of a stage, which take no training and no test item."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from pretext.evaluation.kmeans import centroids_of
from pretext.evaluation.protocol import Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score
from pretext.evaluation.statistics.transferability import h_score, leep, log_me, nce

ITEMS = 5000
"""Of train that are looked at, at most: a random choice, always the same."""
PER_CLASS = 5
"""Clusters for each class of the target, as in N-LEEP (Li et al., CVPR 2021)."""


class Transferability(Protocol):
    """LogME and H-score of a stage's average on train; LEEP and NCE of its clusters.

    LEEP and NCE want classes of the source, which a network that was trained without labels has not. Clusters of its
    features take their place, as in N-LEEP: five times as many as the target has classes, by k-means, with an equal
    spherical Gaussian each for LEEP's probabilities.
    """

    description = Description(
        name="transferability",
        title="Transferability, on the average of each stage",
        short="Transferability",
        about="scores without training, of each stage's average on train; LEEP and NCE of its k-means clusters, "
        f"{PER_CLASS} for each class",
        metrics=(
            Metric("log_me", "LogME", "LogME"),
            Metric("h_score", "H-score", "H-score"),
            Metric("leep", "LEEP of clusters", "LEEP"),
            Metric("nce", "NCE of clusters", "NCE"),
        ),
        apart=True,
    )

    def suits(self, sets: Sets) -> bool:
        return sets.single

    def measure(self, stage: str, sets: Sets, rng: Generator) -> Score:
        features, labels = sets.mean(stage)[0], sets.labels()[0]
        if len(features) > ITEMS:
            chosen = torch.randperm(len(features), generator=rng)[:ITEMS].to(features.device)
            features, labels = features[chosen], labels[chosen]
        labels = labels.unique(return_inverse=True)[1]
        clusters = min(PER_CLASS * int(labels.max() + 1), len(features) // 2)
        seed = int(torch.randint(2**31, (), generator=rng))
        source = memberships(features, max(clusters, 1), seed)
        return Score(
            {
                "log_me": log_me(features, labels),
                "h_score": h_score(features, labels),
                "leep": leep(source, labels),
                "nce": nce(source.argmax(1), labels),
            }
        )


def memberships(features: Tensor, clusters: int, seed: int) -> Tensor:
    """Return the probabilities (N, clusters) of equal spherical Gaussians around the centroids of k-means."""
    x = features.double()
    squares = torch.cdist(x, centroids_of(x, clusters, seed)).square()
    variance = squares.min(1).values.mean() / x.shape[1]
    return torch.softmax(-squares / (2 * variance.clamp(min=torch.finfo(x.dtype).tiny)), dim=1)
