"""The study that workers share: how its jobs are made, handed out and taken up again.

A study is Optuna's. All its jobs are made with it, as waiting trials; a worker takes the next one that waits, which is
atomic, so each is run once. A worker that dies leaves its trial without heartbeats; the others then fail that trial and
put the job back, as a new trial with the same parameters (see `trials`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from pretext.jobs.attempt import attempt
from pretext.jobs.files import notify
from pretext.jobs.storage import one_at_a_time, open_storage
from pretext.jobs.trials import DeadWorkers, PlannedJob, is_over, make, put_back

_PATIENCE = 60.0  # seconds without a new job after which a study's maker on a server counts as dead


def open_study(
    url: str,
    name: str,
    plan: Callable[[], Sequence[PlannedJob]],
    settings: dict[str, Any],
    sampler: BaseSampler,
    pruner: BasePruner | None = None,
    heartbeat: int = 30,
    compare: Callable[[dict[str, Any], dict[str, Any]], list[str]] | None = None,
) -> optuna.Study:
    """Make a study with its jobs, or join it if it is there.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`, as `open_storage` takes it.
        name: of the study; a database holds many.
        plan: gives the jobs; called by the study's maker only.
        settings: all that workers must agree on, as JSON can write it.
        sampler: draws the parameters.
        pruner: ends jobs early.
        heartbeat: seconds between a worker's signs of life; after three times as many it counts as dead.
        compare: names what differs between `settings` and the study's; by default `differences`.

    Raises:
        ValueError: no such URL, or the study has other settings.
        ImportError, ConnectionError: as `open_storage`.
        TimeoutError: whoever began to make the study died.

    """
    settings = json.loads(json.dumps(settings))
    with quiet(), one_at_a_time(url) as locked:
        storage = open_storage(url, heartbeat)
        try:
            study = optuna.create_study(
                study_name=name, storage=storage, sampler=sampler, pruner=pruner, direction="maximize"
            )
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
            _await(study, 0.0 if locked else _PATIENCE)
        else:
            _fill(study, plan, settings)
    if other := (compare or differences)(settings, study.user_attrs["settings"]):
        raise ValueError(
            f"open_study: study {name!r} has other settings than this worker: {'; '.join(other)}. Start the worker "
            "with the study's, or choose another name for a new study"
        )
    return study


def work(
    study: optuna.Study, run: Callable[[Trial], float], after: Callable[[int], None], kept: Collection[str], who: str
) -> int:
    """Run jobs until all of the study are over, also those that other workers run.

    `run` gives a job's value and leaves what else there is to say in the trial's user attributes. It should ask for all
    parameters before anything else. If it raises

    - FloatingPointError, or gives NaN, the job has failed for that reason;
    - `optuna.TrialPruned`, the job is pruned;
    - anything else, the job is put back for another try and the exception goes on.

    A job that lost its worker three times has failed; a worker that was asked to stop (KeyboardInterrupt, SystemExit)
    does not count. A job that is put back is taken up after those that nobody has taken yet. A worker that slept for so
    long that it was taken for dead drops what it has, and goes on with another job.

    Args:
        study: from `open_study`.
        run: does the work.
        after: is called with the index of each job that this worker finished; what it raises does not stop the work.
        kept: the user attributes that jobs are planned with.
        who: stands before each line that is printed.

    Returns:
        How many this worker finished.

    """
    finished, dead = 0, DeadWorkers(study)
    with quiet():
        while True:
            dead.fail()
            trials = put_back(study, kept).values()
            if all(is_over(trial) for trial in trials):
                return finished
            if not any(trial.state == TrialState.WAITING for trial in trials):
                time.sleep(dead.pause)
            elif (index := attempt(study, run)) is not None:
                finished += 1
                notify(partial(after, index), who)


def _fill(study: optuna.Study, plan: Callable[[], Sequence[PlannedJob]], settings: dict[str, Any]) -> None:
    """Make a new study's jobs; if that fails, leave no study behind."""
    try:
        make(study, plan(), settings)
    except BaseException:
        optuna.delete_study(study_name=study.study_name, storage=study._storage)
        raise


def _await(study: optuna.Study, patience: float) -> None:
    """Wait until the study's maker has made all jobs, as long as there are more and more."""
    made, since = -1, time.monotonic()
    while "ready" not in study.user_attrs:
        now = len(study.get_trials(deepcopy=False))
        if now > made:
            made, since = now, time.monotonic()
        elif time.monotonic() - since >= patience:
            raise TimeoutError(
                f"open_study: study {study.study_name!r} was begun, but whoever made it died ({now} jobs are "
                "there); choose another name, or delete it with `optuna delete-study`"
            )
        time.sleep(0.1)


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Name each setting that is not the same, with both values."""
    here, there = _flat(mine), _flat(theirs)
    return [
        f"{key} is {here.get(key, 'not set')} here, but {there.get(key, 'not set')} in the study"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Write what is nested as one level: "a.b" -> JSON."""
    if not isinstance(value, Mapping) or not value:
        return {path: json.dumps(value)}
    return {
        key: text
        for name, inner in value.items()
        for key, text in _flat(inner, f"{path}.{name}" if path else name).items()
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from printing every trial: workers print what they finish, and exceptions go on."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
