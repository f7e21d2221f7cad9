"""One transfer: features of a frozen network, read-outs with several seeds, the loss of every test item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pretext.core.rng import rng, seed_torch
from pretext.core.types import Backbone, Features
from pretext.evaluation.transferability import transferability
from pretext.transfer.codes import STAGE, Code, Shape
from pretext.transfer.problems import Asked, Items, Labels, Problem
from pretext.transfer.suite import Readout

CHUNK = 100  # items that a network looks at at once


class Seen(NamedTuple):
    """A batch of questions, and what the network said of them."""

    features: Features
    asked: Asked


def losses_of(code: Code, problem: Problem, train: Items, test: Items, readout: Readout, key: str) -> list[list[float]]:
    """Train a read-out with each seed, and return the losses of all test items, one list for each seed.

    Questions depend on `key` alone (the target's name), so that all sources answer the same.

    Raises:
        FloatingPointError: a loss is no number.
        ValueError: as in `ReadOut`.

    """
    problem.head(Shape(code)).to(device_of(code))  # a pretext task is asked by its first head
    seen = look(code, problem, train, readout.batch, key, "train")
    tests = look(code, problem, test, 1 if problem.alone else CHUNK, key, "test")
    return [_with_seed(code, problem, seen, tests, readout, (key, seed)) for seed in readout.seeds]


def scores_of(code: Code, problem: Problem, items: Items) -> dict[str, float]:
    """Score the averages of a network's features without training, where items have one class each; else {}."""
    if not isinstance(problem, Labels) or problem.wanted.form != "class" or items.y is None:
        return {}
    with torch.no_grad():
        features = torch.cat(
            [code.eval()(x.to(device_of(code)).float() / 255).pooled for x in torch.split(items.x, CHUNK)]
        )
    return transferability(features.cpu(), items.y, 0)


def look(code: Code, problem: Problem, items: Items, size: int, key: str, split: str) -> list[Seen]:
    """Ask about items in batches of one size, and let the frozen network look at many of them at once."""
    device = device_of(code)
    parts = [items.take(part).to(device) for part in torch.split(torch.arange(len(items.x)), size)]
    asked = [problem.ask(part, rng(device, "transfer", key, split, k)) for k, part in enumerate(parts)]
    code.eval()
    seen: list[Seen] = []
    at_once = max(1, CHUNK // size)
    for first in range(0, len(asked), at_once):
        some = asked[first : first + at_once]
        with torch.no_grad():
            map_ = code(torch.cat([one.question for one in some])).stages[STAGE]
        for one, own in zip(some, torch.split(map_, [len(one.question) for one in some]), strict=True):
            seen.append(Seen(features_of(own), one))
    return seen


def device_of(network: nn.Module) -> torch.device:
    """Tell where a network lies."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def features_of(map_: Tensor) -> Features:
    """Make features of a code (N, D, ...)."""
    return Features({STAGE: map_}, map_.flatten(2).mean(2) if map_.ndim > 2 else map_)


def _with_seed(
    code: Backbone,
    problem: Problem,
    train: Sequence[Seen],
    test: Sequence[Seen],
    readout: Readout,
    key: tuple[str, int],
) -> list[float]:
    seed_torch("cpu", "transfer", "head", *key)
    head = problem.head(Shape(code)).to(device_of(code))
    descend(
        head,
        list(head.parameters()),
        [lambda one=one: problem.loss(head, one.features, one.asked) for one in train],
        readout,
        key,
    )
    head.eval()
    with torch.no_grad():
        losses = torch.cat([problem.item_losses(head, one.features, one.asked) for one in test]).float()
    if not losses.isfinite().all():
        raise FloatingPointError(
            f"{int((~losses.isfinite()).sum())} of {len(losses)} test losses are no number, with seed {key[1]}; train "
            "the read-out at a smaller rate (readout.rate)"
        )
    return [round(loss, 7) for loss in losses.tolist()]


def descend(
    head: nn.Module,
    parameters: Sequence[nn.Parameter],
    losses: Sequence[object],
    readout: Readout,
    key: tuple[str, int],
) -> None:
    """Minimise losses in turn, in an order of the key's, by AdamW whose rate falls to nothing.

    Raises:
        FloatingPointError: a loss is no number.

    """
    head.train()
    optimizer = torch.optim.AdamW(parameters, readout.rate)
    generator = rng("cpu", "transfer", "order", *key)
    order: list[int] = []
    for step in range(readout.steps):
        optimizer.param_groups[0]["lr"] = readout.rate * (1 - step / readout.steps)
        order = order or torch.randperm(len(losses), generator=generator).tolist()
        loss = losses[order.pop()]()  # type: ignore[operator]
        if not loss.isfinite():
            raise FloatingPointError(
                f"the loss is {loss.item()} in step {step}; train at a smaller rate (readout.rate)"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
