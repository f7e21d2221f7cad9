"""Files as a source of batches: one pass over them for pictures, sounds and videos, and what differs as a `Decoder`.

Worker threads decode files when their turn comes, a few batches ahead. Threads, not processes: decoding, resizing and
copies leave Python's lock, so two threads decode as fast as two processes, and they write straight into the batch, with
no copies, start-up time or shared memory.

A batch depends on the pick, the positions and the files alone, never on time: kept or decoded anew, resumed or not,
with any number of workers, batches are the same.
"""

from __future__ import annotations

import copy
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple, final

import torch
from torch import Tensor

from datamodules.bad_files import BadFiles, InPart, cause_of
from datamodules.decoder import Decoder, Parts, State
from datamodules.loader import Batch, Pick, Source, batch_of
from datamodules.options import Reading


@final
class FileSource(Source):
    """Files, decoded by worker threads when their turn comes; bad ones are left out or replaced.

    Args:
        root: the folder that the names begin in.
        names: paths of the files.
        y: the labels of all files, (N, ...), where there are any.
        decoder: what makes rows of them.
        reading: how many workers there are, and how many files may be bad.
        on_bad: is told the names of bad files with their causes.

    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        y: Tensor | None,
        decoder: Decoder,
        reading: Reading,
        on_bad: Callable[[dict[str, str]], None],
    ) -> None:
        self.root, self.names, self.y, self.decoder, self.reading = root, names, y, decoder, reading
        self.on_bad = on_bad
        self.pick: Pick = "centre"
        self._bad = self._none_bad()

    def __len__(self) -> int:
        return len(self.names)

    def cut(self, pick: Pick) -> FileSource:
        twin = copy.copy(self)  # it shares the decoder, and which files are known to be bad
        twin.pick, twin.rows = pick, self.decoder.clips if pick == "spread" else 1
        return twin

    def fingerprint(self) -> str:
        digest = blake2b(repr(self.decoder.settings()).encode(), digest_size=16)
        labels = [None] * len(self) if self.y is None else self.y.tolist()
        for name, label in zip(self.names, labels, strict=True):
            facts = self.decoder.facts(name, label, _state(f"{self.root}/{name}"))
            digest.update(repr(facts).encode())  # repr escapes what is no Unicode in a name
        return digest.hexdigest()

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        return _Pass(self, self._bad if self.decoder.stays_bad else self._none_bad(), pool).run(plan)

    def _none_bad(self) -> BadFiles:
        return BadFiles(self.root, self.names, self.reading.max_bad, self.decoder.advice, self.on_bad)


class _Order(NamedTuple):
    """A batch in the workers' hands."""

    positions: Tensor
    into: Parts
    jobs: list[Future[dict[int, str]]]


@final
class _Pass:
    """One pass through a plan."""

    def __init__(self, source: FileSource, bad: BadFiles, pool: Tensor | None) -> None:
        self.source, self.bad, self.pool = source, bad, pool

    def run(self, plan: Sequence[Tensor]) -> Iterator[Batch]:
        """Yield one batch for each tensor of positions, while workers decode the next ones."""
        orders: deque[_Order] = deque()
        threads = ThreadPoolExecutor(self.source.reading.threads, thread_name_prefix="decode")
        try:
            for positions in plan:
                orders.append(self._order(positions, threads))
                if len(orders) > self.source.decoder.ahead:
                    yield from self._serve(orders.popleft())
            while orders:
                yield from self._serve(orders.popleft())
        finally:  # also when the pass is left before its end
            threads.shutdown(wait=False, cancel_futures=True)

    def _order(self, positions: Tensor, threads: ThreadPoolExecutor) -> _Order:
        """Give the workers what can be decoded of a batch."""
        source = self.source
        if (rows := source.decoder.ready(positions, source.pick)) is not None:
            return _Order(positions, rows, [])
        into = source.decoder.blank(len(positions) * source.rows, source.pick)
        todo = [pair for pair in enumerate(positions.tolist()) if pair[1] not in self.bad]
        count = min(source.reading.threads, len(todo)) if source.decoder.shared_out else len(todo)
        return _Order(positions, into, [threads.submit(self._fill, into, todo[k::count]) for k in range(count)])

    def _fill(self, into: Parts, todo: Sequence[tuple[int, int]]) -> dict[int, str]:
        """Load items into slots (in a worker); return the positions of those that cannot, or only in part, and why."""
        source, causes = self.source, dict[int, str]()
        for slot, position in todo:
            rows = {name: part[slot * source.rows : (slot + 1) * source.rows] for name, part in into.items()}
            try:
                remark = source.decoder.load(source.root / source.names[position], position, source.pick, rows)
                if remark is not None:
                    causes[position] = InPart(remark)
            except Exception as error:  # the decoders raise many kinds at a broken file
                causes[position] = cause_of(error)
        return causes

    def _serve(self, order: _Order) -> Iterator[Batch]:
        """Wait for a batch and yield it, bad items replaced or left out; or nothing, if no item of it is left."""
        for job in order.jobs:
            self.bad.note(job.result())
        positions, into, rows = order.positions.clone(), order.into, self.source.rows
        good = torch.tensor([position not in self.bad for position in positions.tolist()])
        if self.pool is not None:
            for slot in (~good).nonzero()[:, 0].tolist():
                positions[slot] = self._substitute(into, slot, int(positions[slot]), self.pool)
        elif not good.all():
            kept = good.repeat_interleave(rows).numpy()
            positions, into = positions[good], {name: part[kept] for name, part in into.items()}
        if len(positions):
            x = {name: torch.from_numpy(part) for name, part in into.items()}
            yield batch_of(x if len(x) > 1 else x.popitem()[1], positions.repeat_interleave(rows), self.source.y)

    def _substitute(self, into: Parts, slot: int, position: int, pool: Tensor) -> int:
        """Put the next good item after `position` in the pool into a slot, going round at its end."""
        start = int(torch.searchsorted(pool, position))
        for candidate in pool.roll(-start - 1).tolist():
            if candidate not in self.bad:
                self.bad.note(self._fill(into, [(slot, candidate)]))
            if candidate not in self.bad:
                return int(candidate)
        raise self.bad.none_left(len(pool))


def _state(path: str) -> State:
    try:
        state = os.stat(path)  # noqa: PTH116  (pathlib takes a second for 50,000 files)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns
