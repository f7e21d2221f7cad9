"""Evolution by tournament selection, as an Optuna sampler.

Paper: https://arxiv.org/abs/2002.12177.
"""

from __future__ import annotations

from random import Random
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from pretext.search.space import Choices


class TournamentSampler(BaseSampler):
    """Evolution by tournament selection, as in the paper: draw some, take the fittest, re-draw one choice uniformly.

    A choice is a weight or, where architectures are drawn too, a category, as in https://arxiv.org/abs/1802.01548.

    Draws uniformly until `population` searched candidates are complete. From then on the population is the fittest of
    all, so a new one takes the place of the worst, if it is better; of equal ones the older stays. The paper does not
    say how large population and tournament are. The defaults (16, and 8 of them) were chosen on quadratics of 6, 12 and
    24 weights: plain, with the optimum at the box's edge, ill-conditioned, rotated, noisy, after 60, 150 and 400
    candidates, 12 seeds each. Of 12 pairs of sizes from (10, 2) to (50, 25) they were among the best at every budget,
    with (10, 5) and (20, 10); drawing half of the population helped on the whole.
    """

    def __init__(self, box: Choices, population: int, tournament: int, seed: int) -> None:
        self.box, self.population, self.tournament = box, population, tournament
        self.generator = Random(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self.box)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        fittest = self._fittest(study)
        if len(fittest) < self.population:
            return {}
        parent = fittest[min(self.generator.sample(range(len(fittest)), self.tournament))]
        child = {weight: parent.params[weight] for weight in self.box}
        changed = self.generator.choice(list(self.box))
        child[changed] = self._uniform(self.box[changed])
        return child

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._uniform(self.box[param_name])

    def _uniform(self, bounds: CategoricalDistribution | FloatDistribution) -> Any:
        if isinstance(bounds, CategoricalDistribution):
            return self.generator.choice(bounds.choices)
        return min(bounds.high, self.generator.uniform(bounds.low, bounds.high))  # rounding may step over the bound

    def _fittest(self, study: Study) -> list[FrozenTrial]:
        """Return the population, the fittest first; sorting is stable, so the older of equals comes first."""
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        searched = [t for t in done if "control" not in t.user_attrs and t.params.keys() >= self.box.keys()]
        larger_is_better = study.direction is StudyDirection.MAXIMIZE
        return sorted(searched, key=lambda t: t.value or 0.0, reverse=larger_is_better)[: self.population]
