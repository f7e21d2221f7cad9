"""The candidates of a search as jobs of a shared study: how they are run and read back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from pretext.jobs import study as shared
from pretext.jobs.trials import INDEX, deaths, is_over, newest, tries

MOST_CHOICES = 12
"""Choices of an architecture beyond which they are not told one by one: a genotype has 32."""
State = Literal["waiting", "running", "done", "pruned", "failed"]
PLANNED = ("control", "weights")
"""The user attributes of trials that say which control a candidate is; a searched one has none of them."""
_ENDS: dict[TrialState, State] = {TrialState.COMPLETE: "done", TrialState.PRUNED: "pruned"}


@dataclass(frozen=True)
class Candidate:
    """One mixture of weights, perhaps with a backbone of its own, and what came of it.

    Args:
        index: 0..N-1, in the order in which candidates were made: controls first.
        control: "all zero", "all equal", "NAME alone"; None: searched.
        state: "failed" also where it cost too many workers.
        weights: all searched weights (of a control: as fixed); {} while waiting.
        fitness: larger is better; of a pruned one the last that it reported.
        facts: what the fitness says besides, such as {"zipf_kl": 0.4, "rankme": 12.1}.
        probe: later accuracy on labels, which the search never sees: "accuracy", "low", "high", ...
        steps: training steps it took.
        seconds: of training and measuring.
        finished: seconds from the study's first start to this candidate's end; None also where its workers died.
        reason: why it failed.
        tries: 1, or more where workers died.
        worker: host:pid.
        architecture: what was chosen of its backbone; {}: it has the config's.

    """

    index: int
    control: str | None
    state: State
    weights: dict[str, float]
    fitness: float | None
    facts: dict[str, float]
    probe: dict[str, float] | None
    steps: int
    seconds: float | None
    finished: float | None
    reason: str | None
    tries: int
    worker: str | None
    architecture: dict[str, Any] = field(default_factory=dict)

    @property
    def backbone(self) -> str:
        """What was chosen of its backbone, in words; "" where it has the config's."""
        if len(self.architecture) > MOST_CHOICES:
            return f"{len(self.architecture)} choices"
        return ", ".join(f"{name} {value}" for name, value in self.architecture.items())

    def to_json(self) -> dict[str, Any]:
        """Return what candidates.json holds of it; of the architecture only what was chosen."""
        plain = asdict(self)
        return plain if self.architecture else {key: value for key, value in plain.items() if key != "architecture"}


def work(study: optuna.Study, run: Callable[[Trial], float], after: Callable[[Candidate], None]) -> int:
    """Run candidates until all of the study are over, see `jobs.study.work`; return how many this worker finished.

    `run` gives a candidate's fitness and leaves the user attributes "facts", "probe" and "steps" with the trial.
    `after` is called with each candidate that this worker finished.
    """
    return shared.work(study, run, lambda index: after(read(study)[index]), PLANNED, "evolve")


def read(study: optuna.Study) -> list[Candidate]:
    """Read all candidates back, in the order of their indices."""
    began = study.user_attrs.get("ready", 0.0)
    return [_candidate(trial, began) for _, trial in sorted(newest(study).items())]


def _candidate(trial: FrozenTrial, began: float) -> Candidate:
    """Read one trial. Its end comes from `time.time()`, since Optuna's dates are in each machine's own time zone."""
    noted = trial.user_attrs
    state, reason = state_of(trial)
    chosen = {name: isinstance(among, CategoricalDistribution) for name, among in trial.distributions.items()}
    own = {name: value for name, value in trial.params.items() if not chosen[name]}
    architecture = {name: value for name, value in trial.params.items() if chosen[name]}
    weights = noted["weights"] if "control" in noted else own
    return Candidate(
        index=noted[INDEX],
        control=noted.get("control"),
        state=state,
        weights={} if state == "waiting" else dict(weights),
        fitness=trial.value if state in ("done", "pruned") else None,
        facts=noted.get("facts", {}),
        probe=noted.get("probe"),
        steps=noted.get("steps", 0),
        seconds=noted.get("seconds"),
        finished=noted["ended"] - began if "ended" in noted else None,
        reason=reason,
        tries=tries(trial),
        worker=noted.get("worker"),
        architecture={} if state == "waiting" else architecture,
    )


def state_of(trial: FrozenTrial) -> tuple[State, str | None]:
    """Say what a job's newest trial means for it, and why it failed."""
    if trial.state == TrialState.RUNNING:
        return "running", None
    if trial.state in _ENDS:
        return _ENDS[trial.state], None
    if trial.state == TrialState.WAITING or not is_over(trial):
        return "waiting", None  # also whose worker died, until somebody puts it back
    last = f", last of {trial.user_attrs['error']}" if "error" in trial.user_attrs else ""
    return "failed", trial.user_attrs.get("reason", f"its worker died {deaths(trial)} times{last}")
