"""`pretext nas sample`: one worker of a comparison, which takes jobs until all are done. Start as many as you like."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.samplers import RandomSampler

from pretext.backbones.genotype import genotype_of
from pretext.core.files import write_json
from pretext.jobs.files import notify
from pretext.jobs.study import open_study, work
from pretext.search.nas.objective import Measurer
from pretext.search.nas.results import Compared, compared
from pretext.search.nas.settings import Comparison
from pretext.search.nas.study import PLANNED, Measurement, architectures, plan, read
from pretext.search.space import CellSpace, Space

PAGE, TABLE, LIST, GENOTYPES = "nas.html", "nas.csv", "measurements.json", "genotypes"

Face = Callable[[Compared, Path, str, Mapping[str, Any]], None]
"""Draws a comparison, finished or not: its results, the page (the table goes beside it), its title, and facts."""


def sample(
    comparison: Comparison, name: str, folder: Path, command: str, environment: Mapping[str, str], face: Face
) -> Path:
    """Work on a comparison until all its jobs are done; keep page and table in `folder` up to date.

    Raises:
        ValueError: as in `open_study`, or a task cannot be posed from the data.

    """
    folder.mkdir(parents=True, exist_ok=True)
    measurer = Measurer(comparison, folder)
    measurer.check()
    own = comparison.settings
    study = open_study(
        own.storage or f"sqlite:///{(folder / 'study.db').resolve()}",
        name,
        lambda: plan(comparison),
        comparison.shared,
        RandomSampler(seed=own.seed),  # nothing is left for it to choose
        heartbeat=own.heartbeat,
    )
    facts = {**_facts(comparison), **environment, "command": command}
    write = partial(_write, study, comparison, folder, name, facts, face)

    def after(index: int) -> None:
        jobs = read(study)
        over = sum(job.state in ("done", "failed") for job in jobs)
        print(f"nas: {over} of {len(jobs)} done. {progress(jobs[index])}", file=sys.stderr, flush=True)
        write()

    work(study, measurer, after, PLANNED, "nas")
    notify(write, "nas")
    return folder / PAGE


def progress(job: Measurement) -> str:
    """Describe a job that was just finished, in one line."""
    took = "" if job.seconds is None else f", {job.seconds:.0f} s"
    end = job.state if job.score is None else f"{job.score:.4f}"
    return f"Architecture {job.architecture}, {job.measure}, seed {job.seed}: {end}" + (
        f" ({job.reason})" if job.reason else took
    )


def _write(
    study: optuna.Study, comparison: Comparison, folder: Path, name: str, facts: Mapping[str, Any], face: Face
) -> None:
    """Write the results: every measurement, the page and its table."""
    with FileLock(folder / "page.lock"):
        jobs = read(study)  # in here, or a slower worker would write what was true before
        write_json(folder / LIST, [vars(job) for job in jobs])
        results = compared(comparison.measures, architectures(comparison, jobs))
        _write_genotypes(comparison.settings.drawn_from(), results, folder / GENOTYPES)
        face(results, folder / PAGE, name, facts)


def _write_genotypes(space: Space, results: Compared, folder: Path) -> None:
    """Write the cells of each architecture of a space of cells, as `pretext nas show` and `Cells` read them."""
    for one in results.complete if isinstance(space, CellSpace) else ():
        file = folder / f"{one.name}.json"
        if not file.exists():
            folder.mkdir(exist_ok=True)
            config: Any = space.configured({"model": {}}, one.choice)
            write_json(file, genotype_of(config["model"]["backbone"]["init_args"]["genotype"]).plain())


def _facts(comparison: Comparison) -> dict[str, Any]:
    """Describe what was compared, and how."""
    own, config = comparison.shared["nas"], comparison.config
    data = config.get("data") or {}
    space: Space = comparison.settings.drawn_from()
    return {
        "space": f"{type(space).__name__} {(own['space'] or {}).get('init_args') or ''}".strip(),
        "architectures": f"{len(comparison.choices)}, drawn with seed {own['seed']}",
        "steps of a measurement": own["steps"],
        "seeds": f"{own['seeds']}, from {config.get('seed_everything', 0)}",
        "batch norm": f"estimated again on {own['calibration']} training items"
        if own["calibration"]
        else "of training",
        "scored on": f"{own['items'] or 'all'} held-out items: tasks on the validation share, labels on the test items",
        "data": f"{data.get('class_path')} {data.get('init_args') or ''}",
        "second data": str(own["second"] or "none"),
    }
