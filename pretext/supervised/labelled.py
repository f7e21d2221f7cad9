"""What evaluators ask of labelled data."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pretext.core.types import Tree
from pretext.training.batches import lawful


def classes_of(data: Any, known: list[str], asker: str) -> list[str]:
    """Return the names of a data module's classes, or the `known` ones where there is no data module.

    Raises:
        ValueError: there are none, or others than the known ones.

    """
    names = list(getattr(data, "classes", []))
    if not names and not known:
        raise ValueError(
            f"{asker} learns classes, but {type(data).__name__} has none; give a data module with labels, such as "
            "--data datamodules.ImageFolder --data.root DIR"
        )
    if names and known and names != known:
        raise ValueError(
            f"{asker} learnt {len(known)} classes ({', '.join(known[:3])} ...), but the data has {len(names)} "
            f"({', '.join(names[:3])} ...); give data with the same classes, or train anew"
        )
    return names or known


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
