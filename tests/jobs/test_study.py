"""A shared study: each job is run once, whatever becomes of its worker, and is read back as it was."""

import math
import threading
import time
import warnings
from collections import Counter

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from pretext.jobs import storage as storages
from pretext.jobs.study import open_study
from pretext.jobs.trials import DEATHS, DeadWorkers, PlannedJob, next_try, put_back
from pretext.search.samplers import make_sampler
from pretext.search.study import PLANNED, read, work

BOX = {"jigsaw": (0.0, 1.0), "rotation": (0.0, 1.0)}
CONTROLS = [
    PlannedJob({"control": "all zero", "weights": {"jigsaw": 0.0, "rotation": 0.0}}, {}),
    PlannedJob({"control": "all equal", "weights": {"jigsaw": 1.0, "rotation": 1.0}}, {}),
]


def opened(folder, count=3, controls=CONTROLS, settings=None, sampler=None, **options):
    return open_study(
        f"sqlite:///{folder}/studies/study.db",
        "elo",
        lambda: [*controls, *[PlannedJob({}, {}) for _ in range(count)]],
        settings or {"seed": 0},
        sampler or make_sampler("random", BOX, seed=0),
        **options,
    )


def weights_of(trial):
    fixed = trial.user_attrs.get("weights")
    return fixed or {name: trial.suggest_float(name, *bounds) for name, bounds in BOX.items()}


def height(trial):
    return -sum((weight - 0.3) ** 2 for weight in weights_of(trial).values())


def silent(candidate):
    pass


def test_candidates_wait_in_the_order_in_which_they_were_made_and_are_run_in_it(tmp_path):
    study = opened(tmp_path)
    waiting = read(study)
    assert [c.index for c in waiting] == [0, 1, 2, 3, 4]
    assert [c.control for c in waiting] == ["all zero", "all equal", None, None, None]
    assert {(c.state, c.fitness, c.finished, c.worker, c.tries) for c in waiting} == {("waiting", None, None, None, 1)}
    assert all(c.weights == {} for c in waiting)
    told = []
    assert work(study, height, told.append) == 5
    assert told == read(study) == read(opened(tmp_path))
    assert [c.index for c in told] == [0, 1, 2, 3, 4]


def test_what_a_run_measures_is_read_back(tmp_path):
    def run(trial):
        fitness = height(trial)
        trial.set_user_attr("facts", {"zipf_kl": 0.4, "rankme": 12.1})
        trial.set_user_attr("steps", 30)
        if "control" in trial.user_attrs:
            trial.set_user_attr("probe", {"accuracy": 0.5, "low": 0.4, "high": 0.6})
        time.sleep(0.02)
        return fitness

    study = opened(tmp_path)
    work(study, run, silent)
    for c in read(study):
        assert (c.state, c.steps, c.facts) == ("done", 30, {"zipf_kl": 0.4, "rankme": 12.1})
        assert c.fitness == pytest.approx(-sum((weight - 0.3) ** 2 for weight in c.weights.values()))
        assert c.probe == ({"accuracy": 0.5, "low": 0.4, "high": 0.6} if c.control else None)
        assert 0.02 <= c.seconds < c.finished
        host, pid = c.worker.rsplit(":", 1)
        assert host
        assert int(pid) > 1
    assert read(study)[1].weights == {"jigsaw": 1.0, "rotation": 1.0}
    ends = [c.finished for c in read(study)]
    assert ends == sorted(ends)
    assert all("jigsaw" not in trial.params for trial in study.trials[:2])  # samplers never see controls


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (FloatingPointError("the loss is nan at step 7"), "the loss is nan at step 7"),
        (math.nan, "its value is not a number"),
    ],
)
def test_divergence_fails_a_candidate_once_and_for_all_with_its_reason(tmp_path, outcome, reason):
    def run(trial):
        runs[trial.user_attrs["candidate"]] += 1
        if trial.user_attrs["candidate"] != 3:
            return height(trial)
        weights.update(weights_of(trial))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    runs, weights, study = Counter(), {}, opened(tmp_path)
    assert work(study, run, silent) == 5
    assert work(study, run, silent) == 0
    assert set(runs.values()) == {1}
    failed = read(study)[3]
    assert (failed.state, failed.fitness, failed.reason, failed.tries) == ("failed", None, reason, 1)
    assert failed.weights == weights
    assert failed.seconds is not None
    assert [c.state for c in read(study)].count("done") == 4


