"""What a search is told, what candidates it makes of that, and on what its workers must agree."""

import copy
import json

import pytest
from jsonargparse import ArgumentError
from omegaconf import OmegaConf

from pretext.__main__ import main
from pretext.search.settings import read_search
from pretext.search.space import mixture, plan

CONFIG = OmegaConf.to_container(
    OmegaConf.create("""
model:
  backbone: {class_path: nets.TinyNet}
  tasks:
    turn: {class_path: pretext.Rotation}
    split: {class_path: pretext.Contrast, init_args: {outputs: 8}}
    again: {class_path: pretext.Reconstruction, init_args: {width: 8}}
  weighting: {class_path: pretext.nn.weighting.Fixed, init_args: {weights: {again: 0.5, split: 2}}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 32}}
trainer: {max_epochs: 2, accelerator: cpu}
seed_everything: 3
""")
)
UNIT = (0.0, 1.0)


def search(*options, section=None, **model):
    """Read CONFIG, its section `evolve` and parts of its model replaced."""
    config = copy.deepcopy(CONFIG)
    config["model"] |= model
    return read_search(config | ({} if section is None else {"evolve": section}), options)


def weights(config):
    assert config["model"]["weighting"]["class_path"] == "pretext.nn.weighting.Fixed"
    return config["model"]["weighting"]["init_args"]["weights"]


class TestSpace:
    def test_all_tasks_from_0_to_1_unless_some_are_named(self):
        assert search().space == dict.fromkeys(CONFIG["model"]["tasks"], UNIT)
        assert search(section={"weights": ["split", "turn"]}).space == {"split": UNIT, "turn": UNIT}
        given = search(section={"weights": {"split": [0.25, 0.5]}})
        assert given.space == {"split": (0.25, 0.5)}

    def test_the_command_line_overrides_the_section(self):
        section = {"weights": ["turn"], "candidates": 7, "steps": 9, "searcher": "grid"}
        found = search("--weights", "[split]", "--candidates=5", "--searcher", "random", section=section)
        assert found.space == {"split": UNIT}
        assert (found.settings.candidates, found.settings.steps, found.settings.searcher) == (5, 9, "random")

    def test_bounds_on_the_command_line(self):
        assert search("--weights", "{turn: [0, 0.5]}").space == {"turn": (0.0, 0.5)}

    @pytest.mark.parametrize("bounds", [[0.5, 0.2], [0.3, 0.3], [-0.1, 1], [0, 1.5], [0, float("nan")]])
    def test_bounds_outside_0_to_1_are_refused(self, bounds):
        with pytest.raises(ValueError, match=r"bounds \{'turn': .*two numbers, 0 <= low < high <= 1"):
            search(section={"weights": {"turn": bounds, "split": [0, 1]}})


class TestErrors:
    def test_an_unknown_task_is_named_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"unknown tasks \['trun'\]; the tasks are \['again', 'split', 'turn'\]"):
            search("--weights", "[trun]")

    @pytest.mark.parametrize("none", [[], {}])
    def test_nothing_to_search(self, none):
        with pytest.raises(ValueError, match="no weight to search; name at least one"):
            search(section={"weights": none})

    def test_another_weighting_has_no_weights_to_search(self):
        with pytest.raises(ValueError, match=r"the weights of Fixed, but .*Uncertainty; leave it out"):
            search(weighting={"class_path": "pretext.nn.weighting.Uncertainty"})

    def test_a_config_of_an_evaluator_has_no_tasks(self):
        evaluator = {"model": {"class_path": "pretext.FineTune", "init_args": {"run": "runs/elo"}}}
        with pytest.raises(
            ValueError, match=r"pretext\.FineTune poses no puzzles; this wants a config of pretext tasks"
        ):
            read_search({**CONFIG, **evaluator}, [])

    def test_misspelt_options_are_named(self):
        with pytest.raises((ValueError, ArgumentError), match="candidate"):
            search(section={"candidate": 3})
        with pytest.raises((ValueError, ArgumentError), match="--candidats"):
            search("--candidats", "3")
        with pytest.raises((ValueError, ArgumentError), match="sed"):
            search("--model.sed", "3")
        with pytest.raises((ValueError, ArgumentError), match="cmeas"):
            search("--searcher", "cmeas")

    @pytest.mark.parametrize("name", ["candidates", "steps", "items", "heartbeat"])
    def test_counts_are_at_least_1(self, name):
        with pytest.raises(ValueError, match=rf"evolve got .*{name}=0.*; each is at least 1"):
            search(f"--{name}", "0")

    @pytest.mark.parametrize(("halving", "steps"), [(1, 100), (0, 100), (-2, 100), (4, 15)])
    def test_halving_needs_a_ninth_of_the_steps_or_the_like(self, halving, steps):
        with pytest.raises(ValueError, match=rf"halving={halving} of {steps} steps; it is a whole number from 2"):
            search("--halving", str(halving), "--steps", str(steps))


