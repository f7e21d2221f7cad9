"""The study that workers share: its candidates, how they are handed out, taken up again and read back.

A study is Optuna's. All its candidates are made with it, as waiting trials; a worker takes the next one that waits,
which is atomic, so each is run once. A worker that dies leaves its trial without heartbeats; the others then fail that
trial and put the candidate back, as a new trial with the same weights (see `slots`).

A shared study must be trusted: CMA-ES keeps its state in the study, pickled, and every worker unpickles it, so whoever
can write to the study can run code in all of its workers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from pretext.search.attempt import take_turn
from pretext.search.storage import one_at_a_time, open_storage
from pretext.search.trials import Burial, deaths, is_over, make, newest, put_back
from pretext.search.trials import Slot as Slot

_PATIENCE = 60.0  # seconds without a new slot after which a study's maker on a server counts as dead


class Candidate(NamedTuple):
    """One mixture of weights and what came of it, as plain data."""

    index: int  # type: ignore[assignment]  # a tuple's method of that name is of no use here
    """0..N-1, in the order in which candidates were made: controls first."""
    control: str | None
    """"all zero", "all equal", "NAME alone"; None: searched."""
    state: Literal["waiting", "running", "done", "pruned", "failed"]
    weights: dict[str, float]
    """All searched weights (of a control: as fixed); {} while waiting."""
    fitness: float | None
    """Larger is better; of a pruned one the last that it reported."""
    facts: dict[str, float]
    """What the fitness says besides, such as {"zipf_kl": 0.4, "rankme": 12.1}."""
    probe: dict[str, float] | None
    """Later accuracy on labels, which the search never sees: "accuracy", "low", "high", ..."""
    steps: int
    """Training steps it took."""
    seconds: float | None
    """Of training and measuring."""
    finished: float | None
    """Seconds from the study's first start to this candidate's end; None also where its workers died."""
    reason: str | None
    """Why it failed."""
    tries: int
    """1, or more where workers died."""
    worker: str | None
    """host:pid"""


def open_study(
    url: str,
    name: str,
    slots: Callable[[], list[Slot]],
    settings: dict[str, Any],
    sampler: BaseSampler,
    pruner: BasePruner | None = None,
    heartbeat: int = 30,
) -> optuna.Study:
    """Make a study with its candidates, or join it if it is there.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`, as `open_storage` takes it.
        name: of the study; a database holds many.
        slots: gives the candidates; called by the study's maker only.
        settings: all that workers must agree on, as JSON can write it.
        sampler: draws the weights.
        pruner: ends candidates early.
        heartbeat: seconds between a worker's signs of life; after three times as many it counts as dead.

    Raises:
        ValueError: no such URL, or the study has other settings.
        ImportError, ConnectionError: as `open_storage`.
        TimeoutError: whoever began to make the study died.

    """
    settings = json.loads(json.dumps(settings))
    with _quiet(), one_at_a_time(url) as locked:
        storage = open_storage(url, heartbeat)
        try:
            study = optuna.create_study(
                study_name=name, storage=storage, sampler=sampler, pruner=pruner, direction="maximize"
            )
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=storage, sampler=sampler, pruner=pruner)
            _await(study, 0.0 if locked else _PATIENCE)
        else:
            try:
                make(study, slots(), settings)
            except BaseException:
                optuna.delete_study(study_name=name, storage=storage)
                raise
    if other := _differences(settings, study.user_attrs["settings"]):
        raise ValueError(
            f"open_study: study {name!r} has other settings than this worker: {'; '.join(other)}. Start the worker "
            "with the study's, or choose another name for a new study"
        )
    return study


def work(study: optuna.Study, run: Callable[[Trial], float], told: Callable[[Candidate], None]) -> int:
    """Run candidates until all of the study are over, also those that other workers run.

    `run` gives a candidate's fitness and leaves what else there is to say in the trial's user attributes "facts",
    "probe" and "steps". It should ask for all weights before anything else. If it raises

    - FloatingPointError, or gives NaN, the candidate has failed for that reason;
    - `optuna.TrialPruned`, the candidate is pruned;
    - anything else, the candidate is put back for another try and the exception goes on.

    A candidate that lost its worker three times has failed; a worker that was asked to stop (KeyboardInterrupt,
    SystemExit) does not count. A candidate that is put back is taken up after those that nobody has taken yet. A worker
    that slept for so long that it was taken for dead drops what it has, and goes on with another candidate.

    Args:
        study: from `open_study`.
        run: trains and measures.
        told: is told of each candidate that this worker finished.

    Returns:
        How many this worker finished.

    """
    finished, burial = 0, Burial(study)
    with _quiet():
        while True:
            burial.bury()
            trials = put_back(study).values()
            if all(is_over(trial) for trial in trials):
                return finished
            if not any(trial.state == TrialState.WAITING for trial in trials):
                time.sleep(burial.pause)
            elif (index := take_turn(study, run)) is not None:
                finished += 1
                told(read(study)[index])


def read(study: optuna.Study) -> list[Candidate]:
    """Read all candidates back, in the order of their indices."""
    began = study.user_attrs.get("ready", 0.0)
    return [_candidate(trial, began) for _, trial in sorted(newest(study).items())]


def _candidate(trial: FrozenTrial, began: float) -> Candidate:
    """Read one trial. Its end is told by `time.time()`, since Optuna's dates are in each machine's own time zone."""
    told = trial.user_attrs
    state, reason = _state(trial)
    weights = told["weights"] if "control" in told else trial.params
    return Candidate(
        index=told["candidate"],
        control=told.get("control"),
        state=state,
        weights={} if state == "waiting" else dict(weights),
        fitness=trial.value if state in ("done", "pruned") else None,
        facts=told.get("facts", {}),
        probe=told.get("probe"),
        steps=told.get("steps", 0),
        seconds=told.get("seconds"),
        finished=told["ended"] - began if "ended" in told else None,
        reason=reason,
        tries=told.get("tries", 1),
        worker=told.get("worker"),
    )


def _state(trial: FrozenTrial) -> tuple[Literal["waiting", "running", "done", "pruned", "failed"], str | None]:
    """Say in our words what a candidate's newest trial is, and why it failed."""
    if trial.state == TrialState.RUNNING:
        return "running", None
    if trial.state == TrialState.COMPLETE:
        return "done", None
    if trial.state == TrialState.PRUNED:
        return "pruned", None
    if trial.state == TrialState.WAITING or not is_over(trial):
        return "waiting", None  # also whose worker died, until somebody puts it back
    last = f", last of {trial.user_attrs['error']}" if "error" in trial.user_attrs else ""
    return "failed", trial.user_attrs.get("reason", f"its worker died {deaths(trial)} times{last}")


def _await(study: optuna.Study, patience: float) -> None:
    """Wait until the study's maker has made all candidates, for as long as there are more and more."""
    made, since = -1, time.monotonic()
    while "ready" not in study.user_attrs:
        now = len(study.get_trials(deepcopy=False))
        if now > made:
            made, since = now, time.monotonic()
        elif time.monotonic() - since >= patience:
            raise TimeoutError(
                f"open_study: study {study.study_name!r} was begun, but whoever made it died ({now} candidates are "
                "there); choose another name, or delete it with `optuna delete-study`"
            )
        time.sleep(0.1)


def _differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Name each setting that is not the same, with both values."""
    here, there = _flat(mine), _flat(theirs)
    return [
        f"{key} is {here.get(key, 'not set')} here, but {there.get(key, 'not set')} in the study"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
    ]


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """Write what is nested as one level: "a.b" -> JSON."""
    if not isinstance(value, dict) or not value:
        return {path: json.dumps(value)}
    return {
        key: text
        for name, inner in value.items()
        for key, text in _flat(inner, f"{path}.{name}" if path else name).items()
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from telling of every trial: workers tell of candidates themselves, and exceptions go on."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
