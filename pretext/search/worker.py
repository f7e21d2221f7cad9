"""`pretext evolve`: one worker of a search, which takes candidates until all are done. Start as many as you like."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from yaml import safe_dump

from pretext.core.files import write_json, write_whole
from pretext.jobs.files import notify
from pretext.jobs.study import open_study
from pretext.search.agreement import disagreements
from pretext.search.objective import Objective
from pretext.search.results import Results, results_of
from pretext.search.samplers import make_sampler, system_attrs
from pretext.search.settings import Search
from pretext.search.space import mixture, plan
from pretext.search.study import Candidate, read, work

PAGE, BEST, LIST = "evolve.html", "best.yaml", "candidates.json"

Face = Callable[[Results, Path, str, Mapping[str, Any]], None]
"""Draws a study, finished or not: its results, the page, its title, and facts to print on it."""


def evolve(search: Search, name: str, folder: Path, command: str, environment: Mapping[str, str], face: Face) -> Path:
    """Work on a study until all its candidates are done; keep the page and the best config in `folder` up to date.

    Raises:
        ValueError: as in `open_study`, `make_sampler` and `system_attrs`, or the config cannot be trained.

    """
    folder.mkdir(parents=True, exist_ok=True)
    objective = Objective(search, folder)
    objective.check()
    study = _study(search, name, folder)
    facts = {**_facts(search), **environment, "command": command}
    write = partial(_write, study, search, folder, name, facts, face)

    def after(candidate: Candidate) -> None:
        candidates = read(study)
        over = sum(c.state in ("done", "pruned", "failed") for c in candidates)
        print(f"evolve: {progress(candidate, over, len(candidates))}", file=sys.stderr, flush=True)
        write()

    work(study, objective, after)
    notify(write, "evolve")
    return folder / PAGE


def _study(search: Search, name: str, folder: Path) -> optuna.Study:
    own, space = search.settings, search.space
    sampler = make_sampler(
        own.searcher,
        space,
        own.seed,
        levels=own.levels,
        population=own.population,
        architecture=search.categories,
    )
    pruner: BasePruner = NopPruner()
    if own.halving is not None:
        pruner = SuccessiveHalvingPruner(min_resource=own.halving_steps()[0], reduction_factor=own.halving)
    return open_study(
        own.storage or f"sqlite:///{(folder / 'study.db').resolve()}",
        name,
        lambda: plan(space, search.config, system_attrs(own.searcher, space, own.levels, own.seed, own.candidates)),
        search.shared,
        sampler,
        pruner,
        own.heartbeat,
        partial(disagreements, search),
    )


def progress(candidate: Candidate, over: int, total: int) -> str:
    """Describe a candidate that was just finished, in one line."""
    weights = " ".join(f"{name} {weight:.2f}" for name, weight in candidate.weights.items())
    who = candidate.control or ", ".join(filter(None, [weights, candidate.backbone]))
    took = "" if candidate.seconds is None else f", {candidate.seconds:.0f} s"
    end = candidate.state if candidate.state != "done" else f"fitness {candidate.fitness:.4f}"
    reason = f" ({candidate.reason})" if candidate.reason else ""
    return f"{over} of {total} done. Candidate {candidate.index}: {end}{reason}{took}: {who}"


def fittest_mixture(search: Search, candidates: Sequence[Candidate]) -> Candidate | None:
    """Find the fittest that can be trained: a network without any task, a control, cannot."""
    done = [c for c in candidates if c.state == "done" and mixture(search.config, c.weights, c.control) is not None]
    return max(done, key=lambda c: (c.fitness, -c.index), default=None)


def best_config(search: Search, candidate: Candidate, name: str) -> str:
    """Write the training config with a candidate's weights and backbone, for `pretext fit`."""
    config = mixture(search.built_on(candidate.architecture), candidate.weights, candidate.control)
    head = (
        f"# The fittest of the study {name}: candidate {candidate.index}"
        f"{f', the control {candidate.control!r}' if candidate.control else ''}, fitness {candidate.fitness:.6g}.\n"
        f"# Command:  pretext fit -c {BEST}\n"
    )
    return head + safe_dump(config, sort_keys=False, width=120)


def _write(study: optuna.Study, search: Search, folder: Path, name: str, facts: Mapping[str, Any], face: Face) -> None:
    """Write the results: the candidates, the best config and the page."""
    with FileLock(folder / "page.lock"):
        candidates = read(study)  # in here, or a slower worker would write what was true before
        best = fittest_mixture(search, candidates)
        write_json(folder / LIST, [candidate.to_json() for candidate in candidates])
        config = {} if best is None else {"config": best_config(search, best, name)}
        if best is not None:
            write_whole(folder / BEST, config["config"])
        face(results_of(candidates), folder / PAGE, name, {**facts, **config})


def _space(space: Mapping[str, Any]) -> str:
    return f"{space['class_path']} {space.get('init_args') or ''}".strip()


def _facts(search: Search) -> dict[str, Any]:
    """Describe what was searched, and how."""
    own, config = search.shared["evolve"], search.config
    fitness = own["fitness"] or {"class_path": "pretext.evaluation.fitness.Zipf"}
    data = config.get("data") or {}
    return {
        "searcher": own["searcher"],
        "fitness": f"{fitness['class_path']} {fitness.get('init_args') or ''}".strip(),
        "steps of a candidate": own["steps"],
        **({} if own.get("architecture") is None else {"searched architectures": _space(own["architecture"])}),
        "searched weights": ", ".join(f"{name} [{low:g}, {high:g}]" for name, (low, high) in search.space.items()),
        "judged on": f"{own['items'] or 'all'} training items, stage {own['stage'] or 'last'}, "
        f"network {own['modality'] or 'first'}",
        "successive halving": own["halving"] or "no",
        "data": f"{data.get('class_path')} {data.get('init_args') or ''}",
        "seeds": f"networks and data {config.get('seed_everything', 0)}, searcher {own['seed']}",
    }
