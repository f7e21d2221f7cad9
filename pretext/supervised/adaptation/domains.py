"""Batches of two domains, as `datamodules.Pairs` yields them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pretext.core.errors import require
from pretext.core.types import Tree

PAIRS = "give both, --data datamodules.Pairs --data.source DIR --data.target DIR"


def both_of(batch: Any, labels: int, asker: object) -> tuple[dict[str, Tree], dict[str, Tree]]:
    """Part a training batch into those of the source, whose labels have so many dimensions, and of the target.

    Raises:
        ValueError: it is of one domain, or the domains' items have other sizes, or the source has no such labels.

    """
    there = isinstance(batch, Mapping) and {"source", "target"} <= set(batch)
    require(there, asker, "data of one domain", PAIRS)
    source, target = batch["source"], batch["target"]
    sizes = [tuple(x.shape[1:]) if isinstance(x := half["x"], Tensor) else () for half in (source, target)]
    got = f"an item of the source is {sizes[0]}, of the target {sizes[1]}"
    require(sizes[0] == sizes[1], asker, got, "give both data modules one size (canvas)")
    y = source.get("y")
    fits = isinstance(y, Tensor) and y.ndim == labels
    kind = "one class each, y (N,), such as class folders have" if labels == 1 else "masks, y (N, S, S)"
    shape = "none" if y is None else tuple(y.shape)
    require(fits, asker, f"the source's labels are {shape}", f"give {kind}")
    return source, target


def domain_of(batch: Mapping[str, Any], asker: object) -> str:
    """Tell the domain of a batch of one.

    Raises:
        ValueError: it does not say.

    """
    require("domain" in batch, asker, "data of one domain", PAIRS)
    return str(batch["domain"])
