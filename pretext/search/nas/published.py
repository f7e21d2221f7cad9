"""Results as UnNAS' authors keep them: `sweep_summary.json` files of https://github.com/facebookresearch/unnas."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from pretext.search.nas.results import Architecture, Compared, compared

FILE = "sweep_summary.json"
LABELS = ("cls", "supervised")
"""How a folder is called whose runs were trained on labels."""

Errors = dict[str, list[float]]
"""Of each architecture, by its genotype or its number, the lowest test error of each run in per cent; none: NaN."""


def read_summaries(folder: Path, reference: str | None = None) -> Compared:
    """Compare what a folder holds: TASK/RUN/sweep_summary.json, at any depth; runs have numbers, others are tasks.

    A score is one minus the lowest test error, averaged over a task's runs. As in the authors' figures, an architecture
    that is missing in any run, or has no number there, is dropped from all tasks; it counts as failed. `reference`
    names the task that others are compared with; none: the last of those that end with cls or supervised, or else the
    last.

    Raises:
        FileNotFoundError: there is no such file in the folder.
        ValueError: a file of another form, fewer than two tasks, or no such reference.

    """
    files = sorted(folder.rglob(FILE))
    if not files:
        raise FileNotFoundError(f"nas: no {FILE} in {folder}; it wants TASK/RUN/{FILE}")
    tasks: dict[str, list[Errors]] = {}
    for file in files:
        place = file.parent.relative_to(folder)
        name = (place.parent if place.name.isdecimal() else place).as_posix()
        tasks.setdefault(name, []).append(_errors(file))
    if len(tasks) < 2:
        raise ValueError(f"nas: {folder} holds results of {', '.join(tasks)} alone; two or more tasks can be compared")
    labelled = [name for name in tasks if name.rsplit("/", 1)[-1] in LABELS]
    chosen = reference or (labelled or list(tasks))[-1]
    if chosen not in tasks:
        raise ValueError(f"nas: no results of {chosen!r} in {folder}; there are {', '.join(tasks)}")
    measures = [*(name for name in tasks if name != chosen), chosen]
    every = dict.fromkeys(key for runs in tasks.values() for run in runs for key in run)
    return compared(measures, [_architecture(number, key, tasks) for number, key in enumerate(every)])


def _architecture(number: int, key: str, tasks: Mapping[str, list[Errors]]) -> Architecture:
    missing = [name for name, runs in tasks.items() if not all(run.get(key) for run in runs)]
    scores = {
        name: 1 - fmean(error for run in runs for error in run[key]) / 100
        for name, runs in tasks.items()
        if name not in missing
    }
    reason = f"no result of every run of {', '.join(missing)}" if missing else ""
    return Architecture(str(number), {"genotype": key}, scores, "failed" if missing else "done", reason=reason)


def _errors(file: Path) -> Errors:
    """Read one file; an architecture that was run twice in it has two errors."""
    errors: Errors = {}
    try:
        for job in json.loads(file.read_text(encoding="utf-8"))["job_summaries"]:
            error = job["min_test_top1"]
            value, known = float(error[-1] if isinstance(error, list) else error), errors.setdefault(_key(job), [])
            known += [value] if math.isfinite(value) else []
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"nas: {file} is no summary of a sweep: it wants job_summaries, each with min_test_top1 and "
            "net.genotype or job_id"
        ) from error
    return errors


def _key(job: Mapping[str, Any]) -> str:
    genotype = (job.get("net") or {}).get("genotype")
    if isinstance(genotype, Mapping):
        return json.dumps({cell: genotype[cell] for cell in ("normal", "reduce")})
    return str(job["job_id"])
