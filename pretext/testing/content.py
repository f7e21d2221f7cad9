"""Does input without content teach a task nothing?"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.autograd import backward  # the same as loss.backward(), which torch gives no type

from pretext.core.rng import rng
from pretext.core.tree import mapped
from pretext.core.types import Backbone, Task, TaskFactory, Tree
from pretext.testing.sitting import build, leaves_of, must, numbers, sit

Content = Literal["noise", "constant"]


def check_content_free(
    factory: TaskFactory,
    backbone: Backbone,
    x: Tree,
    *,
    kinds: tuple[Content, ...] = ("noise", "constant"),
    steps: int = 100,
    items: int = 64,
    sigmas: float = 4.0,
) -> None:
    """Check that nothing is learnt where there is nothing to see: what is, is a leak.

    A copy of the backbone and a new task are trained for `steps` batches of `items` images of independent noise, or of
    one colour each, in the shape of `x`, and then sit fresh puzzles, with the batch's own statistics and without (eval
    mode), until 2,048 items have sat. Accuracy may exceed chance by `sigmas` standard deviations of as many blind
    guesses: an honest task fails once in 30,000 times. (Several puzzles of one item are not independent and count as
    one.) Without an accuracy, the loss may fall 2 % below `chance()`.
    """
    for kind in kinds:
        task, net = build(factory, backbone)
        optimiser = torch.optim.Adam([*net.parameters(), *task.parameters()], lr=3e-3)
        for step in range(steps):
            optimiser.zero_grad()
            backward(sit(task, net, _empty(kind, x, items, step), step).loss)
            optimiser.step()
            task.follow(net)
        for mode in (True, False):
            task.train(mode), net.train(mode)
            _judge_content_free(task, net, kind, x, items, sigmas)


@torch.no_grad()
def _judge_content_free(task: Task, net: Backbone, kind: Content, x: Tree, items: int, sigmas: float) -> None:
    blind = numbers(task.chance())
    batches = math.ceil(2048 / items)
    keys = range(1_000_000, 1_000_000 + batches)  # apart from the training's
    grades = [numbers(sit(task, net, _empty(kind, x, items, key), key)) for key in keys]
    mean = {name: sum(grade[name] for grade in grades) / len(grades) for name in blind}
    where = f"on {kind} alone, {'train' if net.training else 'eval'} mode"
    if "accuracy" in blind:
        share, got = blind["accuracy"], mean["accuracy"]
        allowed = share + sigmas * math.sqrt(share * (1 - share) / (batches * items))
        what = f"accuracy is {got:.3f}, chance {share:.3f} (up to {allowed:.3f})"
        must(got <= allowed, task, f"{where}, {what}: the puzzle leaks its answer")
    else:
        what = f"the loss is {mean['loss']:.4g}, chance {blind['loss']:.4g}"
        must(mean["loss"] >= 0.98 * blind["loss"], task, f"{where}, {what}: the puzzle leaks its answer")


def _empty(kind: Content, x: Tree, items: int, key: int) -> Tree:
    """Make a batch without content in the shape of `x`."""
    device = leaves_of(x)[0].device
    generator = rng(device, "content-free", kind, key)

    def make(leaf: Tensor) -> Tensor:
        shape = (items, *leaf.shape[1:])
        drawn = shape if kind == "noise" else (*shape[:2], *(1 for _ in shape[2:]))
        return torch.rand(drawn, generator=generator, device=device, dtype=leaf.dtype).expand(shape).contiguous()

    return mapped(make, x)
