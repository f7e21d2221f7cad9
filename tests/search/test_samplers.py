"""Samplers against known optima, closed forms of selection, and each other's draws in other processes."""

import itertools
import math
import pickle
import random
from collections import Counter
from collections.abc import Callable
from typing import get_args

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import CmaEsSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from scipy import stats

from pretext.core.rng import seed_of
from pretext.search.samplers import SAMPLERS, SamplerName, make_sampler, population_for, system_attrs
from pretext.search.space import Bounds

BOX: Bounds = {"rotation": (0.0, 1.0), "jigsaw": (0.2, 0.6), "colour": (0.0, 0.5)}


@pytest.fixture(autouse=True)
def _quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def study_of(name: SamplerName, space: Bounds = BOX, seed: int = 0, count: int = 0, **options: int) -> Study:
    """Make a study in memory with `count` jobs."""
    study = optuna.create_study(direction="maximize", sampler=make_sampler(name, space, seed, **options))
    add_jobs(study, name, space, seed, count)
    return study


def add_jobs(study: Study, name: SamplerName, space: Bounds, seed: int, count: int) -> None:
    for index, attrs in enumerate(system_attrs(name, space, 3, seed, count)):
        waiting = create_trial(state=TrialState.WAITING, user_attrs={"candidate": index}, system_attrs=attrs)
        study.add_trial(waiting)


def draw(trial: Trial, space: Bounds = BOX) -> dict[str, float]:
    return {weight: trial.suggest_float(weight, *bounds) for weight, bounds in space.items()}


CHOICES = {"width": CategoricalDistribution((2, 4, 8)), "kernel": CategoricalDistribution((1, 3, 5))}


def drawn_beside(name: SamplerName, count: int, seed: int = 0) -> list[dict[str, float]]:
    """Search weights and an architecture of which width 8 and kernel 5 are best."""
    sampler = make_sampler(name, BOX, seed, population=8 if name == "tournament" else None, architecture=CHOICES)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for index in range(count):
        study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={"candidate": index}))
        trial = study.ask()
        own = draw(trial) | {n: trial.suggest_categorical(n, among.choices) for n, among in CHOICES.items()}
        study.tell(trial, float(own["width"] + own["kernel"]))
    return [trial.params for trial in study.trials]


def test_an_architecture_is_drawn_beside_the_weights_and_evolves_with_them() -> None:
    first = drawn_beside("random", 60)
    for name, among in CHOICES.items():
        for value in among.choices:  # 20 of 60 expected, 4 standard deviations of 3.7
            assert 5 <= sum(params[name] == value for params in first) <= 35
    assert drawn_beside("random", 20) == first[:20]  # each candidate by its own key
    late = drawn_beside("tournament", 80)[-30:]  # a child draws one of five choices anew
    for name, best in (("width", 8), ("kernel", 5)):
        assert sum(params[name] == best for params in late) >= 18  # 26 expected, 4 sd of 1.9; by chance 10
    weights = [{name: params[name] for name in BOX} for params in first]
    assert all(BOX[name][0] <= own[name] <= BOX[name][1] for own in weights for name in BOX)


@pytest.mark.parametrize("name", ["cmaes", "grid"])
def test_who_draws_weights_alone_refuses_an_architecture(name: SamplerName) -> None:
    with pytest.raises(ValueError, match=f"an architecture for {name}, which draws weights alone; take random or tour"):
        make_sampler(name, BOX, 0, architecture=CHOICES)
    with pytest.raises(ValueError, match="as weights and as choices of an architecture"):
        make_sampler("random", {**BOX, "width": (0.0, 1.0)}, 0, architecture=CHOICES)
    with pytest.raises(ValueError, match=r"\['more'\] of an architecture, which are continuous"):
        make_sampler("random", BOX, 0, architecture={"more": FloatDistribution(0.0, 1.0)})


def search(study: Study, fitness: Callable[[dict[str, float]], float], count: int, space: Bounds = BOX) -> list[float]:
    """Run `count` candidates one after the other; return what each was worth."""
    worth = []
    for _ in range(count):
        trial = study.ask()
        worth.append(fitness(draw(trial, space)))
        study.tell(trial, worth[-1])
    return worth


