"""How the next candidate's weights are drawn: at random, on a grid, by tournament selection or by CMA-ES.

All are Optuna samplers: they read earlier candidates from the study. They maximise or minimise, as the study says.
Only those of its candidates count that are complete and were searched:

- controls have weights of their own, which no searcher chose;
- a pruned candidate's fitness is one of fewer steps, not to be compared with that of a whole candidate. So with a
  pruner a tournament's population, and a generation of CMA-ES, is one of survivors, and takes more candidates to fill;
- a failed one has no fitness. It is neither bred from nor avoided.

Paper: https://arxiv.org/abs/2002.12177. It names the four searchers, but gives no sizes for any of them.
"""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GridSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from pretext.core.rng import seed_of
from pretext.jobs.trials import INDEX
from pretext.search.cma import CmaSampler
from pretext.search.grid import points_of_grid, values_of_grid
from pretext.search.space import Bounds, Choices, outside
from pretext.search.tournament import TournamentSampler

SamplerName = Literal["random", "grid", "tournament", "cmaes"]
SAMPLERS: tuple[SamplerName, ...] = get_args(SamplerName)
DRAWS_CATEGORIES: tuple[SamplerName, ...] = ("random", "tournament")
NOTHING: Choices = {}
_SMALLEST = {"tournament": 2, "cmaes": 4}  # below 4, CMA-ES recombines one parent only, and divides by zero


def make_sampler(
    name: SamplerName,
    space: Bounds,
    seed: int,
    *,
    levels: int = 3,
    population: int | None = None,
    tournament: int | None = None,
    architecture: Choices = NOTHING,
) -> BaseSampler:
    """Build the sampler that draws a study's candidates. It draws all weights of a candidate at once.

    Args:
        name: one of `SAMPLERS`.
        space: what is searched, and its bounds.
        seed: of all random draws, together with the candidate's index. Besides, a tournament and CMA-ES depend on which
            candidates are complete, so on one worker a search repeats exactly; random and grid do so on many, too.
        levels: of the grid: equally spaced values of each weight, its bounds among them.
        population: how many candidates make a generation of CMA-ES, or the population that a tournament draws from. By
            default it follows the workers that run when the first candidate is drawn (controls come before, so they
            have come together by then): of CMA-ES 4 + 3 ln n for n weights (Hansen's) and up to a multiple of the
            workers, of the tournament 16 or twice the workers. What was decided is the study's attribute "population".
        tournament: how many of the population are drawn, of whom the fittest is the parent; half of it by default.
        architecture: categories that are drawn beside the weights; random and tournament can.

    Raises:
        ValueError: no such searcher, bounds that are not within [0, 1] or not in order, a grid of more than 100,000
            points, a population that is too small or for a searcher that has none, a tournament larger than it, choices
            of an architecture for a searcher that cannot draw them, or that are named as a weight or are continuous.

    """
    _check(name, space, population, tournament)
    if name == "grid":
        values_of_grid(space, levels)
    _check_architecture(name, space, architecture)
    return KeyedSampler(name, space, seed, levels, population, tournament, architecture)


def system_attrs(name: SamplerName, space: Bounds, levels: int, seed: int, count: int) -> list[dict[str, Any]]:
    """Give for each of `count` searched candidates the system attributes that its trial must have from the first.

    Raises:
        ValueError: as `points_of_grid`.

    """
    return points_of_grid(space, levels, seed, count) if name == "grid" else [{} for _ in range(count)]


