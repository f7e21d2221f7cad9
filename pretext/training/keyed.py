"""Reading a data set of a user's own by batches, each with chance of its own: transforms draw the same every time."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from pretext.core.rng import seed_of

Key = tuple[int | str, ...]


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """Let torch's, NumPy's and Python's chance on the CPU follow from a key, and be as before afterwards."""
    before = torch.default_generator.get_state(), random.getstate(), np.random.get_state()  # noqa: NPY002  (what transforms draw from)
    seed = seed_of(*key)
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        torch.default_generator.set_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])  # noqa: NPY002


class Keyed(Dataset[Any]):
    """A data set whose items are fetched by batches that begin with the key of their chance.

    What a `worker_init_fn` reads of it, or gives to it, is the data set's own.
    """

    def __init__(self, dataset: Any) -> None:
        self.__dict__["dataset"] = dataset

    def __getitems__(self, batch: Sequence[Any]) -> list[Any]:
        key, *numbers = batch
        with seeded(*key):
            if callable(several := getattr(self.dataset, "__getitems__", None)):
                return list(several(numbers))
            return [self.dataset[number] for number in numbers]

    def __getattr__(self, name: str) -> Any:
        if "dataset" not in self.__dict__:  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.dataset, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Batches:
    """What a loader is to read next, as a batch sampler: lists of a key and the numbers of items."""

    def __init__(self) -> None:
        self.next: Iterable[list[Any]] = ()

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.next)


def reader(loader: DataLoader[Any], batches: Batches) -> DataLoader[Any]:
    """Make a loader as the given one, but of the batches that it is told."""
    return DataLoader(
        Keyed(loader.dataset),
        batch_sampler=batches,  # it has no length, for which nobody asks
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=torch.Generator(),  # for the workers' seeds: nothing is drawn from torch's own
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )
