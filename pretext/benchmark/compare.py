"""`pretext compare`: probed runs side by side, a board for each set of data that they were probed on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from pretext.benchmark.results import Board, Cell
from pretext.benchmark.runner import kind_of
from pretext.training.run import CONFIG, find


def compared(runs: Sequence[str | Path]) -> list[Board]:
    """Gather the probes of runs.

    Raises:
        FileNotFoundError: no such run, or it was not probed yet.

    """
    boards: dict[str, Board] = {}
    for run in map(find, runs):
        file = run / "probe.json"
        if not file.is_file():
            raise FileNotFoundError(f"{run} was not probed yet; run `pretext probe {run}` first")
        probe = json.loads(file.read_text(encoding="utf-8"))
        data = probe["data"]
        key = json.dumps([data, probe["protocol"]])
        name = " · ".join(filter(None, (data["class"], data.get("modality"), probe["protocol"]["view"])))
        empty = Board(name=name, data=data, protocol=probe["protocol"], planned=0, cells=[])
        board = boards.setdefault(key, empty)
        known = {json.dumps(cell.get("rows")) for cell in board["cells"]}  # two runs may share their random network
        names = {cell["entry"] for cell in board["cells"]}
        for cell in _cells(run, probe):
            if json.dumps(cell.get("rows")) not in known:
                other = cell["entry"] in names  # another random network is no other seed of the first
                board["cells"].append({**cell, "entry": f"{cell['entry']}, of {run}"} if other else cell)
        board["planned"] = len(board["cells"])
    return list(boards.values())


def _cells(run: Path, probe: dict[str, Any]) -> list[Cell]:
    """Turn a probe to cells: the run, and what it is compared with."""
    found = []
    for features in dict.fromkeys(row["features"] for row in probe["rows"]):
        parts = {
            part: [
                {k: v for k, v in one.items() if k != "features"} for one in probe[part] if one["features"] == features
            ]
            for part in ("rows", "low_label")
        }
        trained = features == "trained"
        seconds = {"probe": probe["seconds"]} if trained else {}
        kind = kind_of(run / CONFIG) if trained else features
        cell = {"entry": str(run) if trained else features, "kind": kind, "seed": 0, **parts}
        found.append({**cell, "pretext": None, "seconds": seconds, "command": probe["command"], "failed": None})
    return cast(list[Cell], found)
