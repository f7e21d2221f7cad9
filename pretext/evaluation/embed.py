"""Look at every image once and keep what every stage says: the only place where evaluation runs a backbone.

Features are stored as float16, on disk memory-mapped. Five stages of a ResNet-50 at 224 px are 3,904 + 44,032 values an
image, 96 kB: 1.3 M images take 125 GB of disk and the memory of one batch (with `dims=2048`: 26 kB and 33 GB).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

from pretext.core.tree import leaves
from pretext.core.types import Backbone
from pretext.evaluation.cache import Columns, cached, digest
from pretext.evaluation.names import DIMS as DIMS
from pretext.evaluation.progress import with_progress
from pretext.evaluation.shards import Look, Sharing

VERSION = 2  # of what this file computes: raise it with any change to that, and old caches are left behind
# A stage whose largest value in the first batch lies outside is stored as float32. At random initialisation many are:
# torchvision's EfficientNet-B0 ends at 1e-13, which float16 would turn into a baseline of zeros, ResNet-101 at 3e4.
HALF = (2.0**-6, 2.0**10)

Batch = Mapping[str, Any]
"""{"x": a tensor or a dict of them by modality, "index": (N,), and "y": (N,) where labelled}."""
View = Callable[[Any], Tensor]
"""Turns the "x" of a batch, as it is loaded, into what the backbone sees, floats; always the same for the same batch.

It may make several rows of each, item by item: the features of all rows that belong to one index are averaged.
"""


class FeatureError(ValueError):
    """Features that are NaN, infinite or far out of range: most often a network that has diverged."""


class Embedded(NamedTuple):
    """A set of N items seen through every stage; float16 (or float32, see `HALF`), memory-mapped if cached."""

    mean: dict[str, Tensor]
    """Stage -> (N, D_i), averaged over the grid: for nearest neighbours."""
    grid: dict[str, Tensor]
    """Stage -> (N, D_i * prod(p)), pooled to a coarser grid: for linear classifiers, which can use the place."""
    labels: Tensor
    """(N,), or (0,) where the batches have no "y"."""

    def only(self, stages: Sequence[str]) -> Embedded:
        """Leave out the other stages.

        Raises:
            ValueError: there is no such stage.

        """
        if missing := [name for name in stages if name not in self.mean]:
            raise ValueError(f"no stage {', '.join(missing)} among those of the backbone: {', '.join(self.mean)}")
        return self._replace(
            mean={name: self.mean[name] for name in stages}, grid={name: self.grid[name] for name in stages}
        )


class Cache(NamedTuple):
    """Where to keep features, and what names them besides backbone and pooling."""

    folder: Path
    data: str
    """Fingerprint of the images, their labels and their order."""
    view: str
    """Says what `view` does to them."""


def embed(
    backbone: Backbone,
    batches: Iterable[Batch],
    view: View,
    *,
    cache: Cache | None = None,
    dims: int = DIMS,
    dtype: torch.dtype = torch.float32,
    title: str = "embedding",
    sharing: Sharing | None = None,
) -> Embedded:
    """Look at `batches` of {"x", "index", "y"} once, on the backbone's device, and pool every stage both ways.

    Rows of a batch that share their index, such as several clips of one video, make one item: their features are
    averaged.

    The backbone is in eval mode meanwhile and afterwards as before, parameters and buffers untouched. `dtype` bfloat16
    uses autocast. With a `cache`, features that are there already are not computed again (`batches` is not iterated).
    `sharing` lets other processes look at most batches; the features are the same.

    Raises:
        ValueError: no images.
        FeatureError: features that are NaN or out of range (the message names the stage).

    """
    look = looking(backbone, view, dims, dtype, title)
    chunks = look(batches, {}) if sharing is None else sharing.crew.lead(sharing.what, look, batches)
    with evaluating(backbone):
        if cache is None:
            columns = _gather(chunks)
        else:
            key = digest(backbone, VERSION, cache.data, cache.view, dims, dtype)
            columns = cached(cache.folder / key, chunks)
    mean = {name.removeprefix("mean/"): rows for name, rows in columns.items() if name.startswith("mean/")}
    grid = {name: columns.get(f"grid/{name}", rows) for name, rows in mean.items()}
    return Embedded(mean, grid, columns.get("labels", torch.empty(0, dtype=torch.long)))


def coarse(stage: Tensor, dims: int) -> Tensor:
    """Average a stage (N, D, *G) over the finest grid of p cells a side with at most `dims` values; flat, (N, <= dims).

    p never exceeds the stage's own grid, along each axis, nor goes below 1; (N, D) stays as it is.
    """
    if stage.ndim == 2:
        return stage
    grid = coarse_grid(stage.shape[1:], dims)
    if grid == tuple(stage.shape[2:]):  # each cell is its own mean, which pooling would take its time to find
        return stage.flatten(1)
    pool: Any = (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[len(grid) - 1]
    pooled: Tensor = pool(stage, grid)
    return pooled.flatten(1)


def coarse_grid(shape: Sequence[int], dims: int) -> tuple[int, ...]:
    """Return the sides of the grid to which `coarse` pools a stage of shape (D, *G)."""
    channels, *grid = shape
    sides = [tuple(min(p, g) for g in grid) for p in range(1, max(grid) + 1)]
    fits = [side for side in sides if channels * prod(side) <= dims] or sides[:1]
    return fits[-1]


def looking(backbone: Backbone, view: View, dims: int, dtype: torch.dtype, title: str) -> Look:
    """Say how batches are looked at; `embed` puts the backbone in eval mode meanwhile."""
    return partial(_look, backbone, view, dims, dtype, title)


def _look(
    backbone: Backbone,
    view: View,
    dims: int,
    dtype: torch.dtype,
    title: str,
    batches: Iterable[Batch],
    dtypes: dict[str, torch.dtype],
) -> Iterator[Columns]:
    """Yield the rows of each batch: "mean/<stage>", "grid/<stage>" where there is a grid, "labels" where there are."""
    device = next((t.device for t in chain(backbone.parameters(), backbone.buffers())), torch.device("cpu"))
    for batch in with_progress(batches, title):
        first, of = _items(batch["index"])
        rows = _rows(backbone, moved(batch["x"], device), view, dims, dtype)
        items = {name: _averaged(values, of, len(first)) for name, values in rows.items()}
        labels = {"labels": batch["y"].cpu()[first]} if "y" in batch else {}
        for y in labels.values():
            if dtypes.setdefault("labels", y.dtype) != y.dtype:  # a column of files has one type
                kinds = f"{dtypes['labels']}, then {y.dtype}"
                raise ValueError(f"embed got labels of {kinds}; give classes that are all whole and none NaN")
        yield _stored(items, dtypes, backbone) | labels
    if not dtypes:
        raise ValueError("embed got no images; look at the data's folder and split")


def moved(x: Any, device: torch.device) -> Any:
    """Bring a batch's tensor, or its dict of them, to the device."""
    if isinstance(x, dict):
        return {name: part.to(device, non_blocking=True) for name, part in x.items()}
    return x.to(device, non_blocking=True)


