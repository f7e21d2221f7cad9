"""k nearest neighbours by cosine: how well do images that look alike to the backbone share a class?

No training and no hyper-parameter but k. Protocol of Wu et al. (Unsupervised Feature Learning via Non-Parametric
Instance Discrimination, CVPR 2018, https://arxiv.org/abs/1805.01978): features on the unit sphere, each neighbour
votes with weight exp(cosine / 0.07).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

KS = (1, 20, 200)
TEMPERATURE = 0.07


@torch.no_grad()
def knn(
    train: Tensor, labels: Tensor, test: Tensor, ks: Sequence[int] = KS, temperature: float = TEMPERATURE
) -> dict[int, Tensor]:
    """Predict the class of each test item from its nearest training items, for several k in one exact search.

    `train` (N, D) with `labels` (N,), `test` (M, D), all on one device and of any float type. Returns (M,) labels for
    each k; a k beyond N means N. `temperature=math.inf` gives every neighbour the same vote. Equal votes go to the
    smaller label.

    Raises:
        ValueError: no training item, other lengths or widths than these, a k below 1, values that are not finite.

    """
    _check(train, labels, test, ks)
    similar, near = neighbours(train, test, min(max(ks), len(train)))
    classes, votes_for = torch.unique(labels, return_inverse=True)
    voted, weight = votes_for[near], torch.exp((similar - similar[:, :1]) / temperature)  # relative: cannot overflow
    predictions = {}
    for k in ks:
        votes = weight.new_zeros(len(test), len(classes)).scatter_add_(1, voted[:, :k], weight[:, :k])
        predictions[k] = classes[votes.argmax(1)]
    return predictions


@torch.no_grad()
def neighbours(train: Tensor, test: Tensor, k: int, rows: int = 2048, columns: int = 8192) -> tuple[Tensor, Tensor]:
    """Find the `k` training items of largest cosine for each test item: cosines (M, k), descending, and indices (M, k).

    Exact. Only `rows` x `columns` similarities exist at a time, so memory does not grow with N x M, and both sets may
    be memory-mapped.
    """
    best, index = [], []
    for question in torch.split(test, rows):
        unit = on_sphere(question)
        top, at = unit.new_empty(len(unit), 0), torch.empty(len(unit), 0, dtype=torch.long, device=unit.device)
        for start in range(0, len(train), columns):
            similar = unit @ on_sphere(train[start : start + columns]).T
            new, where = similar.topk(min(k, similar.shape[1]), dim=1)
            top, at = torch.cat([top, new], 1), torch.cat([at, where + start], 1)
            top, order = top.topk(min(k, top.shape[1]), dim=1)
            at = at.gather(1, order)
        best.append(top)
        index.append(at)
    return torch.cat(best), torch.cat(index)


def on_sphere(z: Tensor) -> Tensor:
    """Scale each item of (N, D) to length 1, float32; an item of zeros stays as it is.

    Its largest entry is made 1 first, so that no square can over- or underflow.
    """
    z = z.float()
    return normalize(z / z.abs().amax(1, keepdim=True).clamp_min(1e-30), dim=1)


def _check(train: Tensor, labels: Tensor, test: Tensor, ks: Sequence[int]) -> None:
    if len(train) == 0 or len(test) == 0:
        raise ValueError(f"knn got {len(train)} training and {len(test)} test items; it wants at least one of each")
    if train.ndim != 2 or test.ndim != 2 or train.shape[1] != test.shape[1] or labels.shape != train.shape[:1]:
        raise ValueError(
            f"knn got train {tuple(train.shape)}, labels {tuple(labels.shape)} and test {tuple(test.shape)}; "
            "it wants (N, D), (N,) and (M, D)"
        )
    if not ks or min(ks) < 1:
        raise ValueError(f"knn got ks={tuple(ks)}; it wants one or more numbers of neighbours, each at least 1")
    for name, features in (("train", train), ("test", test)):
        if not all(part.isfinite().all() for part in torch.split(features, 65536)):
            raise ValueError(f"knn: the {name} features hold NaN or infinity; look at the backbone's weights")
