"""What is present in an item and what is not: labels of both kinds, of one class each or of several, in one form."""

from __future__ import annotations

import torch
from torch import Tensor


def labels_by_class(
    asker: str, train: Tensor, labels: Tensor, test: Tensor, answers: Tensor, least: int
) -> tuple[Tensor, Tensor]:
    """Return the labels of both sets as (N, K) and (M, K) of 1, 0 and -1, int8; of (N,), one column for each class.

    Raises:
        ValueError: in the name of `asker`: an empty split, other shapes or labels, features that are not finite, a test
            label that no training item has, a class with less than `least` present or absent training items or, of
            several labels, with no present test item.

    """
    _check(asker, train, labels, test, answers)
    if labels.ndim == 1:
        classes = torch.unique(labels).cpu()
        y, wanted = ((part.cpu()[:, None] == classes).to(torch.int8) for part in (labels, answers))
        strange = torch.unique(answers.cpu()[wanted.sum(1) == 0]).tolist()
        if strange:
            told = f"{strange[:5]}" if len(strange) <= 5 else f"{strange[:5]} and {len(strange) - 5} more"
            raise ValueError(
                f"{asker} got test labels {told} that no training item has; give both splits the same classes"
            )
    else:
        y, wanted = labels.cpu().to(torch.int8), answers.cpu().to(torch.int8)
        none = (~(wanted == 1).any(0)).nonzero()[:, 0].tolist()
        if none:
            raise ValueError(f"{asker} got no present test item of the classes {none}; leave them out of both splits")
    counts = torch.stack([(y == 1).sum(0), (y == 0).sum(0)]).amin(0)
    rare = (torch.unique(labels).cpu() if labels.ndim == 1 else torch.arange(y.shape[1]))[counts < least].tolist()
    if rare or y.shape[1] < 1 + (labels.ndim == 1):
        raise ValueError(
            f"{asker} wants at least {least} present and {least} absent training items of each class, but the classes "
            f"{rare} of {y.shape[1]} have fewer; leave them out of both splits, or add items of them"
        )
    return y, wanted


def _check(asker: str, train: Tensor, labels: Tensor, test: Tensor, answers: Tensor) -> None:
    if len(train) == 0 or len(test) == 0:
        raise ValueError(f"{asker} got {len(train)} training and {len(test)} test items; it wants at least one of each")
    shapes = [tuple(part.shape) for part in (train, labels, test, answers)]
    width, classes = train.shape[1:], labels.shape[1:]
    if (
        len(width) != 1
        or len(classes) > 1
        or shapes[1:]
        != [
            (len(train), *classes),
            (len(test), *width),
            (len(test), *classes),
        ]
    ):
        raise ValueError(
            f"{asker} got train, labels, test, answers of shapes {shapes}; it wants (N, D), (N,), (M, D), (M,) of one "
            "label each, or (N, D), (N, K), (M, D), (M, K) of several"
        )
    for name, part in (("labels", labels), ("answers", answers)):
        strange = sorted(set(torch.unique(part).tolist()) - {-1, 0, 1}) if classes else []
        if strange:
            raise ValueError(
                f"{asker} got {name} {strange[:5]}; of several labels an item it wants 1 present, 0 absent, "
                "-1 not to be judged"
            )
    for name, part in (("training", train), ("test", test)):
        if not all(block.isfinite().all() for block in torch.split(part, 65536)):
            raise ValueError(f"{asker}: the {name} features hold NaN or infinity; look at the backbone's weights")
