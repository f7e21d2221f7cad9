"""Video files as a source of batches: windows cut by worker threads when their turn comes, bad ones put up with.

Threads, not processes, as for images: decoding, flow and copies leave Python's lock, and all is written straight into
the batch. What a batch holds is a function of the pick, the positions and the files alone: nothing is remembered from
one pass to the next (a window may be silent where another of the same file is not), so a resumed pass is the same.
"""

from __future__ import annotations

import copy
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datamodules.base import DataError
from datamodules.images.decode import cause_of
from datamodules.loader import Batch, Pick, Source, batch_of
from datamodules.media.video import Video
from datamodules.videos.cache import ClipCache
from datamodules.videos.strips import Cutting, Live, Parts, Stored, Strip

_AHEAD = 2  # batches in the workers' hands besides the one that is served: clips take much memory
_LISTED = 20  # bad files that an error names
_VERSION = 2  # of batches: raise it when the same files make others
_ADVICE = {
    "no sound track": 'leave "audio" out of modalities',
    "silent": 'leave "audio" out of modalities',
    "too short": "take fewer frames, a smaller window or a higher fps",
}
"""What to do, besides the general, about each cause."""


class ClipFiles(Source):
    """Windows of video files, decoded by worker threads or mapped from a cache; both are the same bit for bit.

    Args:
        root: where the names begin.
        names: paths of the files.
        labels: the number of the class of each file, where labelled.
        how: what is cut out of them.
        workers: threads that decode.
        max_bad: stop when more than this share of the files proves bad in one pass.
        cache: of whole decoded videos, if any.
        on_bad: is told the names of bad files with their causes.

    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        labels: Sequence[int] | None,
        how: Cutting,
        workers: int,
        max_bad: float,
        cache: ClipCache | None,
        on_bad: Callable[[dict[str, str]], None],
    ) -> None:
        self.root, self.names, self.how, self.workers, self.max_bad = root, names, how, workers, max_bad
        self.cache, self.on_bad = cache, on_bad
        self.y = None if labels is None else torch.tensor(labels, dtype=torch.int64)
        self.pick: Pick = "centre"
        self._motion: dict[int, NDArray[np.float32]] = {}  # by position: of each video, a number per frame

    def __len__(self) -> int:
        return len(self.names)

    def cut(self, pick: Pick) -> ClipFiles:
        twin = copy.copy(self)
        twin.pick, twin.rows = pick, self.how.clips if pick == "spread" else 1
        return twin

    def fingerprint(self) -> str:
        how = self.how
        settings = (_VERSION, how.modalities, how.frames, how.fps, how.canvas, how.rate, how.clips)
        digest = blake2b(repr(settings).encode(), digest_size=16)
        labels = [None] * len(self) if self.y is None else self.y.tolist()
        for name, label in zip(self.names, labels, strict=True):
            try:
                state = os.stat(f"{self.root}/{name}")  # noqa: PTH116  (pathlib takes a second for 50,000 files)
                facts = (name, label, state.st_size, state.st_mtime_ns)
            except OSError:  # a link that leads nowhere
                facts = (name, label, 0, 0)
            digest.update(repr(facts).encode())
        return digest.hexdigest()

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        return _Pass(self, pool).run(plan)

    def blank(self, items: int) -> Parts:
        """Make room for a batch of so many items."""
        return self.how.blank(items * self.rows, self.how.frames if self.pick == "spread" else self.how.window)

    def load(self, into: Parts, slot: int, position: int) -> None:
        """Cut an item's windows out of its file and write them into a batch (in a worker).

        Raises:
            DataError: the sound of all of its windows is silence.
            Exception: whatever the decoders raise at a bad file.

        """
        with self._strip(self.root / self.names[position]) as strip:
            starts = strip.starts(self.pick, position, self._curve(strip, position))
            frames = self.how.frames if self.pick == "spread" else self.how.window
            for row, start in enumerate(starts, slot * self.rows):
                for name, part in strip.cut(start, frames).items():
                    if name in into:
                        into[name][row] = part if name == "audio" else part.swapaxes(0, 1)
        if "audio" in into and not into["audio"][slot * self.rows : (slot + 1) * self.rows].any():
            raise DataError("silent: all samples are zero")

    def _curve(self, strip: Strip, position: int) -> NDArray[np.float32] | None:
        """Find where things move, if windows are drawn by that."""
        if not self.how.motion or isinstance(self.pick, str):
            return None
        if position not in self._motion:
            self._motion[position] = np.array(strip.motion())  # a copy: of a mapped file nothing is held open
        return self._motion[position]

    @contextmanager
    def _strip(self, path: Path) -> Iterator[Strip]:
        found = None if self.cache is None else self.cache.find(path)
        if found is None and self.cache is not None and self.cache.wants(path):
            found = self._keep(path, self.cache)
        if found is not None:
            yield Stored(*found, self.how)
        else:
            with Video(path) as video:
                yield Live(video, self.how)

    def _keep(self, path: Path, cache: ClipCache) -> tuple[Parts, int] | None:
        """Decode a whole video and store it; None if that cannot be."""
        try:
            with Video(path) as video:
                live = Live(video, self.how)
                if live.length > 2 * self.how.margin and cache.fits(live.size):
                    parts = live.whole()
                    cache.store(path, parts, live.length)
                    return parts, live.length
        except Exception:  # broken somewhere: its good windows are read as without a cache, and the bad ones reported
            pass
        cache.refuse(path)
        return None


class _Order(NamedTuple):
    """A batch in the workers' hands."""

    positions: Tensor
    into: Parts
    jobs: list[Future[dict[int, str]]]


