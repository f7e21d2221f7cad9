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

from pretext.benchmark.cells import Cell, cells, file_of, run_of, start_of
from pretext.benchmark.results import CellResult
from pretext.benchmark.suite import BASELINES, Suite, in_place
from pretext.benchmark.train import arguments, being_trained, train
from pretext.evaluation.available import with_sources
from pretext.evaluation.cache import outline
from pretext.evaluation.embed import VERSION
from pretext.evaluation.probe import SPLITS, Labelled, ProbedData, ProbePlan, Split, facts, probe_network
from pretext.evaluation.shards import Crew, Sharing
from pretext.jobs.files import FileJob, finish, once
from pretext.jobs.keys import here, key_of
from pretext.training.networks import Networks, from_pretrained, from_run

Plain = dict[str, Any]


def work(
    suite: Suite,
    folder: Path,
    after: Callable[[], None],
    only: Sequence[str] | None = None,
    crew: Crew | None = None,
) -> None:
    """Finish every cell (of `only` some boards), but leave to other processes what they work on.

    `after` is called whenever one is finished. A cell that fails is noted with its reason and not tried again by this
    process. A `crew` embeds together; its helpers run `assist` with `probed_networks` meanwhile.

    Raises:
        ValueError: `only` names no board.

    """
    if unknown := set(only or ()) - set(suite.boards):
        raise ValueError(f"bench: no board {', '.join(sorted(unknown))}; there are {', '.join(suite.boards)}")
    wanted = [cell for cell in cells(suite) if not only or cell.board in only]
    finish(wanted, partial(_job, suite, folder, crew), after, "bench")


def _job(suite: Suite, folder: Path, crew: Crew | None, cell: Cell) -> FileJob:
    label = f"{cell.board}, {cell.name}, seed {cell.seed}"
    run, failure = partial(_result, suite, folder, cell, crew), partial(_failure, cell)
    return FileJob(label, file_of(suite, folder, cell), run, failure, partial(_waits, suite, folder, cell))


def _waits(suite: Suite, folder: Path, cell: Cell) -> bool:
    """Tell whether others train what a cell starts from."""
    start = start_of(suite, cell)
    if start is None or start.entry.run:
        return False
    return being_trained(run_of(suite, folder, start)) or _waits(suite, folder, start)


def _failure(cell: Cell, reason: str) -> Plain:
    empty = CellResult(cell.kind, cell.seed, cell.name, failed=reason, seconds={}, compared=())
    return {**empty.to_json(), "low_label": []}


def plan_of(suite: Suite) -> ProbePlan:
    """Say how every cell is measured."""
    return ProbePlan(suite.protocols, suite.views, suite.dims)


def probed_networks(suite: Suite, folder: Path, place: tuple[str, str, int]) -> tuple[Networks, ProbedData]:
    """Build what is probed of a cell, given its board, name and seed; what it trains is there already."""
    board, name, seed = place
    written, data = suite.boards[board].entries[name], arguments(here(suite.boards[board].data))
    entry = in_place(written)
    if entry.backbone:
        return from_pretrained(entry.backbone, entry.weights, data, entry.crop, suite.dims)[:2]
    run = entry.run or run_of(suite, folder, Cell(board, name, seed, written))
    return from_run(run, data, entry.modality, suite.dims)[:2]


def _trained(suite: Suite, folder: Path, cell: Cell) -> Plain:
    """Train a cell if need be, and first what it starts from."""
    run, start = run_of(suite, folder, cell), start_of(suite, cell)
    if start is None:
        return train(cell, suite.boards[cell.board].options, run)
    own = in_place(start.entry).run
    if own is None:
        _trained(suite, folder, start)
    return train(cell, suite.boards[cell.board].options, run, Path(own) if own else run_of(suite, folder, start))


def _result(suite: Suite, folder: Path, cell: Cell, crew: Crew | None) -> Plain:
    """Train if need be, measure the trained network, and what it is compared with unless that is there already."""
    trained: Plain = {"seconds": {}}
    if cell.entry.config and not cell.entry.backbone:
        trained = _trained(suite, folder, cell)
    place = (cell.board, cell.name, cell.seed)
    networks, probed = probed_networks(suite, folder, place)
    sharing = None if crew is None else Sharing(crew, (place,))
    main = "trained" if "trained" in networks else "random"  # an outsider without weights is a random network
    empty = CellResult(cell.kind, cell.seed, cell.name, **trained)
    measured = _measured(networks, main, probed, suite, empty, sharing)
    others = BASELINES if "trained" in networks else ("raw",)
    compared = tuple(_baseline(suite, folder, cell, kind, networks, probed, sharing) for kind in others)
    return replace(measured, compared=compared).to_json()


def _baseline(
    suite: Suite,
    folder: Path,
    cell: Cell,
    kind: str,
    networks: Networks,
    probed: ProbedData,
    sharing: Sharing | None,
) -> str:
    """Measure a network at random initialisation, or the raw input, once for all entries that have the same.

    Nothing in the name of its file depends on the machine, so a finished one is found wherever it is taken.
    """
    network = networks[kind]
    view = [probed.view_key, probed.modality, *(_listed(probed.data, split) for split in SPLITS)]
    key = key_of(VERSION, outline(network), view, with_sources(suite.protocols), suite.dims, suite.views)
    file = folder / "cells" / cell.board / f"={kind}-{key}.json"
    empty = CellResult(kind, cell.seed, architecture=key_of(repr(network), view), seconds={})
    once(file, lambda: _measured(networks, kind, probed, suite, empty, sharing).to_json())
    return file.name


def _listed(data: Labelled, split: Split) -> str:
    """Hash which items a split has; of a data module that only knows its files as they are, those."""
    named: Callable[[Split], str] = getattr(data, "listed", data.fingerprint)
    return named(split)


def _measured(
    networks: Networks, kind: str, probed: ProbedData, suite: Suite, empty: CellResult, sharing: Sharing | None
) -> CellResult:
    """Add to a result what its network is worth."""
    begin, plan = time.perf_counter(), plan_of(suite)
    others = None if sharing is None else sharing.of(kind)
    measured = probe_network(networks[kind], probed, plan, None, "bench", others)
    about = facts(probed, plan, measured)
    seconds = {**(empty.seconds or {}), "probe": round(time.perf_counter() - begin, 1)}
    return replace(empty, rows=tuple(measured.rows), curves=measured.curves, seconds=seconds, **about)
