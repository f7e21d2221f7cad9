"""k-means of features: centroids for the fitness of Evolving Losses, and classes named by a few labels."""

from __future__ import annotations

import warnings

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor
from torch.nn.functional import one_hot


def centroids_of(x: Tensor, k: int, state: int, restarts: int = 1) -> Tensor:
    """Cluster `x` (N, D) by k-means (k-means++, Lloyd, the best of `restarts`): (k, D) doubles.

    Of fewer different items than clusters, some centroids are equal.
    """
    means = KMeans(k, n_init=restarts, random_state=state % 2**32)
    with warnings.catch_warnings():  # of fewer different items than clusters: that is a result, see `zipf_kl`
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(means.fit(x.cpu().numpy()).cluster_centers_).to(x.device).double()


def named_by(centroids: Tensor, learnt: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """Name items by the cluster that they lie in, and clusters by the few items whose labels are known.

    A cluster has the label that most of its labelled items have (of equals the smallest); one without any has that of
    the nearest cluster that has some.

    Args:
        centroids: (k, D).
        learnt: (M, D), items with labels.
        labels: (M,) int64, 0 or more.
        asked: (Q, D), items to be named.

    Returns:
        (Q,) int64.

    """
    home = torch.cdist(learnt.double(), centroids).argmin(1)
    votes = one_hot(home, len(centroids)).double().T @ one_hot(labels).double()  # (k, classes)
    known = votes.sum(1) > 0
    nearest = torch.cdist(centroids, centroids).masked_fill(~known, torch.inf).argmin(1)
    names = votes[nearest].argmax(1)
    return names[torch.cdist(asked.double(), centroids).argmin(1)]
