"""The objective: every candidate starts from the same weights, is judged by what it may see, and fails alone."""

import copy
import math
from pathlib import Path

import optuna
import pytest
import torch
from folders import labelled_folder
from omegaconf import OmegaConf
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import FixedTrial, TrialState
from yaml import safe_load

import datamodules.images.digits
from datamodules import Digits, Splitting
from datamodules.draws import chosen
from pretext import Rotation
from pretext.core.types import Task
from pretext.evaluation.fitness import Fit, Fitness
from pretext.jobs.study import open_study
from pretext.report.search import write_search
from pretext.search.objective import Objective
from pretext.search.results import results_of
from pretext.search.samplers import make_sampler
from pretext.search.settings import read_search
from pretext.search.space import plan
from pretext.search.study import read, work
from pretext.search.worker import best_config, progress
from pretext.training.run import build

HERE = Path(__file__).stem
CONFIG = OmegaConf.to_container(
    OmegaConf.create("""
model:
  backbone: {class_path: nets.TinyNet}
  tasks:
    turn: {class_path: pretext.Rotation}
    split: {class_path: pretext.Contrast, init_args: {outputs: 8}}
  augment: {class_path: pretext.Augment, init_args: {crop: 12}}
  optim: {optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01, weight_decay: 0.1}}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 32, limit: 160}}
trainer: {max_epochs: 2, accelerator: cpu}
evolve:
  steps: 7
  items: 60
  probe: false
  fitness: {class_path: pretext.evaluation.fitness.Zipf, init_args: {k: 5, floor: 2, clusterings: 1}}
""")
)
BOTH = {"turn": 1.0, "split": 0.5}
PLACE = Path()  # for files that Lightning may write: it writes none
SICK = {"class_path": f"{HERE}.Sick"}


class Sick(Task):
    """Rotation, until it says what it should not."""

    def __init__(self, backbone, raises=False):
        super().__init__()
        self.turn, self.raises = Rotation(backbone), raises

    def pose(self, x, rng):
        return self.turn.pose(x, rng)

    def solve(self, features, given):
        return self.turn.solve(features, given)

    def grade(self, prediction, answer):
        if self.raises:
            raise RuntimeError("a bug in a plug-in")
        grade = self.turn.grade(prediction, answer)
        return grade._replace(loss=grade.loss * math.nan)

    def chance(self):
        return self.turn.chance()

    def draw(self, puzzle, prediction):
        return []


LOG = []


class Blind(Fitness):
    """Notes what it is shown; each call is less fit than the last."""

    def __call__(self, z, labels):
        LOG.append(("fitness", z, labels))
        return Fit(-float(len(LOG)), {"calls": float(len(LOG))})


class Guided(Fitness):
    """Notes what it is shown, as it asks for labels."""

    needs_labels = True

    def __call__(self, z, labels):
        LOG.append(("fitness", z, labels))
        return Fit(0.0, {})


@pytest.fixture
def log():
    LOG.clear()
    return LOG


SPACE = {
    "class_path": "pretext.search.space.ResNetSpace",
    "init_args": {"widths": [2, 4], "depths": [1], "kernels": [1, 3], "stages": 2},
}


