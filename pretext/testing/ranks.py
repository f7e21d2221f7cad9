"""Does a task train on several devices what it would train on one?"""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.autograd import backward  # the same as loss.backward(), which torch gives no type

from pretext.core.ranks import together
from pretext.core.tree import leaves, mapped
from pretext.core.types import Backbone, Grade, Puzzle, Task, TaskFactory, Tree
from pretext.testing.sitting import build, leaves_of, must, pose, solve


class _Part(NamedTuple):
    """What a rank did with its part of a batch."""

    puzzle: Puzzle
    gradients: Tensor


def check_ranks(factory: TaskFactory, backbone: Backbone, x: Tree, *, tolerance: float = 1e-3) -> None:
    """Check that two ranks train what one process would: the mean of their gradients is that of the whole batch.

    The ranks are two threads, joined by a process group of torch's, which pose half of `x` each with a key of their
    own, on the processor: an accelerator is lost to the process when a row is asked for that is none. One process then
    solves what they posed, and grades it. Batch norm and dropout are in eval mode, because torch joins the statistics
    of several ranks on accelerators alone. An answer of whole numbers may be the rows of items (as that of `Contrast`
    is); in the whole batch they are counted on. Without torch's gloo nothing is checked.
    """
    if not (distributed.is_available() and distributed.is_gloo_available()):
        return
    backbone, x = copy.deepcopy(backbone).cpu(), mapped(Tensor.cpu, x)
    parts = _on_two_ranks(factory, backbone, x)
    joined = (parts[0].gradients + parts[1].gradients) / 2
    puzzles, items = [part.puzzle for part in parts], len(leaves_of(x)[0]) // 2
    off = math.inf
    for rows in (False, True):  # answers as they are, then as rows of the whole batch
        task, net = _plain(*build(factory, backbone))
        whole = whole_of(task, puzzles, items, rows)
        try:
            grade = solve(task, net, whole)
        except (IndexError, RuntimeError):  # rows that are none
            continue
        alone = gradients_of(task, net, grade)
        off = min(off, float((joined - alone).norm() / alone.norm()))
    what = f"the mean gradient of two ranks differs from that of one process by {off:.2g} of its length"
    how = "where a grade compares items or divides by what the batch has in common, ask pretext.core.ranks"
    must(off <= tolerance, task, f"{what}: {how}")


def _on_two_ranks(factory: TaskFactory, backbone: Backbone, x: Tree) -> list[_Part]:
    """Let two ranks sit their halves of a batch; a rank waits for the other 60 s at most."""
    half = len(leaves_of(x)[0]) // 2

    def sit(rank: int) -> _Part:
        task, net = nets[rank]
        mine = mapped(lambda leaf: leaf[rank * half : (rank + 1) * half], x)
        with together(groups[rank]):
            puzzle = pose(task, mine, rank)
            return _Part(puzzle, gradients_of(task, net, solve(task, net, puzzle)))

    nets, groups = (
        [_plain(*build(factory, backbone)) for _ in range(2)],
        _groups(),
    )  # torch's generator is of all threads
    try:
        with ThreadPoolExecutor(2) as threads:
            return list(threads.map(sit, range(2)))
    except BaseException:  # what one rank asked for and the other did not would meet the next task
        _groups.cache_clear()
        raise


@lru_cache(maxsize=1)
def _groups() -> list[Any]:
    """Join two ranks in this process; a busy machine may refuse a connection, so up to three times."""
    torchs: Any = distributed  # which does not export all that it documents

    def join(rank: int, store: Any) -> Any:
        gloo = torchs.ProcessGroupGloo
        options = gloo._Options()
        options._devices, options._timeout = [gloo.create_device(hostname="127.0.0.1")], timedelta(seconds=60)
        return gloo(store, rank, 2, options)

    for left in (2, 1, 0):
        try:
            with ThreadPoolExecutor(2) as threads:
                return list(threads.map(join, range(2), [torchs.HashStore()] * 2))
        except RuntimeError:
            if not left:
                raise
    raise AssertionError


def _plain(task: Task, net: Backbone) -> tuple[Task, Backbone]:
    """Put what would tell a part of a batch from the whole into eval mode."""
    apart = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)
    for module in (*task.modules(), *net.modules()):
        if isinstance(module, apart):
            module.eval()
    return task, net


def gradients_of(task: Task, net: Backbone, grade: Grade) -> Tensor:
    """Flatten the gradients of a task's and a backbone's parameters."""
    backward(grade.loss)
    every = [p for p in (*task.parameters(), *net.parameters()) if p.requires_grad]
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in every])


def whole_of(task: Task, puzzles: list[Puzzle], items: int, rows: bool) -> Puzzle:
    """Join what ranks posed of so many items each; what is for all items alike has to be the same on each rank."""

    def join(one: Tensor, other: Tensor, counted: bool) -> Tensor:
        if one.ndim == 0 or len(one) % items:
            what = "what is for all items of a batch differs between ranks: pose it by pretext.core.ranks"
            must(torch.allclose(one, other, rtol=1e-5, atol=1e-6), task, what)
            return one
        return torch.cat((one, other + len(one) if counted and other.dtype == torch.int64 else other))

    def tree(one: Tree, other: Tree, counted: bool = False) -> Tree:
        others = leaves(other)
        return mapped(lambda leaf: join(leaf, next(others), counted), one)

    first, second = puzzles
    answer = tree(first.answer, second.answer, rows)
    return Puzzle(tree(first.question, second.question), answer, tree(first.given, second.given))