def done(weights: dict[str, float], fitness: float, space: Bounds = BOX, **user_attrs: object) -> FrozenTrial:
    """Make a complete candidate."""
    bounds = {weight: FloatDistribution(*space[weight]) for weight in weights}
    return create_trial(value=fitness, params=weights, distributions=bounds, user_attrs=user_attrs)


def first_weight(weights: dict[str, float]) -> float:
    return weights["rotation"]


# What they find


@pytest.mark.slow
def test_on_a_quadratic_cmaes_reaches_a_thousandth_and_tournament_and_random_are_behind_in_that_order():
    box = {f"task {i}": (0.0, 1.0) for i in range(12)}
    best: dict[str, list[float]] = {"cmaes": [], "tournament": [], "random": []}
    for name, seed in itertools.product(("cmaes", "tournament", "random"), range(3)):
        optimum = np.random.default_rng(seed).uniform(size=12)
        optimum[:4] = 0, 1, 0.001, 0.999  # at the box's edges, and near them
        evaluated = []

        def fitness(weights, optimum=optimum, evaluated=evaluated):
            evaluated.append(list(weights.values()))
            return -float(((np.array(evaluated[-1]) - optimum) ** 2).sum())

        best[name].append(-max(search(study_of(name, box, seed), fitness, 1000, box)))
        assert np.min(evaluated) >= 0
        assert np.max(evaluated) <= 1
    assert max(best["cmaes"]) < 1e-3
    cmaes, tournament, at_random = (np.median(found) for found in best.values())
    assert 10 * cmaes < tournament < at_random / 10  # measured: 1e-5, 3e-3, 4e-1


def test_a_uniform_draw_fills_the_bounds_and_nothing_else():
    for name in ("random", "tournament"):  # whose population is not full: every candidate stays running
        study = study_of(name)
        drawn = [draw(study.ask()) for _ in range(200)]
        for weight, (low, high) in BOX.items():
            values = [weights[weight] for weights in drawn]
            assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 0.001, (name, weight)
            assert low <= min(values)
            assert max(values) <= high


def test_cmaes_stays_within_bounds_that_are_not_the_whole_box():
    study = study_of("cmaes")
    search(study, lambda weights: sum(weights.values()), 200)  # pushed into the upper corner
    for weight, (low, high) in BOX.items():
        values = [trial.params[weight] for trial in study.trials]
        assert low <= min(values)
        assert high - 1e-3 < max(values) <= high


# The grid


def test_grid_visits_every_point_once():
    study = study_of("grid", count=27)
    search(study, first_weight, 27)
    visited = Counter(tuple(trial.params[weight] for weight in BOX) for trial in study.trials)
    values = [(low, (low + high) / 2, high) for low, high in BOX.values()]
    assert set(visited) == set(itertools.product(*values))
    assert set(visited.values()) == {1}


def test_controls_and_failures_between_them_do_not_disturb_the_grid():
    study = study_of("grid")
    study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={"control": "all zero", "candidate": 0}))
    add_jobs(study, "grid", BOX, 0, 27)
    study.tell(study.ask(), 1.0)
    for i in range(27):
        trial = study.ask()
        draw(trial)
        study.tell(trial, state=TrialState.FAIL) if i % 5 == 0 else study.tell(trial, 0.0)
    assert len({tuple(trial.params.values()) for trial in study.trials[1:]}) == 27
    assert study.trials[0].params == {}


def test_a_grid_larger_than_the_budget_is_sampled_by_chance_none_twice():
    def points(seed):
        return [attrs["grid_id"] for attrs in system_attrs("grid", BOX, 10, seed, 50)]

    assert len(set(points(0))) == 50
    assert points(0) == points(0) != points(1)
    assert system_attrs("random", BOX, 10, 0, 2) == [{}, {}]
    every = [points(seed) for seed in range(40)]  # no corner of the grid is preferred
    assert stats.kstest(np.ravel(every), "uniform", (0, 1000)).pvalue > 0.001


