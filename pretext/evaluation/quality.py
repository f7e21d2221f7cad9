"""How good are features, if nobody has labels? Measures of an embedded set, gathered.

None of them is accuracy: a random network can do well in each. They tell collapse from use, and runs of one kind apart.
"""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.evaluation.rank import alpha_req, check, check_views, lidar, rankme
from pretext.evaluation.solvers.nearest_neighbours import on_sphere
from pretext.evaluation.zipf import CLUSTERS, masses_of, zipf_kl_of

ITEMS = 10_000  # measured at most: under 2 s for 512 features on one thread, and the ranks have settled
OBJECTS = 1000  # of LiDAR
BLOCK = 1024


def quality(z: Tensor, items: int = ITEMS, seed: int = 0) -> dict[str, float]:
    """Measure a set (N, D) by what needs no views: "rankme", "alpha_req", "uniformity" and "zipf_kl".

    Of more than `items` a random choice by `seed` is measured, always the same; compare sets of equal size only, as all
    ranks grow with it. `zipf_kl` has 50 clusters (at most one for each item); of a set on which `rankme` is near 1 it
    means nothing.

    Raises:
        ValueError: as `rankme`.

    """
    check("quality", z)
    z = _chosen(z, items, seed)
    return {
        "rankme": rankme(z),
        "alpha_req": alpha_req(z),
        "uniformity": uniformity(z),
        "zipf_kl": zipf_kl_of(masses_of(z, min(CLUSTERS, len(z)), seed=seed)),
    }


def quality_of_views(views: Tensor, objects: int = OBJECTS, seed: int = 0) -> dict[str, float]:
    """Measure q views of each of n objects (n, q, D): "lidar", and "alignment" as the mean over all pairs of views.

    Of more than `objects` a random choice by `seed` is measured, always the same.

    Raises:
        ValueError: as `lidar`.

    """
    check_views("quality_of_views", views)
    views = _chosen(views, objects, seed)
    pairs = list(combinations(views.unbind(1), 2))
    return {"lidar": lidar(views), "alignment": math.fsum(alignment(a, b) for a, b in pairs) / len(pairs)}


@torch.no_grad()
def uniformity(z: Tensor, t: float = 2.0) -> float:
    """Return log of the mean of exp(-t |x - y|^2) over all pairs of different items of `z` (N, D) on the unit sphere.

    0 where all are equal, and the lower the more evenly they are spread; never below -4 t. The length of items and
    rotation do not matter. All pairs are visited, block by block.

    Wang & Isola, ICML 2020, https://arxiv.org/abs/2005.10242.

    Raises:
        ValueError: as `rankme`, or t not in (0, 20]: float32 would see no pair that is far apart.

    """
    check("uniformity", z)
    if not 0 < t <= 20:
        raise ValueError(f"uniformity got t={t}; it wants a number above 0 and at most 20, such as the paper's 2")
    x = on_sphere(z)
    length, one = x.square().sum(1, keepdim=True), x.new_ones(len(x), 1)  # length: 1, or 0 for an item of zeros
    left, right = torch.cat([x, length, one], 1), torch.cat([2 * x, -one, -length], 1) * t
    total = 0.0
    for start in range(0, len(x), BLOCK):
        with torch.autocast(x.device.type, enabled=False):  # of two close items bfloat16 sees no distance
            near = (left[start : start + BLOCK] @ right[start:].T).exp_()
        near[:, : len(near)].triu_(1)  # each pair once, and no item with itself
        total += float(near.sum(1).double().sum())
    return min(0.0, math.log(total / math.comb(len(x), 2)))


@torch.no_grad()
def alignment(a: Tensor, b: Tensor, alpha: float = 2.0) -> float:
    """Return the mean of |x - y|^alpha over the items of two views (N, D), row by row, on the unit sphere.

    0 where both views are equal, 2^alpha where they are opposite. The length of items and rotation do not matter.

    Wang & Isola, ICML 2020, https://arxiv.org/abs/2005.10242.

    Raises:
        ValueError: as `rankme`, other shapes for the two, or alpha not above 0.

    """
    check("alignment", a)
    check("alignment", b)
    if a.shape != b.shape or alpha <= 0:
        raise ValueError(
            f"alignment got {tuple(a.shape)} and {tuple(b.shape)}, alpha={alpha}; it wants two (N, D) and alpha above 0"
        )
    return float((on_sphere(a) - on_sphere(b)).norm(dim=1).double().pow(alpha).mean())


def _chosen(z: Tensor, most: int, seed: int) -> Tensor:
    """Choose at most so many rows by the key (seed, "quality"), in their order."""
    if len(z) <= most:
        return z
    index = torch.randperm(len(z), generator=rng("cpu", seed, "quality"))[:most].sort().values
    return z[index.to(z.device)]
