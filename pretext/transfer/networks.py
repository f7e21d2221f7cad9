"""The networks of a map: trained sources, an untrained one, and one for each target that was trained for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser

from pretext.backbones.pretrained.build import pretrained
from pretext.core.files import whole
from pretext.core.rng import rng, seed_torch
from pretext.core.types import Backbone, TaskFactory
from pretext.jobs.arguments import arguments
from pretext.jobs.keys import here
from pretext.training.cli import PretextCLI
from pretext.training.run import LAST, load
from pretext.transfer.codes import Code
from pretext.transfer.measure import descend
from pretext.transfer.problems import Items, Problem
from pretext.transfer.suite import Options, SourceEntry, Suite

Plain = dict[str, Any]


def device() -> torch.device:
    """Choose where a map is measured: on the accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def build_network(suite: Suite) -> Backbone:
    """Build the suite's own network, untrained, always alike."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Backbone, "network", fail_untyped=False)
    parsed = parser.parse_object({"network": _plain(suite.network)})
    seed_torch("cpu", "transfer", "network", suite.seed)
    return cast(Backbone, parser.instantiate(parsed).network)


def build_task(task: Options) -> TaskFactory:
    """Build what makes a task for a backbone."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--task", type=TaskFactory)
    return cast(TaskFactory, parser.instantiate(parser.parse_object({"task": _plain(task)})).task)


def _plain(options: Mapping[str, Any]) -> Plain:
    """Return plain data, which jsonargparse may change."""
    return {key: _plain(value) if isinstance(value, Mapping) else value for key, value in options.items()}


def train_source(source: SourceEntry, options: Options, seed: int, run: Path) -> Plain:
    """Train a config, or go on where it stopped."""
    assert source.config is not None
    begin, started = time.perf_counter(), (run / LAST).exists()
    own = [*arguments(here({**options, **source.options})), "--seed_everything", str(seed)]
    fit = ["fit", "-c", str(here(source.config)), *own, "--trainer.default_root_dir", str(run)]
    PretextCLI(["fit", str(run)] if started else fit)
    return {"seconds": round(time.perf_counter() - begin, 1)}


def source_network(source: SourceEntry, run: Path) -> Backbone:
    """Load a source; `run` is the folder of what was trained here."""
    if source.backbone:
        found = pretrained(source.backbone, here(source.weights), None)
        pl.seed_everything(0, verbose=False)
        return found.fresh() if found.trained is None else found.trained()
    return load(Path(here(source.run)) if source.run else run).inputs.network(None)[0]


def train_self(suite: Suite, name: str, problem: Problem, items: Items, file: Path) -> Plain:
    """Train the suite's network for a target itself, with its head, and write its weights.

    Raises:
        FloatingPointError: as in `descend`.

    """
    begin, own = time.perf_counter(), suite.readout
    network = build_network(suite).to(device())
    code = Code([network], own.stage)
    seed_torch("cpu", "transfer", "self", name, suite.seed)
    head = problem.head(code).to(device())
    code.train()
    steps = iter(range(suite.self_steps))

    def loss() -> torch.Tensor:
        step = next(steps)
        drawn = torch.randint(len(items.x), (own.batch,), generator=rng("cpu", "transfer", "self", name, step))
        asked = problem.ask(items.take(drawn).to(device()), rng(device(), "transfer", "self", name, "ask", step))
        return problem.loss(head, code(asked.question), asked)

    descend(
        head,
        [*network.parameters(), *head.parameters()],
        [loss],
        replace(own, steps=suite.self_steps),
        (name, suite.seed),
    )
    with whole(file) as draft:
        torch.save(network.state_dict(), draft)
    return {"seconds": round(time.perf_counter() - begin, 1)}


def self_network(suite: Suite, file: Path) -> Backbone:
    """Load what `train_self` wrote."""
    network = build_network(suite)
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return network