def test_a_grid_that_is_too_small_or_too_large_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"28 candidates for a grid of 27 points.*at most 27 candidates, or 4 levels"):
        system_attrs("grid", BOX, 3, 0, 28)
    wide: Bounds = {f"task {i}": (0.0, 1.0) for i in range(17)}
    with pytest.raises(ValueError, match=r"2 levels of 17 weights, which is 131,072 points.*search fewer weights"):
        make_sampler("grid", wide, 0, levels=2)
    with pytest.raises(ValueError, match="levels=1"):
        make_sampler("grid", BOX, 0, levels=1)
    study = optuna.create_study(sampler=make_sampler("grid", BOX, 0))
    with pytest.raises(ValueError, match=r"trial 0 has no point of the grid.*system_attrs"):
        draw(study.ask())


# Tournament selection


def full_population(**options: int) -> Study:
    """Make a study of ten candidates, the fittest of which are the newest; the first weight tells them apart."""
    study = study_of("tournament", **options)
    for i in range(10):
        study.add_trial(done({"rotation": i / 10, "jigsaw": 0.3, "colour": 0.1 + i / 100}, float(i)))
    return study


def parents(study: Study, children: int) -> list[int]:
    """Draw children, each from one parent but for one weight; return the parents' numbers."""
    old = {t.number: t.params for t in study.trials if t.state is TrialState.COMPLETE}
    found = []
    for _ in range(children):
        child = draw(study.ask())
        shared = {number: sum(child[weight] == params[weight] for weight in BOX) for number, params in old.items()}
        assert max(shared.values()) == len(BOX) - 1  # exactly one weight was drawn again
        found.append(max(shared, key=lambda number: (shared[number], number)))
    return found


def test_with_the_whole_population_in_the_tournament_the_parent_is_the_best():
    assert set(parents(full_population(population=10, tournament=10), 60)) == {9}
    small = optuna.create_study(sampler=make_sampler("tournament", BOX, 0, population=10, tournament=10))
    small.add_trials(full_population().trials)
    assert small.direction is optuna.study.StudyDirection.MINIMIZE
    assert set(parents(small, 60)) == {0}


def test_the_parents_rank_follows_its_closed_form():
    population, tournament, children = 8, 3, 400  # of the ten only the fittest eight, which are 9, 8, ..., 2
    study = full_population(population=population, tournament=tournament)
    old = [t.params for t in study.trials]
    counts = Counter()
    for _ in range(children):
        child = draw(study.ask())
        counts[next(9 - i for i in range(9, -1, -1) if sum(child[w] == old[i][w] for w in BOX) == 2)] += 1
    ways = [math.comb(population - 1 - rank, tournament - 1) for rank in range(population)]
    expected = [children * n / math.comb(population, tournament) for n in ways]
    assert sum(counts[rank] for rank in range(6)) == children  # the two least fit can only win against one another
    assert stats.chisquare([counts[rank] for rank in range(6)], expected[:6]).pvalue > 0.001


def test_the_weight_that_is_drawn_again_is_any_of_them_and_uniform_in_its_bounds():
    study = full_population(population=10, tournament=10)
    best, drawn = study.trials[9].params, {weight: [] for weight in BOX}
    for _ in range(450):
        child = draw(study.ask())
        (changed,) = (weight for weight in BOX if child[weight] != best[weight])
        drawn[changed].append(child[changed])
    assert stats.chisquare([len(values) for values in drawn.values()]).pvalue > 0.001
    for weight, (low, high) in BOX.items():
        assert stats.kstest(drawn[weight], "uniform", (low, high - low)).pvalue > 0.001


def test_a_better_candidate_takes_the_place_of_the_worst_and_of_equals_the_older_stays():
    study = full_population(population=2, tournament=1)
    assert set(parents(study, 40)) == {8, 9}
    study.add_trial(done({"rotation": 0.11, "jigsaw": 0.5, "colour": 0.4}, 8.0))  # as good as the worst, but newer
    assert set(parents(study, 40)) == {8, 9}
    study.add_trial(done({"rotation": 0.22, "jigsaw": 0.51, "colour": 0.41}, 8.5))
    newest = study.trials[-1].number
    assert set(parents(study, 40)) == {9, newest}


