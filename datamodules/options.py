"""Options that data modules share, in groups: how files are read, and which items are for what."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from datamodules.errors import require

_MOST = 16  # workers by default: machines with more cores have several devices, each with a training process of its own


_Where = Literal["cpu", "cuda", "auto"]
Cache = int | str | Path
"""Bytes of decoded files up to which all are kept in memory, "memory" to keep them there whatever they take, or a
folder to keep them in."""


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Args:
        workers: processes that decode; by default, or at 0, as many as there are cores for this process, at most 16.
        max_bad: stop when more than this share of a split's files cannot be used.
        time_limit: seconds; a file that takes longer cannot be used, and the process that decodes it is replaced.
        memory_limit: GiB beyond what a worker begins with; a file whose decoding takes more cannot be used.
        decoder: what decodes JPEG files: the processor, which makes the same batches everywhere, a CUDA device (a few
            levels of grey off; canvases are not kept), or with "auto" one where there is one.

    """

    workers: int | None = None
    max_bad: float = 0.01
    time_limit: float = 300.0
    memory_limit: float = 8.0
    decoder: _Where = "cpu"

    @property
    def processes(self) -> int:
        """How many workers that makes."""
        return self.workers or min(cores(), _MOST)

    def check(self, owner: object) -> None:
        """Refuse what is out of range, in the name of a data module."""
        require(
            owner, self.workers is None or self.workers >= 0, f"workers={self.workers}", "0 or more, or none at all"
        )
        require(owner, 0 <= self.max_bad <= 1, f"max_bad={self.max_bad}", "a share from 0 to 1")
        require(owner, self.decoder in get_args(_Where), f"decoder={self.decoder!r}", '"cpu", "cuda" or "auto"')
        require(owner, self.time_limit > 0, f"time_limit={self.time_limit:g}", "a time above 0")
        require(owner, self.memory_limit > 0, f"memory_limit={self.memory_limit:g}", "a size above 0")


@dataclass(frozen=True)
class Splitting:
    """Which items are for training, for validation and for the test.

    Args:
        val: share of the training set that is held out to validate the pretext task, the same for every seed.
        test: share of all files that is held out for the test, where the data set lays down none; by default 0.2, of
            `Photos` 0.1.
        limit: use only so many items of the training set, a random choice that is the same for every seed.
        fold: which fold is the test set, where the data set has folds.
        halves: train on batches {"weights": ..., "architecture": ...} of two halves of the training items, for a search
            of architectures; which item is in which half is the same for every seed.
        per_class: train on the first so many items of each class alone, in the order of the data (of folders, of their
            files' names). An epoch stays as long as with all of them: they come again, each time in another order. So
            RotNet learns from few labels ("K-shot"). `ordered`, and so a probe, keeps all.

    """

    val: float = 0.1
    test: float | None = None
    limit: int | None = None
    fold: int | str = 1
    halves: bool = False
    per_class: int | None = None

    def test_share(self, owner: object, default: float = 0.2) -> float:
        """Return `test`, in the name of a data module that holds a share of the files out."""
        share = default if self.test is None else self.test
        require(owner, 0 <= share < 1, f"test={share}", "a share from 0 to below 1")
        return share

    def refuse_folds(self, owner: object) -> None:
        """Refuse a fold, in the name of a data module that has none."""
        require(owner, str(self.fold) == "1", f"fold={self.fold!r}", "1, since it has no folds")


@dataclass(frozen=True)
class Sampling:
    """How densely sound is sampled, and how often an item.

    Args:
        rate: samples of sound per second, whatever the files have.
        clips: parts of each item, evenly spaced, that `ordered` yields.

    """

    rate: int = 16_000
    clips: int = 3


@dataclass(frozen=True)
class Disk:
    """Where decoded files are kept, for this run and for later ones.

    Args:
        cache: a folder to keep decoded files in, safe under several processes: pictures at the size of the canvas,
            whole sounds, and videos (each whole, if it takes up to 128 MiB: frames x 3 x canvas x canvas bytes).
            Batches are the same with and without.
        cache_gb: gigabytes that the folder may hold; when full, what belongs to other settings goes first, the least
            recently used first.

    """

    cache: str | Path | None = None
    cache_gb: float = 20.0

    def check(self, owner: object) -> None:
        """Refuse what is out of range, in the name of a data module."""
        require(owner, self.cache_gb > 0, f"cache_gb={self.cache_gb}", "a size above 0")

    @property
    def folder(self) -> Path | None:
        """The folder of the cache, if any."""
        return None if self.cache is None else Path(self.cache).expanduser()

    @property
    def limit(self) -> int:
        """Bytes that it may hold."""
        return round(self.cache_gb * 1e9)


READING, SPLITTING, SAMPLING, DISK = Reading(), Splitting(), Sampling(), Disk()
"""The groups with nothing but defaults."""


def disk_of(cache: Cache, gigabytes: float) -> Disk:
    """Tell where decoded files are kept on disk, by the option of modules that can keep them in memory too."""
    folder = cache if isinstance(cache, Path) or (isinstance(cache, str) and cache != "memory") else None
    return Disk(folder, gigabytes)


def in_memory(cache: Cache) -> int:
    """Count the bytes that may be kept in memory."""
    return cache if isinstance(cache, int) else sys.maxsize // 2 if cache == "memory" else 0


def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
