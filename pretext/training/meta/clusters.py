"""Classes without labels: clusters of a network's features, as in CACTUs (https://arxiv.org/abs/1810.02334)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.core.rng import rng, seed_of
from pretext.core.types import Backbone
from pretext.evaluation.embed import Batch, embed
from pretext.evaluation.kmeans import centroids_of
from pretext.evaluation.probe import ProbedData

UNREAD = -1
"""The label of an item that could not be read."""


def labels_of(network: Backbone, probed: ProbedData, clusters: int, partitions: int, stage: str | None) -> Any:
    """Cluster the training items by a stage's average (none: the last), and return what `datamodules.Episodes` reads.

    Returns:
        {"listed", "stage", "clusters", "partitions": [[label of item 0, ...], ...]}, labels of -1 where none was read.

    Raises:
        ValueError: fewer clusters than 2 or more than items, no partition, an unknown stage, data of no such module.

    """
    data: Any = probed.data
    require(hasattr(data, "listed"), "cluster", f"{type(data).__name__}", "give a module of datamodules")
    stage = stage or list(network.stages)[-1]
    require(stage in network.stages, "cluster", f"{stage=}", f"choose one of {', '.join(network.stages)}")
    batches, seen = data.ordered("train"), list[Tensor]()
    features = embed(network, _noted(batches, seen), probed.view, title="embedding train").mean[stage].float()
    sound = 2 <= clusters <= len(features) and partitions >= 1
    require(sound, "cluster", f"{clusters=}, {partitions=} of {len(features)} items", "2 up to as many, and 1 or more")
    labels = torch.full((partitions, len(batches.items)), UNREAD)
    labels[:, torch.cat(seen)] = clustered(features, clusters, partitions)
    about = {"listed": data.listed("train"), "stage": stage, "clusters": clusters}
    return about | {"partitions": labels.tolist()}


def clustered(features: Tensor, clusters: int, partitions: int) -> Tensor:
    """Cluster standardised features (N, D) by k-means: (partitions, N).

    Each partition but the first scales every feature by a number of its own in [0, 1], so that partitions differ.
    """
    x = (features - features.mean(0)) / features.std(0).clamp_min(1e-6)
    rows = []
    for number in range(partitions):
        scales = torch.rand(x.shape[1], generator=rng("cpu", "partition", number)) if number else torch.ones(x.shape[1])
        scaled = x * scales.to(x)
        centroids = centroids_of(scaled, clusters, seed_of("clusters", number)).to(scaled)
        rows.append(torch.cat([torch.cdist(part, centroids).argmin(1) for part in torch.split(scaled, 4096)]).cpu())
    return torch.stack(rows)


def _noted(batches: Iterable[Batch], seen: list[Tensor]) -> Iterator[Batch]:
    """Note which items come, each once."""
    for batch in batches:
        seen.append(torch.unique_consecutive(batch["index"].cpu()))
        yield batch
