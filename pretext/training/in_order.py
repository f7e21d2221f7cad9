"""A loader of a user's own, gone through in order: each item once, by one process or by several in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from pretext.core.ranks import place
from pretext.core.rng import rng
from pretext.training.batches import lawful

WHOLE = (SequentialSampler, RandomSampler, WeightedRandomSampler, DistributedSampler)
"""Samplers of torch that draw from all items; of others, the items that they draw are taken."""


class Plan(NamedTuple):
    """Which items of a data set make which batches."""

    items: Tensor
    """(N,) int64, numbers in the data set, ascending."""
    size: int
    """Items of a batch; the last one may have fewer."""

    def starts(self, rank: int, world: int) -> range:
        """Say where in `items` every batch of a rank begins."""
        return range(rank * self.size, len(self.items), world * self.size)


class InOrder:
    """The batches of a loader, each item once, with the items' numbers in the split as `index`.

    A DataLoader's items come in their own order, whatever its sampler; what has no numbered items comes as it is. With
    `items`, at most so many: a random choice, always the same, since data sets come class by class; of what has no
    numbered items, the first.

    Args:
        loader: a DataLoader, or anything else that yields batches again and again.
        items: at most so many.
        share: (rank, number of ranks); rank r takes batches r, r + ranks, ...

    """

    def __init__(self, loader: Any, items: int | None = None, share: tuple[int, int] = (0, 1)) -> None:
        self.loader, self.items, self.share = loader, items, share

    @cached_property
    def plan(self) -> Plan | None:
        """The batches of all ranks, where items have numbers."""
        plan = planned(self.loader)
        if plan is None or self.items is None or self.items >= len(plan.items):
            return plan
        choice = torch.randperm(len(plan.items), generator=rng("cpu", "items"))[: self.items]
        return plan._replace(items=plan.items[choice.sort().values])

    def shard(self, rank: int, world: int) -> InOrder:
        """Take batches `rank`, `rank` + `world`, ... of these."""
        return InOrder(self.loader, self.items, (rank, world))

    def __len__(self) -> int:
        """Count this share's batches; an iterable of unknown length is kept, as it is gone through again."""
        if self.plan is not None:
            return len(self.plan.starts(*self.share))
        if not counted(self.loader):
            self.loader = list(self.loader)
        rank, world = self.share
        return len(range(rank, len(self.loader), world))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rank, world = self.share
        return islice(self._as_loaded(), rank, None, world) if self.plan is None else self._by_number(self.plan)

    @cached_property
    def _reader(self) -> DataLoader[Any]:
        assert self.plan is not None
        return reading(self.loader, self.plan, *self.share)

    def _by_number(self, plan: Plan) -> Iterator[dict[str, Any]]:
        for start, loaded in zip(plan.starts(*self.share), self._reader, strict=True):
            batch = lawful(loaded)
            rows, items = len(batch["index"]), len(plan.items[start : start + plan.size])
            first = start * -(-rows // items)  # a collate_fn may make several rows of an item, or leave some out
            yield {**batch, "index": torch.arange(first, first + rows)}

    def _as_loaded(self) -> Iterator[dict[str, Any]]:
        seen = 0
        for loaded in self.loader:
            if self.items is not None and seen >= self.items:
                return
            batch = lawful(loaded)
            size = len(batch["index"])
            yield {**batch, "index": torch.arange(seen, seen + size)}
            seen += size


class Dealt:
    """What an evaluation sees of a loader: all items in order; of several ranks each takes its turn.

    As `datamodules.loader.InOrder` does: batches are cut as for one process, and a rank that has one fewer than others
    sees the last one again, with "spare" set. Lightning would shuffle items between batches, and repeat some.
    """

    def __init__(self, loader: Any) -> None:
        self.whole = InOrder(loader)

    def __len__(self) -> int:
        """Count this rank's batches.

        Raises:
            TypeError: nobody knows; Lightning takes that for an answer.

        """
        if self.whole.plan is None and not counted(self.whole.loader):
            raise TypeError("a loader without a length")
        return -(-len(self.whole) // place()[1])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rank, world = place()
        if self.whole.plan is None:
            for turn in _rounds(self.whole, world):
                yield turn[rank] if rank < len(turn) else {**turn[-1], "spare": True}
            return
        yield from self._mine
        if len(self._mine) < len(self):
            last = len(self.whole) - 1
            yield from ({**batch, "spare": True} for batch in self.whole.shard(last, last + 1))

    @cached_property
    def _mine(self) -> InOrder:
        return self.whole.shard(*place())  # kept, as are the workers of its loader if they persist


def planned(loader: Any) -> Plan | None:
    """Plan the batches of a DataLoader: the items that it draws, in their own order; None where they have no numbers.

    So a loader of some items (`SubsetRandomSampler`) stays one of these.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset) or not counted(loader.dataset):
        return None
    count = len(loader.dataset)  # type: ignore[arg-type]  # just asked
    if loader.batch_sampler is None:  # an item of the data set is a batch
        return None
    if loader.batch_size is not None:
        if isinstance(loader.sampler, WHOLE):
            return Plan(torch.arange(count), loader.batch_size)
        return _of_drawn(_drawn(loader.sampler, count), loader.batch_size)
    batches = [list(batch) for batch in _drawn(loader.batch_sampler, count)]
    return _of_drawn(list(chain.from_iterable(batches)), max(map(len, batches), default=1))


def _drawn(sampler: Any, count: int) -> list[Any]:
    """Draw once from a sampler, which may never end, without a trace in torch's randomness."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return list(islice(sampler, len(sampler) if counted(sampler) else count))


def _of_drawn(drawn: list[Any], size: int) -> Plan | None:
    """Plan batches of what a sampler drew; None where these are no numbers."""
    if not drawn or not all(isinstance(number, int) for number in drawn):
        return None
    return Plan(torch.tensor(sorted(set(drawn))), size)


def reading(loader: DataLoader[Any], plan: Plan, rank: int, world: int) -> DataLoader[Any]:
    """Make a loader as the given one, but of a rank's batches of a plan."""
    batches = [plan.items[start : start + plan.size].tolist() for start in plan.starts(rank, world)]
    return DataLoader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


def counted(loader: Any) -> bool:
    """Does a loader know how many batches it has? A DataLoader of an IterableDataset does not."""
    try:
        len(loader)
    except (TypeError, NotImplementedError):
        return False
    return True


def _rounds(batches: Iterable[Any], world: int) -> Iterator[list[Any]]:
    """Yield as many batches at a time as there are ranks; the last round may have fewer."""
    rest = iter(batches)
    while turn := list(islice(rest, world)):
        yield turn
