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


def seed_torch(device: torch.device | str, *key: int | str) -> None:
    """Seed torch's own generators, that of the CPU and that of `device`, from which dropout draws.

    `torch.manual_seed` does it for every device of every kind. For each kind that this machine has not, it notes the
    seed with a traceback, in case that one appears: 130 us a call.
    """
    seed, device = seed_of(*key), torch.device(device)
    if device.type == "cuda":
        torch.default_generator.manual_seed(seed)
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    elif device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def rng(device: torch.device | str, *key: int | str) -> Generator:
    """Make a generator on `device` whose draws depend on nothing but the key."""
    return Generator(device).manual_seed(seed_of(*key))
