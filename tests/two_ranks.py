"""Two real processes, joined by gloo: `python tests/two_ranks.py RANK STORE OUT` lets every task sit on either."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from every_task import N, cases
from torch import distributed, nn

from pretext.core.ranks import gathered, gathered_rows, mean, together, total, world
from pretext.core.rng import rng
from pretext.core.tree import mapped
from pretext.testing import _gradients, _whole


def without_norm(module):
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, nn.Identity())
        else:
            without_norm(child)
    return module


def built(case):
    torch.manual_seed(0)
    net = without_norm(case.backbone())
    task = case.factory(net)
    return without_norm(task).train(), net.train()


def sit(task, net, puzzle):
    return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


def part_of(case, rank):
    return mapped(lambda leaf: leaf.double()[rank * N // 2 : (rank + 1) * N // 2], case.x)


def compare(name, case, rank):
    """Say how far the mean of both ranks' gradients is from one process's, with and without what ranks share."""
    found = {}
    for way in ("together", "apart"):
        task, net = built(case)
        chance = rng("cpu", name, rank)
        with together() if way == "together" else torch.enable_grad():
            puzzle = task.pose(part_of(case, rank), chance)
            grade = sit(task, net, puzzle)
        joined = _gradients(task, net, grade)
        distributed.all_reduce(joined)
        if way == "together":
            puzzles = [None, None]
            distributed.all_gather_object(puzzles, puzzle)
            by_rows = name in ("counting", "contrast", "frames", "embed", "hardest info-nce")
            task, net = built(case)
            whole = sit(task, net, _whole(task, puzzles, N // 2, by_rows))
            alone = _gradients(task, net, whole)
            found["loss"] = [grade.loss.item(), whole.loss.item()]
        found[way] = float((joined / 2 - alone).norm() / alone.norm())
        found[f"{way}, worst"] = float((joined / 2 - alone).abs().max() / alone.abs().max())
    return found


def sums(rank):
    """Ranks of 2 and 3 rows: what each function gives, and its gradient."""
    x = torch.arange(2.0 + rank).view(-1, 1).requires_grad_()
    outside = world(), total(x) is x, gathered(x) is x
    with together():
        rows = gathered(x)
        (rows.square().sum() + total(x.sum()) + mean(x)).backward()
        return {
            "outside": outside,
            "rows": rows.flatten().tolist(),
            "numbers": gathered_rows(torch.arange(len(x)), len(x)).tolist(),
            "mean": mean(x).item(),
            "gradient": x.grad.flatten().tolist(),
            "none": gathered(x[: 2 * rank]).flatten().tolist(),
        }


if __name__ == "__main__":
    rank, store, out = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # full precision, which losses compute in, is float64 here
    distributed.init_process_group("gloo", f"file://{store}", world_size=2, rank=rank)
    found = {"sums": sums(rank), **{name: compare(name, case, rank) for name, case in cases().items()}}
    out.with_suffix(f".{rank}").write_text(json.dumps(found))
    distributed.barrier()
