"""Jobs as trials of an Optuna study: a trial is one attempt at a job.

A finished trial cannot wait again, so a job that lost its worker gets a new trial, one try further. Whoever finds a
lost job puts it back, at any time: nothing is missed if a worker dies in the act. Two workers may do so at once; then
the trial that was made first is the job's, and the other is surplus.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.storages._heartbeat import BaseHeartbeat  # offers no public name
from optuna.trial import FrozenTrial, TrialState, create_trial

from pretext.jobs.storage import GRACE

INDEX = "candidate"
"""The user attribute that holds a job's index; studies of release 0.1 have it under this name."""
DEATHS = 3
"""How many workers a job may cost; then it is not tried again, since it may be what kills them."""
# System attributes of the trial that died, not of its job: CMA-ES's state as it was then, which would set it back under
# a later trial's number, and the rungs that were reached in successive halving.
_OF_THE_TRIAL = ("cma:optimizer", "completed_rung_")


class PlannedJob(NamedTuple):
    """A job before any worker takes it.

    Args:
        attrs: user attributes of its trials, as JSON can write them.
        system_attrs: system attributes of its trials, such as its point of the grid.

    """

    attrs: dict[str, Any]
    system_attrs: dict[str, Any]


def make(study: optuna.Study, jobs: Sequence[PlannedJob], settings: dict[str, Any]) -> None:
    """Make a study's jobs as waiting trials, and note when all are there."""
    study.set_user_attr("settings", settings)
    for index, job in enumerate(jobs):
        attrs = {INDEX: index, **job.attrs}
        study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=attrs, system_attrs=dict(job.system_attrs)))
    study.set_user_attr("ready", time.time())


def newest(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Find the trial that counts for each job: of the latest try the first."""
    trials: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):  # by number
        index = trial.user_attrs.get(INDEX)  # none: Optuna made it, see `attempt`
        if index is not None and (index not in trials or tries(trial) > tries(trials[index])):
            trials[index] = trial
    return trials


def tries(trial: FrozenTrial) -> int:
    """Count the tries of its job up to this trial."""
    return int(trial.user_attrs.get("tries", 1))


def deaths(trial: FrozenTrial) -> int:
    """Count the workers that its job has cost up to this trial; a worker that was asked to stop does not count."""
    died = trial.state == TrialState.FAIL and "reason" not in trial.user_attrs and "stopped" not in trial.user_attrs
    return int(trial.user_attrs.get("deaths", 0)) + died


def is_over(trial: FrozenTrial) -> bool:
    """Tell whether a job whose newest trial this is needs no other try."""
    if trial.state == TrialState.FAIL:
        return "reason" in trial.user_attrs or deaths(trial) >= DEATHS
    return trial.state.is_finished()


def put_back(study: optuna.Study, kept: Collection[str]) -> dict[int, FrozenTrial]:
    """Give every job that lost its worker a new trial with its parameters; return the newest trial of each job.

    `kept` names the user attributes that jobs are planned with.
    """
    trials = newest(study)
    lost = [trial for trial in trials.values() if trial.state == TrialState.FAIL and not is_over(trial)]
    for trial in lost:
        study.add_trial(next_try(trial, kept))
    return newest(study) if lost else trials


def next_try(trial: FrozenTrial, kept: Collection[str]) -> FrozenTrial:
    """Make a job's next trial, with the parameters that were drawn for it; `kept` as in `put_back`."""
    attrs = {key: value for key, value in trial.user_attrs.items() if key in (INDEX, "error", *kept)}
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**attrs, "tries": tries(trial) + 1, "deaths": deaths(trial)},
        system_attrs={key: value for key, value in trial.system_attrs.items() if not key.startswith(_OF_THE_TRIAL)},
    )


class DeadWorkers:
    """Finds workers that died, and fails their trials.

    Optuna does so by their heartbeats. It never misses a worker that died between taking a trial and its first
    heartbeat; such a trial, which has no worker's name, is failed when it has been there for as long.
    """

    def __init__(self, study: optuna.Study) -> None:
        storage = study._storage
        beat = storage.get_heartbeat_interval() if isinstance(storage, BaseHeartbeat) else None
        self.study = study
        self.grace = GRACE * (beat or math.inf)
        self.pause = min(1.0, (beat or 4.0) / 4)  # seconds between looks at what others do
        self._nameless: dict[int, float] = {}  # number of a trial -> when it was first found

    def fail(self) -> None:
        """Look once."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # since Optuna 2.9; its own loop silences it too
            fail_stale_trials(self.study)
        now = time.monotonic()  # of this machine: others' clocks may differ
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        nameless = [t.number for t in running if INDEX in t.user_attrs and "worker" not in t.user_attrs]
        self._nameless = {number: self._nameless.get(number, now) for number in nameless}
        for number, since in self._nameless.items():
            if now - since > self.grace:
                with suppress(UpdateFinishedTrialError):  # another worker was faster
                    self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
