"""Episodes over the items of another source: which items, drawn by a key, and how batches of them are read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple, final

import torch
from torch import Tensor

from datamodules.draws import shuffled
from datamodules.episodes.classes import Pool
from datamodules.errors import DataError
from datamodules.loader import Batch, Pick, Source, pinned

Key = tuple[int | str, ...]
Change = Callable[[Tensor, int], Tensor]
"""Changes rows (n, ...) in one of several ways, counted from 0, which leaves them as they are."""
ATTEMPTS = 100


class Shape(NamedTuple):
    """The shape of an episode."""

    ways: int
    """Classes."""
    shots: int
    """Items of each class to learn from."""
    queries: int
    """Items of each class that are asked about."""


class Episode(NamedTuple):
    """One episode: rows to learn from, mixed, and then questions."""

    positions: Tensor
    """(M,) of the items."""
    y: Tensor
    """(M,), the number of the item's class within the episode."""
    changes: Tensor
    """(M,), how each item is changed."""
    facts: Tensor | None
    """(D,), the mean of what is known of its classes."""


def draw(pools: Sequence[Pool], shape: Shape, key: Key) -> Episode:
    """Draw an episode from one of the pools by nothing but the key: classes, items, and the order of the former."""
    pool = pools[int(shuffled(len(pools), *key, "pool")[0])] if len(pools) > 1 else pools[0]
    classes = shuffled(len(pool.members), *key, "classes")[: shape.ways].tolist()
    each = shape.shots + shape.queries
    items = [pool.members[c][shuffled(len(pool.members[c]), *key, "items", n)[:each]] for n, c in enumerate(classes)]
    positions = torch.stack(items)
    y = torch.arange(shape.ways)[:, None].expand(-1, each)
    changes = torch.tensor([pool.changes[c] for c in classes])[:, None].expand(-1, each)
    order = shuffled(shape.ways * shape.shots, *key, "order")  # whoever reads rows in turn must not know the class

    def rows(part: Tensor) -> Tensor:
        return torch.cat([part[:, : shape.shots].flatten()[order], part[:, shape.shots :].flatten()])

    # In one order whatever the draw: a mean that differs in its last bit would be another task's.
    facts = None if pool.facts is None else pool.facts[sorted(classes)].mean(0)
    return Episode(rows(positions), rows(y), rows(changes), facts)


@final
class Drawn(Source):
    """So many episodes over the items of `source`; one with an item that cannot be read is drawn anew.

    Args:
        source: of the items.
        pools: to draw from; each episode takes one of them.
        shape: of an episode.
        count: how many there are.
        key: what the draws depend on, beside the number of the episode.
        change: changes items as a pool says.

    """

    def __init__(
        self, source: Source, pools: Sequence[Pool], shape: Shape, count: int, key: Key, change: Change
    ) -> None:
        self.source, self.pools, self.shape, self.count, self.key = source, pools, shape, count, key
        self.change = change

    def __len__(self) -> int:
        return self.count

    def cut(self, pick: Pick) -> Drawn:
        twin = copy.copy(self)
        twin.source = self.source.cut(pick)
        twin.key = (*self.key, *pick) if isinstance(pick, tuple) else self.key
        return twin

    def fingerprint(self, dated: bool = True) -> str:
        members = [[items.tolist() for items in pool.members] for pool in self.pools]
        about = (self.source.fingerprint(dated), members, self.shape, self.count, self.key)
        return blake2b(repr(about).encode(), digest_size=16).hexdigest()

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        planned = [[self._episode(number) for number in numbers.tolist()] for numbers in plan]
        batches = self.source.read([_wanted(episodes) for episodes in planned])
        for numbers, episodes in zip(plan, planned, strict=True):
            yield self._batch(numbers, episodes, next(batches, None))

    def _episode(self, number: int, attempt: int = 0) -> Episode:
        return draw(self.pools, self.shape, (*self.key, number, *([attempt] if attempt else [])))

    def _batch(self, numbers: Tensor, episodes: list[Episode], read: Batch | None) -> Batch:
        """Join episodes to a batch from their items, each read once; draw those anew that lack one."""
        for attempt in range(1, ATTEMPTS):
            there = torch.empty(0, dtype=torch.int64) if read is None else read["index"]
            short = [slot for slot, one in enumerate(episodes) if not torch.isin(one.positions, there).all()]
            if read is not None and not short:
                return self._joined(numbers, episodes, read)
            for slot in short:
                episodes[slot] = self._episode(int(numbers[slot]), attempt)
            read = next(iter(self.source.read([_wanted(episodes)])), None)
        raise DataError(f"Episodes drew an episode {ATTEMPTS} times, and each had a file that cannot be read")

    def _joined(self, numbers: Tensor, episodes: Sequence[Episode], read: Batch) -> Batch:
        positions, changes = (torch.cat(parts) for parts in list(zip(*episodes, strict=True))[0:3:2])
        rows = torch.searchsorted(read["index"], positions)
        x = read["x"]
        shown = {n: self._shown(p, rows, changes) for n, p in (x if isinstance(x, dict) else {"": x}).items()}
        learnt = torch.arange(len(episodes[0].y)) < self.shape.ways * self.shape.shots
        batch = {
            "x": shown if isinstance(x, dict) else shown[""],
            "index": positions,
            "y": torch.cat([one.y for one in episodes]),
            "support": learnt.repeat(len(episodes)),
            "episode": numbers.clone(),
        }
        facts = [one.facts for one in episodes if one.facts is not None]
        return pinned(batch | ({"metadata": torch.stack(facts)} if facts else {}))

    def _shown(self, x: Tensor, rows: Tensor, changes: Tensor) -> Tensor:
        """Take rows out of what was read, (n, ...) -> (B M, ...), and change those that are to be."""
        shown = x[rows.to(x.device)]
        for way in torch.unique(changes).tolist():
            if way:
                these = (changes == way).to(x.device)
                shown[these] = self.change(shown[these], way)
        return shown


def _wanted(episodes: Sequence[Episode]) -> Tensor:
    """List the items of some episodes, sorted, each once."""
    wanted: Tensor = torch.unique(torch.cat([one.positions for one in episodes]))
    return wanted
