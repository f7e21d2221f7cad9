"""The jobs of a comparison: each trains one architecture for one measure with one seed; and how they are read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import optuna
from optuna.trial import FrozenTrial

from pretext.jobs.trials import PlannedJob, newest, tries
from pretext.search.nas.results import Architecture
from pretext.search.nas.settings import Comparison
from pretext.search.study import State, state_of

PLANNED = ("architecture", "measure", "seed")
"""The user attributes of trials that say which job they are."""


@dataclass(frozen=True)
class Measurement:
    """A job and what came of it.

    Args:
        architecture: its number.
        measure: what it was trained for.
        seed: its place among the seeds.
        state: "failed" also where it cost too many workers.
        score: larger is better; none unless it is done.
        facts: all figures, and what the network costs.
        seconds: of training and scoring.
        reason: why it failed.
        tries: 1, or more where workers died.
        worker: host:pid.

    """

    architecture: int
    measure: str
    seed: int
    state: State
    score: float | None
    facts: dict[str, float]
    seconds: float | None
    reason: str | None
    tries: int
    worker: str | None


def plan(comparison: Comparison) -> list[PlannedJob]:
    """Plan the jobs, architecture by architecture, so that those that are complete are as many as possible."""
    jobs: Iterator[PlannedJob] = (
        PlannedJob({"architecture": number, "measure": measure, "seed": seed}, {})
        for number in range(len(comparison.choices))
        for measure in comparison.measures
        for seed in range(comparison.settings.seeds)
    )
    return list(jobs)


def read(study: optuna.Study) -> list[Measurement]:
    """Read all jobs back, in the order in which they were planned."""
    return [_measurement(trial) for _, trial in sorted(newest(study).items())]


def architectures(comparison: Comparison, measurements: Sequence[Measurement]) -> list[Architecture]:
    """Put the measurements of each architecture together; one that failed anywhere has failed."""
    found: dict[int, list[Measurement]] = {number: [] for number in range(len(comparison.choices))}
    for one in measurements:
        found[one.architecture].append(one)
    return [_architecture(number, comparison, own) for number, own in found.items()]


def _architecture(number: int, comparison: Comparison, own: Sequence[Measurement]) -> Architecture:
    scores = {}
    for measure in comparison.measures:
        done = [m.score for m in own if m.measure == measure and m.state == "done" and m.score is not None]
        if len(done) == comparison.settings.seeds:
            scores[measure] = fmean(done)
    failed = next((m for m in own if m.state == "failed"), None)
    facts = next((m.facts for m in own if "parameters" in m.facts), {})
    state = "failed" if failed else "done" if len(scores) == len(comparison.measures) else "waiting"
    size = {name: int(facts[name]) for name in ("parameters", "multiply_adds") if name in facts}
    reason = f"{failed.measure}: {failed.reason}" if failed else ""
    return Architecture(str(number), comparison.choices[number], scores, state, reason=reason, **size)


def _measurement(trial: FrozenTrial) -> Measurement:
    noted = trial.user_attrs
    state, reason = state_of(trial)
    return Measurement(
        noted["architecture"],
        noted["measure"],
        noted["seed"],
        state,
        trial.value if state == "done" else None,
        noted.get("facts", {}),
        noted.get("seconds"),
        reason,
        tries(trial),
        noted.get("worker"),
    )
