"""How well a trained network solves a task, or names classes, on items that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pretext.core.tree import mapped
from pretext.evaluation.supervision import Tally, by_index
from pretext.supervised.module import Supervised
from pretext.training.host import Host
from pretext.training.pretrainer import Pretrainer

Batch = Mapping[str, Any]


def calibrate(host: Host, batches: Iterable[Batch]) -> None:
    """Estimate the statistics of batch norm anew: means over these batches, each posed and seen as in evaluation.

    As in UnNAS ("precise" statistics): those that training leaves are of the last steps, which is noise of another size
    for each architecture. All else is in evaluation mode: nothing is dropped, and no weight changes.
    """
    norms = [m for m in host.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    host.eval()
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then averages over all batches
        nn.Module.train(norm)
    with torch.no_grad():
        for number, batch in enumerate(batches):
            _look(host, _on(batch, host.device), number, "calibration")
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def score(host: Host, batches: Iterable[Batch]) -> dict[str, float]:
    """Measure a host in evaluation mode: of a task the means of its loss and scores, of labels accuracy (or "map").

    Raises:
        ValueError: there is no item.

    """
    host.eval()
    with torch.no_grad():
        if isinstance(host, Supervised):
            return _classified(host, batches)
        return _solved(host, batches)


def value_of(figures: Mapping[str, float]) -> float:
    """Choose the figure that ranks: larger is better. Tasks without an accuracy are ranked by their loss, negated."""
    for name in ("accuracy", "map"):
        if name in figures:
            return figures[name]
    return -figures["loss"]


def within(batches: Iterable[Batch], items: int | None) -> Iterator[Batch]:
    """Go through batches until so many items were seen, always the same ones."""
    seen = 0
    for batch in batches:
        if items is not None and seen >= items:
            return
        seen += len(batch["index"])
        yield batch


def _classified(host: Supervised, batches: Iterable[Batch]) -> dict[str, float]:
    tally = Tally()
    for batch in batches:
        tally.add(*by_index(_look(host, _on(batch, host.device), 0, "test").cpu(), batch["y"], batch["index"]))
    return tally.scored().plain()


def _solved(host: Host, batches: Iterable[Batch]) -> dict[str, float]:
    sums: dict[str, float] = {}
    items = 0
    for number, batch in enumerate(batches):
        size = len(batch["index"])
        items += size
        for name, value in _look(host, _on(batch, host.device), number, "val").items():
            sums[name] = sums.get(name, 0.0) + size * float(value)
    if not items:
        raise ValueError(
            "nas: tasks are scored on items held out of training, and the data holds out none; set a share, such as "
            "--data.split.val 0.1"
        )
    return {name: total / items for name, total in sums.items()}


def _look(host: Host, batch: Batch, number: int, split: str) -> Any:
    """Show a batch as evaluation does: to a classifier, or as the question of the only task, the same every time."""
    if isinstance(host, Supervised):
        (logits,) = host.logits(host.inputs.eval_input(batch["x"])).values()
        return logits
    assert isinstance(host, Pretrainer)
    ((name, task),) = host.tasks.items()
    grade = host.exam(task, host.inputs.centre(batch["x"]), host.seed, split, name, 0, 0, number)  # type: ignore[arg-type]  # ModuleDict forgets that it is a task
    return {"loss": grade.loss, **grade.scores}


def _on(batch: Batch, device: torch.device) -> Batch:
    return {**batch, "x": mapped(lambda leaf: leaf.to(device), batch["x"])}