def test_only_complete_searched_candidates_are_bred_from():
    study = full_population(population=10, tournament=1)
    bounds = {weight: FloatDistribution(*BOX[weight]) for weight in BOX}
    strange = {"rotation": 0.99, "jigsaw": 0.59, "colour": 0.49}
    study.add_trial(done(strange, 99.0, control="all equal"))
    for state in (TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING):
        worth = 99.0 if state is TrialState.PRUNED else None  # Optuna makes the last that it reported its value
        reported = {5: 99.0}
        study.add_trial(
            create_trial(state=state, value=worth, params=strange, distributions=bounds, intermediate_values=reported)
        )
    assert study.trials[10].number not in parents(study, 100)  # `parents` asserts that it was one of the complete


# Controls, and candidates that are taken up again


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_controls_were_worth_changes_no_draw(name):
    """The same search with controls that are worth more than anything and with controls worth nothing."""
    drawn = []
    for worth in (1e6, -1e6):
        study = study_of(name)
        for control in ("all zero", "all equal"):
            attrs = {"control": control, "weights": dict.fromkeys(BOX, 0.5)}
            study.add_trial(create_trial(state=TrialState.WAITING, user_attrs=attrs))
        add_jobs(study, name, BOX, 0, 27)
        for _ in range(2):
            study.tell(study.ask(), worth)
        search(study, first_weight, 27)
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]
    assert drawn[0][:2] == [{}, {}]
    assert len({tuple(weights.values()) for weights in drawn[0][2:]}) == 27


def test_asking_for_a_weight_that_is_not_searched_is_refused():
    study = study_of("random")
    with pytest.raises(ValueError, match=r"asked for 'depth' of trial 0; it draws colour, jigsaw, rotation"):
        study.ask().suggest_float("depth", 0, 1)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_candidate_taken_up_again_keeps_its_weights_and_its_generation(name):
    study = study_of(name, count=27)
    search(study, first_weight, 25)
    dead = study.ask()
    weights = draw(dead)
    study.tell(dead, state=TrialState.FAIL)
    old = study.trials[dead.number]
    kept = {key: value for key, value in old.system_attrs.items() if not key.startswith("cma:optimizer")}
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=old.params,
            distributions=old.distributions,
            user_attrs=old.user_attrs,
            system_attrs=kept,
        )
    )
    search(study, first_weight, 1)  # the last job, which comes first
    again = study.ask()
    assert study.sampler.infer_relative_search_space(study, study.trials[again.number]) == {}
    assert draw(again) == weights
    assert study.trials[again.number].system_attrs == kept
    assert ("cma:generation" in kept) == (name == "cmaes")


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "cmaes"])
def test_a_candidate_that_died_before_it_drew_draws_what_it_would_have_drawn(name):
    """Not so of CMA-ES: Optuna adds the trial's number, which is a new one, to the seed."""
    studies = [study_of(name, count=3) for _ in range(2)]
    would = draw(studies[0].ask())
    studies[1].tell(studies[1].ask(), state=TrialState.FAIL)
    dead = studies[1].trials[0]
    again = create_trial(state=TrialState.WAITING, user_attrs=dead.user_attrs, system_attrs=dead.system_attrs)
    studies[1].add_trial(again)
    for _ in range(2):
        studies[1].ask()  # the other jobs come first
    assert draw(studies[1].ask()) == would


