"""How much each weight matters to the fitness, by a random forest over the candidates of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

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
SHUFFLES = 19  # with as many, chance passes the highest of them in 1 of 20 studies


class Importance(NamedTuple):
    """The share of the spread in the rank of fitness that each weight explains (they sum to 1), the largest first."""

    shares: dict[str, float]
    chance: float  # the largest share of any weight in any of `SHUFFLES` shuffles of the fitness
    n: int  # candidates
    warning: str  # why it is uncertain; "" where it is not


def importance(candidates: Sequence[Candidate]) -> Importance | str:
    """Weigh the weights of done, searched candidates; of too few, or where nothing differs, say why not.

    The mean decrease of impurity (Breiman, 2001) in Optuna's forest: on quadratics whose answer is known it ordered the
    weights as well as functional ANOVA (Hutter et al., 2014) in a tenth of the time; PED-ANOVA did worse with as few
    candidates as a search of losses has. The chance level assumes that candidates do not depend on one another, which
    holds roughly only where a searcher follows the fitness.
    """
    names = [name for name in weight_names(candidates) if all(name in c.weights for c in candidates)]
    weights, values = weights_of(candidates, names), np.array([fitness(candidate) for candidate in candidates])
    varied = [place for place in range(len(names)) if np.ptp(weights[:, place]) > 0]
    if len(candidates) < LEAST:
        return f"Not computed: {len(candidates)} candidates of the search are done, at least {LEAST} are needed."
    if len(varied) < 2:
        return f"Not computed: {len(varied)} of {len(names)} weights varied, there is nothing to compare."
    if np.ptp(values) == 0:
        return "Not computed: all candidates of the search are equally fit."
    values = rankdata(values)  # a few collapsed candidates, far below all others, would decide alone
    found = _shares(weights, values)
    shuffled = (
        _shares(weights, np.random.default_rng(seed_of("importance", shuffle)).permutation(values))
        for shuffle in range(SHUFFLES)
    )
    order = sorted(range(len(names)), key=lambda place: -found[place])
    few = len(candidates) < ENOUGH * len(varied)
    warning = f"{len(candidates)} candidates are few for {len(varied)} weights: the order is uncertain." if few else ""
    shares = {names[place]: float(found[place]) for place in order}
    return Importance(shares, max(float(each.max()) for each in shuffled), len(candidates), warning)


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
    found = get_param_importances(study, evaluator=MeanDecreaseImpurityImportanceEvaluator(seed=0))
    shares = np.array([found.get(name, 0.0) for name in box])  # Optuna leaves out what never varied
    return shares / shares.sum() if math.isfinite(shares.sum()) and shares.sum() > 0 else np.zeros(len(box))