def test_halving_steps_are_a_ninth_and_a_third_of_the_steps_for_3():
    assert search("--steps", "90", "--halving", "3").settings.halving_steps() == (10, 30)
    assert search("--steps", "16", "--halving", "4").settings.halving_steps() == (1, 4)
    assert search("--steps", "90").settings.halving_steps() == ()


class TestCandidates:
    def test_controls_come_first_then_a_job_for_each_searched(self):
        found = search(section={"weights": {"turn": [0, 1], "split": [0.5, 0.75]}})
        jobs = plan(found.space, found.config, [{"grid_id": 4}, {}])
        names = ["all zero", "all equal", "turn alone", "split alone"]
        assert [job.attrs.get("control") for job in jobs] == [*names, None, None]
        assert jobs[0].attrs["weights"] == {"turn": 0, "split": 0}
        assert jobs[2].attrs["weights"] == {"turn": 1, "split": 0}
        assert jobs[3].attrs["weights"] == {"turn": 0, "split": 0.75}
        assert [job.attrs for job in jobs[4:]] == [{}, {}]
        assert [job.system_attrs for job in jobs[4:]] == [{"grid_id": 4}, {}]

    def test_weights_that_are_not_searched_stay_as_the_config_has_them(self):
        found = search("--weights", "[turn]")
        assert weights(mixture(found.config, {"turn": 0.25})) == {"turn": 0.25, "split": 2, "again": 0.5}
        assert weights(mixture(found.config, {"turn": 0.0})) == {"turn": 0, "split": 2, "again": 0.5}
        assert weights(mixture(found.config, {"turn": 1.0}, "all equal")) == {"turn": 1, "split": 2, "again": 0.5}

    def test_but_in_controls_that_are_to_be_without_them_they_are_0(self):
        found = search("--weights", "[turn]")
        assert weights(mixture(found.config, {"turn": 1.0}, "turn alone")) == {"turn": 1, "split": 0, "again": 0}
        assert mixture(found.config, {"turn": 0.0}, "all zero") is None

    def test_nothing_is_left_to_train_where_all_searched_weights_are_all_there_are_and_0(self):
        assert mixture(search().config, dict.fromkeys(CONFIG["model"]["tasks"], 0.0)) is None

    def test_losses_are_scaled_by_chance_whatever_the_config_says(self):
        for scale in (False, True):
            found = search(scale_by_chance=scale)
            assert mixture(found.config, dict.fromkeys(found.space, 1.0))["model"]["scale_by_chance"] is True

    def test_a_candidate_differs_from_the_config_in_its_weighting_and_scale_alone(self):
        found = search()
        config = mixture(found.config, dict.fromkeys(found.space, 1.0))
        own = ("weighting", "scale_by_chance")
        assert {k: v for k, v in config.items() if k != "model"} == {
            k: v for k, v in found.config.items() if k != "model"
        }
        assert {k: v for k, v in config["model"].items() if k not in own} == {
            k: v for k, v in found.config["model"].items() if k not in own
        }
        assert "evolve" not in config


