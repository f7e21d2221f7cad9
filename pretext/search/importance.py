"""How much each weight matters to the fitness, by a random forest over the candidates of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, get_param_importances
from scipy.stats import rankdata

from pretext.core.rng import seed_of
from pretext.search.analysis import fitness, weight_names, weights_of
from pretext.search.study import Candidate

LEAST = 8  # candidates below which nothing is computed
ENOUGH = 4  # candidates per weight below which the order of the weights is uncertain
SHUFFLES = 19  # with as many, luck passes the highest of them in 1 of 20 studies


@dataclass(frozen=True)
class Importance:
    """How much each weight matters.

    Args:
        shares: of the spread in the rank of fitness that each weight explains (they sum to 1), the largest first; {}
            where they were not computed.
        luck: the largest share of any weight in any of `SHUFFLES` shuffles of the fitness.
        n: candidates.
        warning: why the order is uncertain, or why nothing was computed; "" where neither is so.

    """

    shares: dict[str, float]
    luck: float
    n: int
    warning: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def importance(candidates: Sequence[Candidate]) -> Importance:
    """Measure how much the weights of done, searched candidates matter, unless they are too few or nothing differs.

    The mean decrease of impurity (Breiman, 2001) in Optuna's forest: on quadratics whose answer is known it ordered the
    weights as well as functional ANOVA (Hutter et al., 2014) in a tenth of the time; PED-ANOVA did worse with as few
    candidates as a search of losses has. `luck` assumes that candidates do not depend on one another, which holds
    roughly only where a searcher follows the fitness.
    """
    n, names = (
        len(candidates),
        [name for name in weight_names(candidates) if all(name in c.weights for c in candidates)],
    )
    weights, values = weights_of(candidates, names), np.array([fitness(candidate) for candidate in candidates])
    varied = sum(np.ptp(weights[:, place]) > 0 for place in range(len(names))) if n else 0
    if why := _missing(values, varied, len(names)):
        return Importance({}, math.nan, n, why)
    values = rankdata(values)  # a few collapsed candidates, far below all others, would decide alone
    shares = _shares(weights, values)
    shuffled = (
        _shares(weights, np.random.default_rng(seed_of("importance", shuffle)).permutation(values))
        for shuffle in range(SHUFFLES)
    )
    order = sorted(range(len(names)), key=lambda place: -shares[place])
    warning = f"{n} candidates are few for {varied} weights: the order is uncertain." if n < ENOUGH * varied else ""
    luck = max(float(each.max()) for each in shuffled)
    return Importance({names[place]: float(shares[place]) for place in order}, luck, n, warning)


def _missing(values: np.ndarray[Any, Any], varied: int, names: int) -> str:
    """Say why nothing is computed; "" where it is."""
    if len(values) < LEAST:
        return f"Not computed: {len(values)} candidates of the search are done, at least {LEAST} are needed."
    if varied < 2:
        return f"Not computed: {varied} of {names} weights varied, there is nothing to compare."
    if np.ptp(values) == 0:
        return "Not computed: all candidates of the search are equally fit."
    return ""


def _shares(weights: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ask Optuna, which takes a study: (candidates, weights) and (candidates,) to (weights,)."""
    ends = {str(place): (float(column.min()), float(column.max())) for place, column in enumerate(weights.T)}
    box = {name: FloatDistribution(*pair) for name, pair in ends.items()}
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would announce each of these studies
    try:
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    finally:
        optuna.logging.set_verbosity(level)
    for row, value in zip(weights, values, strict=True):
        params = {str(place): float(weight) for place, weight in enumerate(row)}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=dict(box), value=float(value)))
    importances = get_param_importances(study, evaluator=MeanDecreaseImpurityImportanceEvaluator(seed=0))
    shares = np.array([importances.get(name, 0.0) for name in box])  # Optuna leaves out what never varied
    return shares / shares.sum() if math.isfinite(shares.sum()) and shares.sum() > 0 else np.zeros(len(box))