def test_a_pruned_candidate_keeps_the_last_fitness_that_it_reported(tmp_path):
    def run(trial):
        height(trial)
        trial.report(0.25, 1)
        trial.report(0.75, 2)
        raise optuna.TrialPruned

    study = opened(tmp_path, count=1, controls=[])
    assert work(study, run, silent) == 1
    (pruned,) = read(study)
    assert (pruned.state, pruned.fitness, pruned.reason) == ("pruned", 0.75, None)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), MemoryError(), ValueError("a mistake in run")])
def test_whatever_else_stops_a_worker_goes_on_and_its_candidate_is_taken_up_with_the_weights_that_it_had(
    tmp_path, error
):
    def dying(trial):
        had.append((trial.user_attrs["candidate"], weights_of(trial)))
        if trial.user_attrs["candidate"] == 2:
            trial.set_user_attr("facts", {"half": 1.0})
            raise error from cause
        return 0.0

    had, cause = [], OSError("of the mistake")
    with pytest.raises(type(error)) as caught:
        work(opened(tmp_path), dying, silent)
    assert caught.value is error
    assert caught.value.__cause__ is cause
    assert read(opened(tmp_path))[2].state == "waiting"
    study = opened(tmp_path)
    told = []
    assert work(study, height, told.append) == 3
    lost = read(study)[2]
    assert (lost.state, lost.tries, lost.weights) == ("done", 2, dict(had)[2])
    assert lost.facts == {}  # nothing of the first try
    assert [c.index for c in told] == [3, 4, 2]
    assert {c.tries for c in read(study) if c.index != 2} == {1}


def test_a_candidate_that_killed_its_worker_three_times_has_failed(tmp_path):
    def deadly(trial):
        if trial.user_attrs["candidate"] == 2:
            raise MemoryError
        return height(trial)

    deaths = 0
    for _ in range(10):
        try:
            work(opened(tmp_path), deadly, silent)
            break
        except MemoryError:
            deaths += 1
    failed = read(opened(tmp_path))[2]
    assert deaths == DEATHS == 3
    assert (failed.state, failed.tries, failed.reason) == ("failed", 3, "its worker died 3 times, last of MemoryError")
    assert [c.state for c in read(opened(tmp_path))].count("done") == 4


@pytest.mark.parametrize("asked", [KeyboardInterrupt, SystemExit])
def test_asking_a_worker_to_stop_does_not_count_as_a_death(tmp_path, asked):
    def interrupted(trial):
        raise asked

    for _ in range(DEATHS + 2):
        with pytest.raises(asked):
            work(opened(tmp_path, count=1, controls=[]), interrupted, silent)
    study = opened(tmp_path, count=1, controls=[])
    assert work(study, height, silent) == 1
    assert (read(study)[0].state, read(study)[0].tries) == ("done", DEATHS + 3)


@pytest.mark.parametrize("notices", ["while it runs", "in the end", "diverging"])
def test_a_worker_that_slept_too_long_drops_its_candidate_and_goes_on(tmp_path, notices):
    study, other = opened(tmp_path), opened(tmp_path)
    ended = []

    def run(trial):
        fitness = height(trial)
        if trial.number == 3:
            other.tell(trial.number, state=TrialState.FAIL)  # the others take this worker for dead
            put_back(other, PLANNED)
            if notices == "while it runs":
                trial.report(fitness, 1)
            elif notices == "diverging":
                raise FloatingPointError("the loss is nan")
        ended.append(trial.number)
        return fitness

    told = []
    assert work(study, run, told.append) == 5
    assert [c.index for c in told] == [0, 1, 2, 4, 3]
    assert [(c.state, c.tries) for c in read(study)] == [("done", 2 if c.index == 3 else 1) for c in read(study)]
    assert study.trials[3].state == TrialState.FAIL
    assert study.trials[5].params == study.trials[3].params


