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
from contextlib import closing
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
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
        self.pick: Pick = "centre"
        self._none_bad = partial(BadFiles, root, names, reading.max_bad, decoder.advice, on_bad)
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
        return self.begin(pool).run(plan)

    def begin(self, pool: Tensor | None = None, coming: NDArray[np.bool_] | None = None) -> Pass:
        """Begin one pass; `coming`: which files, (N,), are known to be decoded in it, by default all."""
        return Pass(self, self._bad if self.decoder.stays_bad else self._none_bad(), pool, coming)

    def desk(self, coming: NDArray[np.bool_] | None = None) -> Desk:
        """Make what hands files to the workers, for one pass."""
        reading = self.reading
        limits = Limits(reading.processes, reading.time_limit, round(reading.memory_limit * 2**30))
        shelf = self._keeping.shelf(coming)
        return Desk(self.root, self.names, self.decoder, self.pick, self.rows, limits, self._buffers, shelf)


@final
class Pass:
    """One pass over files, through a plan or batch by batch, for which what is kept is opened once, at its first batch.

    Args:
        source: the files.
        bad: those of them that are known to be bad.
        pool: sorted positions of the items that may replace bad ones, if they are to be replaced.
        coming: which files, (N,), are known to be decoded, so that room is made for what is kept of them; None: all.

    """

    def __init__(
        self, source: FileSource, bad: BadFiles, pool: Tensor | None, coming: NDArray[np.bool_] | None
    ) -> None:
        self.source, self.bad, self.pool, self.coming = source, bad, pool, coming
        self._desk: Desk | None = None
        self._open: dict[int, Order] = {}

    def run(self, plan: Sequence[Tensor]) -> Iterator[Batch]:
        """Yield one batch for each tensor of positions, while workers decode the next ones."""
        orders: deque[Order] = deque()
        with closing(self):  # also when the pass is left before its end
            for positions in plan:
                orders.append(self.order(positions))
                if len(orders) > self.source.decoder.ahead:
                    yield from self.serve(orders.popleft())
            while orders:
                yield from self.serve(orders.popleft())

    def order(self, positions: Tensor) -> Order:
        """Let the workers decode a batch."""
        if self._desk is None:
            self._desk = self.source.desk(self.coming)
        order = self._desk.order(positions, self.bad.__contains__)
        self._open[id(order)] = order
        return order

    def close(self) -> None:
        """Drop what nobody waits for any more, and bring to the disk what was kept."""
        if self._desk is not None:
            self._desk.cancel(list(self._open.values()))
            self._open.clear()
            self._desk.seal()

    def serve(self, order: Order) -> Iterator[Batch]:
        """Wait for a batch and yield it, bad items replaced or left out; or nothing, if no item of it is left."""
        desk = self._desk
        assert desk is not None
        del self._open[id(order)]
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