@pytest.mark.slow
def test_weights_and_architectures_are_searched_by_one_study(tmp_path):
    """Controls keep the config's network; the fittest config holds what its candidate trained."""
    config = copy.deepcopy(CONFIG)
    config["evolve"] |= {"architecture": SPACE, "searcher": "random", "candidates": 3, "steps": 2}
    found = read_search(config, [])
    objective = Objective(found, tmp_path)
    sampler = make_sampler("random", found.space, 0, architecture=found.categories)
    jobs = lambda: plan(found.space, found.config, [{} for _ in range(3)])  # noqa: E731
    study = open_study("sqlite:///" + str(tmp_path / "study.db"), "both", jobs, found.shared, sampler)
    seen = []

    def run(trial):
        value = objective(trial)
        seen.append(value)
        return value

    work(study, run, lambda candidate: None)
    candidates = read(study)
    controls, searched = candidates[:4], candidates[4:]
    assert all(c.state == "done" for c in candidates)
    assert all(c.architecture == {} and "architecture" not in c.to_json() for c in controls)
    for c in searched:
        assert set(c.architecture) == {"width", "blocks 1", "kernel 1", "blocks 2", "kernel 2"} == set(found.categories)
        assert set(c.weights) == {"turn", "split"}
        assert c.to_json()["architecture"] == c.architecture
        assert f"width {c.architecture['width']}" in progress(c, 1, 7)
        model = safe_load(best_config(found, c, "both"))["model"]
        network = model["backbone"]
        assert network["class_path"] == "pretext.ResNet"
        assert network["init_args"]["kernels"] == [c.architecture["kernel 1"], c.architecture["kernel 2"]]
        assert model["weighting"]["init_args"]["weights"] == c.weights
    again = objective.train(searched[0].weights, architecture=searched[0].architecture)
    assert type(again.host.backbone).__name__ == "ResNet"
    features = objective.embed(again, objective.data, "train")
    assert objective.judge(features).value == searched[0].fitness
    write_search(results_of(candidates), tmp_path / "page.html", "both", {})
    page = (tmp_path / "page.html").read_text()
    assert "the config&#39;s" in page
    assert searched[0].backbone in page


def search(*options, fitness=None, tasks=(), **trainer):
    config = copy.deepcopy(CONFIG)
    config["model"]["tasks"] |= dict(tasks)
    config["trainer"] |= trainer
    if fitness:
        config["evolve"]["fitness"] = {"class_path": f"{HERE}.{fitness}"}
    return read_search(config, options)