def test_a_job_that_is_taken_away_after_the_last_note_of_its_worker_is_dropped_too(tmp_path, monkeypatch):
    """Where Optuna itself finds the trial failed that it is about to complete."""
    study, other = opened(tmp_path), opened(tmp_path)
    note, told = optuna.Trial.set_user_attr, []

    def noted(self, key, value):
        note(self, key, value)
        if key == "ended" and self.number == 3:
            other.tell(3, state=TrialState.FAIL)  # the others take this worker for dead
            put_back(other, PLANNED)

    monkeypatch.setattr(optuna.Trial, "set_user_attr", noted)
    assert work(study, height, told.append) == 5
    assert [c.index for c in told] == [0, 1, 2, 4, 3]
    assert [(c.state, c.tries) for c in read(study)] == [("done", 2 if c.index == 3 else 1) for c in read(study)]


def test_a_worker_that_slept_too_long_still_stops_when_asked_to(tmp_path):
    study, other = opened(tmp_path), opened(tmp_path)

    def run(trial):
        weights_of(trial)
        other.tell(trial.number, state=TrialState.FAIL)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work(study, run, silent)
    assert work(other, height, silent) == 5


def test_a_lost_candidate_that_two_workers_put_back_at_once_is_run_once(tmp_path):
    study, other = opened(tmp_path), opened(tmp_path)
    runs = Counter()

    def run(trial):
        runs[trial.user_attrs["candidate"]] += 1
        fitness = height(trial)
        if trial.number in (2, 4):  # so that the second trial of one is taken before the first of the other
            other.tell(trial.number, state=TrialState.FAIL)
            for _ in range(2):  # as both found it
                other.add_trial(next_try(other.trials[trial.number], PLANNED))
        return fitness

    assert work(study, run, silent) == 5
    assert runs == {0: 1, 1: 1, 2: 2, 3: 1, 4: 2}
    assert [(c.state, c.tries) for c in read(study)] == [("done", tries) for tries in (1, 1, 2, 1, 2)]
    assert [t.number for t in study.trials if t.state == TrialState.PRUNED] == [6]
    assert work(opened(tmp_path), run, silent) == 0


def test_a_trial_that_optuna_makes_because_another_took_the_last_candidate_is_never_seen(tmp_path, monkeypatch):
    study, other = opened(tmp_path, count=1, controls=[]), opened(tmp_path, count=1, controls=[])
    optimize = optuna.Study.optimize

    def overtaken(self, *args, **options):
        if not taken:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that this is no `optimize`
                taken.append(other.ask())
        optimize(self, *args, **options)
        if taken[0].user_attrs["candidate"] == 0 and other.trials[0].state == TrialState.RUNNING:
            other.tell(taken[0], height(taken[0]))

    taken, told = [], []
    monkeypatch.setattr(optuna.Study, "optimize", overtaken)
    assert work(study, height, told.append) == 0
    assert told == []
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert [c.state for c in read(study)] == ["done"]


def test_two_workers_never_take_the_same_candidate_of_a_file(tmp_path, monkeypatch):
    """Between one's look at a trial and its "mine" there is no room for another's."""
    one, two = opened(tmp_path, count=1, controls=[]), opened(tmp_path, count=1, controls=[])
    number = one.trials[0]._trial_id
    got = []

    def take(study):
        got.append(study._storage.set_trial_state_values(number, TrialState.RUNNING))

    second = threading.Thread(target=take, args=(two,))
    backend = one._storage._backend
    check = backend.check_trial_is_updatable

    def slowly(*args):
        check(*args)
        second.start()
        second.join(0.5)

    monkeypatch.setattr(backend, "check_trial_is_updatable", slowly)
    take(one)
    second.join()
    assert sorted(got) == [False, True]


def test_a_worker_that_died_before_its_first_heartbeat_is_found_too(tmp_path):
    study = opened(tmp_path, count=1, controls=[])
    taken = study._storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.RUNNING)  # and dead
    assert taken
    dead = DeadWorkers(study)
    assert dead.grace == 90
    dead.fail()
    assert read(study)[0].state == "running"
    dead.grace = -1.0
    dead.fail()
    assert read(study)[0].state == "waiting"
    assert work(study, height, silent) == 1
    assert read(study)[0].tries == 2


