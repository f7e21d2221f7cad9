"""What a run's folder says: its curves, and the numbers that were written beside them."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from pretext.core.yaml_file import read_yaml
from pretext.evaluation.kept import kept
from pretext.evaluation.results import ProbeResult
from pretext.evaluation.statistics.intervals import wilson

SPLITS = {"train": "training", "val": "validation", "test": "test"}
ONLINE = ("/knn", "/linear")
"""How columns of `callbacks.Online` end that are accuracies, on as many items as its column `HELD_OUT` says."""
HELD_OUT = "held_out"

Curves = dict[str, dict[int, float]]
"""Of each column of metrics.csv the value at each step."""


class Logs(NamedTuple):
    """The files of a run; what is missing is empty."""

    folder: Path
    curves: Curves
    chance: dict[str, Any]
    """Of each task, what a blind guess scores."""
    probes: dict[Path, ProbeResult]
    """By their files, see `evaluation.kept`."""
    score: dict[str, Any]
    environment: dict[str, Any]
    where: dict[str, Any]
    """What `pretext show --where` found beside its picture."""

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks that left something."""
        parts = [column.split("/") for column in self.curves]
        return list(dict.fromkeys([*self.chance, *(part[1] for part in parts if len(part) == 3 and part[0] in SPLITS)]))

    def last_score(self, task: str) -> tuple[str, str, int, float] | None:
        """Return a task's last score, in validation if there is one: its split, name, step and value."""
        for split, score in product(("val", "train"), ("accuracy", "loss")):
            if values := self.curves.get(f"{split}/{task}/{score}"):
                step = max(values)
                return split, score, step, values[step]
        return None

    @property
    def poses(self) -> bool:
        """Does the run pose puzzles? One whose config names a class does not: it evaluates, or learns to learn."""
        config = self.folder / "config.yaml"
        model = (read_yaml(config).get("model") if config.exists() else None) or {}
        return not self.score and "class_path" not in model

    @property
    def skipped(self) -> dict[str, str]:
        """What the data module could not read, or only in part: skipped.txt has a name, a tab and a cause per line."""
        file = self.folder / "skipped.txt"
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
        return {name: cause for name, _, cause in (line.partition("\t") for line in lines)}


def read_logs(run: Path) -> Logs:
    """Read the files of a run.

    Raises:
        FileNotFoundError: `run` is not a folder.
        ValueError: a file of the run cannot be read; the message names it.

    """
    if not run.is_dir():
        raise FileNotFoundError(f"report: {run} is not a folder; give the folder of a run, such as runs/rotation/0")
    chance, score, environment, where = (
        _json(run / f"{name}.json") for name in ("chance", "score", "environment", "where")
    )
    return Logs(run, _curves(run / "metrics.csv"), chance, kept(run), score, environment, where)


def intervals(curves: Curves, column: str) -> list[tuple[float, float]]:
    """Bound a column of accuracies that `Online` measured; nothing for other columns."""
    items = curves.get(f"{column.split('/')[0]}/{HELD_OUT}", {})
    if not column.endswith(ONLINE) or not items.keys() >= curves[column].keys():
        return []
    bounds = (wilson(round(value * items[step]), int(items[step])) for step, value in curves[column].items())
    return [(low, high) for low, high in bounds]


def _json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"report: {file} is not complete JSON ({error}); delete it or make it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"report: {file} holds a {type(content).__name__}, not a dict; delete it or make it again")
    return content


def _curves(file: Path) -> Curves:
    """Read metrics.csv. Where a resumed run wrote a step again, its later row counts."""
    if not file.exists():
        return {}
    curves: Curves = {}
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        columns = [column for column in reader.fieldnames or [] if column not in ("step", "epoch")]
        for row in reader:
            try:
                for column in (column for column in columns if row[column]):
                    curves.setdefault(column, {})[int(float(row["step"]))] = float(row[column])
            except (KeyError, ValueError) as error:
                where = f"line {reader.line_num} of {file}"
                raise ValueError(f"report: {where} is not a row of numbers: {error}") from error
    return {column: dict(sorted(curves[column].items())) for column in columns if column in curves}