class TestTraining:
    def test_options_of_the_training_config_go_there(self):
        options = (
            "--data.limit",
            "100",
            "--model.optim.warmup=0.2",
            "--trainer.gradient_clip_val",
            "1.0",
            "--steps",
            "5",
        )
        found = search(*options, "--seed_everything", "8", "--seed", "4")
        assert found.config["data"]["init_args"]["split"]["limit"] == 100
        assert found.config["model"]["optim"]["warmup"] == 0.2
        assert found.config["trainer"] == {"max_epochs": 2, "accelerator": "cpu", "gradient_clip_val": 1.0}
        assert found.config["seed_everything"] == 8
        assert (found.settings.steps, found.settings.seed) == (5, 4)

    def test_the_probes_data_are_the_searchs_own(self):
        other = ("--probe_data", "datamodules.Digits", "--probe_data.size", "8", "--data.size", "12")
        found = search(*other)
        assert found.settings.probe_data.size == 8
        assert found.config["data"]["init_args"]["size"] == 12


FOLDERS = """
data: {{class_path: datamodules.ImageFolder, init_args: {{root: {0}/images}}}}
trainer: {{accelerator: {1}, devices: 1, max_steps: 50}}
evolve:
  storage: sqlite:///{0}/study.db
  study: {2}
  heartbeat: {3}
  probe_data: {{class_path: datamodules.ImageFolder, init_args: {{root: {0}/labelled}}}}
"""


class TestAgreement:
    """What is written into the study, which every worker's must equal."""

    @staticmethod
    def shared(*options, section=None, **model):
        return json.loads(json.dumps(search(*options, section=section, **model).shared))  # as a database keeps it

    def test_machines_with_other_folders_and_devices_can_join(self):
        here, there = (
            {**CONFIG, **OmegaConf.to_container(OmegaConf.create(FOLDERS.format(*machine)))}
            for machine in (("/data", "cpu", "a", 30), ("/mnt/elsewhere", "auto", "b", 30))
        )
        assert read_search(here, []).shared == read_search(there, []).shared
        assert not any(part in json.dumps(read_search(here, []).shared) for part in ("/data", "accelerator", "devices"))

    def test_the_same_search_agrees_with_itself_however_it_was_asked_for(self):
        assert self.shared(section={"steps": 50, "weights": ["turn"]}) == self.shared(
            "--steps=50", "--weights", "{turn: [0, 1]}"
        )

    @pytest.mark.parametrize(
        "option",
        [
            "--seed_everything=9",
            "--seed=9",
            "--steps=9",
            "--candidates=9",
            "--items=9",
            "--searcher=tournament",
            "--population=9",
            "--levels=9",
            "--halving=3",
            "--probe=false",
            "--stage=conv1",
            "--weights=[turn]",
            "--fitness=EffectiveRank",
            "--fitness.k=9",
            "--model.optim.warmup=0.9",
            "--model.backbone.width=9",
            "--data.batch_size=9",
            "--data.size=9",
            "--trainer.gradient_clip_val=9",
            "--probe_data=datamodules.Digits",
        ],
    )
    def test_whatever_changes_the_result_must_be_agreed(self, option):
        zipf = {"fitness": {"class_path": "pretext.evaluation.fitness.Zipf", "init_args": {"k": 5}}}
        assert self.shared(option, section=zipf) != self.shared(section=zipf)


def test_help_tells_of_every_option(capsys):
    with pytest.raises(SystemExit):
        main(["evolve", "--help"])
    text = capsys.readouterr().out
    for name in ("weights", "candidates", "steps", "fitness", "searcher", "halving", "storage", "study", "heartbeat"):
        assert f"--{name} " in text
    assert "cmaes" in text