@pytest.mark.parametrize("space", [BOX, {"a": (0.0, 1.0)}, {f"task {i}": (0.0, 1.0) for i in range(9)}], ids=len)
def test_cmaes_draws_what_optunas_sampler_draws_but_keeps_plain_numbers_alone(space):
    """To the last bit, over many generations, in either direction, with candidates that fail between."""
    box = {weight: FloatDistribution(*space[weight]) for weight in sorted(space)}
    for direction in ("maximize", "minimize"):
        study = optuna.create_study(direction=direction, sampler=make_sampler("cmaes", space, 3, population=5))
        theirs = optuna.create_study(direction=direction)
        for number in range(48):
            trial, other = study.ask(), theirs.ask()
            mine = draw(trial, space)
            seed = seed_of(3, "cmaes", number) % 2**32
            theirs.sampler = CmaEsSampler(n_startup_trials=0, popsize=5, warn_independent_sampling=False, seed=seed)
            drawn = theirs.sampler.sample_relative(theirs, theirs.trials[number], dict(box))
            assert drawn == mine, number
            for weight in box:
                theirs._storage.set_trial_param(other._trial_id, weight, drawn[weight], box[weight])
            worth = sum((value - 0.3) ** 2 for value in mine.values())
            for of, asked in ((study, trial), (theirs, other)):
                of.tell(asked, state=TrialState.FAIL) if number % 7 == 6 else of.tell(asked, worth)
        attrs = {key for trial in study.trials for key in trial.system_attrs}
        assert attrs == {"cma:generation"}
        assert max(trial.system_attrs["cma:generation"] for trial in study.trials) == 8


def test_what_a_study_of_an_earlier_release_keeps_pickled_is_never_looked_at(tmp_path):
    mark = tmp_path / "mark"

    class Payload:
        def __reduce__(self):
            return mark.touch, ()

    study, plain = study_of("cmaes", population=4), study_of("cmaes", population=4)
    for of in (study, plain):
        search(of, first_weight, 30)
        attrs = {"cma:optimizer:0": pickle.dumps(Payload()).hex()} if of is study else {}
        last = of.trials[-1]
        of.add_trial(create_trial(value=0.0, params=last.params, distributions=last.distributions, system_attrs=attrs))
    assert draw(study.ask()) == draw(plain.ask())
    assert not mark.exists()


def test_cmaes_tells_those_that_were_complete_first_so_that_stragglers_change_nothing():
    study = study_of("cmaes", population=4)
    straggler = study.ask()
    draw(straggler)
    search(study, first_weight, 4)
    before = draw(study.ask())
    study.tell(straggler, 1e6)
    again = study_of("cmaes", population=4)
    again.add_trials([trial for trial in study.trials if trial.number < 5])
    assert [trial.state for trial in again.trials] == [TrialState.COMPLETE] * 5
    assert draw(again.ask()) == before  # the draw of trial 5 in either study


# Chance


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_draws_the_same_and_another_draws_otherwise(name):
    def drawn(seed):
        study = study_of(name, seed=seed, count=27)
        search(study, first_weight, 27)
        return [trial.params for trial in study.trials]

    assert drawn(3) == drawn(3) != drawn(4)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_order_in_which_weights_are_written_and_asked_for_does_not_matter(name):
    backwards = dict(reversed(BOX.items()))
    first, second = study_of(name, count=20), study_of(name, backwards, count=20)
    for _ in range(20):
        trials = first.ask(), second.ask()
        ours, theirs = draw(trials[0]), draw(trials[1], backwards)
        assert ours == theirs
        for study, trial in zip((first, second), trials, strict=True):
            study.tell(trial, first_weight(ours))


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_global_generator_is_touched(name):
    def states():
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002

    before = states()
    search(study_of(name, count=20), first_weight, 20)
    assert states() == before


@pytest.mark.parametrize("name", ["random", "grid"])
def test_two_workers_on_one_file_draw_what_one_would_have_drawn(name, tmp_path):
    alone = study_of(name, count=27)
    search(alone, first_weight, 27)
    url = f"sqlite:///{tmp_path}/study.db"
    maker = optuna.create_study(storage=url, study_name="s", direction="maximize", sampler=make_sampler(name, BOX, 0))
    add_jobs(maker, name, BOX, 0, 27)
    other = optuna.load_study(storage=url, study_name="s", sampler=make_sampler(name, BOX, 0))
    for i in range(9):
        both = [(worker, worker.ask()) for worker in (maker, other, other)]
        for worker, trial in reversed(both) if i % 2 else both:
            worker.tell(trial, first_weight(draw(trial)))
    by_index = [(t.user_attrs["candidate"], t.params) for t in alone.trials]
    assert by_index == [(t.user_attrs["candidate"], t.params) for t in other.trials]


