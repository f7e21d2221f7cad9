"""Sound files as a source of batches: decoded whole by worker threads, kept while there is room, bad ones put up with.

Which files are good, and which part of one a batch holds, does not depend on time: kept or decoded anew, resumed or
not, batches are the same.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.base import DataError
from datamodules.images.decode import cause_of
from datamodules.loader import Batch, Pick, Source, batch_of, chance
from datamodules.media.video import read_sound

Samples = NDArray[np.int16]

_AHEAD = 3  # batches in the workers' hands
_LISTED = 20  # bad files that an error names
_VERSION = 2  # of batches: raise it when the same files make others


@dataclass(frozen=True)
class Hearing:
    """How files become windows."""

    rate: int
    """Samples per second."""
    length: int
    """Samples of a window."""
    clips: int
    """Windows of each sound for probing."""
    workers: int
    """Threads that decode."""
    cache: int
    """Bytes of decoded sounds that are kept."""
    max_bad: float
    """Stop when more than this share of the files is bad."""

    def __post_init__(self) -> None:
        if min(self.rate, self.length, self.clips, self.workers) < 1 or self.cache < 0 or not 0 <= self.max_bad <= 1:
            raise DataError(f"{self} is out of range: at least 1 each, 0 of the cache, and max_bad from 0 to 1")


class SoundFiles(Source):
    """Windows of sound files: int16 (N, 1, L)."""

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        labels: Sequence[int] | None,
        how: Hearing,
        on_bad: Callable[[dict[str, str]], None],
    ) -> None:
        self.root, self.names, self.how, self.on_bad = root, names, how, on_bad
        self.y = None if labels is None else torch.tensor(labels, dtype=torch.int64)
        self.pick: Pick = "centre"
        self._kept = _Kept(how.cache)  # these two are shared by all that `cut` makes
        self._bad: dict[int, str] = {}  # by position

    def __len__(self) -> int:
        return len(self.names)

    def cut(self, pick: Pick) -> SoundFiles:
        twin = copy.copy(self)
        twin.pick, twin.rows = pick, self.how.clips if pick == "spread" else 1
        return twin

    def fingerprint(self) -> str:
        digest = blake2b(repr((_VERSION, self.how.rate, self.how.length, self.how.clips)).encode(), digest_size=16)
        labels = [None] * len(self) if self.y is None else self.y.tolist()
        for name, label in zip(self.names, labels, strict=True):
            path = self.root / name
            state = path.stat() if path.exists() else None  # a link may lead nowhere
            digest.update(repr((name, label, state and (state.st_size, state.st_mtime_ns))).encode())
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
        """Give the workers a batch, item by item."""
        into = np.empty((len(positions), self.rows, self.how.length), np.int16)
        todo = [pair for pair in enumerate(positions.tolist()) if pair[1] not in self._bad]
        return _Order(positions, into, [threads.submit(self._fill, into[slot], position) for slot, position in todo])

    def _fill(self, into: Samples, position: int) -> dict[int, str]:
        """Write an item's windows, (rows, L), in a worker; return its cause by its position if it cannot be read."""
        try:
            wave = self._wave(position)
        except Exception as error:  # the decoders raise many kinds at a broken file
            return {position: cause_of(error)}
        for row, start in zip(into, self._starts(len(wave), position), strict=True):
            window = wave[start : start + len(row)]
            # As many zeros before as after, or they would tell which way time runs; of an odd number one has to go
            # somewhere, on either side equally often.
            lead = (len(row) - len(window) + (chance("pad", position) < 0.5)) // 2
            row[:] = 0
            row[lead : lead + len(window)] = window
        return {}

    def _wave(self, position: int) -> Samples:
        """Fetch or decode a whole sound, without the zeros at its ends."""
        if position in self._kept.waves:
            return self._kept.waves[position]
        wave = read_sound(self.root / self.names[position], self.how.rate)
        heard = np.flatnonzero(wave)
        if not len(heard):
            raise DataError("silent: all samples are zero")
        wave = wave[heard[0] : heard[-1] + 1].copy()
        self._kept.put(position, wave)
        return wave

    def _starts(self, length: int, position: int) -> list[int]:
        """Choose where an item's windows begin: a random place is a pure function of seed, epoch and item."""
        free = max(0, length - self.how.length)
        if self.pick == "spread":
            return [round(k * free / max(1, self.rows - 1)) for k in range(self.rows)] if self.rows > 1 else [free // 2]
        return [free // 2] if self.pick == "centre" else [int(chance("window", *self.pick, position) * (free + 1))]

    def _serve(self, order: _Order, pool: Tensor | None) -> Iterator[Batch]:
        """Wait for a batch and yield it, bad items left out or, with a pool, replaced; or nothing, if none is left."""
        for job in order.jobs:
            self._note(job.result())
        positions, into = order.positions.clone(), order.into
        good = torch.tensor([position not in self._bad for position in positions.tolist()])
        if pool is not None:
            for slot in (~good).nonzero()[:, 0].tolist():
                positions[slot] = self._substitute(into[slot], int(positions[slot]), pool)
        elif not good.all():
            positions, into = positions[good], into[good.numpy()]
        if len(positions):
            x = torch.from_numpy(into).flatten(0, 1)[:, None]
            yield batch_of(x, positions.repeat_interleave(self.rows), self.y)

    def _substitute(self, into: Samples, position: int, pool: Tensor) -> int:
        """Write the next readable item after `position` in the pool, going round at its end; return its position."""
        start = int(torch.searchsorted(pool, position))
        for candidate in pool.roll(-start - 1).tolist():
            if candidate not in self._bad:
                self._note(self._fill(into, candidate))
            if candidate not in self._bad:
                return int(candidate)
        raise DataError(f"none of {len(pool)} files in {self.root} can be used")

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
                f"at least {len(some)} of {len(self)} files in {self.root} cannot be used, more than "
                f"max_bad={self.how.max_bad:g} of them; repair or remove them, or raise max_bad:"
                + "".join(some[:_LISTED])
                + more
            )


class _Kept:
    """Whole sounds in memory, by position, while there is room."""

    def __init__(self, room: int) -> None:
        self.waves: dict[int, Samples] = {}
        self.room = room  # bytes
        self._lock = Lock()

    def put(self, position: int, wave: Samples) -> None:
        with self._lock:
            if position not in self.waves and wave.nbytes <= self.room:
                self.waves[position] = wave
                self.room -= wave.nbytes


class _Order(NamedTuple):
    """A batch in the workers' hands."""

    positions: Tensor
    into: Samples
    jobs: list[Future[dict[int, str]]]
