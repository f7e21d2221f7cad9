"""Augmented views of a set, embedded like the set itself: for measures of invariance, and to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, Protocol, cast

import torch
from torch import Generator, Tensor

from pretext.core.rng import rng
from pretext.evaluation.cache import Columns
from pretext.evaluation.embed import Batch, Embedded, moved
from pretext.evaluation.shards import dealt


class Batches(Protocol):
    """What can be gone through more than once, batch by batch, such as a list or a data module's `ordered(split)`."""

    def __iter__(self) -> Iterator[Any]: ...
    def __len__(self) -> int: ...


class Augmented:
    """The `k`-th augmented view of a set: its batches, each with "x" augmented as a whole, at random.

    To be embedded as it is: `embed(backbone, Augmented(batches, augment, seed, k), view=lambda x: x)`. The random
    numbers are keyed by (seed, "views", k, first index of the batch), so the same seed and k give the same view
    whenever the same batches come, of the same size; its name, `str`, is what a cache of features may go by. Rows that
    share an index (parts of one video) are augmented each for itself.

    Args:
        batches: {"x", "index", ...} as loaded; all but "x" is passed on.
        augment: from "x" and a generator to what the backbone sees, such as a run's `Augment`.
        seed: first part of the key.
        k: which view, from 0.
        device: where "x" is augmented. Accelerators draw other numbers than the CPU, so they give other views.

    Raises:
        ValueError: `k` is negative, or `batches` can be gone through only once: the next view would be empty.

    """

    def __init__(
        self,
        batches: Batches,
        augment: Callable[[Any, Generator], Any],
        seed: int = 0,
        k: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if k < 0:
            raise ValueError(f"Augmented got k={k}; it wants the number of a view, from 0")
        if not hasattr(batches, "__len__"):
            raise ValueError(
                f"Augmented got a {type(batches).__name__}, which may be gone through once only; it wants batches with "
                "a length, such as a list or a data module's ordered(split)"
            )
        self.batches, self.augment, self.seed, self.k, self.device = batches, augment, seed, k, torch.device(device)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            generator = rng(self.device, self.seed, "views", self.k, int(batch["index"][0]))
            with torch.no_grad():
                yield {**batch, "x": self.augment(moved(batch["x"], self.device), generator)}

    def __len__(self) -> int:
        return len(self.batches)

    def shard(self, rank: int, world: int) -> Augmented:
        """Take batches `rank`, `rank` + `world`, ... of these."""
        twin = copy(self)
        twin.batches = cast(Batches, dealt(self.batches, rank, world))
        return twin

    def __str__(self) -> str:
        return f"view {self.k} by seed {self.seed} on {self.device.type}, {self.augment}"


def stacked(embedded: Sequence[Embedded], stage: str) -> Tensor:
    """Join one stage's grids of q views of N items, (q N, D), view after view: to train on them all.

    Raises:
        ValueError: no views, or views of other stages, sizes or labels, as of other items or in another order.

    """
    _check("stacked", embedded)
    return torch.cat([view.grid[stage] for view in embedded])


def views_of(embedded: Sequence[Embedded], stage: str) -> Tensor:
    """Set the q views of N items side by side, (N, q, D), as `lidar` wants them: one stage's means over its grid.

    Raises:
        ValueError: as `stacked`, or there is no such stage.

    """
    _check("views_of", embedded)
    if stage not in embedded[0].mean:
        raise ValueError(f"views_of got stage={stage!r}; the views have {', '.join(embedded[0].mean)}")
    return torch.stack([view.mean[stage] for view in embedded], 1)


def _check(name: str, embedded: Sequence[Embedded]) -> None:
    """Refuse views that are not of the same items through the same stages."""
    if not embedded:
        raise ValueError(f"{name} got no views; embed at least one")
    first = embedded[0]
    for k, view in enumerate(embedded):
        for ours, theirs in ((first.mean, view.mean), (first.grid, view.grid)):
            if _shapes(ours) != _shapes(theirs):
                raise ValueError(f"{name}: view 0 has {_shapes(ours)}, view {k} {_shapes(theirs)}; embed the same set")
        if not torch.equal(first.labels, view.labels):
            raise ValueError(f"{name}: view {k} has other labels than view 0; embed the same items in the same order")


def _shapes(columns: Columns) -> dict[str, tuple[int, ...]]:
    return {stage: tuple(rows.shape) for stage, rows in columns.items()}
