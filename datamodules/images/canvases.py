"""Image files as a source of batches: decoded by worker threads when their turn comes, bad ones put up with.

Threads, not processes: the decoders and the resizing leave Python's lock, so two threads decode as fast as two
processes, and they write straight into the batch or the store, with no copies, start-up time or shared memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datamodules.base import DataError
from datamodules.images.decode import Pixels, cause_of, decode
from datamodules.loader import Batch, Source, batch_of

_AHEAD = 3  # batches in the workers' hands: enough that none of them waits for the slowest picture of a batch
_LISTED = 20  # bad files that an error names


@dataclass(frozen=True)
class Decoding:
    """How files become canvases."""

    canvas: int
    """Side of the square, pixels."""
    workers: int
    """Threads that decode."""
    max_pixels: int
    """A file with more is bad."""
    max_bad: float
    """Stop when more than this share of the files is bad."""
    whole: bool = False
    """Squeeze the whole picture into the square instead of cutting its centre square out."""

    def __post_init__(self) -> None:
        if min(self.canvas, self.workers, self.max_pixels) < 1 or not 0 <= self.max_bad <= 1:
            raise DataError(f"{self} is out of range: at least 1 each, and max_bad from 0 to 1")


class Files(Source):
    """Image files, decoded by worker threads when their turn comes and, with `keep`, kept from then on.

    Kept canvases lie in one array that is allocated once; when all are there, a batch is a plain indexing. Which files
    are good does not depend on time, so neither do the batches: kept or streamed, resumed or not, they are the same.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        labels: Sequence[int] | None,
        how: Decoding,
        keep: bool,
        on_bad: Callable[[dict[str, str]], None],
    ) -> None:
        self.root, self.names, self.how, self.on_bad = root, names, how, on_bad
        self.y = None if labels is None else torch.tensor(labels, dtype=torch.int64)
        self._bad: dict[int, str] = {}
        self._store = self._blank(len(names)) if keep else None
        self._there = np.zeros(len(names), dtype=bool)  # which of the kept have been decoded

    def _blank(self, n: int) -> Pixels:
        return np.empty((n, 3, self.how.canvas, self.how.canvas), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.names)

    def fingerprint(self) -> str:
        how = (self.how.canvas, self.how.max_pixels, *(["whole"] if self.how.whole else []))
        digest = blake2b(repr(how).encode(), digest_size=16)
        labels = [None] * len(self) if self.y is None else self.y.tolist()
        for name, label in zip(self.names, labels, strict=True):
            try:
                state = os.stat(f"{self.root}/{name}")  # noqa: PTH116  (pathlib takes a second for 50,000 files)
                facts = (name, label, state.st_size, state.st_mtime_ns)
            except OSError:  # a link that leads nowhere
                facts = (name, label, 0, 0)
            digest.update(repr(facts).encode())  # repr escapes what is no Unicode in a name
        return digest.hexdigest()

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        ahead: deque[_Order] = deque()
        threads = ThreadPoolExecutor(self.how.workers, thread_name_prefix="decode")
        try:
            for positions in plan:
                ahead.append(self._order(positions, threads))
                if len(ahead) > _AHEAD:
                    yield from self._serve(ahead.popleft(), pool)
            while ahead:
                yield from self._serve(ahead.popleft(), pool)
        finally:  # also when the pass is left before its end
            threads.shutdown(wait=False, cancel_futures=True)

    def _order(self, positions: Tensor, threads: ThreadPoolExecutor) -> _Order:
        """Give the workers what is still to be decoded of a batch, in equal shares."""
        wanted = positions.numpy()
        if self._store is not None:
            into = self._store
            slots = wanted = wanted[~self._there[wanted]]
        else:
            into = self._blank(len(wanted))
            slots = np.arange(len(wanted))
        todo = [pair for pair in zip(slots.tolist(), wanted.tolist(), strict=True) if pair[1] not in self._bad]
        shares = [todo[k :: self.how.workers] for k in range(min(self.how.workers, len(todo)))]
        return _Order(positions, into, [threads.submit(self._fill, into, share) for share in shares])

    def _fill(self, into: Pixels, todo: Sequence[tuple[int, int]]) -> dict[int, str]:
        """Decode files into slots (in a worker); return the positions of those that cannot be, with the cause."""
        bad: dict[int, str] = {}
        for slot, position in todo:
            try:
                path = self.root / self.names[position]
                into[slot] = decode(path, self.how.canvas, self.how.max_pixels, self.how.whole)
            except Exception as error:  # PIL and torchvision raise many kinds at a broken file
                bad[position] = cause_of(error)
        return bad

    def _serve(self, order: _Order, pool: Tensor | None) -> Iterator[Batch]:
        """Wait for a batch and yield it, mended; or nothing, if no item of it is left."""
        for job in order.jobs:
            self._note(job.result())
        positions, pixels = order.positions, order.into
        if self._store is not None:
            self._there[positions.numpy()] = True
            pixels = self._store[positions.numpy()]
        x = torch.from_numpy(pixels)
        if self._bad:
            x, positions = self._mend(x, positions, pool)
        if len(positions):
            yield batch_of(x, positions, self.y)

    def _note(self, found: dict[int, str]) -> None:
        """Remember bad files and report them; stop when there are too many."""
        new = {position: cause for position, cause in found.items() if position not in self._bad}
        if not new:
            return
        self._bad.update(new)
        self.on_bad({self.names[position]: cause for position, cause in new.items()})
        if len(self._bad) > self.how.max_bad * len(self):
            some = [f"\n  {self.names[position]}: {cause}" for position, cause in sorted(self._bad.items())]
            more = f"\n  and {len(some) - _LISTED} more" if len(some) > _LISTED else ""
            raise DataError(
                f"at least {len(some)} of {len(self)} files in {self.root} cannot be read, more than "
                f"max_bad={self.how.max_bad:g} of them; repair or remove them, or raise max_bad:"
                + "".join(some[:_LISTED])
                + more
            )

    def _mend(self, x: Tensor, positions: Tensor, pool: Tensor | None) -> tuple[Tensor, Tensor]:
        """Leave bad items out or, with a pool, put the next good one of the pool in their place."""
        good = torch.tensor([position not in self._bad for position in positions.tolist()])
        if pool is None:
            return x[good], positions[good]
        positions = positions.clone()
        for slot in (~good).nonzero()[:, 0].tolist():
            positions[slot], x[slot] = self._substitute(int(positions[slot]), pool)
        return x, positions

    def _substitute(self, position: int, pool: Tensor) -> tuple[int, Tensor]:
        """Find the next readable item after `position` in the pool, going round at its end."""
        start = int(torch.searchsorted(pool, position))
        for candidate in pool.roll(-start - 1).tolist():
            into = self._blank(1) if self._store is None else self._store
            slot = 0 if self._store is None else candidate
            if candidate not in self._bad and (self._store is None or not self._there[candidate]):
                self._note(self._fill(into, [(slot, candidate)]))
                self._there[candidate] = True
            if candidate not in self._bad:
                return candidate, torch.from_numpy(into[slot])
        raise DataError(f"none of {len(pool)} files in {self.root} can be read")


class _Order(NamedTuple):
    """A batch in the workers' hands."""

    positions: Tensor
    into: Pixels
    jobs: list[Future[dict[int, str]]]
