"""Batches by position: what a split's items are read from, and the two loaders that say which come next.

A plan is a list of tensors of positions, one tensor per batch. A `Source` turns a plan into batches; it alone knows
whether the items lie in memory or are still to be decoded. A loader makes the plan and knows nothing of images.

An item may be longer than what a batch holds of it, such as a video. A pick then says which part is meant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, distributed

from datamodules.draws import shuffled

Batch = dict[str, Any]
"""{"x": (N, ...) or a dict of them by modality, "index": int64 (N,), and "y": int64 (N,) where labelled}.

"spare" is true where a batch is there for the sake of another rank, see `InOrder`.
"""

Pick = tuple[int, int] | Literal["centre", "spread"]
"""Which part of a longer item: one drawn by (seed, epoch), the one in the centre, or `Source.rows` evenly spaced."""


class Source(ABC):
    """The items of one split, read by position."""

    rows: int = 1
    """How many rows of a batch each item makes, one after the other."""
    y: Tensor | None = None
    """The labels of all items, (N, ...), where they are known without reading an item."""

    def cut(self, pick: Pick) -> Source:
        """Read these items as `pick` says; here as they are, for items that have no parts."""
        return self

    def side(self) -> int | None:
        """Return the shorter side, pixels, of the largest of a few image files, as they are; None: of no such files."""
        return None

    @abstractmethod
    def __len__(self) -> int:
        """Count the items."""

    @abstractmethod
    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        """Yield one batch for each tensor of positions.

        An item that turns out to be unreadable is left out or, with a `pool` (sorted positions), replaced by the next
        readable one of the pool, so that the shape of every batch is kept.
        """

    @abstractmethod
    def fingerprint(self, dated: bool = True) -> str:
        """Hash what `read` yields, after `cut("spread")`; cheap.

        Not `dated`, files count by their names and labels and not by size and date, so that the hash is the same on
        another machine.
        """


class Memory(Source):
    """Items that lie in memory: `x` uint8 (N, 3, S, S) and, where labelled, `y` int64 (N,)."""

    def __init__(self, x: Tensor, y: Tensor | None) -> None:
        self.x, self.y = x, y

    def __len__(self) -> int:
        return len(self.x)

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        for positions in plan:
            yield batch_of(self.x[positions], positions, self.y)

    def fingerprint(self, dated: bool = True) -> str:
        digest = blake2b(repr(tuple(self.x.shape)).encode(), digest_size=16)
        for part in (self.x, self.y):
            if part is not None:
                digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()


def batch_of(x: Tensor | dict[str, Tensor], positions: Tensor, y: Tensor | None) -> Batch:
    """Make a batch from `x`, its rows' positions and the labels of all items; in pinned memory if there is CUDA."""
    batch = {"x": x, "index": positions} | ({} if y is None else {"y": y[positions]})
    return pinned(batch)


def pinned(batch: Batch) -> Batch:
    """Put a batch in pinned memory if there is CUDA."""
    return {name: _pinned(part) for name, part in batch.items()} if _has_cuda() else batch


@cache
def _has_cuda() -> bool:
    """Look for a device once: beside Lightning, which has torch ask the driver, each look costs 45 us."""
    return torch.cuda.is_available()


def _pinned(x: Tensor | dict[str, Tensor]) -> Tensor | dict[str, Tensor]:
    """Move to pinned pages, which travel to the device while it still computes.

    Torch hands pages out again once no tensor holds them and the copies that read them have ended.
    """
    if isinstance(x, dict):
        return {name: _pinned_part(part) for name, part in x.items()}
    return _pinned_part(x)


def _pinned_part(x: Tensor) -> Tensor:
    """Copy by NumPy, in one thread: torch would share a batch out among threads that wait for cores that decode."""
    if x.is_cuda or x.is_pinned():
        return x
    try:
        plain = x.numpy()
    except (RuntimeError, TypeError):  # bfloat16, or with a gradient
        return x.pin_memory()
    pages = torch.empty(x.shape, dtype=x.dtype, device="cpu", pin_memory=True)  # whatever device is the default
    np.copyto(pages.numpy(), plain)
    return pages


