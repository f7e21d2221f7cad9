"""CMA-ES as an Optuna sampler whose state is never stored: it is computed anew from the candidates that are complete.

Optuna's own keeps its optimiser in the study, pickled, and every worker unpickles it; so whoever can write to a study
could run code in all of its workers. Here the study holds plain numbers alone: weights, fitness, and the generation of
each candidate. With one worker the draws are Optuna's, to the last bit.

Paper: https://arxiv.org/abs/1604.00772.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
from cmaes import CMA
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

GENERATION = "cma:generation"  # the attribute of a trial, as Optuna's sampler calls it
Point = NDArray[np.float64]


class CmaSampler(BaseSampler):
    """CMA-ES in the unit cube, from its middle, with a sixth of its side as first step.

    A generation is told when as many of its candidates are complete as make the population: those that were so first,
    so that what was told stays as it was when stragglers come.

    Args:
        box: what is searched, and its bounds, in one order for all workers.
        population: how many candidates make a generation.
        seed: of this candidate's draw.

    """

    def __init__(self, box: dict[str, FloatDistribution], population: int, seed: int) -> None:
        self.box, self.population = box, population
        self.low = np.array([bounds.low for bounds in box.values()])
        self.high = np.array([bounds.high for bounds in box.values()])
        self.generator = np.random.RandomState(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self.box)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        done = self._done(study)
        if not any(done):  # of a generation after the first: until then, Optuna draws a seed that it does not use
            self.generator.randint(1, 2**31 - 2)
        optimizer = self._replayed(done, study.direction)
        optimizer.reseed_rng(int(self.generator.randint(1, 2**16)) + trial.number)
        point = optimizer.ask()
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, optimizer.generation)
        return self._weights(point)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise ValueError(f"CmaSampler was asked for {param_name!r} alone; it draws all weights of a candidate at once")

    def _done(self, study: Study) -> dict[int, list[FrozenTrial]]:
        """Give the complete candidates of each generation, those first that were complete first."""
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        mine = [t for t in complete if GENERATION in t.system_attrs and t.params.keys() >= self.box.keys()]
        done: dict[int, list[FrozenTrial]] = {}
        for trial in sorted(mine, key=lambda t: (t.datetime_complete, t.number)):
            done.setdefault(int(trial.system_attrs[GENERATION]), []).append(trial)
        return done

    def _replayed(self, done: dict[int, list[FrozenTrial]], direction: StudyDirection) -> CMA:
        """Tell all generations that are complete, the first one first."""
        size, sign = len(self.box), -1 if direction is StudyDirection.MAXIMIZE else 1
        middle, cube = np.full(size, 0.5), np.tile([0.0, 1.0], (size, 1))
        optimizer = CMA(middle, 1 / 6, cube, n_max_resampling=10 * size, population_size=self.population)
        while len(generation := done.get(optimizer.generation, [])) >= self.population:
            told = [(self._point(t), sign * float(t.value or 0.0)) for t in generation[: self.population]]
            optimizer.tell(told)
            if optimizer.generation in done:  # Optuna reads its state back then, which makes a matrix symmetric
                optimizer = deepcopy(optimizer)
        return optimizer

    def _point(self, trial: FrozenTrial) -> Point:
        weights = np.array([float(trial.params[weight]) for weight in self.box])
        point: Point = (weights - self.low) / (self.high - self.low)
        return point

    def _weights(self, point: Point) -> dict[str, float]:
        values = np.minimum(self.low + point * (self.high - self.low), np.nextafter(self.high, self.high - 1))
        return dict(zip(self.box, values.tolist(), strict=True))
