"""Random choices that are always the same: each a function of its key alone, whatever was drawn before."""

from __future__ import annotations

from hashlib import blake2b

import torch
from torch import Generator, Tensor


def shuffled(n: int, *key: int | str) -> Tensor:
    """Permute 0 ... n-1, (n,), by nothing but `n` and the key."""
    return torch.randperm(n, generator=Generator().manual_seed(number(key) >> 1))


def uniform(*key: int | str) -> float:
    """Draw a number uniformly from [0, 1), by nothing but the key."""
    return (number(key) >> 11) * 2.0**-53  # all the bits that a float holds, and none that would round up to 1


def held_out(n: int, share: float, purpose: str) -> tuple[Tensor, Tensor]:
    """Hold out a share of `n` items: sorted positions of those held out, and of those that stay."""
    order, count = shuffled(n, purpose), round(n * share)
    return order[:count].sort().values, order[count:].sort().values


def chosen(n: int, limit: int | None) -> Tensor:
    """Choose at most `limit` of `n` items: sorted positions; a larger choice contains every smaller one."""
    return shuffled(n, "limit")[:limit].sort().values


def number(key: tuple[int | str, ...]) -> int:
    """Hash a key to 64 bits."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big")
