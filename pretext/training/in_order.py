"""A loader of a user's own, gone through in order: each item once, by one process or by several in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from operator import index
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
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
from pretext.core.tree import leaves
from pretext.training.batches import lawful
from pretext.training.keyed import Batches, reader, seeded

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


class Numbered(NamedTuple):
    """A batch as a loader made it, before a user's own hooks have seen it."""

    loaded: Any
    numbers: Tensor
    """(N,), of its items."""
    spare: bool = False

    def lawful(self) -> dict[str, Any]:
        """Bring it to a batch. Raises as `batches.lawful`."""
        batch = lawful(self.loaded)
        rows, numbers = len(batch["index"]), self.numbers
        if rows != len(numbers):  # a hook made more of them, or left some out
            numbers = torch.arange(int(numbers[0]), int(numbers[0]) + rows)
        numbers = numbers.to(next(leaves(batch["x"])).device)
        return {**batch, "index": numbers, **({"spare": True} if self.spare else {})}


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
        return (numbered.lawful() for numbered in self.numbered())

    def numbered(self) -> Iterator[Numbered]:
        """Go through the batches as the loader makes them."""
        rank, world = self.share
        return islice(self._as_loaded(), rank, None, world) if self.plan is None else self._by_number(self.plan)

    @cached_property
    def _reader(self) -> tuple[Batches, DataLoader[Any]]:
        batches = Batches()
        return batches, reader(self.loader, batches)

    def _by_number(self, plan: Plan) -> Iterator[Numbered]:
        batches, loader = self._reader
        starts = plan.starts(*self.share)
        parts = [plan.items[start : start + plan.size].tolist() for start in starts]
        batches.next = [[("in order", start), *part] for start, part in zip(starts, parts, strict=True)]
        for start, part, loaded in zip(starts, parts, loader, strict=True):
            rows = _rows(loaded)
            first = start * -(-rows // len(part))  # a collate_fn may make several rows of an item, or leave some out
            yield Numbered(loaded, torch.arange(first, first + rows))

    def _as_loaded(self) -> Iterator[Numbered]:
        seen = 0
        for loaded in self.loader:
            if self.items is not None and seen >= self.items:
                return
            rows = _rows(loaded)
            yield Numbered(loaded, torch.arange(seen, seen + rows))
            seen += rows


class Dealt:
    """What an evaluation sees of a loader: all items in order; of several ranks each takes its turn.

    As `datamodules.loader.InOrder` does: batches are cut as for one process, and a rank that has one fewer than others
    sees the last one again, with "spare" set. Lightning would shuffle items between batches, and repeat some.

    Args:
        loader: a DataLoader, or anything else that yields batches again and again.
        raw: yield them as `Numbered`, for hooks that want what the loader makes.

    """

    def __init__(self, loader: Any, raw: bool = False) -> None:
        self.whole, self.raw = InOrder(loader), raw

    def __len__(self) -> int:
        """Count this rank's batches.

        Raises:
            TypeError: nobody knows; Lightning takes that for an answer.

        """
        if self.whole.plan is None and not counted(self.whole.loader):
            raise TypeError("a loader without a length")
        return -(-len(self.whole) // place()[1])

    def __iter__(self) -> Iterator[Any]:
        return (numbered if self.raw else numbered.lawful() for numbered in self._numbered())

    def _numbered(self) -> Iterator[Numbered]:
        rank, world = place()
        if self.whole.plan is None:
            for turn in _rounds(self.whole.numbered(), world):
                yield turn[rank] if rank < len(turn) else turn[-1]._replace(spare=True)
            return
        yield from self._mine.numbered()
        if len(self._mine) < len(self):
            last = len(self.whole) - 1
            yield from (numbered._replace(spare=True) for numbered in self.whole.shard(last, last + 1).numbered())

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
    """Draw once from a sampler, which may never end."""
    with seeded("drawn"):
        return list(islice(sampler, len(sampler) if counted(sampler) else count))


def _of_drawn(drawn: list[Any], size: int) -> Plan | None:
    """Plan batches of what a sampler drew; None where these are no numbers."""
    try:
        numbers = {index(number) for number in drawn}  # NumPy's and tensors, too
    except TypeError:
        return None
    return Plan(torch.tensor(sorted(numbers)), size) if numbers else None


def counted(loader: Any) -> bool:
    """Does a loader know how many batches it has? A DataLoader of an IterableDataset does not."""
    try:
        len(loader)
    except (TypeError, NotImplementedError):
        return False
    return True


def _rows(loaded: Any) -> int:
    """Count the rows of a batch in any form, by its first tensor; one that has none is refused later."""
    return next((len(leaf) for leaf in pytree.tree_leaves(loaded) if isinstance(leaf, Tensor) and leaf.ndim), 1)


def _rounds(batches: Iterable[Any], world: int) -> Iterator[list[Any]]:
    """Yield as many batches at a time as there are ranks; the last round may have fewer."""
    rest = iter(batches)
    while turn := list(islice(rest, world)):
        yield turn
