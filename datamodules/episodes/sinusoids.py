"""The textbook case of learning to learn (https://arxiv.org/abs/1703.03400): a sine from a few of its points."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import final

import torch
from torch import Tensor

from datamodules.base import Split
from datamodules.draws import generator
from datamodules.episodes.episodic import COUNTS, Counts, Episodic, Part
from datamodules.errors import require
from datamodules.loader import Batch, Pick, Source, pinned

AMPLITUDE, PHASE, RANGE = (0.1, 5.0), (0.0, math.pi), (-5.0, 5.0)
FACTS = 3  # amplitude, sine and cosine of the phase


@final
class Sinusoids(Episodic):
    """Sines a sin(x - p): each episode is one, with an amplitude in [0.1, 5] and a phase in [0, pi] of its own.

    x is uniform in [-5, 5], float32 (B M, 1) as it is, and y the value there, (B M, 1).

    Args:
        shots: points to learn from.
        queries: points that are asked for.
        batch_size: episodes per batch and process.
        count: how many episodes there are.
        metadata: tell amplitude, and sine and cosine of the phase, with each episode: all that there is to know.
        seed: of the training episodes.

    """

    def __init__(
        self,
        shots: int = 10,
        queries: int = 10,
        batch_size: int = 25,
        count: Counts = COUNTS,
        metadata: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, count, seed)
        require(self, shots >= 1 and queries >= 1, f"shots={shots}, queries={queries}", "1 or more of each")
        self.shots, self.queries, self.metadata = shots, queries, metadata

    @property
    def classes(self) -> list[str]:
        return []

    @property
    def outputs(self) -> int:
        return 1

    @property
    def facts(self) -> int:
        return FACTS if self.metadata else 0

    def open(self, split: Split) -> Source:
        return self.tasks(split)

    def tasks(self, part: Part) -> Source:
        return Sines(self.shots, self.queries, getattr(self.count, part), (part,), self.metadata)


@final
class Sines(Source):
    """Sines by number: amplitude, phase and points are functions of the key and the number."""

    def __init__(self, shots: int, queries: int, count: int, key: tuple[int | str, ...], metadata: bool) -> None:
        self.shots, self.queries, self.count, self.key, self.metadata = shots, queries, count, key, metadata

    def __len__(self) -> int:
        return self.count

    def cut(self, pick: Pick) -> Sines:
        if not isinstance(pick, tuple):
            return self
        twin = copy.copy(self)
        twin.key = (*self.key, *pick)
        return twin

    def read(self, plan: Sequence[Tensor], pool: Tensor | None = None) -> Iterator[Batch]:
        for numbers in plan:
            yield self._batch(numbers)

    def fingerprint(self, dated: bool = True) -> str:
        about = ("sinusoids", self.shots, self.queries, self.count, self.key, self.metadata)
        return blake2b(repr(about).encode(), digest_size=16).hexdigest()

    def _batch(self, numbers: Tensor) -> Batch:
        rows = self.shots + self.queries
        drawn = torch.stack([torch.rand(2 + rows, generator=generator(*self.key, n)) for n in numbers.tolist()])
        amplitude, phase = between(drawn[:, :1], AMPLITUDE), between(drawn[:, 1:2], PHASE)
        x = between(drawn[:, 2:], RANGE)
        batch = {
            "x": x.reshape(-1, 1),
            "y": (amplitude * torch.sin(x - phase)).reshape(-1, 1),
            "index": numbers.repeat_interleave(rows),
            "support": (torch.arange(rows) < self.shots).repeat(len(numbers)),
            "episode": numbers.clone(),
        }
        facts = {"metadata": torch.cat([amplitude, phase.sin(), phase.cos()], dim=1)} if self.metadata else {}
        return pinned(batch | facts)


def between(share: Tensor, ends: tuple[float, float]) -> Tensor:
    """Map [0, 1] to an interval."""
    return ends[0] + (ends[1] - ends[0]) * share