def place() -> tuple[int, int]:
    """Tell this process's rank and the number of ranks, (0, 1) where training is not distributed."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def training_plan(order: Tensor, batch_size: int, rank: int, world: int) -> Sequence[Tensor]:
    """Cut a rank's share of `order` into batches of one size, leaving over what fills none.

    Every rank has as many batches as the others. Fewer items than a batch make one smaller batch.
    """
    mine = order[rank::world][: len(order) // world]
    size = max(1, min(batch_size, len(mine)))
    return [mine[start : start + size] for start in range(0, len(mine) - size + 1, size)] if len(mine) else []


def ordered_plan(items: Tensor, batch_size: int) -> Sequence[Tensor]:
    """Cut `items`, in order, into batches of nearly equal size, leaving nothing over."""
    return items.tensor_split(-(-len(items) // batch_size)) if len(items) else []


class Shuffled:
    """Training batches in an order made from (seed, epoch) alone, each rank its share, the incomplete batch dropped.

    Lightning saves `state_dict` in every checkpoint; after `load_state_dict` the next pass goes on with exactly the
    batch that would have come next. Any other pass begins at the start of its epoch.

    Args:
        source: what to read from.
        items: sorted positions of the items to train on.
        batch_size: items per batch and rank.
        seed: of the order.
        clock: tells the epoch when a pass begins; without one, `set_epoch` does.
        batches: how many full ones a pass has, its items repeated in ever new orders; none: what the items make.

    """

    def __init__(
        self,
        source: Source,
        items: Tensor,
        batch_size: int,
        seed: int,
        clock: Callable[[], int] | None = None,
        batches: int | None = None,
    ) -> None:
        self.source, self.items, self.batch_size, self.seed, self.clock = source, items, batch_size, seed, clock
        self.batches = batches
        self._epoch = 0
        self._batch = 0  # how many batches of this epoch were handed out
        self._resume = 0  # how many of them the next pass leaves out

    def __len__(self) -> int:
        return self.batches or len(training_plan(self.items, self.batch_size, *place()))

    def __iter__(self) -> Iterator[Batch]:
        # A generator runs its first line at the first `next`: Lightning calls `iter` before it knows the epoch.
        if self.clock is not None:
            self.set_epoch(self.clock())
        start, self._resume = self._resume, 0
        self._batch = start if start < len(self) else 0
        plan = training_plan(self._order(), self.batch_size, *place())[self._batch :]
        for batch in self.source.cut((self.seed, self._epoch)).read(plan, pool=self.items):
            self._batch += 1  # before the batch leaves: a checkpoint taken after its step counts it
            yield batch

    def _order(self) -> Tensor:
        """Order the items of this epoch, repeated where more batches are asked for than they make."""
        order = self.items[shuffled(len(self.items), self.seed, self._epoch)]
        if self.batches is None:
            return order
        wanted = self.batches * self.batch_size * place()[1]
        rounds = range(1, -(-wanted // len(order)))
        again = (self.items[shuffled(len(order), self.seed, self._epoch, "round", k)] for k in rounds)
        return torch.cat([order, *again])[:wanted]

    def set_epoch(self, epoch: int) -> None:
        """Tell the epoch; another one than so far begins at its first batch."""
        if epoch != self._epoch:
            self._epoch, self._batch, self._resume = epoch, 0, 0

    def state_dict(self) -> dict[str, int]:
        """Say where we are, as plain numbers."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass go on from there."""
        self._epoch, self._batch, self._resume = state["epoch"], state["batch"], state["batch"]


class InOrder:
    """Batches in order, each item once, of nearly equal size; of several ranks each takes its turn, unless `whole`.

    They are cut as for one process: rank r of W has batches r, r + W, ... Where a rank has one fewer than the others
    it reads the last batch again, with "spare" set: it is looked at, so that no rank waits for ever for another, and
    does not count.

    `batch_size` counts items, of which each makes `source.rows` rows. With a `share` (rank, number of ranks) it goes
    by that instead of by the processes that train, and has no spare batch.
    """

    def __init__(
        self,
        source: Source,
        items: Tensor,
        batch_size: int,
        whole: bool = False,
        share: tuple[int, int] | None = None,
    ) -> None:
        self.source, self.items, self.batch_size, self.whole, self.share = source, items, batch_size, whole, share

    def shard(self, rank: int, world: int) -> InOrder:
        """Take batches `rank`, `rank` + `world`, ... of these."""
        return InOrder(self.source, self.items, self.batch_size, share=(rank, world))

    def _plan(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Return this rank's batches, and its spare one if it has one."""
        every = ordered_plan(self.items, self.batch_size)
        rank, world = self.share or ((0, 1) if self.whole else place())
        mine = every[rank::world]
        spare = self.share is None and bool(every) and len(mine) < -(-len(every) // world)
        return mine, every[-1:] if spare else []

    def __len__(self) -> int:
        return sum(map(len, self._plan()))

    def __iter__(self) -> Iterator[Batch]:
        mine, spare = self._plan()
        yield from self.source.read(mine)
        for batch in self.source.read(spare) if spare else ():
            yield {**batch, "spare": True}
