"""`pretext compare`: probed runs side by side, a board for each set of data that they were probed on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from pretext.benchmark.cells import kind_of
from pretext.benchmark.results import Board, CellResult
from pretext.benchmark.suite import BASELINES
from pretext.evaluation.kept import comparable, kept, overtaken, touched
from pretext.evaluation.results import ProbeResult, curves_to_json
from pretext.training.run import CONFIG, find


class Probed(NamedTuple):
    """A run, and what a probe found of it."""

    run: Path
    file: Path
    result: ProbeResult

    @property
    def data(self) -> str:
        """The name of what it was probed on."""
        return self.result.data_name

    @property
    def title(self) -> str:
        """What it was probed on, and how that was shown to it."""
        parts = (self.data, (self.result.data or {}).get("modality"), (self.result.protocol or {}).get("view"))
        return " · ".join(str(part) for part in parts if part)


Group = list[Probed]
"""What stands on one board: at most one probe of each run."""


def compared(runs: Sequence[str | Path]) -> list[Board]:
    """Gather the probes of runs, each run once.

    Raises:
        FileNotFoundError: no such run, or it was not probed yet.

    """
    groups: list[Group] = []
    for run in {run.resolve(): run for run in map(find, runs)}.values():
        probes = kept(run)
        if not probes:
            raise FileNotFoundError(f"{run} was not probed yet; run `pretext probe {run}` first")
        for file, result in probes.items():
            _place(Probed(run, file, result), groups)
    return [_board(group, groups) for group in groups]


def _place(one: Probed, groups: list[Group]) -> None:
    """Put a probe beside those that it may be compared with, those of the very same files first, or by itself."""
    fitting = [
        group
        for group in groups
        if all(other.run != one.run and comparable(other.result, one.result) for other in group)
    ]
    fitting.sort(key=lambda group: any(touched(other.result, one.result) for other in group))
    if fitting:
        fitting[0].append(one)
    else:
        groups.append([one])


def _board(group: Group, groups: Sequence[Group]) -> Board:
    """Make a board of probes; all of its words but the cells are those of the first."""
    first = group[0]
    cells: list[CellResult] = []
    for one in group:
        cells += _new(one, cells)
    data = {**first.result.data, "class": first.data} if first.result.data else {}
    protocol = first.result.protocol or {}
    notes = tuple(f"{words}." for words in _notes(group))
    return Board(_name(first, groups), data, protocol, len(cells), tuple(cells), notes=notes)


def _name(first: Probed, groups: Sequence[Group]) -> str:
    """Name a board; of several that are described alike, each by a run whose items it has."""
    alike = [
        group[0]
        for group in groups
        if group[0].title == first.title and _described(group[0].result) == _described(first.result)
    ]
    if len(alike) == 1:
        return first.title
    again = sum(other.run == first.run for other in alike) > 1
    return f"{first.title} · items of {first.file if again else first.run}"


def _described(result: ProbeResult) -> str:
    return json.dumps([result.data, result.protocol], sort_keys=True)


def _notes(group: Group) -> Iterator[str]:
    """Say of which probes a reader should know more than their figures."""
    first, *others = group
    for other in others:
        if touched(other.result, first.result):
            yield f"The files of {other.run} are named as those of {first.run}, but some have another size or date"
    for one in group:
        if words := overtaken(one.result, one.run):
            yield f"{one.run}: {words}"


def _new(one: Probed, cells: Sequence[CellResult]) -> Iterator[CellResult]:
    """Yield the cells of a probe, but no baseline that is there: runs may share a random network and the raw input.

    A trained network is one of its own, even if it agrees with another in every figure.
    """
    names = {cell.entry for cell in cells}
    known = {_figures(cell) for cell in cells}
    for cell in _cells(one.run, one.result):
        if cell.kind not in BASELINES or _figures(cell) not in known:
            # Another random network is no other seed of the first.
            yield replace(cell, entry=f"{cell.entry}, of {one.run}") if cell.entry in names else cell


def _figures(cell: CellResult) -> str:
    return json.dumps([cell.kind, [row.to_json() for row in cell.rows], curves_to_json(cell.curves)], sort_keys=True)


def _cells(run: Path, probe: ProbeResult) -> Iterator[CellResult]:
    """Turn a probe to cells: the run, and what it is compared with."""
    for features in dict.fromkeys(row.features for row in probe.stages):
        trained, kind = features == "trained", str(features)
        yield CellResult(
            kind=kind_of(run / CONFIG) if trained else kind,
            seed=0,
            entry=str(run) if trained else kind,
            rows=tuple(replace(row, features=None) for row in probe.stages if row.features == features),
            curves={
                name: tuple(replace(point, features=None) for point in points if point.features == features)
                for name, points in probe.curves.items()
            },
            seconds={"probe": probe.seconds} if trained and probe.seconds is not None else {},
            command=probe.command,
            described=probe.described,
        )
