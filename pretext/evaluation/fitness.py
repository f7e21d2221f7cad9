"""Fitness: one number for a network, which a search may maximise. Functions of one embedded set; larger is better.

A fitness sees features of training items only, and labels only where it says so. None is accuracy on a test set, and
none may ever see test items: a number that guided a search says nothing about other items.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from statistics import fmean
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pretext.core.rng import rng, seed_of
from pretext.evaluation.kmeans import centroids_of, named_by
from pretext.evaluation.rank import check, rankme
from pretext.evaluation.solvers.logistic_regression import probe
from pretext.evaluation.solvers.nearest_neighbours import knn, on_sphere
from pretext.evaluation.zipf import CLUSTERS, TEMPERATURE, masses_of, zipf_kl_of

RESTARTS = 10  # of k-means, whose best is taken
NEIGHBOURS = 20  # of 1 to 100, within 1.1 points of the best in each of eight stages, with 10 labels per class


class Fit(NamedTuple):
    """What a fitness says of a set of features."""

    value: float
    """Larger is better; always finite."""
    facts: dict[str, float]
    """What to show beside it."""


class Fitness(ABC):
    """A function of features. A plug-in is a class derived from this one, which a config names.

    It is called with a stage averaged over its grid, z (N, D) of any float type, and with labels: (N,) int64, below 0
    where an item has none, if `needs_labels`, else (0,). The same input gives the same output.

    Raises:
        ValueError: by a call, features that are not finite or not (N, D), and whatever else cannot be measured.

    """

    needs_labels: bool = False

    @abstractmethod
    def __call__(self, z: Tensor, labels: Tensor) -> Fit:
        """Measure `z`."""


class Zipf(Fitness):
    """Minus the divergence of cluster sizes from Zipf's law (`zipf_kl`), where features use enough directions.

    The divergence hardly punishes collapse: equal items have 0.56 for 50 clusters, as equally large clusters do, and
    noise along a single line, which is two points on the sphere, 0.20, better than all networks below. So under
    `floor`, an effective rank (RankMe on the unit sphere), the value is -(w + ln(floor / rank)), w being `worst_kl`:
    less than any value without guard, and less still the further features collapse, so that a search can climb out.

    Why 4: of 2,000 CIFAR-10 images, a small ResNet-18's stem, layer2 and layer4 have the ranks 5 to 6.5, 10 to 12 and
    43 to 57 after a minute of rotation, contrast or supervision, 6, 4 and 22 to 31 at random initialisation, and a
    layer4 trained to vanish 3.3 (of 400 clips, a random network's early stages 2 to 3, its last 18 to 23). Features are
    not centred for it, though a common mean lowers the rank: less their mean, random networks have more than trained
    ones (90 of 128), and the vanished layer most of all (97), as what is left of it is residue without a preferred
    direction.

    Noise of full rank passes. With 40 items per cluster it does not pay: uniform or Gaussian, of 16 or more dimensions,
    it has a divergence of 0.50 to 0.54, the two later stages 0.50 to 0.54 untrained and 0.28 to 0.45 trained (but the
    stem 0.24 to 0.35 untrained, so look at a late stage). With 2 items it has 0.23 to 0.29, trained stages 0.16 to
    0.32: so give 20 items per cluster or more. Log-normal noise has 0.24 even with 40. `ceiling` refuses noise in the
    same manner: its rank is 0.75 to 1 of min(N, D), that of these networks 0.45 at most. It is off by default, as
    methods that whiten features rightly come near 1.

    Piergiovanni et al., CVPR 2020, https://arxiv.org/abs/2002.12177.

    Args:
        k: clusters.
        s: exponent of the law.
        temperature: of the soft assignment, in squared distances on the unit sphere.
        floor: least effective rank; 1 switches the guard off.
        ceiling: largest effective rank, as a share of min(N, D); 1 switches this guard off.
        clusterings: how often k-means is run. The divergence is their mean, which is steadier than the best of as many
            restarts (of one alone, the standard deviation is 0.002 to 0.035).
        seed: of k-means.
        normalise: put features on the unit sphere first. Off, with temperature 1, it is the fitness as printed.

    Raises:
        ValueError: an option out of range; by a call, fewer items than clusters, a rank that N or D cannot reach.

    """

    def __init__(
        self,
        k: int = CLUSTERS,
        s: float = 1.0,
        temperature: float = TEMPERATURE,
        floor: float = 4.0,
        ceiling: float = 1.0,
        clusterings: int = 5,
        seed: int = 0,
        normalise: bool = True,
    ) -> None:
        if k < 2 or not s >= 0 or not temperature > 0 or not floor >= 1 or not 0 < ceiling <= 1 or clusterings < 1:
            raise ValueError(
                f"Zipf got k={k}, s={s}, temperature={temperature}, floor={floor}, ceiling={ceiling}, "
                f"clusterings={clusterings}; it wants k >= 2, s >= 0, a temperature above 0, a floor of at least 1, a "
                "ceiling above 0 up to 1 (1 and 1: no guard) and at least one clustering"
            )
        self.k, self.s, self.temperature, self.clusterings, self.seed = k, s, temperature, clusterings, seed
        self.floor, self.ceiling, self.normalise = floor, ceiling, normalise

    def __call__(self, z: Tensor, labels: Tensor) -> Fit:
        check("Zipf", z)
        low, high = self._bounds(*z.shape)
        seeds = [seed_of(self.seed, "fitness", i) for i in range(self.clusterings)]
        masses = [masses_of(z, self.k, self.temperature, seed, normalise=self.normalise) for seed in seeds]
        kl = fmean(zipf_kl_of(shares, self.s) for shares in masses)
        rank = min(max(1.0, rankme(on_sphere(z))), *z.shape)  # the 1e-7 in it can lead out of that by a hair
        outside = max(math.log(low / rank), math.log(rank / high))  # above 0: how far, in nats
        value = -kl if outside <= 0 else -(worst_kl(self.k, self.s) + outside)
        return Fit(value, {"zipf_kl": kl, "rankme": rank, "guarded": float(outside > 0)})

    def _bounds(self, items: int, dims: int) -> tuple[float, float]:
        """Return the least and the largest effective rank that are allowed."""
        if items < self.k:
            raise ValueError(
                f"Zipf got {items} items for k={self.k} clusters; give it a larger unlabelled set (20 items for each "
                "cluster or more) or fewer clusters"
            )
        high = self.ceiling * min(items, dims)
        if self.floor > high:
            raise ValueError(
                f"Zipf got {items} items of {dims} features, whose effective rank cannot be both {self.floor:g} or "
                f"more and {high:g} or less; lower floor={self.floor:g}, or look at a wider stage"
            )
        return self.floor, high


class EffectiveRank(Fitness):
    """RankMe alone, from 1 to min(N, D), see `rankme`. Noise has the most: it sees collapse and nothing else.

    Raises:
        ValueError: by a call, as `rankme`.

    """

    def __call__(self, z: Tensor, labels: Tensor) -> Fit:
        value = rankme(z)
        return Fit(value, {"rankme": value})


class FewLabels(Fitness):
    """Accuracy of a classifier that is given a few labels of the set.

    With the protocol "kmeans" it is ELo's weakly guided variant, whose fitness is the accuracy of k-means: all items
    that are used are clustered, as many clusters as classes, and the few labels only name the clusters. The other
    protocols are none of the paper's; they learn from the labels.

    In each draw the classifier learns from `labels` items of each class and is asked about `asked` others of each. The
    value is the mean accuracy. Draws depend on the seed and the labels alone, so all networks are asked the same. A
    class with no more than `labels` labelled items is left out, as nothing would be left to ask about.

    Args:
        protocol: "knn", a vote of the 20 nearest of the items that are learnt from, "probe", logistic regression, or
            "kmeans", see above.
        labels: items of each class to learn from, or to name clusters by; "probe" wants 2, one of which it holds out.
        draws: how often. Items are the same in all of them; each splits them anew.
        seed: of the draws.
        asked: items of each class to be asked about, at most; none: all labelled ones.

    Raises:
        ValueError: an option out of range; by a call, labels that are not (N,), less than two classes left.

    """

    needs_labels = True

    def __init__(
        self,
        protocol: Literal["knn", "probe", "kmeans"] = "knn",
        labels: int = 10,
        draws: int = 5,
        seed: int = 0,
        asked: int | None = 10,
    ) -> None:
        least = {"knn": 1, "probe": 2, "kmeans": 1}.get(protocol)
        if least is None or labels < least or draws < 1 or (asked is not None and asked < 1):
            raise ValueError(
                f"FewLabels got protocol={protocol!r}, labels={labels}, draws={draws}, asked={asked}; it wants 'knn' "
                "or 'kmeans' with at least 1 label per class, or 'probe' with 2, and at least one draw and one item "
                "asked about"
            )
        self.protocol, self.labels, self.draws, self.seed, self.asked = protocol, labels, draws, seed, asked

    def __call__(self, z: Tensor, labels: Tensor) -> Fit:
        check("FewLabels", z)
        members = self._members(z, labels)
        centroids = None
        if self.protocol == "kmeans":
            used = torch.cat(list(members.values())).to(z.device)
            centroids = centroids_of(on_sphere(z[used]), len(members), seed_of(self.seed, "clusters"), RESTARTS)
        right = [self._draw(z, labels.to(z.device), members, draw, centroids) for draw in range(self.draws)]
        asked = [len(items) - self.labels for items in members.values()]
        value = fmean(right)
        return Fit(value, {"accuracy": value, "chance": max(asked) / sum(asked), "classes": float(len(members))})

    def _members(self, z: Tensor, labels: Tensor) -> dict[int, Tensor]:
        """Return the items of each class that has enough of them."""
        if labels.shape != z.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"FewLabels got labels of shape {tuple(labels.shape)}, {labels.dtype}, for {len(z)} items; it wants "
                "a whole number for each (below 0: none); search on a set with labels, or by a fitness that needs none"
            )
        counted = {label: (labels == label).nonzero()[:, 0].cpu() for label in torch.unique(labels).tolist()}
        members = {
            label: self._used(items, label)
            for label, items in counted.items()
            if label >= 0 and len(items) > self.labels
        }
        if len(members) < 2:
            sizes = sorted((len(items) for label, items in counted.items() if label >= 0), reverse=True)
            raise ValueError(
                f"FewLabels got labels={self.labels} and {len(sizes)} classes, the largest of {sizes[:2]} items; it "
                f"wants two classes or more with more than {self.labels} labelled items: label more, or lower labels"
            )
        return members

    def _used(self, items: Tensor, label: int) -> Tensor:
        """Choose the few items of a class whose labels are looked at, the same in every draw."""
        if self.asked is None or len(items) <= self.labels + self.asked:
            return items
        order = torch.randperm(len(items), generator=rng("cpu", self.seed, "few labels", "used", label))
        return items[order[: self.labels + self.asked].sort().values]

    def _draw(
        self, z: Tensor, labels: Tensor, members: dict[int, Tensor], draw: int, centroids: Tensor | None
    ) -> float:
        """Learn from some items of each class and return the accuracy on the others."""
        given, asked = [], []
        for label, items in members.items():
            generator = rng("cpu", self.seed, "few labels", draw, label)
            order = items[torch.randperm(len(items), generator=generator)]
            given.append(order[: self.labels])
            asked.append(order[self.labels :])
        learnt, others = torch.cat(given).to(z.device), torch.cat(asked).to(z.device)
        train, test = (z[learnt], labels[learnt]), (z[others], labels[others])
        if centroids is not None:
            named = named_by(centroids, on_sphere(train[0]), train[1], on_sphere(test[0]))
            return float((named == test[1]).double().mean())
        if self.protocol == "probe":
            return probe(*train, *test).accuracy
        return float((knn(*train, test[0], ks=(NEIGHBOURS,))[NEIGHBOURS] == test[1]).double().mean())


def worst_kl(k: int, s: float = 1.0) -> float:
    """Return the largest KL, in nats, that sorted masses of `k` clusters can have from Zipf's law of exponent `s`.

    KL is convex, so it is largest at a corner of the set of sorted masses: all of it in equal parts on the first m
    clusters, ln(H_{k,s} / m) + s/m ln m!. Up to s = 1 that is m = 1, ln H_{k,s}: all in one. Equal masses can be
    further from a steeper law (for k = 50 from s = 1.3 on).
    """
    harmonic = math.fsum(i**-s for i in range(1, k + 1))
    return max(math.log(harmonic / m) + s / m * math.lgamma(m + 1) for m in range(1, k + 1))
