"""What evaluators ask of labelled data."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pretext.core.types import Tree
from pretext.training.batches import check_kind, check_labels, lawful
from pretext.training.loaders import Adapted, Loaders


def classes_of(data: Any, known: list[str], asker: str) -> list[str]:
    """Return the names of a data module's classes, or the `known` ones where there is no data module.

    Raises:
        ValueError: there are none, or others than the known ones; a user's own labels are no classes.

    """
    own = isinstance(data, Loaders | Adapted)
    if own and not known:
        check_labels(data.ordered("train"), asker, numbers=False)
    names = list(getattr(data, "classes", []))
    if not names and not known:
        module = "give a data module with labels, such as --data datamodules.ImageFolder --data.root DIR"
        advice = "let the train loader yield (x, y), y int64 (N,)" if own else module
        raise ValueError(f"{asker} learns classes, but {type(data).__name__} has none; {advice}")
    if names and known and names != known:
        raise ValueError(
            f"{asker} learnt {len(known)} classes ({', '.join(known[:3])} ...), but the data has {len(names)} "
            f"({', '.join(names[:3])} ...); give data with the same classes, or train anew"
        )
    return names or known


def labels_of(batch: dict[str, Any], asker: str) -> Tensor:
    """Take the labels of a batch: classes (N,), or several an item, (N, K).

    Raises:
        ValueError: there are none, or they are numbers or masks.

    """
    y = batch.get("y")
    if not isinstance(y, Tensor):
        raise ValueError(f"{asker} learns classes, but a batch has no y; give every item a label, in all splits")
    check_kind(y, asker, numbers=False)
    return y


def part(x: Tree, modality: str | None, asker: str) -> Tensor:
    """Take out of a batch's x the modality that a network reads: the named one, or the only one.

    Raises:
        ValueError: of several modalities none is named, or one that is missing.

    """
    if not isinstance(x, dict):
        tensor: Tensor = x
        return tensor
    name = modality or (next(iter(x)) if len(x) == 1 else None)
    if name not in x:
        raise ValueError(
            f"{asker}: the data has {', '.join(x)}, but the modality is {modality}; name one of them with "
            "--model.modality, or ask the data module for it (`modalities`)"
        )
    chosen: Tensor = x[name]
    return chosen


def first_batch(data: Any, fitting: bool, held_out: bool, asker: str) -> Tree:
    """Return the x of the first batch that is evaluated: while `fitting` of the validation items, else of the test's.

    Raises:
        ValueError: `held_out`, which wants validation items, but there are none.

    """
    batch = next(iter(data.val_dataloader() if fitting else data.test_dataloader()), None)
    if batch is None and held_out and fitting:
        raise ValueError(
            f"{asker} chooses the stage on items that are held out of the training set, and {type(data).__name__} "
            "holds out none; set a share, such as --data.split.val 0.1"
        )
    x: Tree = lawful(next(iter(data.train_dataloader())) if batch is None else batch)["x"]
    return x