def _items(index: Tensor) -> tuple[Tensor, Tensor]:
    """Find where each run of equal indices begins, (items,), and which item each row belongs to, (N,)."""
    new = torch.ones_like(index, dtype=torch.bool)
    new[1:] = index[1:] != index[:-1]
    return new.nonzero()[:, 0].cpu(), new.cumsum(0) - 1


def _averaged(rows: Tensor, of: Tensor, items: int) -> Tensor:
    """Average the rows of each item; a view may have made several of every row of the batch."""
    if len(rows) == items:
        return rows
    of = of.to(rows.device).repeat_interleave(len(rows) // len(of))
    sums = rows.new_zeros(items, *rows.shape[1:]).index_add_(0, of, rows)
    return sums / of.bincount(minlength=items)[:, None]


@torch.inference_mode()
def _rows(backbone: Backbone, x: Any, view: View, dims: int, dtype: torch.dtype) -> Columns:
    shown, low = view(x), dtype == torch.bfloat16
    kind = next(leaves(shown)).device.type
    with torch.autocast(kind, torch.bfloat16, enabled=low):  # not enabled: off, also within another one
        stages = backbone(shown).stages
    rows = {}
    for name, stage in stages.items():
        rows[f"mean/{name}"] = stage.float().flatten(2).mean(2) if stage.ndim > 2 else stage.float()
        if stage.ndim > 2:
            rows[f"grid/{name}"] = coarse(stage.float(), dims)
    return rows


def _stored(rows: Columns, dtypes: dict[str, torch.dtype], backbone: Backbone) -> Columns:
    """Round each column to the type that its first batch decides on, and refuse what that cannot hold."""
    stored = {}
    for name, values in rows.items():
        largest = torch.linalg.vector_norm(values, torch.inf)  # NaN where there is one
        if name not in dtypes:
            dtypes[name] = torch.float16 if largest == 0 or HALF[0] <= largest <= HALF[1] else torch.float32
        stored[name] = values.to(dtypes[name]).cpu()
        if not largest.to(dtypes[name]).isfinite():
            who = f"embed: stage {name.split('/', 1)[1]!r} of {type(backbone).__name__}"
            if not largest.isfinite():
                raise FeatureError(f"{who} gives NaN or infinity; its weights have diverged: look at the run's loss")
            raise FeatureError(
                f"{who} gives {float(largest):.3g}, but the first batch had at most {HALF[1]:g}, so it is "
                "stored as float16; scale the input or the network, or look whether these items are broken"
            )
    return stored


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in eval mode, and every module back as it was."""
    training = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, was in training.items():
            module.training = was


def _gather(chunks: Iterable[Columns]) -> Columns:
    """Collect columns in memory."""
    rows = list(chunks)
    with torch.autocast("cpu", enabled=False):  # which joins no float16, should it surround us
        return {name: torch.cat([chunk[name] for chunk in rows]) for name in rows[0]}
