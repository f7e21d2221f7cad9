"""`pretext transfer SUITE.yaml`: train sources, measure every transfer, go on after a kill, share the work.

A cell is one set of sources and one target. Each leaves a file when it is finished, named by all that it depends on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache, partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pretext.core.rng import rng
from pretext.core.types import Backbone
from pretext.jobs.arguments import arguments
from pretext.jobs.files import FileJob, finish, read_result
from pretext.jobs.keys import as_written, here, key_of, with_contents
from pretext.training.run import LAST, build_data
from pretext.transfer.analysis import analyse
from pretext.transfer.codes import Code
from pretext.transfer.measure import losses_of, scores_of
from pretext.transfer.networks import (
    build_network,
    build_task,
    device,
    self_network,
    source_network,
    train_self,
    train_source,
)
from pretext.transfer.problems import Items, Labels, Pretext, Problem
from pretext.transfer.results import Measured, TransferMap
from pretext.transfer.suite import Suite
from pretext.transfer.tables import BAR, REFERENCES

VERSION = 1  # of what is measured: raise it with any change to that, and finished cells are left behind
Plain = dict[str, Any]


class Cell(NamedTuple):
    """A set of sources, and a target."""

    sources: tuple[str, ...]
    target: str


class Ready(NamedTuple):
    """A target whose data was read."""

    problem: Problem
    train: Items
    test: Items


class Workshop:
    """A suite and the folder of its results; what cells share is loaded once for each process."""

    def __init__(self, suite: Suite, folder: Path) -> None:
        self.suite, self.folder = suite, folder
        self.ready: Callable[[str], Ready] = lru_cache(2)(self._ready)
        self.network: Callable[[str, str], Backbone] = lru_cache(8)(self._network)
        # Read once: what changes while it works counts at the next start.
        self.source_facts: Callable[[str], Any] = lru_cache(None)(self._source_facts)
        self.target_facts: Callable[[str], Any] = lru_cache(None)(self._target_facts)

    def work(self, after: Callable[[], None]) -> None:
        """Finish everything, but leave to other processes what they work on; `after` each cell."""
        trained = [name for name, source in self.suite.sources.items() if source.config]
        finish(trained, self._source_job, after, "transfer")
        finish(list(self.suite.targets), self._self_job, after, "transfer")
        finish(list(self.single()), self._cell_job, after, "transfer")
        if self.suite.order > 1:
            finish(self.pairs(), self._cell_job, after, "transfer")

    def single(self) -> Iterator[Cell]:
        """List all transfers of one source, target by target, so that the items of one are read once."""
        for target in self.suite.targets:
            for source in (*REFERENCES, *self.suite.sources):
                yield Cell((source,), target)

    def pairs(self) -> list[Cell]:
        """List the pairs of the best single sources of each target, as far as they are known."""
        cells = []
        for target in self.suite.targets:
            single = [self.result(Cell((source,), target)) for source in self.suite.sources]
            done = [one for one in single if one is not None and one.failed is None]
            best = sorted(done, key=lambda one: one.mean)[: self.suite.beam]
            names = [s for s in self.suite.sources if any(s == one.sources[0] for one in best)]
            cells += [Cell(pair, target) for pair in combinations(names, 2)]
        return cells

    def result(self, cell: Cell) -> Measured | None:
        """Read a cell that is finished, or has failed."""
        plain = read_result(self._file(cell))
        return None if plain is None else Measured.from_json(plain)

    def map(self) -> TransferMap:
        """Make the map of what is finished so far."""
        cells = [*self.single(), *(self.pairs() if self.suite.order > 1 else [])]
        found = [one for one in map(self.result, cells) if one is not None]
        return analyse(self.suite.title, list(self.suite.sources), list(self.suite.targets), found, len(cells))

    # ---- Jobs

    def _source_job(self, name: str) -> FileJob:
        run = self._run(name)
        source, suite = self.suite.sources[name], self.suite
        return FileJob(
            f"train {name}",
            run.with_name(f"{run.name}.json"),
            partial(train_source, source, suite.options, suite.seed, run),
            _why,
        )

    def _self_job(self, target: str) -> FileJob:
        file = self._self_file(target)
        return FileJob(
            f"train self of {target}", file.with_name(f"{file.name}.json"), partial(self._train_self, target), _why
        )

    def _train_self(self, target: str) -> Plain:
        items = _items(self.suite, target, "train", self.suite.self_items)
        problem = self._problem(target, items)
        return train_self(self.suite, target, problem, items, self._self_file(target))

    def _cell_job(self, cell: Cell) -> FileJob:
        label = f"{BAR.join(cell.sources)} to {cell.target}"
        return FileJob(label, self._file(cell), partial(self._measure, cell), partial(_failure, cell))

    def _measure(self, cell: Cell) -> Plain:
        begin, ready = time.perf_counter(), self.ready(cell.target)
        networks = [self.network(source, cell.target if source == "self" else "") for source in cell.sources]
        code = Code(networks, self.suite.readout.stage)
        losses = losses_of(code, ready.problem, ready.train, ready.test, self.suite.readout, cell.target)
        seconds = round(time.perf_counter() - begin, 1)
        scores = scores_of(code, ready.problem, ready.train) if len(cell.sources) == 1 else {}
        return Measured(cell.sources, cell.target, tuple(map(tuple, losses)), seconds, None, scores).to_json()

    # ---- What cells share

    def _network(self, source: str, target: str) -> Backbone:
        """Load a source; `target` tells whose `self` it is."""
        if source == "random":
            network = build_network(self.suite)
        elif source == "self":
            network = self_network(self.suite, self._self_file(target))
        else:
            network = source_network(self.suite.sources[source], self._run(source))
        return network.to(device())

    def _ready(self, target: str) -> Ready:
        """Read items that no source was trained on, those of the test set: some to train read-outs, others to test."""
        own = self.suite.readout
        items = _items(self.suite, target, "test", own.items + own.test_items)
        if len(items.x) < own.items + own.test_items:
            raise ValueError(
                f"target {target} has {len(items.x)} test items, but readout.items and readout.test_items are "
                f"{own.items} and {own.test_items}; ask for fewer"
            )
        mixed = torch.randperm(len(items.x), generator=rng("cpu", "transfer", "items", target))
        train, test = items.take(mixed[: own.items]), items.take(mixed[own.items :])
        return Ready(self._problem(target, train), train, test)

    def _problem(self, target: str, items: Items) -> Problem:
        entry = self.suite.targets[target]
        if entry.task is not None:
            return Pretext(build_task(entry.task))
        classes = len(getattr(build_data(arguments(here(entry.data))), "classes", ()))
        return Labels(items, classes, self.suite.readout)

    # ---- Names of files

    def _run(self, name: str) -> Path:
        return self.folder / "runs" / f"{name}-{key_of(self.source_facts(name))}"

    def _self_file(self, target: str) -> Path:
        return self.folder / "self" / f"{target}-{key_of(self._self_facts(target))}.pt"

    def _file(self, cell: Cell) -> Path:
        facts = [self._self_facts(cell.target) if name == "self" else self.source_facts(name) for name in cell.sources]
        key = key_of(VERSION, facts, self.target_facts(cell.target), asdict(self.suite.readout))
        return self.folder / "cells" / f"{'+'.join(cell.sources)}-to-{cell.target}-{key}.json"

    def _source_facts(self, name: str) -> Any:
        """Write down all that a source depends on."""
        if name == "random":
            return name, self.suite.network, self.suite.seed
        source = self.suite.sources[name]
        config = as_written(here(source.config)) if source.config else None
        run = with_contents(f"{source.run}/{LAST}") if source.run else None
        options = self.suite.options if source.config else None
        return [with_contents(part) for part in (asdict(source), options, config, self.suite.seed)], run

    def _self_facts(self, target: str) -> Any:
        own = self.suite
        return self.target_facts(target), own.network, own.seed, own.self_items, own.self_steps, asdict(own.readout)

    def _target_facts(self, target: str) -> Any:
        return with_contents(asdict(self.suite.targets[target]))


def _items(suite: Suite, target: str, split: str, most: int) -> Items:
    """Read so many items of a split, always the same."""
    data: Any = build_data(arguments(here(suite.targets[target].data)))
    batches = list(data.ordered(split, most))
    if not isinstance(batches[0]["x"], torch.Tensor) or batches[0]["x"].ndim != 4:
        raise ValueError(
            f"target {target}: {type(data).__name__} gives no pictures; transfers are measured on pictures"
        )
    y = torch.cat([batch["y"] for batch in batches]) if "y" in batches[0] else None
    return Items(torch.cat([batch["x"] for batch in batches]), y)


def _why(reason: str) -> Plain:
    return {"failed": reason}


def _failure(cell: Cell, reason: str) -> Plain:
    return Measured(cell.sources, cell.target, failed=reason).to_json()


def measured_of(suite: Suite, folder: Path) -> Sequence[Measured]:
    """Read every finished transfer of a map, with the losses of all its test items."""
    shop = Workshop(suite, folder)
    cells = [*shop.single(), *(shop.pairs() if suite.order > 1 else [])]
    return [one for one in map(shop.result, cells) if one is not None]
