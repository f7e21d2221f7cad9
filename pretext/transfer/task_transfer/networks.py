"""The networks of known tasks: built alike, trained on random subsets, and used with weights that were predicted."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from pretext.core.errors import require
from pretext.core.files import whole
from pretext.core.rng import rng, seed_of, seed_torch
from pretext.core.types import Backbone, TaskFactory
from pretext.jobs.keys import here
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import load
from pretext.transfer.measure import descend
from pretext.transfer.networks import build_network, build_task
from pretext.transfer.suite import Readout, Suite
from pretext.transfer.task_transfer.picture import Network, PictureTask
from pretext.transfer.task_transfer.suite import TaskEntry, TaskSuite

CHUNK = 50  # photos that are judged at once; what a blind guess is depends on them
State = Mapping[str, Tensor]


def task_factory(suite: TaskSuite, entry: TaskEntry) -> TaskFactory:
    """Make the questions of a task, with the head that all tasks have."""
    assert entry.task is not None
    return partial(PictureTask, task=build_task(entry.task), width=suite.width, sees=entry.sees, part=entry.part)


def build(suite: TaskSuite, name: str, start: str = "common") -> Network:
    """Build a task's network, untrained: all with the same weights, unless `start` says otherwise."""
    encoder = encoder_of(suite, start)
    seed_torch("cpu", "task transfer", "head", start, suite.seed)
    return Network(encoder, task_factory(suite, suite.tasks[name])(encoder))


def encoder_of(suite: TaskSuite, start: str = "common") -> Backbone:
    """Build the encoder, untrained."""
    seed = suite.seed if start == "common" else seed_of("task transfer", start, suite.seed) % 2**31
    return build_network(Suite(suite.network, {}, {}, seed=seed))


def of_run(run: str) -> Network:
    """Load what a finished run trained: its backbone and its one task.

    Raises:
        ValueError: a run of no task, or of several.

    """
    host = load(Path(here(run)))
    tasks = dict(host.tasks.items()) if isinstance(host, Pretrainer) else {}
    require(len(tasks) == 1, "transfer predict", f"{run} has the tasks {', '.join(tasks) or 'none'}", "it wants one")
    network, (task,) = host.inputs.network(None)[0], tasks.values()
    return Network(network, task)  # type: ignore[arg-type]  # ModuleDict forgets that its modules are tasks


def train(suite: TaskSuite, name: str, model: int, photos: Tensor, file: Path) -> dict[str, Any]:
    """Train one model of a task on a subset of photos, and write its weights.

    Raises:
        FloatingPointError: a loss is no number.

    """
    begin, own = time.perf_counter(), suite.training
    common = own.start == "common"
    network = build(suite, name, "common" if common else f"{name} {model}")
    subset = torch.randperm(len(photos), generator=rng("cpu", "task transfer", "subset", name, model, suite.seed))
    order = ("order",) if common else ("order", name, model)
    loss = fitted(network, photos[subset[: own.subset]], own.steps, own.batch, own.rate, (*order, suite.seed))
    with whole(file) as draft:
        torch.save(network.state_dict(), draft)
    return {"loss": loss, "seconds": round(time.perf_counter() - begin, 1)}


def fitted(network: Network, photos: Tensor, steps: int, batch: int, rate: float, key: tuple[int | str, ...]) -> float:
    """Train a network on photos, and return the mean loss of the last tenth of its steps."""
    done: list[float] = []

    def loss() -> Tensor:
        step = len(done)
        drawn = torch.randint(len(photos), (batch,), generator=rng("cpu", "task transfer", *key, step))
        said: Tensor = network(pictures(photos[drawn]), rng("cpu", "task transfer", "ask", *key, step))
        done.append(said.item())
        return said

    descend(network, list(network.parameters()), [loss], replace(Readout(), steps=steps, rate=rate), ("tasks", 0))
    last = done[-max(1, len(done) // 10) :]
    return sum(last) / len(last) if last else float("nan")


def pictures(photos: Tensor) -> Tensor:
    """Bring photos, uint8, to [0, 1]."""
    return photos.float() / 255


def losses_of(network: Network, state: State, photos: Tensor, name: str) -> list[float]:
    """Judge a network with given weights by photos, each by itself: questions depend on the task's name alone."""
    network.eval()
    found = []
    with torch.no_grad():
        for k, part in enumerate(torch.split(photos, CHUNK)):
            chance = rng("cpu", "task transfer", "judge", name, k)
            x = pictures(part)
            found.append(functional_call(_Losses(network), _below(state), (x, chance)))
    return [round(loss, 6) for loss in torch.cat(found).tolist()]


def loss_with(network: Network, state: State, photos: Tensor, chance: torch.Generator) -> Tensor:
    """Give the loss of a network with weights that have gradients, such as predicted ones: ()."""
    network.eval()  # running statistics are predicted too, but torch has no gradient for them
    values = {name: value.detach() if ".running_" in name else value for name, value in state.items()}
    said: Tensor = functional_call(network, values, (pictures(photos), chance))
    return said


class _Losses(torch.nn.Module):
    """A network whose call gives a loss for each item."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, chance: torch.Generator) -> Tensor:
        return self.network.losses(x, chance)


def _below(state: State) -> dict[str, Tensor]:
    return {f"network.{name}": value for name, value in state.items()}