class KeyedSampler(BaseSampler):
    """Draws each candidate by a sampler of its own, seeded with the key (seed, name, candidate's index).

    So workers do not draw the same, one that goes on with a stopped study draws what would have been drawn, and a
    candidate that is taken up again keeps the weights that it has. Controls are left alone. CMA-ES makes 16 bits of
    its seed, as Optuna's does, so in one of a thousand generations of 12 two candidates are the same.
    """

    def __init__(
        self,
        name: SamplerName,
        space: Bounds,
        seed: int,
        levels: int,
        population: int | None,
        tournament: int | None,
        architecture: Choices = NOTHING,
    ) -> None:
        self.name, self.space, self.seed, self.levels = name, space, seed, levels
        self.population, self.tournament = population, tournament
        self.weights = {weight: FloatDistribution(*space[weight]) for weight in sorted(space)}  # CMA-ES wants one order
        self.box: Choices = {**self.weights, **dict(sorted(architecture.items()))}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if "control" in trial.user_attrs or trial.params.keys() >= self.box.keys():
            return {}
        return dict(self.box)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space:
            return {}
        inner = self._inner(study, trial)
        drawn = inner.sample_relative(study, trial, search_space)
        return drawn or {
            weight: inner.sample_independent(study, trial, weight, bounds) for weight, bounds in search_space.items()
        }

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise ValueError(
            f"KeyedSampler was asked for {param_name!r} of trial {trial.number}; it draws {', '.join(self.box)}, and "
            "nothing for a control: suggest what is searched, of searched candidates only"
        )

    def _inner(self, study: Study, trial: FrozenTrial) -> BaseSampler:
        """Build the sampler of this candidate. NumPy's older generators, which Optuna seeds, take 32 bits."""
        seed = seed_of(self.seed, self.name, trial.user_attrs.get(INDEX, trial.number))
        if self.name == "random":
            return RandomSampler(seed=seed % 2**32)
        if self.name == "grid":
            if "grid_id" not in trial.system_attrs:
                raise ValueError(
                    f"KeyedSampler: trial {trial.number} has no point of the grid; give it what `system_attrs` gives"
                )
            values = values_of_grid(self.space, self.levels)
            return GridSampler(values, seed=0)  # one seed, as all must number the points alike
        size = self._size(study)
        if self.name == "tournament":
            return TournamentSampler(self.box, size, self.tournament or math.ceil(size / 2), seed)
        return CmaSampler(self.weights, size, seed % 2**32)

    def _size(self, study: Study) -> int:
        """Return the population's size, decided once for all workers.

        Several that decide at once may differ. They do so before the first generation is over, so nobody has used it.
        """
        if self.population is not None:
            return self.population
        if "population" not in study.user_attrs:
            running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
            study.set_user_attr("population", population_for(self.name, len(self.weights), running, self.tournament))
        return int(study.user_attrs["population"])


def population_for(name: SamplerName, weights: int, workers: int, tournament: int | None = None) -> int:
    """Size a population by the number of searched weights and of workers, as `make_sampler` says it does by default.

    A generation of CMA-ES that is a multiple of the workers keeps all of them busy to its end.
    """
    workers = max(1, workers)
    if name == "tournament":
        return max(16, 2 * workers, tournament or 0)
    return math.ceil((4 + math.floor(3 * math.log(weights))) / workers) * workers


def _check_architecture(name: SamplerName, space: Bounds, architecture: Choices) -> None:
    """Refuse choices of an architecture that a searcher cannot draw beside the weights."""
    if architecture and name not in DRAWS_CATEGORIES:
        raise ValueError(
            f"searcher got an architecture for {name}, which draws weights alone; take {' or '.join(DRAWS_CATEGORIES)}"
        )
    if both := sorted(set(space) & set(architecture)):
        raise ValueError(
            f"searcher got {both} as weights and as choices of an architecture; give these tasks other names"
        )
    if wrong := sorted(n for n, among in architecture.items() if not isinstance(among, CategoricalDistribution)):
        raise ValueError(f"searcher got {wrong} of an architecture, which are continuous; it wants categories")


def _check(name: SamplerName, space: Bounds, population: int | None, tournament: int | None) -> None:
    """Refuse what no sampler can draw."""
    if name not in SAMPLERS:
        raise ValueError(f"searcher got name={name!r}; it wants one of {', '.join(SAMPLERS)}")
    if not space:
        raise ValueError("searcher got no weights to search; name at least one, with its bounds")
    if wrong := outside(space):
        raise ValueError(f"searcher got the bounds {wrong}; it wants 0 <= low < high <= 1 of each weight")
    if population is not None and population < _SMALLEST.get(name, math.inf):
        wants = f"it wants {_SMALLEST[name]} or more" if name in _SMALLEST else "it has none: leave it out"
        raise ValueError(f"searcher got population={population} for {name}; {wants}")
    if tournament is not None and not 1 <= tournament <= (population or tournament):
        raise ValueError(
            f"searcher got tournament={tournament} of a population of {population or 'any size'}; it wants 1 or more, "
            "but no more than the population"
        )
