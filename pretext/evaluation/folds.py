"""Which training items are held out to choose hyper-parameters on: always the same ones for the same labels."""

from __future__ import annotations

import torch
from torch import Tensor

from pretext.core.rng import rng

VALIDATION_SHARE = 0.2


def stratified(labels: Tensor, share: float = VALIDATION_SHARE) -> Tensor:
    """Mark `share` of each class for validation, at least one item of each class that has two: a mask (N,).

    Always the same items for the same labels. A class with a single item keeps it for training, and none loses all.

    Raises:
        ValueError: no class has two items.

    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    for label in torch.unique(labels).tolist():
        items = (labels == label).nonzero()[:, 0].cpu()
        count = min(max(1, round(share * len(items))), len(items) - 1)
        held[items[torch.randperm(len(items), generator=rng("cpu", "probe", "split", label))[:count]]] = True
    return _some(held).to(labels.device)


def random_share(items: int, share: float = VALIDATION_SHARE) -> Tensor:
    """Mark `share` of so many items for validation, one at least of two: a mask (N,), always the same."""
    held = torch.zeros(items, dtype=torch.bool)
    count = min(max(1, round(share * items)), items - 1)
    held[torch.randperm(items, generator=rng("cpu", "probe", "share"))[:count]] = True
    return held


def stratified_folds(labels: Tensor, folds: int) -> Tensor:
    """Deal the items of each class to `folds` parts, in turn: masks (F, N), F <= folds, leaving out empty parts.

    Always the same items for the same labels. A class with a single item is in no part, so every class of the labels
    is among what each part leaves to be fitted.

    Raises:
        ValueError: fewer than two folds, or no class has two items.

    """
    if folds < 2:
        raise ValueError(f"stratified_folds got folds={folds}; it wants at least 2, or None for one held-out share")
    part, dealt = torch.full((len(labels),), -1), 0
    for label in torch.unique(labels).tolist():
        items = (labels == label).nonzero()[:, 0].cpu()
        if len(items) > 1:
            order = torch.randperm(len(items), generator=rng("cpu", "probe", "folds", label))
            part[items[order]] = (torch.arange(len(items)) + dealt) % folds
            dealt += len(items)  # go on where the class before ended, so that parts are of one size
    held = part == torch.arange(folds)[:, None]
    return _some(held[held.any(1)]).to(labels.device)


def _some(held: Tensor) -> Tensor:
    if not held.any():
        raise ValueError(
            f"no class has two training items ({held.shape[-1]} in all), so nothing can be held out to choose "
            "hyper-parameters on; pass more labelled images"
        )
    return held
