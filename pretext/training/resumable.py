"""Training batches of a user's own DataLoader, with which a run that was stopped goes on as if it had not been."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader

from pretext.core.ranks import place
from pretext.training.in_order import counted, planned
from pretext.training.keyed import Batches, reader, seeded


class Resumable:
    """The batches of a DataLoader; order and transforms draw by (seed, epoch, batch) alone, each rank has its share.

    Lightning saves `state_dict` in every checkpoint; after `load_state_dict` the next pass goes on with exactly the
    batch that would have come next. A sampler of a rank's own share (`num_replicas`) is left to share.

    Args:
        loader: one whose items have numbers, see `in_order.planned`.
        seed: of the order.
        clock: tells the epoch when a pass begins; without one, each pass is the next epoch.

    """

    def __init__(self, loader: DataLoader[Any], seed: int, clock: Callable[[], int] | None = None) -> None:
        self.loader, self.seed, self.clock = loader, seed, clock
        self._epoch = self._batch = self._resume = 0
        self._seeds: dict[int, int] = {}  # that a user gave to generators, by their ids
        self._batches = Batches()
        self._reader = reader(loader, self._batches)

    def __len__(self) -> int:
        own = self.loader.batch_sampler if self.loader.batch_size is None else self.loader.sampler
        drawn = len(own) if counted(own) else len(self._drawn(self._epoch))  # type: ignore[arg-type]  # just asked
        mine, size = drawn // self._world(own), self.loader.batch_size
        return mine if size is None else mine // size if self.loader.drop_last else -(-mine // size)

    def __iter__(self) -> Iterator[Any]:
        # A generator runs its first line at the first `next`: Lightning calls `iter` before it knows the epoch.
        epoch = self._epoch if self.clock is None else self.clock()
        start = self._resume if epoch == self._epoch else 0
        self._epoch, self._resume = epoch, 0
        plan = self._plan(epoch)
        self._batch = start if start < len(plan) else 0
        rank = place()[0]
        keys = ((self.seed, "items", rank, epoch, number) for number in range(self._batch, len(plan)))
        self._batches.next = [[key, *numbers] for key, numbers in zip(keys, plan[self._batch :], strict=True)]
        for batch in self._reader:
            self._batch += 1  # before the batch leaves: a checkpoint taken after its step counts it
            yield batch
        if self.clock is None:
            self._epoch, self._batch = epoch + 1, 0

    def _plan(self, epoch: int) -> list[list[int]]:
        """List the numbers of the items of this rank's batches."""
        drawn, size = self._drawn(epoch), self.loader.batch_size
        own = self.loader.batch_sampler if size is None else self.loader.sampler
        world = self._world(own)
        rank = place()[0] if world > 1 else 0
        mine = drawn[rank::world][: len(drawn) // world]
        if size is None:
            return [list(batch) for batch in mine]
        last = len(mine) - size + 1 if self.loader.drop_last else len(mine)
        return [mine[start : start + size] for start in range(0, last, size)]

    def _drawn(self, epoch: int) -> list[Any]:
        """Let the sampler draw an epoch: numbers of items, or batches of them."""
        own: Any = self.loader.batch_sampler if self.loader.batch_size is None else self.loader.sampler
        for part in (own, getattr(own, "sampler", None)):
            if callable(begin := getattr(part, "set_epoch", None)):
                begin(epoch)
            if isinstance(generator := getattr(part, "generator", None), torch.Generator):
                first = self._seeds.setdefault(id(generator), generator.initial_seed())
                generator.manual_seed(first + epoch)
        with seeded(self.seed, "order", epoch):
            return list(islice(own, len(own) if counted(own) else len(self.loader.dataset)))  # type: ignore[arg-type]

    def _world(self, own: Any) -> int:
        return 1 if hasattr(own, "num_replicas") else place()[1]

    def state_dict(self) -> dict[str, int]:
        """Say where we are, as plain numbers."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass go on from there."""
        self._epoch, self._batch, self._resume = state["epoch"], state["batch"], state["batch"]


def resumable(loader: Any, seed: int, clock: Callable[[], int] | None) -> Any:
    """Make a loader resumable where its items have numbers; others come as they are."""
    return loader if planned(loader) is None else Resumable(loader, seed, clock)
