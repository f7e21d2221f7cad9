"""What the processes of a distributed training share: sums over their parts, and the rows of all of them.

Each process poses and solves its own part of a batch. Where a grade looks at the whole, because it compares items or
divides by what all have in common, it asks here. The law: what follows `gathered` or `total` is the same number on
every rank, the loss of the whole, and its gradient goes to the rank's own part `world()` times. Distributed training
averages the ranks' gradients, so that the gradient is that of one process that grades the whole. Nothing is sent in the
backward pass.

All of it is the identity in one process, and outside `together`, which training alone enters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, distributed

_together: ContextVar[Any] = ContextVar("together", default=None)  # the process group, or None
_NOTHING = object()


@contextmanager
def together(group: Any = None) -> Iterator[None]:
    """Let the ranks grade their parts as one batch. All of them must enter it and ask for the same, in one order.

    `group` is a process group; none: that of all processes, if there is one.
    """
    if group is None and distributed.is_available() and distributed.is_initialized():
        group = distributed.group.WORLD
    token = _together.set(group)
    try:
        yield
    finally:
        _together.reset(token)


def world() -> int:
    """Count the ranks whose parts are graded as one; 1 in one process and outside training."""
    group = _together.get()
    return 1 if group is None else int(group.size())


def total(x: Tensor) -> Tensor:
    """Add up a tensor over the ranks, of one shape on all of them; numerators and denominators, for instance."""
    if world() == 1:
        return x
    summed: Tensor = _Total.apply(x, _together.get())
    return summed


def mean(x: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """Average over ranks and dimensions, which are kept as 1, or over everything, (); ranks may differ in items."""
    if world() == 1:
        return x.mean() if dims is None else x.mean(dims, keepdim=True)
    sums = x.sum() if dims is None else x.sum(dims, keepdim=True)
    count = x.numel() // sums.numel()
    both = total(torch.cat((sums.flatten(), sums.new_full((1,), count))))
    return (both[:-1] / both[-1]).view(sums.shape)


def var_mean(x: Tensor, dims: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Find variance (about the mean, over the number) and mean as `mean` does."""
    if world() == 1:
        variance, middle = torch.var_mean(x, dims, correction=0, keepdim=True)
        return variance, middle
    middle = mean(x, dims)
    return mean((x - middle).square(), dims), middle


def gathered(x: Tensor) -> Tensor:
    """Join the rows (N, ...) of all ranks, rank by rank: (N_0 + N_1 + ..., ...).

    Ranks may differ in their numbers of rows. On an accelerator they are to have the same: finding out would make the
    host wait for the device in every step.
    """
    if world() == 1:
        return x
    joined: Tensor = _Gathered.apply(x, _together.get())
    return joined


def gathered_rows(index: Tensor, rows: int) -> Tensor:
    """Join indices of rows (N,), each into its own rank's `rows`: they then point into what `gathered` joined."""
    if world() == 1:
        return index
    group = _together.get()
    return gathered(index + sum(_sizes(rows, index.device, group)[: group.rank()]))


def place() -> tuple[int, int]:
    """Tell this process's rank and the number of ranks, (0, 1) where nothing is distributed."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def in_turn(mine: list[Any]) -> list[Any]:
    """Join what ranks made of the batches that were dealt to them, in the order of one process, on every rank.

    For evaluation: works outside `together` too.
    """
    if place()[1] == 1:
        return mine
    shares: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(shares, mine)
    rounds = zip_longest(*shares, fillvalue=_NOTHING)
    return [part for dealt in rounds for part in dealt if part is not _NOTHING]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.ranks = group.size()
        summed = x.detach().clone(memory_format=torch.contiguous_format)
        group.allreduce([summed]).wait()
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.ranks, None


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        sizes = _sizes(len(x), x.device, group)
        ctx.ranks, ctx.start, ctx.rows = len(sizes), sum(sizes[: group.rank()]), len(x)
        # Equal shapes are wanted: shorter parts are filled up, and what was filled in is cut off again.
        padded = x.new_zeros(max(sizes), *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in sizes]
        group.allgather([parts], [padded]).wait()
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][ctx.start : ctx.start + ctx.rows] * ctx.ranks, None


def _sizes(rows: int, device: torch.device, group: Any) -> list[int]:
    """Tell how many rows each rank has; on an accelerator as many as this one, see `gathered`."""
    if device.type != "cpu":
        return [rows] * int(group.size())
    sizes = [torch.empty(1, dtype=torch.int64) for _ in range(group.size())]
    group.allgather([sizes], [torch.tensor([rows])]).wait()
    return [int(size) for size in sizes]