def test_cma_es_goes_on_where_it_was_though_workers_die(tmp_path):
    """Every generation's first candidate loses its worker."""
    sampler = make_sampler("cmaes", BOX, seed=0, population=4)
    generations, seen = [], set()

    def deadly(trial):
        fitness = height(trial)
        generation = trial.study.trials[trial.number].system_attrs["cma:generation"]
        generations.append(generation)
        if generation not in seen:
            seen.add(generation)
            raise MemoryError
        return fitness

    while True:
        try:
            work(opened(tmp_path, 24, [], sampler=sampler), deadly, silent)
            break
        except MemoryError:
            continue
    study = opened(tmp_path, 24, [], sampler=sampler)
    assert all(c.state == "done" for c in read(study))
    assert max(generations) >= 4
    fresh = generations[:24]  # then come those that are taken up again
    assert fresh == sorted(fresh)
    assert {key for trial in study.trials for key in trial.system_attrs if key.startswith("cma")} == {"cma:generation"}


def test_what_told_of_a_dead_trial_does_not_pass_to_the_next():
    dead = optuna.trial.create_trial(
        state=TrialState.FAIL,
        user_attrs={"candidate": 4, "facts": {"a": 1.0}, "worker": "host:1", "tries": 2, "deaths": 1},
        system_attrs={"grid_id": 7, "cma:generation": 3, "cma:optimizer:0": "80", "completed_rung_0": 0.5},
    )
    retry = next_try(dead, PLANNED)
    assert retry.user_attrs == {"candidate": 4, "tries": 3, "deaths": 2}
    assert retry.system_attrs == {"grid_id": 7, "cma:generation": 3}


def test_a_worker_with_other_settings_is_refused_and_told_what_differs(tmp_path):
    opened(tmp_path, settings={"seed": 0, "search": {"steps": 30, "bounds": (0, 1)}, "gone": True})
    opened(tmp_path, settings={"search": {"bounds": [0, 1], "steps": 30}, "gone": True, "seed": 0})  # the same
    with pytest.raises(ValueError, match="open_study: study 'elo' has other settings") as refused:
        opened(tmp_path, settings={"seed": 0, "search": {"steps": 40, "bounds": (0, 1)}, "name": "x"})
    message = str(refused.value)
    assert "search.steps is 40 here, but 30 in the study" in message
    assert 'name is "x" here, but not set in the study' in message
    assert "gone is not set here, but true in the study" in message
    assert "seed" not in message
    assert "bounds" not in message


def test_a_study_whose_maker_failed_can_be_made_again(tmp_path):
    def failing():
        raise RuntimeError("no candidates")

    url, sampler = f"sqlite:///{tmp_path}/study.db", RandomSampler(seed=0)
    with pytest.raises(RuntimeError, match="no candidates"):
        open_study(url, "elo", failing, {}, sampler)
    assert len(read(open_study(url, "elo", lambda: [PlannedJob({}, {})], {}, sampler))) == 1


def test_a_study_whose_maker_died_is_not_waited_for(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    optuna.create_study(storage=storages.open_storage(url, 30), study_name="elo", direction="maximize")
    with pytest.raises(TimeoutError, match=r"whoever made it died \(0 jobs are there\)"):
        open_study(url, "elo", list, {}, RandomSampler(seed=0))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("study.db", "a storage that is no URL; it wants sqlite:///FILE"),
        ("postgresql://me:hush@host:hush/db", "a storage that is no URL"),
        ("mysql://me:hush@host/db?password=hush", r"mysql://me:\*\*\*@host/db; it wants"),
        ("sqlite://", "which workers cannot share"),
        ("sqlite:///:memory:", "which workers cannot share"),
    ],
)
def test_a_storage_that_cannot_be_is_refused_without_its_password(url, message):
    with pytest.raises(ValueError, match=message) as refused:
        open_study(url, "elo", list, {}, RandomSampler(seed=0))
    assert "hush" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_missing_driver_is_named_with_what_installs_it(monkeypatch, scheme):
    monkeypatch.setattr(storages, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=r"psycopg is not installed; .*pip install 'pretext-tasks\[postgresql\]'"
    ) as refused:
        open_study(f"{scheme}://me:hush@host/db", "elo", list, {}, RandomSampler(seed=0))
    assert "hush" not in str(refused.value)


def test_a_server_that_does_not_answer_is_named_without_the_password(tmp_path):
    pytest.importorskip("psycopg", reason="needs psycopg: pip install 'pretext-tasks[postgresql]'")
    with pytest.raises(ConnectionError, match=r"could not open postgresql\+psycopg://me:\*\*\*@") as refused:
        open_study(f"postgresql://me:hush@/db?host={tmp_path}", "elo", list, {}, RandomSampler(seed=0))
    assert "hush" not in str(refused.value)
