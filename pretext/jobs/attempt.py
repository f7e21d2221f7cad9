"""One attempt at a job: take the next trial that waits, run it, and note what came of it."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import optuna
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError
from optuna.storages._heartbeat import BaseHeartbeat  # offers no public name
from optuna.trial import Trial, TrialState

from pretext.jobs.trials import INDEX, newest

# What Optuna raises where it cannot keep an outcome, since the trial has failed already. It asserts the contrary where
# others fail the trial between our last note and its own.
_REFUSALS = (UpdateFinishedTrialError, ValueError, AssertionError)


def attempt(study: optuna.Study, run: Callable[[Trial], float]) -> int | None:
    """Run one job; return its index, or None if there was none to take, or it was taken away meanwhile.

    Raises:
        BaseException: whatever `run` raises but FloatingPointError and `TrialPruned`. The trial has then failed without
            a reason, so that its job is put back.

    """
    objective = _Objective(run)
    try:
        study.optimize(objective, n_trials=1, catch=(FloatingPointError,))  # sends heartbeats meanwhile
    except BaseException as error:
        if objective.was_taken_away(error):
            return None
        if objective.number is not None:  # Optuna itself fails it, but not on SystemExit
            with suppress(UpdateFinishedTrialError):
                study.tell(objective.number, state=TrialState.FAIL, skip_if_finished=True)
        if objective.raised is None or objective.raised is error:
            raise
        raise objective.raised from objective.raised.__cause__  # Optuna's own error is that it could not keep this one
    return objective.index


class _Objective:
    """An objective in Optuna's sense, which remembers which job it ran and what was raised."""

    def __init__(self, run: Callable[[Trial], float]) -> None:
        self.run = run
        self.number: int | None = None
        self.index: int | None = None
        self.raised: BaseException | None = None

    def __call__(self, trial: Trial) -> float:
        index = trial.user_attrs.get(INDEX)
        if index is None or newest(trial.study)[index].number != trial.number:
            raise TrialPruned("surplus: another worker took the last job, or put this one back at once with us")
        self.number = trial.number
        try:
            value = self._measured(trial)
        except (FloatingPointError, TrialPruned):
            self.index = index
            raise
        except BaseException as error:
            self.raised = error
            with suppress(UpdateFinishedTrialError):  # taken for dead meanwhile
                trial.set_user_attr("error", f"{type(error).__name__} {error}".strip())
            if isinstance(error, (KeyboardInterrupt, SystemExit)):  # Lightning makes the former the latter
                trial.set_user_attr("stopped", True)
            raise
        self.index = index
        return value

    def _measured(self, trial: Trial) -> float:
        """Run, and note which worker ran it, how long it took, when it ended and why it failed."""
        if isinstance(trial.storage, BaseHeartbeat):
            trial.storage.record_heartbeat(trial._trial_id)  # before the name, which stands for it (see `DeadWorkers`)
        trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
        start = time.monotonic()
        try:
            value = float(self.run(trial))
            if math.isnan(value):
                raise FloatingPointError("its value is not a number")
        except FloatingPointError as error:
            trial.set_user_attr("reason", str(error) or type(error).__name__)
            self._note_end(trial, start)
            raise
        except TrialPruned:
            self._note_end(trial, start)
            raise
        self._note_end(trial, start)
        return value

    def _note_end(self, trial: Trial, start: float) -> None:
        trial.set_user_attr("seconds", time.monotonic() - start)
        trial.set_user_attr("ended", time.time())

    def was_taken_away(self, error: BaseException) -> bool:
        """Tell whether Optuna refused the outcome, since others took this worker for dead and failed its trial."""
        refused = isinstance(error, _REFUSALS) and self.raised is None
        return self.number is not None and (refused or isinstance(self.raised, UpdateFinishedTrialError))
