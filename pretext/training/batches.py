"""What a batch is: {"x", "index", "y"}. Other forms that loaders yield are brought to it, or refused in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.core.tree import mapped
from pretext.core.types import Backbone, Tree

FORMS = 'a tensor x, a pair (x, y) or a dict {"x": x, "y": y}'


def lawful(batch: Any) -> dict[str, Any]:
    """Bring a batch to a dict with "x" and "index" (and "y"); one that is so already is returned as it is.

    Raises:
        ValueError: it has none of the forms, or labels that are no numbers.

    """
    if isinstance(batch, Mapping) and "x" in batch:
        return dict(batch) if "index" in batch else _indexed(dict(batch))
    if isinstance(batch, Tensor):
        return _indexed({"x": batch})
    if isinstance(batch, list | tuple) and len(batch) in (1, 2) and isinstance(batch[0], Tensor | Mapping):
        return _indexed(dict(zip(("x", "y"), batch, strict=False)))
    require(False, "a loader", f"its batches are {_kind(batch)}", f"yield {FORMS}, such as by a collate_fn")
    raise AssertionError  # require has raised


def _indexed(batch: dict[str, Any]) -> dict[str, Any]:
    """Number the items of a batch."""
    x = next(iter(batch["x"].values())) if isinstance(batch["x"], Mapping) else batch["x"]
    require(isinstance(x, Tensor), "a loader", f"x is {_kind(x)}", "give tensors, such as by ToTensor")
    if (y := batch.get("y")) is not None and not isinstance(y, Tensor):
        require(False, "a loader", f"y is {_kind(y)}", "give class numbers, as an int64 tensor (N,)")
    return {**batch, "index": torch.arange(len(x))}


def _kind(value: Any) -> str:
    """Say what something is."""
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} ({', '.join(type(part).__name__ for part in value[:4])})"
    return f"a {type(value).__name__}"


def check_first(x: Tree, backbone: Backbone) -> None:
    """Look at the first batch of a loader: values and axes.

    Raises:
        ValueError: no item, NaN, values outside of [0, 1] (sound: [-1, 1]), or too few axes for the network.

    """
    mapped(_check_values, x)
    if isinstance(x, Tensor) and backbone.axes:
        who, wanted = type(backbone).__name__, ", ".join(("N", "C", *backbone.axes.upper()))
        require(x.ndim >= 2 + len(backbone.axes), who, f"the data is {tuple(x.shape)}", f"it reads ({wanted})")
        sound = backbone.axes == "t"
        require(not sound or x.ndim == 3, who, f"the data is {tuple(x.shape)}", f"it reads sounds ({wanted})")


def _check_values(x: Tensor) -> Tensor:
    require(len(x) > 0, "a loader", f"its first batch is empty, {tuple(x.shape)}", "give at least one item")
    if not x.is_floating_point():
        allowed = x.dtype in (torch.uint8, torch.int16)
        require(allowed, "a loader", f"x is {x.dtype}", "give uint8 pictures, int16 sound, or floats in [0, 1]")
        return x
    low, high = (float(end) for end in torch.aminmax(x.detach()))
    require(low == low and high == high, "a loader", "x has NaN", "look at the file or the transform that made it")
    sound = x.ndim == 3
    least, what = (-1.0, "[-1, 1]") if sound else (0.0, "[0, 1]")
    if high > 1.001 or low < least - 0.001:
        scaled = "divide by 255, or give uint8" if high > 8 else "leave normalisation to the backbone"
        require(False, "a loader", f"x goes from {low:.3g} to {high:.3g}", f"give floats in {what}: {scaled}")
    return x
