"""What the jobs of a suite share: photos, networks, the weights of known tasks, and correlations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pretext.core.rng import rng
from pretext.jobs.arguments import arguments
from pretext.jobs.files import read_result
from pretext.jobs.keys import here, key_of, with_contents
from pretext.training.run import LAST, build_data
from pretext.transfer.affinity import affinities
from pretext.transfer.correlations import Correlations, of_scores, of_transfers, read_correlations
from pretext.transfer.results import Measured
from pretext.transfer.tables import Transfer, read_transfers
from pretext.transfer.task_transfer.known import Known
from pretext.transfer.task_transfer.networks import build, loss_with, losses_of, of_run
from pretext.transfer.task_transfer.picture import Network
from pretext.transfer.task_transfer.selection import candidates_of
from pretext.transfer.task_transfer.suite import TaskSuite
from pretext.transfer.task_transfer.ttnet import Settings
from pretext.transfer.task_transfer.vectors import Layout, layout_of

VERSION = 1  # of what is computed: raise it with any change to that, and finished cells are left behind
JUDGED = 100  # photos of the training set that known tasks are judged by when they are left out


class Photos(NamedTuple):
    """uint8 (N, 3, S, S) each."""

    train: Tensor
    judge: Tensor
    """To judge known tasks that are left out"""
    labelled: Tensor
    """Test photos on which correlations are measured; the first few are those to fine-tune with"""
    test: Tensor
    """Others"""


class Materials:
    """A suite and the folder of its results; everything is loaded once for each process.

    Args:
        suite: what to do.
        folder: of the results.

    """

    def __init__(self, suite: TaskSuite, folder: Path) -> None:
        self.suite, self.folder = suite, folder
        self.photos: Callable[[], Photos] = lru_cache(1)(self._photos)
        self.network: Callable[[str], Network] = lru_cache(None)(self.fresh)
        self.weights: Callable[[str], Tensor] = lru_cache(None)(self._weights)
        self.gamma: Callable[[], Correlations] = lru_cache(1)(self._gamma)
        self.layout: Callable[[], Layout] = lru_cache(1)(lambda: layout_of(self.network(suite.shaped).state_dict()))

    def known(self, target: str, sources: Sequence[str]) -> tuple[Known, Tensor]:
        """Gather the weights and correlations of sources, and what each is worth to the target."""
        gamma = self.gamma()
        among = torch.tensor(gamma.between(sources, sources), dtype=torch.float32)
        worth = torch.tensor(gamma.between(sources, [target]), dtype=torch.float32)[:, 0]
        every = [self.weights(name) for name in sources]
        fewest = min(len(weights) for weights in every)
        stacked = torch.stack([weights[:fewest] for weights in every])
        return Known(tuple(sources), stacked, self.layout().split, among), worth

    @property
    def candidates(self) -> list[Settings]:
        """Settings of TTNet to choose from."""
        own = self.suite.regression
        plain = Settings(own.hidden, own.components, own.steps, own.rate, 0.0, self.suite.seed)
        return candidates_of(plain, own.consistency)

    def consistency(self, name: str, vector: Tensor, step: int) -> Tensor:
        """Give the loss of predicted weights on photos of a known task, with gradients."""
        photos, size = self.photos().train, self.suite.regression.batch
        drawn = torch.randint(len(photos), (size,), generator=rng("cpu", "task transfer", "consistency", name, step))
        chance = rng("cpu", "task transfer", "consistency", name, "ask", step)
        return loss_with(self.network(name), self.layout().state(vector), photos[drawn], chance)

    def judge(self, name: str, vector: Tensor) -> float:
        """Give the mean loss of weights on photos that no network was trained on."""
        losses = losses_of(self.network(name), self.layout().state(vector), self.photos().judge, name)
        return sum(losses) / len(losses)

    def losses(self, name: str, vector: Tensor) -> list[float]:
        """Give the loss of weights on each test photo."""
        return losses_of(self.network(name), self.layout().state(vector), self.photos().test, name)

    def fresh(self, name: str) -> Network:
        """Build a network of a task, whose weights do not matter."""
        entry = self.suite.tasks[name]
        return of_run(entry.runs[0]) if entry.runs else build(self.suite, name)

    def loaded(self, name: str) -> Network:
        """Load the first model of a task."""
        network = self.fresh(name)
        network.load_state_dict(self.layout().state(self.weights(name)[0]), strict=False)
        return network

    def _weights(self, name: str) -> Tensor:
        """Read the weights of all models of a task: (p, P)."""
        runs = self.suite.tasks[name].runs
        states = [of_run(run).state_dict() for run in runs]
        for model in range(0 if runs else self.suite.training.models):
            states.append(torch.load(self.model_file(name, model), weights_only=True))
        return torch.stack([self.layout().vector(state, name) for state in states])

    def _gamma(self) -> Correlations:
        """Read correlations, or put together what was measured."""
        own = self.suite.correlations
        if own.votes:
            return read_correlations(here(own.votes))
        if own.scores:
            cells = sorted((Path(here(own.scores)) / "cells").glob("*.json"))
            return of_scores([Measured.from_json(plain) for file in cells if (plain := read_result(file))], own.score)
        if own.table:
            return of_transfers(read_transfers(here(own.table)), "log" if own.scale == "log" else "linear")
        transfers = []
        for target in self.suite.tasks:
            found = {source: read_result(self.affinity_file(source, target)) for source in self.suite.known}
            done = {source: cell["losses"] for source, cell in found.items() if cell and "failed" not in cell}
            found_here = affinities(done).items() if done else ()
            transfers += [Transfer((source,), target, value) for source, value in found_here]
        return of_transfers(transfers)

    def _photos(self) -> Photos:
        """Read photos, always the same."""
        own = self.suite
        trained = _read(own, "train", own.items + JUDGED)
        labelled = max(own.correlations.items, own.few)
        held = _read(own, "test", labelled + own.test_items)
        return Photos(trained[JUDGED:], trained[:JUDGED], held[:labelled], held[labelled:])

    def encoder_state(self, vector: Tensor) -> dict[str, Tensor]:
        """Take an encoder out of the weights of a network."""
        state = self.layout().state(vector)
        return {name.removeprefix("encoder."): v.clone() for name, v in state.items() if name.startswith("encoder.")}

    # ---- Names of files

    def model_file(self, name: str, model: int) -> Path:
        """Name the weights of one model."""
        own = self.suite
        facts = own.network, own.data, own.width, own.items, asdict(own.tasks[name])
        key = key_of(VERSION, with_contents(facts), {**asdict(own.training), "models": None}, own.seed)
        return self.folder / "models" / f"{name}-{model}-{key}.pt"

    def affinity_file(self, source: str, target: str) -> Path:
        """Name the result of one read-out."""
        return self.file("affinity", f"{source}-to-{target}")

    def file(self, kind: str, name: str) -> Path:
        """Name a result by all that it depends on."""
        nothing = ("title", "targets", *(("regression", "few_steps") if kind == "affinity" else ()))
        facts = {key: value for key, value in asdict(self.suite).items() if key not in nothing}
        facts["weights"] = [f"{run}/{LAST}" for entry in self.suite.tasks.values() for run in entry.runs]
        return self.folder / kind / f"{name}-{key_of(VERSION, with_contents(facts))}.json"


def _read(suite: TaskSuite, split: str, most: int) -> Tensor:
    data: Any = build_data(arguments(here(suite.data)))
    batches = list(data.ordered(split, most))
    first = batches[0]["x"]
    if not isinstance(first, Tensor) or first.ndim != 4:
        raise ValueError(f"transfer predict: {type(data).__name__} gives no pictures; tasks are trained on pictures")
    photos = torch.cat([batch["x"] for batch in batches])
    if len(photos) < most:
        raise ValueError(
            f"transfer predict: {split} has {len(photos)} photos, but {most} are asked for (items, test_items, "
            "correlations.items, few); ask for fewer"
        )
    return photos[torch.randperm(len(photos), generator=rng("cpu", "task transfer", "photos", split))]
