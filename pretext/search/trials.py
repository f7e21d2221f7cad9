"""A study's candidates as Optuna's trials: which trial speaks for a candidate, and how a dead worker's comes back.

A finished trial cannot wait again, so a candidate that lost its worker gets a new trial, one try further. Whoever finds
a candidate that is lost puts it back, at any time: nothing is missed if a worker dies in the act. Two workers may do so
at once; then the trial that was made first speaks for the candidate, and the other is surplus.
"""

from __future__ import annotations

import math
import time
import warnings
from contextlib import suppress
from typing import Any, NamedTuple

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.storages._heartbeat import BaseHeartbeat  # offers no public name
from optuna.trial import FrozenTrial, TrialState, create_trial

from pretext.search.storage import GRACE

DEATHS = 3  # of its workers, after which a candidate is not tried again: it may be what kills them
_KEPT = ("candidate", "control", "weights", "error")  # user attributes that a candidate is made with
# System attributes that tell of the dead trial, not of its candidate: CMA-ES's state as it was then, which would set it
# back under a later trial's number, and the rungs that were reached in successive halving.
_LEFT = ("cma:optimizer", "completed_rung_")


class Slot(NamedTuple):
    """A candidate before anybody takes it."""

    control: str | None
    """Its name if it is a control."""
    weights: dict[str, float]
    """Of a control; {} where they are to be searched."""
    attrs: dict[str, Any]
    """System attributes of its trial, such as its point of the grid."""


def make(study: optuna.Study, slots: list[Slot], settings: dict[str, Any]) -> None:
    """Make a study's candidates, and say when all are there."""
    study.set_user_attr("settings", settings)
    for index, slot in enumerate(slots):
        about = {} if slot.control is None else {"control": slot.control, "weights": slot.weights}
        study.add_trial(
            create_trial(
                state=TrialState.WAITING, user_attrs={"candidate": index, **about}, system_attrs=dict(slot.attrs)
            )
        )
    study.set_user_attr("ready", time.time())


def newest(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Find the trial that speaks for each candidate: of the latest try the first."""
    found: dict[int, FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):  # by number
        index = trial.user_attrs.get("candidate")  # none: Optuna made it, see `turn`
        if index is not None and (index not in found or tries(trial) > tries(found[index])):
            found[index] = trial
    return found


def tries(trial: FrozenTrial) -> int:
    """Count the tries of its candidate up to this trial."""
    return int(trial.user_attrs.get("tries", 1))


def deaths(trial: FrozenTrial) -> int:
    """Count the workers that its candidate has cost up to this trial; none where it was asked to stop."""
    died = trial.state == TrialState.FAIL and "reason" not in trial.user_attrs and "stopped" not in trial.user_attrs
    return int(trial.user_attrs.get("deaths", 0)) + died


def is_over(trial: FrozenTrial) -> bool:
    """Tell whether a candidate whose newest trial this is needs no other try."""
    if trial.state == TrialState.FAIL:
        return "reason" in trial.user_attrs or deaths(trial) >= DEATHS
    return trial.state.is_finished()


def put_back(study: optuna.Study) -> dict[int, FrozenTrial]:
    """Give every candidate that lost its worker a new trial with its weights; return the newest of all candidates."""
    found = newest(study)
    lost = [trial for trial in found.values() if trial.state == TrialState.FAIL and not is_over(trial)]
    for trial in lost:
        study.add_trial(again(trial))
    return newest(study) if lost else found


def again(trial: FrozenTrial) -> FrozenTrial:
    """Make a candidate's next trial, with the weights that were drawn for it."""
    kept = {key: trial.user_attrs[key] for key in _KEPT if key in trial.user_attrs}
    return create_trial(
        state=TrialState.WAITING,
        params=trial.params,
        distributions=trial.distributions,
        user_attrs={**kept, "tries": tries(trial) + 1, "deaths": deaths(trial)},
        system_attrs={key: value for key, value in trial.system_attrs.items() if not key.startswith(_LEFT)},
    )


class Burial:
    """Fails the trials of dead workers.

    Optuna does so by their heartbeats. It never misses a worker that died between taking a trial and its first
    heartbeat; such a trial, which bears no worker's name, is failed when it has been seen for as long.
    """

    def __init__(self, study: optuna.Study) -> None:
        storage = study._storage
        beat = storage.get_heartbeat_interval() if isinstance(storage, BaseHeartbeat) else None
        self.study = study
        self.grace = GRACE * (beat or math.inf)
        self.pause = min(1.0, (beat or 4.0) / 4)  # seconds between looks at what others do
        self._seen: dict[int, float] = {}

    def bury(self) -> None:
        """Look once."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # since Optuna 2.9; its own loop silences it too
            fail_stale_trials(self.study)
        now = time.monotonic()  # of this machine: others' clocks may differ
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        unnamed = [t.number for t in running if "candidate" in t.user_attrs and "worker" not in t.user_attrs]
        self._seen = {number: self._seen.get(number, now) for number in unnamed}
        for number, since in self._seen.items():
            if now - since > self.grace:
                with suppress(UpdateFinishedTrialError):  # another worker was faster
                    self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
