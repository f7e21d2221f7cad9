"""`pretext bench`: train what is missing, and probe everything, as one YAML says.

A cell is one entry with one seed on one board. Each leaves a file when it is finished, named by all that it depends on,
so the same command goes on after a kill or a change, and several processes that run it share the work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pretext.benchmark.cells import Cell, cells, file_of, run_of
from pretext.benchmark.results import CellResult
from pretext.benchmark.suite import BASELINES, Suite
from pretext.benchmark.train import arguments, train
from pretext.core.types import Backbone
from pretext.evaluation.available import with_sources
from pretext.evaluation.cache import digest
from pretext.evaluation.embed import VERSION
from pretext.evaluation.probe import SPLITS, ProbedData, ProbePlan, facts, probe_network
from pretext.jobs.files import FileJob, finish, once
from pretext.jobs.keys import key_of
from pretext.training.networks import from_pretrained, from_run

Plain = dict[str, Any]


def work(suite: Suite, folder: Path, after: Callable[[], None], only: Sequence[str] | None = None) -> None:
    """Finish every cell (of `only` some boards), but leave to other processes what they work on.

    `after` is called whenever one is finished. A cell that fails is noted with its reason and not tried again by this
    process.

    Raises:
        ValueError: `only` names no board.

    """
    if unknown := set(only or ()) - set(suite.boards):
        raise ValueError(f"bench: no board {', '.join(sorted(unknown))}; there are {', '.join(suite.boards)}")
    wanted = [cell for cell in cells(suite) if not only or cell.board in only]
    finish(wanted, partial(_job, suite, folder), after, "bench")


def _job(suite: Suite, folder: Path, cell: Cell) -> FileJob:
    label = f"{cell.board}, {cell.name}, seed {cell.seed}"
    run, failure = partial(_result, suite, folder, cell), partial(_failure, cell)
    return FileJob(label, file_of(suite, folder, cell), run, failure)


def _failure(cell: Cell, reason: str) -> Plain:
    empty = CellResult(cell.kind, cell.seed, cell.name, failed=reason, seconds={}, compared=())
    return {**empty.to_json(), "low_label": []}


def _result(suite: Suite, folder: Path, cell: Cell) -> Plain:
    """Train if need be, measure the trained network, and what it is compared with unless that is there already."""
    entry, data = cell.entry, arguments(suite.boards[cell.board].data)
    trained: Plain = {"seconds": {}}
    if entry.backbone:
        networks, probed, _ = from_pretrained(entry.backbone, entry.weights, data, entry.crop, suite.dims)
    else:
        run = run_of(suite, folder, cell)
        if entry.config:
            trained = train(cell, suite.boards[cell.board].options, run)
        networks, probed, _ = from_run(entry.run or run, data, entry.modality, suite.dims)
    network = networks.get("trained", networks["random"])  # an outsider without weights is a random network
    measured = _measured(network, probed, suite, CellResult(cell.kind, cell.seed, cell.name, **trained))
    others = BASELINES if "trained" in networks else ("raw",)
    compared = tuple(_baseline(suite, folder, cell, kind, networks[kind], probed) for kind in others)
    return replace(measured, compared=compared).to_json()


def _baseline(suite: Suite, folder: Path, cell: Cell, kind: str, network: Backbone, probed: ProbedData) -> str:
    """Measure a network at random initialisation, or the raw input, once for all entries that have the same."""
    view = [probed.view_key, probed.modality, *(probed.data.fingerprint(split) for split in SPLITS)]
    key = key_of(VERSION, digest(network), view, with_sources(suite.protocols), suite.dims, suite.views)
    file = folder / "cells" / cell.board / f"={kind}-{key}.json"
    empty = CellResult(kind, cell.seed, architecture=key_of(repr(network), view), seconds={})
    once(file, lambda: _measured(network, probed, suite, empty).to_json())
    return file.name


def _measured(network: Backbone, probed: ProbedData, suite: Suite, empty: CellResult) -> CellResult:
    """Add to a result what its network is worth."""
    begin, plan = time.perf_counter(), ProbePlan(suite.protocols, suite.views, suite.dims)
    measured = probe_network(network, probed, plan, None, "bench")
    about = facts(probed, plan, measured)
    seconds = {**(empty.seconds or {}), "probe": round(time.perf_counter() - begin, 1)}
    return replace(empty, rows=tuple(measured.rows), curves=measured.curves, seconds=seconds, **about)