@pytest.mark.parametrize("name", ["tournament", "cmaes"])
def test_a_stopped_search_goes_on_as_if_never_stopped(name, tmp_path):
    alone = study_of(name, count=40)
    search(alone, first_weight, 40)
    url = f"sqlite:///{tmp_path}/study.db"
    first = optuna.create_study(storage=url, study_name="s", direction="maximize", sampler=make_sampler(name, BOX, 0))
    add_jobs(first, name, BOX, 0, 40)
    search(first, first_weight, 23)
    again = optuna.load_study(storage=url, study_name="s", sampler=make_sampler(name, BOX, 0))
    search(again, first_weight, 17)
    assert [t.params for t in again.trials] == [t.params for t in alone.trials]


# The population's size


@pytest.mark.parametrize(("workers", "size"), [(0, 11), (1, 11), (2, 12), (4, 12), (5, 15), (20, 20)])
def test_a_generation_of_cmaes_is_hansens_up_to_a_multiple_of_the_workers(workers, size):
    assert population_for("cmaes", 12, workers) == size
    assert population_for("cmaes", 1, 1) == 4


@pytest.mark.parametrize(("workers", "size"), [(1, 16), (8, 16), (20, 40)])
def test_a_population_for_tournaments_is_at_least_twice_the_workers(workers, size):
    assert population_for("tournament", 12, workers) == size


def test_the_size_is_decided_by_the_first_draw_and_kept_for_all_workers():
    study = study_of("cmaes", count=40)
    busy = [study.ask() for _ in range(5)]
    draw(busy[0])
    assert study.user_attrs["population"] == 10  # 4 + floor(3 ln 3) = 7, up to a multiple of 5
    late = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=make_sampler("cmaes", BOX, 0))
    for trial in busy:
        study.tell(trial, first_weight(draw(trial)))
    search(late, first_weight, 35)
    assert late.user_attrs["population"] == 10
    generations = Counter(trial.system_attrs["cma:generation"] for trial in late.trials)
    assert generations == dict.fromkeys(range(4), 10)


@pytest.mark.parametrize("name", ["tournament", "cmaes"])
def test_a_population_that_is_asked_for_wins(name):
    study = study_of(name, population=6, count=18)
    busy = [study.ask() for _ in range(5)]
    for trial in busy:
        study.tell(trial, first_weight(draw(trial)))
    search(study, first_weight, 13)
    if name == "cmaes":
        assert Counter(t.system_attrs["cma:generation"] for t in study.trials) == {0: 6, 1: 6, 2: 6}
    else:
        assert parents_begin(study) == 6


def parents_begin(study: Study) -> int:
    """Return the number of the first candidate that shares weights with an older one."""
    drawn = [trial.params for trial in study.trials]
    kin = (any(sum(a[w] == b[w] for w in BOX) == 2 for b in drawn[:i]) for i, a in enumerate(drawn))
    return list(kin).index(True)


# Refusals


def test_what_cannot_be_searched_is_refused():
    assert get_args(SamplerName) == SAMPLERS
    with pytest.raises(ValueError, match=r"name='tpe'; it wants one of random, grid, tournament, cmaes"):
        make_sampler("tpe", BOX, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no weights"):
        make_sampler("random", {}, 0)
    for bounds in ((0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (0.0, float("nan"))):
        with pytest.raises(ValueError, match=r"0 <= low < high <= 1"):
            make_sampler("random", {"rotation": bounds}, 0)
    with pytest.raises(ValueError, match=r"population=3 for cmaes; it wants 4 or more"):
        make_sampler("cmaes", BOX, 0, population=3)
    with pytest.raises(ValueError, match=r"population=9 for grid; it has none"):
        make_sampler("grid", BOX, 0, population=9)
    for tournament in (0, 11):
        with pytest.raises(ValueError, match=rf"tournament={tournament} of a population of 10"):
            make_sampler("tournament", BOX, 0, population=10, tournament=tournament)
