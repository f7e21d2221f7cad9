"""`pretext compare`: probed runs side by side, a board for each set of data that they were probed on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pretext.benchmark.cells import kind_of
from pretext.benchmark.results import Board, CellResult
from pretext.evaluation.kept import kept
from pretext.evaluation.results import ProbeResult
from pretext.training.run import CONFIG, find


def compared(runs: Sequence[str | Path]) -> list[Board]:
    """Gather the probes of runs.

    Raises:
        FileNotFoundError: no such run, or it was not probed yet.

    """
    boards: dict[str, Board] = {}
    for run in map(find, runs):
        probes = kept(run)
        if not probes:
            raise FileNotFoundError(f"{run} was not probed yet; run `pretext probe {run}` first")
        counted = Counter[str]()
        for probe in probes.values():
            data, protocol = probe.data or {}, probe.protocol or {}
            what = json.dumps([data, protocol])
            counted[what] += 1  # of two sets of data that are described alike
            key, again = f"{what} {counted[what]}", f" · {counted[what]}" if counted[what] > 1 else ""
            name = " · ".join(filter(None, (data["class"], data.get("modality"), protocol["view"])))
            board = boards.setdefault(key, Board(name + again, data, protocol, 0, ()))
            boards[key] = _with(board, run, list(_cells(run, probe)))
    return list(boards.values())


def _with(board: Board, run: Path, cells: Sequence[CellResult]) -> Board:
    """Add the cells of a run, but those that are there already: two runs may share their random network."""
    known = [cell.rows for cell in board.cells]
    names = {cell.entry for cell in board.cells}
    new = [
        # Another random network is no other seed of the first.
        replace(cell, entry=f"{cell.entry}, of {run}") if cell.entry in names else cell
        for cell in cells
        if cell.rows not in known
    ]
    together = (*board.cells, *new)
    return replace(board, cells=together, planned=len(together))


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
