"""Do clusters of features have the sizes of words? The fitness of Evolving Losses, by Zipf's law.

Piergiovanni et al., Evolving Losses for Unsupervised Video Representation Learning, CVPR 2020,
https://arxiv.org/abs/2002.12177: classes of natural videos are Zipf-distributed, so a good embedding's clusters are.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pretext.core.rng import seed_of
from pretext.evaluation.kmeans import centroids_of
from pretext.evaluation.rank import check, rankme
from pretext.evaluation.solvers.nearest_neighbours import on_sphere

CLUSTERS = 50
TEMPERATURE = 0.14  # on the unit sphere: exp(cosine / 0.07), the neighbours' vote of `knn`
BLOCK = 8192


class Zipf(NamedTuple):
    """How far the sizes of clusters are from Zipf's law, and what that must be read with."""

    kl: float
    """KL(masses || Zipf) in nats; 0 is the law itself."""
    masses: Tensor
    """(k,) doubles, the share of each cluster, descending."""
    rank: float
    """RankMe of the features on the unit sphere, the guard: near 1 they have collapsed, whatever `kl` says."""


def zipf_kl(
    z: Tensor,
    k: int = CLUSTERS,
    s: float = 1.0,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    restarts: int = 1,
    normalise: bool = True,
) -> Zipf:
    """Cluster `z` (N, D) and compare the sizes of the `k` clusters, as `masses_of` has them, with Zipf's law, 1/i^s.

    Collapse is hardly punished: equal items make equal masses, ln(H/k) + s/k ln k! = 0.56 for k = 50 and s = 1, as
    equally large clusters do. So read `kl` with `rank` beside it.

    Raises:
        ValueError: as `masses_of`.

    """
    masses = masses_of(z, k, temperature, seed, restarts, normalise)
    return Zipf(zipf_kl_of(masses, s), masses, rankme(on_sphere(z)))


@torch.no_grad()
def masses_of(
    z: Tensor,
    k: int = CLUSTERS,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    restarts: int = 1,
    normalise: bool = True,
) -> Tensor:
    """Cluster `z` (N, D) and return the share of all items that each of `k` clusters has: (k,) doubles, descending.

    Features are put on the unit sphere (the paper's softmax has a unit variance, so their scale would decide alone).
    k-means (k-means++, Lloyd, the best of `restarts`) gives centroids c. An item belongs to each of them by
    softmax(-|x - c|^2 / temperature), and a cluster's mass is the mean of that over the items. The paper has the
    temperature 1, which on the sphere makes all masses nearly equal. The scale of each item does not matter, nor does
    rotation but for the random start of k-means (`seed`; some hundredths of `kl`). All items are in memory, as float32.

    As the paper prints it, of raw features and with the temperature 1, it is `normalise=False, temperature=1`. Then the
    scale of the features decides between masses that are all alike and items that belong to one cluster each.

    Raises:
        ValueError: as `rankme`, k not in 2..N, a temperature or restarts not above 0.

    """
    check("zipf_kl", z)
    if not 2 <= k <= len(z) or temperature <= 0 or restarts < 1:
        raise ValueError(
            f"zipf_kl got k={k}, temperature={temperature}, restarts={restarts} and {len(z)} items; "
            "it wants 2 <= k <= items, a temperature above 0 and at least one restart"
        )
    x = on_sphere(z) if normalise else z.float()
    centroids = centroids_of(x, k, seed_of(seed, "zipf"), restarts)
    masses = torch.zeros(k, dtype=torch.float64, device=x.device)
    for part in torch.split(x, BLOCK):
        masses += (torch.cdist(part.double(), centroids).square() / -temperature).softmax(1).sum(0) / len(x)
    return masses.sort(descending=True).values.cpu()


def zipf_kl_of(masses: Tensor, s: float = 1.0) -> float:
    """Return KL(p || q) in nats of `masses` (k,), in any order, from Zipf's law q_i = i^-s / H_{k,s}.

    0 if and only if the sorted masses are Zipf's. Equal ones: ln(H_{k,s} / k) + s/k ln k!; all in one: ln H_{k,s}.

    Raises:
        ValueError: masses that are negative, not finite or do not sum to 1, or not a list of at least one.

    """
    if masses.ndim != 1 or not len(masses) or not (masses >= 0).all() or not abs(float(masses.sum()) - 1) < 1e-4:
        raise ValueError(
            f"zipf_kl_of got masses of shape {tuple(masses.shape)} with sum {float(masses.sum()):.6g}; "
            "it wants (k,) shares >= 0 that sum to 1: divide by their sum"
        )
    p = masses.double().sort(descending=True).values
    law = -s * torch.arange(1, len(p) + 1, dtype=p.dtype, device=p.device).log()
    divergence = torch.special.xlogy(p, p).sum() - (p * law.log_softmax(0)).sum()
    return max(0.0, float(divergence))  # rounding could make it -1e-17
