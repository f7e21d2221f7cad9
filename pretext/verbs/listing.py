"""`pretext.runs`: what runs there are. Nothing here needs torch."""

from __future__ import annotations

import csv
import json
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pretext.core.runs import CONFIG, LAST, RUNS

RESULTS = ("accuracy", "ranking", "loss")  # what tells most of a task first
STEPS = "global_step"
"""How Lightning calls the steps in a checkpoint."""


@dataclass(frozen=True)
class RunSummary:
    """What a run's folder says of it.

    Args:
        folder: of the run.
        tasks: their names; of an evaluator its class.
        step: that its checkpoint has come to; none: it has no checkpoint.
        scores: the last ones of each task on held-out items, or else in training, such as {"val/turn/accuracy": 0.7}.
        disk: bytes that it takes.

    """

    folder: Path
    tasks: tuple[str, ...]
    step: int | None
    scores: dict[str, float]
    disk: int


def runs(folder: str | Path = RUNS) -> list[RunSummary]:
    """List the runs below a folder, newest last.

    Raises:
        FileNotFoundError: there is no such folder.

    """
    home = Path(folder)
    if not home.is_dir():
        raise FileNotFoundError(f"there is no folder {home}; `pretext fit -c CONFIG` makes runs in {RUNS}")
    found = sorted((file.parent for file in home.rglob(CONFIG)), key=lambda run: (run / CONFIG).stat().st_mtime)
    return [_summary(run) for run in found]


def _summary(run: Path) -> RunSummary:
    disk = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    names, (logged, last) = tasks(run), _metrics(run)
    step = steps_of(run / LAST)
    step = logged if step is None and (run / LAST).exists() else step
    return RunSummary(run, tuple(names), step, _scores(names, last), disk)


def tasks(run: Path) -> list[str]:
    """Name the tasks of a run; of an evaluator its class."""
    try:
        return list(json.loads((run / "chance.json").read_text(encoding="utf-8"))) or [_model(run)]
    except (OSError, ValueError):
        return [_model(run)]


def steps_of(checkpoint: Path) -> int | None:
    """Read in a checkpoint how many steps were taken, without torch: it stands near its beginning; None: it does not.

    A checkpoint is a ZIP file, in which a pickle names what there is; its words are read here, and none is followed.
    """
    try:
        with zipfile.ZipFile(checkpoint) as parts:
            name = next(name for name in parts.namelist() if name.endswith("data.pkl"))
            with parts.open(name) as words:
                named = False
                for kind, value, _ in pickletools.genops(words):
                    if named and isinstance(value, int) and "INT" in kind.name:
                        return value
                    named = value == STEPS or (named and kind.name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"))
    except (OSError, ValueError, StopIteration, zipfile.BadZipFile):  # no checkpoint, or none of torch's
        pass
    return None


def _model(run: Path) -> str:
    lines = (run / CONFIG).read_text(encoding="utf-8", errors="replace").splitlines()
    after = lines[lines.index("model:") + 1 :] if "model:" in lines else []
    named = next((line for line in after[:1] if "class_path:" in line), "")
    return named.partition("class_path:")[2].strip()


def _metrics(run: Path) -> tuple[int, dict[str, str]]:
    """Return the step after the last that was logged, and the last value of each figure."""
    step, last = 0, dict[str, str]()
    if (run / "metrics.csv").is_file():
        with (run / "metrics.csv").open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                step = max(step, int(float(row["step"])) + 1 if row.get("step") else 0)
                last.update({key: value for key, value in row.items() if key and value})
    return step, last


def _scores(tasks: list[str], last: dict[str, str]) -> dict[str, float]:
    """Choose the score of each task that tells most."""
    found = {}
    for task in tasks:
        names = [f"{split}/{task}/{score}" for split in ("val", "train") for score in RESULTS]
        name = next((name for name in names if name in last), None)
        if name is not None:
            found[name] = float(last[name])
    return found