class _Pass:
    """One pass through a plan, and the files that proved bad in it."""

    def __init__(self, source: ClipFiles, pool: Tensor | None) -> None:
        self.source, self.pool = source, pool
        self.bad: dict[int, str] = {}

    def run(self, plan: Sequence[Tensor]) -> Iterator[Batch]:
        ahead: deque[_Order] = deque()
        threads = ThreadPoolExecutor(self.source.workers, thread_name_prefix="decode")
        try:
            for positions in plan:
                ahead.append(self._order(positions, threads))
                if len(ahead) > _AHEAD:
                    yield from self._serve(ahead.popleft())
            while ahead:
                yield from self._serve(ahead.popleft())
        finally:  # also when the pass is left before its end
            threads.shutdown(wait=False, cancel_futures=True)

    def _order(self, positions: Tensor, threads: ThreadPoolExecutor) -> _Order:
        """Give the workers a batch, item by item: some take far longer than others."""
        into = self.source.blank(len(positions))
        todo = [pair for pair in enumerate(positions.tolist()) if pair[1] not in self.bad]
        return _Order(positions, into, [threads.submit(self._fill, into, *pair) for pair in todo])

    def _fill(self, into: Parts, slot: int, position: int) -> dict[int, str]:
        """Load an item into a slot; return its cause by its position if it cannot be."""
        try:
            self.source.load(into, slot, position)
        except Exception as error:  # the decoders raise many kinds at a broken file
            return {position: cause_of(error)}
        return {}

    def _serve(self, order: _Order) -> Iterator[Batch]:
        """Wait for a batch and yield it, mended; or nothing, if no item of it is left."""
        for job in order.jobs:
            self._note(job.result())
        positions, into = order.positions.clone(), order.into
        good = torch.tensor([position not in self.bad for position in positions.tolist()])
        if self.pool is not None:
            for slot in (~good).nonzero()[:, 0].tolist():
                positions[slot] = self._substitute(into, slot, int(positions[slot]), self.pool)
        elif not good.all():
            rows = good.repeat_interleave(self.source.rows).numpy()
            positions, into = positions[good], {name: part[rows] for name, part in into.items()}
        if len(positions):
            x = {name: torch.from_numpy(into[name]) for name in self.source.how.modalities}
            of_rows = positions.repeat_interleave(self.source.rows)
            yield batch_of(x if len(x) > 1 else x.popitem()[1], of_rows, self.source.y)

    def _substitute(self, into: Parts, slot: int, position: int, pool: Tensor) -> int:
        """Put the next readable item after `position` in the pool into a slot, going round at its end."""
        start = int(torch.searchsorted(pool, position))
        for candidate in pool.roll(-start - 1).tolist():
            if candidate not in self.bad:
                self._note(self._fill(into, slot, candidate))
            if candidate not in self.bad:
                return int(candidate)
        raise DataError(f"none of {len(pool)} files in {self.source.root} can be used:{self._listed()}")

    def _note(self, found: dict[int, str]) -> None:
        """Remember bad files and report them; stop when there are too many."""
        new = {position: cause for position, cause in found.items() if position not in self.bad}
        if not new:
            return
        self.bad.update(new)
        names, limit = self.source.names, self.source.max_bad
        self.source.on_bad({names[position]: cause for position, cause in new.items()})
        if len(self.bad) > limit * len(names):
            raise DataError(
                f"at least {len(self.bad)} of {len(names)} files in {self.source.root} cannot be used, more than "
                f"max_bad={limit:g} of them; {self._advice()}:{self._listed()}"
            )

    def _advice(self) -> str:
        kinds = Counter(cause.split(":")[0] for cause in self.bad.values())
        advice = dict.fromkeys(_ADVICE[kind] for kind in kinds if kind in _ADVICE)
        return ", ".join([*advice, "repair or remove them, or raise max_bad"])

    def _listed(self) -> str:
        """Count the causes, and list some of the files."""
        kinds = Counter(cause.split(":")[0] for cause in self.bad.values())
        counts = (
            "".join(f"\n  {count} x {kind}" for kind, count in kinds.most_common(_LISTED)) if len(kinds) > 1 else ""
        )
        some = [f"\n  {self.source.names[position]}: {cause}" for position, cause in sorted(self.bad.items())]
        more = f"\n  and {len(some) - _LISTED} more" if len(some) > _LISTED else ""
        return counts + "".join(some[:_LISTED]) + more
