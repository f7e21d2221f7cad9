"""Files as a source of batches: one pass over them for pictures, sounds and videos, and what differs as a `Decoder`.

Worker processes decode files when their turn comes, a few batches ahead, and write them straight into the memory of the
batch, which this process only looks at. What is kept of files, in memory or on disk, is an index into one array here.

A batch depends on the pick, the positions and the files alone, never on time: kept or decoded anew, resumed or not,
with any number of workers, batches are the same.
"""

from __future__ import annotations

import copy
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import final

import torch
from torch import Tensor

from datamodules.bad_files import BadFiles
from datamodules.decoder import Decoder, State
from datamodules.decoding.buffers import Buffers
from datamodules.decoding.messages import Limits
from datamodules.decoding.orders import Desk, Order
from datamodules.keeping.shelf import Keeping
from datamodules.loader import Batch, Pick, Source, batch_of
from datamodules.options import DISK, Disk, Reading

_FEW = 4  # files whose own size is looked at


@final
class FileSource(Source):
    """Files, decoded by worker processes when their turn comes; bad ones are left out or replaced.

    Args:
        root: the folder that the names begin in.
        names: paths of the files.
        y: the labels of all files, (N, ...), where there are any.
        decoder: what makes rows of them.
        reading: how many workers there are, and how many files may be bad.
        on_bad: is told the names of bad files with their causes.
        cache: bytes up to which decoded files are kept in memory.
        disk: where decoded files are kept instead, if anywhere.

    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        y: Tensor | None,
        decoder: Decoder,
        reading: Reading,
        on_bad: Callable[[dict[str, str]], None],
        cache: int = 0,
        disk: Disk = DISK,
    ) -> None:
        self.root, self.names, self.y, self.decoder, self.reading = root, names, y, decoder, reading
        self.on_bad = on_bad
        self.pick: Pick = "centre"
        self._bad = self._none_bad()
        self._buffers: dict[int, Buffers] = {}
        size = None if decoder.picture is None else math.prod(decoder.picture)
        self._keeping = Keeping(len(names), size, cache)
        if disk.folder is not None and (settings := decoder.kept()):
            self._keeping.on_disk(disk.folder, settings, disk.limit, lambda: (f"{root}/{name}" for name in names))

    def __len__(self) -> int:
        return len(self.names)

    def side(self) -> int | None:
        few = self.names[:: max(1, len(self.names) // _FEW)][:_FEW]
        sides = [side for name in few if (side := self.decoder.side(self.root / name)) is not None]
        return max(sides, default=None)

    def cut(self, pick: Pick) -> FileSource:
        twin = copy.copy(self)  # it shares what is kept, and which files are known to be bad
        twin.pick, twin.rows = pick, self.decoder.clips if pick == "spread" else 1
        return twin

    def fingerprint(self, dated: bool = True) -> str:
        digest = blake2b(repr(self.decoder.settings()).encode(), digest_size=16)
        labels = [None] * len(self) if self.y is None else self.y.tolist()
        for name, label in zip(self.names, labels, strict=True):
            facts = self.decoder.facts(name, label, _state(f"{self.root}/{name}") if dated else None)
            digest.update(repr(facts).encode())  # repr escapes what is no Unicode in a name
        return digest.hexdigest()

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        return _Pass(self, self._bad if self.decoder.stays_bad else self._none_bad(), pool).run(plan)

    def desk(self) -> Desk:
        """Make what hands files to the workers, for one pass."""
        reading = self.reading
        limits = Limits(reading.processes, reading.time_limit, round(reading.memory_limit * 2**30))
        shelf = self._keeping.shelf()
        return Desk(self.root, self.names, self.decoder, self.pick, self.rows, limits, self._buffers, shelf)

    def _none_bad(self) -> BadFiles:
        return BadFiles(self.root, self.names, self.reading.max_bad, self.decoder.advice, self.on_bad)


@final
class _Pass:
    """One pass through a plan."""

    def __init__(self, source: FileSource, bad: BadFiles, pool: Tensor | None) -> None:
        self.source, self.bad, self.pool = source, bad, pool

    def run(self, plan: Sequence[Tensor]) -> Iterator[Batch]:
        """Yield one batch for each tensor of positions, while workers decode the next ones."""
        orders: deque[Order] = deque()
        desk = self.source.desk()
        try:
            for positions in plan:
                orders.append(desk.order(positions, self.bad.__contains__))
                if len(orders) > self.source.decoder.ahead:
                    yield from self._serve(desk, orders.popleft())
            while orders:
                yield from self._serve(desk, orders.popleft())
        finally:  # also when the pass is left before its end
            desk.cancel(orders)
            desk.seal()

    def _serve(self, desk: Desk, order: Order) -> Iterator[Batch]:
        """Wait for a batch and yield it, bad items replaced or left out; or nothing, if no item of it is left."""
        self.bad.note(desk.collect(order))
        positions, into, rows = order.positions, order.into, self.source.rows
        if self.bad.causes and not all(good := [position not in self.bad for position in positions.tolist()]):
            if self.pool is None:
                kept = torch.tensor(good)
                positions = positions[kept]
                into = {name: part[kept.repeat_interleave(rows).numpy()] for name, part in into.items()}
            else:
                positions = positions.clone()
                for slot in [slot for slot, fine in enumerate(good) if not fine]:
                    positions[slot] = self._substitute(desk, order, slot, self.pool)
        if len(positions):
            x = {name: torch.from_numpy(part) for name, part in into.items()}
            index = positions.repeat_interleave(rows) if rows > 1 else positions.clone()
            yield batch_of(x if len(x) > 1 else x.popitem()[1], index, self.source.y)

    def _substitute(self, desk: Desk, order: Order, slot: int, pool: Tensor) -> int:
        """Put the next good item after a bad one in the pool into its slot, going round at the pool's end."""
        start, rows = int(torch.searchsorted(pool, int(order.positions[slot]))), self.source.rows
        for candidate in pool.roll(-start - 1).tolist():
            if candidate not in self.bad:
                alone = desk.again(candidate)
                self.bad.note(desk.collect(alone))
            if candidate not in self.bad:
                for name, part in alone.into.items():
                    order.into[name][slot * rows : (slot + 1) * rows] = part
                return int(candidate)
        raise self.bad.none_left(len(pool))


def _state(path: str) -> State:
    try:
        state = os.stat(path)  # noqa: PTH116  (pathlib takes a second for 50,000 files)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns
