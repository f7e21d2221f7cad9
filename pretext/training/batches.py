"""What a batch is: {"x", "index", "y"}. Other forms that loaders yield are brought to it, or refused in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pretext.core.errors import require
from pretext.core.tree import mapped
from pretext.core.types import Backbone, Tree

FORMS = 'a tensor x, a pair (x, y) or a dict {"x": x, "y": y}'
COUNTABLE = 2.0**24
"""From here on every float32 is a whole number, so that being whole makes no class of it."""
ONE, SEVERAL = "one class an item is int64 (N,)", "several labels an item are int8 (N, K) of 0, 1 and -1 (not judged)"


def lawful(batch: Any) -> dict[str, Any]:
    """Bring a batch to a dict with "x" and "index" (and "y", see `labels_in_form`; none where it is None).

    Raises:
        ValueError: it has none of the forms, or labels that are no numbers.

    """
    if isinstance(batch, Mapping) and "x" in batch:
        return _labelled(dict(batch) if "index" in batch else _indexed(dict(batch)))
    if isinstance(batch, Tensor):
        return _indexed({"x": batch})
    if isinstance(batch, list | tuple) and len(batch) in (1, 2) and isinstance(batch[0], Tensor | Mapping):
        return _labelled(_indexed(dict(zip(("x", "y"), batch, strict=False))))
    require(False, "a loader", f"its batches are {_kind(batch)}", f"yield {FORMS}, such as by a collate_fn")
    raise AssertionError  # require has raised


def _indexed(batch: dict[str, Any]) -> dict[str, Any]:
    """Number the items of a batch."""
    x = next(iter(batch["x"].values())) if isinstance(batch["x"], Mapping) else batch["x"]
    require(isinstance(x, Tensor), "a loader", f"x is {_kind(x)}", "give tensors, such as by ToTensor")
    if (y := batch.get("y")) is not None and not isinstance(y, Tensor):
        require(False, "a loader", f"y is {_kind(y)}", "give class numbers, as an int64 tensor (N,)")
    return {**batch, "index": torch.arange(len(x))}


def _labelled(batch: dict[str, Any]) -> dict[str, Any]:
    """Leave out a y that is None, and bring labels to their usual form."""
    if "y" not in batch:
        return batch
    if isinstance(batch["y"], Tensor):
        return {**batch, "y": labels_in_form(batch["y"])}
    return batch if batch["y"] is not None else {name: part for name, part in batch.items() if name != "y"}


def labels_in_form(y: Tensor) -> Tensor:
    """Make int64 (N,) of classes in other types, also of whole floats and of (N, 1); other labels stay as they are.

    Those are floats (N, V) and (N, C, H, W), numbers; int8 (N, K), several labels an item; and masks (N, H, W). Bools
    (N, K) become int64, as it is not known what they are.
    """
    if y.ndim == 2 and y.dtype == torch.bool:
        y = y.long()
    if y.ndim == 2 and y.shape[1] == 1 and not y.is_floating_point() and y.dtype != torch.int8:
        y = y[:, 0]
    if y.ndim != 1 or y.dtype == torch.int64:
        return y
    # NaN is not equal to itself, nor infinity small: they stay, to be told of where labels are wanted.
    return y.long() if not y.is_floating_point() or bool(_whole(y).all()) else y


def _whole(y: Tensor) -> Tensor:
    return (y == y.round()) & (y.abs() < COUNTABLE)


def _kind(value: Any) -> str:
    """Say what something is."""
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value))}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} ({', '.join(type(part).__name__ for part in value[:4])})"
    return f"a {type(value).__name__}"


def numbers_of(labels: Sequence[Tensor], asker: object) -> list[str]:
    """Number the classes of a set's labels, one tensor a batch; there are none of masks and of numbers.

    Raises:
        ValueError: (N,), some batches of which are classes and others none.

    """
    classes = [y for y in labels if len(y) and not y.is_floating_point()]
    if not classes or classes[0].ndim > 2:
        return []
    if classes[0].ndim == 2:
        return [str(k) for k in range(classes[0].shape[1])]
    for y in labels:
        check_kind(y, asker)
    return [str(k) for k in range(1 + max(int(y.max()) for y in classes))]


def check_labels(batches: Iterable[Mapping[str, Any]], asker: object, numbers: bool = True) -> None:
    """Look at the first labels of a set, and at all of them where these are one-hot; that there are none is no fault.

    Raises:
        ValueError: every row is one-hot, whole numbers (N, K) that tell of no labels, or as in `check_kind`.

    """
    first = next(iter(batches), {}).get("y")
    if not isinstance(first, Tensor):
        return
    # A set of several labels an item may begin with items of one label, and one of numbers with such as (1, 0, 0, 0).
    hot = _one_hot(first) and all(_one_hot(batch.get("y")) for batch in batches)
    wanted = f"take y.argmax(1) for one class an item; {SEVERAL}: protocol svm"
    require(not hot, asker, f"y is one-hot, {_form(first)}", wanted)
    check_kind(first, asker, numbers)
    if first.ndim == 2 and not first.is_floating_point():
        told = bool((first.abs() <= 1).all())
        got = f"y is {_form(first)} with values beyond -1, 0 and 1"
        require(told, asker, got, f"{ONE}; {SEVERAL}; numbers are floats (N, V), such as y.float()")


def check_kind(y: Tensor, asker: object, numbers: bool = True) -> None:
    """Look at what kind of labels these are.

    Raises:
        ValueError: floats (N,) that are no classes; where no `numbers` are wanted, all that is not (N,) or (N, K).

    """
    if y.ndim == 1 and y.is_floating_point():
        such = "".join(f", such as {float(value):.3g}" for value in y[~_whole(y)][:1])
        wanted = f"{ONE}; numbers are (N, V), such as y[:, None]: protocol regression, pretext.Regression"
        require(False, asker, f"y is {_form(y)}{such}", wanted)
    classes = y.ndim in (1, 2) and not y.is_floating_point()
    learners = "numbers are learnt by pretext.Regression, masks by pretext.Segmentation"
    require(numbers or classes, asker, f"y is {_form(y)}", f"{ONE}; {SEVERAL}; {learners}")


def _form(y: Tensor) -> str:
    """Say type and shape of labels: "float32 (N, 3)"."""
    kind, sizes = str(y.dtype).removeprefix("torch."), ", ".join(("N", *map(str, y.shape[1:])))
    return f"{kind} (N,)" if y.ndim == 1 else f"{kind} ({sizes})"


def _one_hot(y: Any) -> bool:
    """Are these rows of zeros with a single one? Not of int8, in which several labels an item are told."""
    if not isinstance(y, Tensor) or y.ndim != 2 or y.shape[1] < 2 or y.dtype == torch.int8:
        return False
    return bool((((y == 0) | (y == 1)).all(1) & ((y == 1).sum(1) == 1)).all())


def check_first(x: Tree, backbone: Backbone, split: str = "") -> None:
    """Look at the first batch of a loader, of a `split` that messages name: values and axes.

    Raises:
        ValueError: no item, NaN, values outside of [0, 1] (sound: [-1, 1]), or too few axes for the network.

    """
    mapped(partial(_check_values, f"the {split} loader" if split else "a loader"), x)
    if isinstance(x, Tensor) and backbone.axes:
        who, wanted = type(backbone).__name__, ", ".join(("N", "C", *backbone.axes.upper()))
        got = f"the {split} data is {tuple(x.shape)}".replace("  ", " ")
        require(x.ndim >= 2 + len(backbone.axes), who, got, f"it reads ({wanted})")
        sound = backbone.axes == "t"
        require(not sound or x.ndim == 3, who, got, f"it reads sounds ({wanted})")


def _check_values(loader: str, x: Tensor) -> Tensor:
    require(len(x) > 0, loader, f"its first batch is empty, {tuple(x.shape)}", "give at least one item")
    if not x.is_floating_point():
        allowed = x.dtype in (torch.uint8, torch.int16)
        require(allowed, loader, f"x is {x.dtype}", "give uint8 pictures, int16 sound, or floats in [0, 1]")
        return x
    low, high = (float(end) for end in torch.aminmax(x.detach()))
    require(low == low and high == high, loader, "x has NaN", "look at the file or the transform that made it")
    sound = x.ndim == 3
    least, what = (-1.0, "[-1, 1]") if sound else (0.0, "[0, 1]")
    if high > 1.001 or low < least - 0.001:
        scaled = "divide by 255, or give uint8" if high > 8 else "leave normalisation to the backbone"
        require(False, loader, f"x goes from {low:.3g} to {high:.3g}", f"give floats in {what}: {scaled}")
    return x
