"""What every data module of episodes keeps, beside the law of `datamodules.base`.

A batch holds B episodes of M rows each, one after the other, all of one shape: {"x": (B M, ...), "y": (B M,) or (B M,
1), "index": int64 (B M,), "support": bool (B M,), "episode": int64 (B,), and "metadata": float32 (B, D) where it is
known}. Of each episode the rows to learn from come first, in an order of their own, then the questions. "y" is the
number of a class within its episode (int64), or what is to be predicted (float32). "episode" numbers those of a split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch

from datamodules.base import DataModule
from datamodules.errors import require
from datamodules.loader import Batch, InOrder, Shuffled, Source

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Counts:
    """How many episodes there are.

    Args:
        train: in an epoch; other ones in each.
        val: to validate on, always the same.
        test: to test on, always the same; 600 and more are usual.

    """

    train: int = 1000
    val: int = 200
    test: int = 600

    def check(self, owner: object) -> None:
        """Refuse what is out of range, in the name of a data module."""
        got = f"count.train={self.train}, count.val={self.val}, count.test={self.test}"
        require(owner, min(self.train, self.test) >= 1 and self.val >= 0, got, "1 or more (val: 0 or more)")


COUNTS = Counts()
"""The group with nothing but defaults."""


class Episodic(DataModule, ABC):
    """A data set of episodes.

    Args:
        batch_size: episodes per batch and process.
        count: how many episodes there are.
        seed: of the training episodes, and of nothing else.

    """

    def __init__(self, batch_size: int, count: Counts, seed: int) -> None:
        super().__init__(batch_size, val=0.0, limit=None, seed=seed)
        count.check(self)
        self.count = count
        self._tasks: dict[Part, Source] = {}

    @property
    @abstractmethod
    def outputs(self) -> int:
        """How many numbers answer a question: the classes of an episode, or the values to be predicted."""

    @property
    @abstractmethod
    def facts(self) -> int:
        """How many numbers of metadata an episode has; 0: none."""

    @abstractmethod
    def tasks(self, part: Part) -> Source:
        """Return the episodes of a part, a source whose items they are; of "train" those of `cut((seed, epoch))`."""

    def train_dataloader(self) -> Iterable[Batch]:
        source = self._part("train")
        every = torch.arange(len(source))
        if getattr(self.trainer, "overfit_batches", 0) > 0:  # Lightning asks for a fixed order then
            return InOrder(source, every, self.batch_size)
        clock = None if self.trainer is None else partial(getattr, self.trainer, "current_epoch")
        return Shuffled(source, every, self.batch_size, self.seed, clock)

    def val_dataloader(self) -> Iterable[Any]:
        if self.count.val == 0:
            return iter(())  # Lightning warns at an empty list
        source = self._part("val")
        return InOrder(source, torch.arange(len(source)), self.batch_size)

    def test_dataloader(self) -> Iterable[Batch]:
        source = self._part("test")
        return InOrder(source, torch.arange(len(source)), self.batch_size)

    def _part(self, part: Part) -> Source:
        if part not in self._tasks:
            self._tasks[part] = self.tasks(part)
        return self._tasks[part]