def state(trained):
    """Copy a trunk's weights and statistics."""
    return {name: value.clone() for name, value in trained.host.backbone.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def features(objective, trained):
    (z,) = objective.embed(trained, objective.data, "train").mean.values()
    return z


@pytest.fixture(scope="module")
def objective():
    return Objective(search(tasks={"sick": SICK}), PLACE)


@pytest.fixture(scope="module")
def both(objective):
    return objective.train(BOTH | {"sick": 0.0})


class TestStart:
    def test_equal_weights_end_bit_identical_whatever_ran_before(self, objective, both):
        with pytest.raises(FloatingPointError):
            objective.train({"turn": 1.0, "split": 1.0, "sick": 1.0})
        objective.train({"turn": 1.0, "split": 0.0, "sick": 0.0})
        torch.rand(3)
        again = objective.train(BOTH | {"sick": 0.0})
        assert again.steps == both.steps == 7
        assert same(state(again), state(both))
        assert torch.equal(features(objective, again), features(objective, both))

    def test_another_worker_that_begins_elsewhere_gets_the_same(self, both):
        other = Objective(search(tasks={"sick": SICK}), PLACE)
        last = other.train({"turn": 0.5, "split": 1.0, "sick": 0.0})
        assert not same(state(last), state(both))
        assert same(state(other.train(BOTH | {"sick": 0.0})), state(both))

    def test_all_zero_is_the_network_as_it_was_made(self, objective):
        trained = objective.train(dict.fromkeys(objective.search.space, 0.0), "all zero")
        fresh, _ = build({key: value for key, value in objective.search.config.items() if key != "data"})
        assert trained.steps == 0
        assert same(state(trained), fresh.backbone.state_dict())

    def test_all_zero_looks_at_another_item_where_the_first_one_cannot_be_used(self, tmp_path):
        root = labelled_folder(tmp_path)
        names = sorted(f"{path.parent.name}/{path.name}" for path in (root / "train").rglob("*.jpg"))
        (root / "train" / names[int(chosen(len(names), 1))]).write_bytes(b"no picture")
        data = ["--data", "datamodules.ImageFolder", "--data.root", str(root), "--data.canvas", "16"]
        files = Objective(search(*data, "--data.reading.max_bad", "0.2"), PLACE)
        assert files.train(dict.fromkeys(files.search.space, 0.0), "all zero").steps == 0
        assert len(files.data.skipped) == 1

    def test_another_seed_starts_elsewhere(self, objective):
        other = Objective(search("--seed_everything", "1", tasks={"sick": SICK}), PLACE)
        zero = dict.fromkeys(other.search.space, 0.0)
        assert not same(state(other.train(zero)), state(objective.train(zero)))


class TestWeights:
    def test_weight_0_is_as_if_the_task_were_not_there(self, objective, both):
        """The last one, as heads are made in order, from the global generator."""
        assert same(state(Objective(search(), PLACE).train(BOTH)), state(both))

    def test_and_leaves_its_head_untouched_also_by_weight_decay(self, objective, both):
        start = objective.train(dict.fromkeys(objective.search.space, 0.0)).host
        assert same(start.tasks["sick"].state_dict(), both.host.tasks["sick"].state_dict())
        assert not same(start.tasks["turn"].state_dict(), both.host.tasks["turn"].state_dict())

    def test_losses_are_divided_by_that_of_a_blind_guess(self, both):
        assert both.host.scales["turn"] == pytest.approx(math.log(4))
        assert both.host.scales.keys() == BOTH.keys()
        assert both.host.weighting.weights == BOTH | {"sick": 0.0}


class TestFitness:
    def test_one_that_asks_for_no_labels_is_given_none(self, log):
        Objective(search(fitness="Blind"), PLACE)(FixedTrial(BOTH))
        ((_, z, labels),) = log
        assert z.shape == (60, 16)
        assert labels.shape == (0,)

    def test_one_that_asks_is_given_those_of_the_training_items_it_sees(self, log):
        guided = Objective(search(fitness="Guided"), PLACE)
        guided(FixedTrial(BOTH))
        ((_, z, labels),) = log
        data, host = Digits(size=16, batch_size=32, split=Splitting(limit=160)), guided.train(BOTH).host.eval()
        batches = list(data.ordered("train", 60))
        assert torch.equal(labels, torch.cat([batch["y"] for batch in batches]))
        with torch.no_grad():
            seen = [host.backbone(host.inputs.centre(batch["x"])).stages["conv2"].mean((-2, -1)) for batch in batches]
        assert torch.allclose(z.float(), torch.cat(seen), atol=2e-3)

    @pytest.mark.parametrize(("probe", "after"), [("false", []), ("true", ["test"])])
    def test_test_items_are_not_even_opened_before_it_has_judged(self, log, monkeypatch, probe, after):
        opened = Digits.open
        monkeypatch.setattr(Digits, "open", lambda self, split: (log.append((split,)), opened(self, split))[1])
        Objective(search("--probe", probe, fitness="Blind"), PLACE)(FixedTrial(BOTH))
        assert [what for what, *_ in log] == ["train", "fitness", *after]

    def test_it_is_blind_to_labels_while_the_probe_is_noted(self, monkeypatch):
        digits, found = datamodules.images.digits.load_digits(), []
        for targets in (digits.target, digits.target[torch.randperm(len(digits.target), generator=torch.Generator())]):
            given = type(digits)(images=digits.images, target=targets)
            monkeypatch.setattr(datamodules.images.digits, "load_digits", lambda given=given: given)
            trial = FixedTrial(BOTH)
            found.append((Objective(search("--probe", "true"), PLACE)(trial), trial.user_attrs))
        (value, one), (other_value, other) = found
        assert value == other_value
        assert one["facts"] == other["facts"]
        assert one["probe"].keys() == {"accuracy", "low", "high", "knn"}
        assert one["probe"]["low"] <= one["probe"]["accuracy"] <= one["probe"]["high"]
        assert one["probe"]["accuracy"] > other["probe"]["high"]  # of labels dealt at random: chance

    def test_a_stage_that_is_not_there_is_named_with_those_that_are(self):
        with pytest.raises(ValueError, match=r"no stage 'conv9'; TinyNet has conv1, conv2"):
            Objective(search("--stage", "conv9"), PLACE)(FixedTrial(BOTH))

    def test_an_earlier_stage_can_be_judged(self, log):
        Objective(search("--stage", "conv1", fitness="Blind"), PLACE)(FixedTrial(BOTH))
        assert log[0][1].shape == (60, 8)


class TestFailure:
    @pytest.mark.parametrize("steps", ["7", "1"])
    def test_divergence_is_found_in_the_loss_and_after_the_last_step_in_the_features(self, steps):
        wild = Objective(search("--steps", steps, "--model.optim.optimizer.lr", "1e30"), PLACE)
        with pytest.raises(FloatingPointError, match="the loss is nan at step" if steps == "7" else "NaN or infinity"):
            wild(FixedTrial(BOTH))

    @staticmethod
    def study(found, folder, attrs=({}, {})):
        sampler = make_sampler("random", found.space, 0)
        make = lambda: plan(found.space, found.config, list(attrs))  # noqa: E731
        return open_study(f"sqlite:///{folder}/study.db", "tiny", make, found.shared, sampler, heartbeat=60)

    def test_a_sick_task_fails_its_candidates_and_the_search_goes_on(self, tmp_path):
        found = search("--weights", "[turn, sick]", "--steps", "2", tasks={"sick": SICK})
        study, told = self.study(found, tmp_path), []
        assert work(study, Objective(found, PLACE), told.append) == 6
        ended = {c.control or c.index: c for c in read(study)}
        assert {name: c.state for name, c in ended.items()} == {
            "all zero": "done",
            "all equal": "failed",
            "turn alone": "done",
            "sick alone": "failed",
            4: "failed",
            5: "failed",
        }
        assert "the loss is nan at step 0 (tasks: sick)" in ended["all equal"].reason
        assert [ended[name].steps for name in ("all zero", "turn alone")] == [0, 2]
        assert ended["turn alone"].facts.keys() == {"zipf_kl", "rankme", "guarded"}

    def test_a_bug_stops_the_worker_and_puts_the_candidate_back(self, tmp_path):
        buggy = {**SICK, "init_args": {"raises": True}}
        found = search("--weights", "[turn, sick]", "--steps", "2", tasks={"sick": buggy})
        study = self.study(found, tmp_path)
        with pytest.raises(RuntimeError, match="a bug in a plug-in"):
            work(study, Objective(found, PLACE), lambda candidate: None)
        assert [c.state for c in read(study)] == ["done"] + ["waiting"] * 5


class TestHalving:
    def test_training_goes_on_as_if_nobody_had_looked(self, log):
        looked = Objective(search("--halving", "2", "--steps", "8", fitness="Blind"), PLACE)
        trial = FixedTrial(BOTH)
        trained = looked.train(BOTH, trial=trial)
        assert len(log) == 2
        assert trial.user_attrs["steps"] == 4
        assert trained.steps == 8
        plain = Objective(search("--steps", "8"), PLACE)
        assert same(state(trained), state(plain.train(BOTH)))
        assert torch.equal(features(looked, trained), features(plain, plain.train(BOTH)))

    def test_the_less_fit_is_given_up_and_a_control_never(self, log):
        found = search("--halving", "2", "--steps", "8", fitness="Blind")
        study = optuna.create_study(direction="maximize", pruner=SuccessiveHalvingPruner(2, 2))
        for _ in range(2):
            study.enqueue_trial(BOTH)
        study.enqueue_trial({}, user_attrs={"control": "all equal", "weights": BOTH})  # the last: the least fit of all
        study.optimize(Objective(found, PLACE), n_trials=3)
        ended = study.get_trials()
        assert [trial.state for trial in ended] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
        assert [trial.user_attrs["steps"] for trial in ended] == [8, 2, 8]
        assert [trial.last_step for trial in ended] == [4, 2, None]
        assert ended[1].user_attrs["facts"] == {"calls": 4}

    def test_a_rung_is_reached_once_also_where_several_batches_make_a_step(self, log):
        found = search("--halving", "2", "--steps", "4", fitness="Blind", accumulate_grad_batches=2)
        Objective(found, PLACE).train(BOTH, trial=FixedTrial(BOTH))
        assert len(log) == 2
