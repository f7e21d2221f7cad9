"""Random numbers from a key: the same key always deals the same puzzles, on any run, resumed or not.

The key is (seed, split, task, rank, epoch, step). No random state is ever saved; ranks draw differently, adding a task
does not change another's draws, and validation (epoch 0 in its key) poses the same puzzles in every epoch.
"""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Generator


def seed_of(*key: int | str) -> int:
    """Hash a key of integers and strings to a seed in [0, 2**63), the same on every platform and in every process."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def rng(device: torch.device | str, *key: int | str) -> Generator:
    """Make a generator on `device` whose draws depend on nothing but the key."""
    return Generator(device).manual_seed(seed_of(*key))
