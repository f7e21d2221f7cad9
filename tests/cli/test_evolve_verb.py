"""`pretext evolve` as a user meets it: what it leaves, what it refuses, and workers that share a folder and die."""

import json
import re
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import start
from yaml import safe_load

from pretext.__main__ import main
from pretext.search.objective import Objective, Trained
from pretext.search.settings import read_search
from pretext.search.study import Candidate
from pretext.search.worker import fittest_mixture
from pretext.training.run import load, read

TINY = """
model:
  backbone: {class_path: nets.TinyNet}
  tasks:
    turn: {class_path: pretext.Rotation}
    split: {class_path: pretext.Contrast, init_args: {outputs: 8}}
  augment: {class_path: pretext.Augment, init_args: {crop: 12}}
  optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 32, limit: 160}}
trainer: {max_epochs: 2, accelerator: cpu}
evolve: {candidates: 3, steps: 7, items: 60, searcher: random, fitness: {class_path: evolve_plugin.Spread}}
"""
# A worker that is told to hang does so in the last moment of its second candidate; first it tries the fitness out.
PLUGIN = """
import os, time
from pathlib import Path
from pretext.evaluation.fitness import Fit, Fitness

class Spread(Fitness):
    calls = 0

    def __call__(self, z, labels):
        self.calls += 1
        if self.calls == 3 and "HANG" in os.environ:
            Path(os.environ["HANG"]).touch()
            time.sleep(600)
        return Fit(float(z.float().std(0).mean()), {})
"""
NAMES = ["all zero", "all equal", "turn alone", "split alone", None, None, None]
STEPS = ("--trainer.max_steps=7", "--trainer.max_epochs=-1", "--trainer.log_every_n_steps=1")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Work in a folder with a config and a plug-in beside it."""
    folder, path = tmp_path_factory.mktemp("evolve"), list(sys.path)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "evolve_plugin.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
    sys.path[:] = path


@pytest.fixture(scope="module")
def study(home):
    """Search, alone and to the end."""
    assert main(["evolve", "-c", "tiny.yaml"]) == 0
    return home / "runs" / "evolve" / "tiny"


def listed(folder):
    return json.loads((folder / "candidates.json").read_text())


def refused(capsys, *args):
    """Run the verb, which must fail, and return its one line."""
    capsys.readouterr()
    assert main(["evolve", *map(str, args)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("pretext evolve: ")
    return line


def test_it_leaves_a_page_the_candidates_and_the_best_config(study):
    candidates = listed(study)
    assert [(c["index"], c["control"], c["state"]) for c in candidates] == [
        (index, name, "done") for index, name in enumerate(NAMES)
    ]
    assert [c["steps"] for c in candidates] == [0] + [7] * 6
    assert all(c["probe"]["low"] <= c["probe"]["accuracy"] <= c["probe"]["high"] for c in candidates)
    page = (study / "evolve.html").read_text()
    assert "all equal" in page
    assert "src=" not in page.replace('src="data:', "")  # self-contained


def test_best_yaml_has_the_weights_of_the_fittest_that_can_be_trained(study):
    best = max((c for c in listed(study) if c["control"] != "all zero"), key=lambda c: c["fitness"])
    text = (study / "best.yaml").read_text()
    assert text.startswith(f"# The fittest of the study tiny: candidate {best['index']}")
    model = safe_load(text)["model"]
    assert model["weighting"]["init_args"]["weights"] == best["weights"]
    assert model["scale_by_chance"] is True
    assert "evolve" not in safe_load(text)


def test_fit_of_best_yaml_trains_exactly_the_candidate(study, home, capsys):
    """With the steps of the search; here also with validation in between, and a data loader of its own."""
    run = home / "again"
    assert main(["fit", "-c", str(study / "best.yaml"), *STEPS, "--trainer.default_root_dir", str(run)]) == 0
    best = max((c for c in listed(study) if c["control"] != "all zero"), key=lambda c: c["fitness"])
    objective = Objective(read_search(read("tiny.yaml"), []), home)
    trained, loaded = objective.train(best["weights"], best["control"]), load(run)
    mine, theirs = trained.host.backbone.state_dict(), loaded.backbone.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    features = objective.embed(Trained(loaded, 7, torch.device("cpu")), objective.data, "train")
    assert objective.judge(features).value == best["fitness"]


def test_again_the_same_command_has_nothing_to_do(study, capsys):
    before = (study / "candidates.json").read_text()
    assert main(["evolve", "-c", "tiny.yaml"]) == 0
    captured = capsys.readouterr()
    assert Path(captured.out.strip().splitlines()[-1]).resolve() == (study / "evolve.html").resolve()
    assert "Candidate" not in captured.err
    assert (study / "candidates.json").read_text() == before


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--steps=8", "evolve.steps is 8 here, but 7 in the study"),
        ("--seed_everything=5", "seed_everything is 5 here, but 0 in the study"),
        ("--model.backbone.width=4", "model.backbone.init_args.width is 4 here, but 8 in the study"),
    ],
)
def test_a_study_of_other_settings_is_not_joined(study, capsys, option, said):
    before = (study / "candidates.json").read_text()
    line = refused(capsys, "-c", "tiny.yaml", option)
    assert said in line
    assert "choose another name" in line
    assert (study / "candidates.json").read_text() == before


def test_a_config_that_cannot_be_built_leaves_no_study_that_would_refuse_the_mended_one(home, capsys):
    assert "crop is -3" in refused(capsys, "-c", "tiny.yaml", "--study", "mended", "--model.augment.crop", "-3")
    short = ("--steps", "1", "--candidates", "1", "--probe", "false", "--weights", "[turn]")
    assert main(["evolve", "-c", "tiny.yaml", "--study", "mended", *short]) == 0


def test_missing_configs_and_misspelt_options_are_told_in_one_line(home, capsys):
    assert refused(capsys).endswith("give a training config: pretext evolve -c CONFIG")
    assert "no config file nowhere.yaml" in refused(capsys, "-c", "nowhere.yaml")
    assert "--candidats" in refused(capsys, "-c", "tiny.yaml", "--candidats", "3")
    assert "['trun']" in refused(capsys, "-c", "tiny.yaml", "--weights", "[trun]")


def test_help_lists_the_options_of_a_search(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["evolve", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("usage: pretext evolve -c CONFIG")
    for option in ("--searcher", "--candidates", "--storage", "--out"):
        assert option in out


def candidate(weights, fitness, control=None):
    facts = {"facts": {}, "probe": None, "steps": 1, "seconds": 1.0, "finished": 1.0, "reason": None, "tries": 1}
    return Candidate(0, control, "done", weights, fitness, worker=None, **facts)


def test_a_network_without_any_task_is_never_the_fittest_to_train(home):
    both, one = (read_search(read("tiny.yaml"), options) for options in ([], ["--weights", "[turn]"]))
    control = candidate({"turn": 0.0}, 3.0, "all zero")
    assert fittest_mixture(one, [control, candidate({"turn": 0.5}, 1.0)]).fitness == 1
    assert (
        fittest_mixture(one, [control, candidate({"turn": 0.0}, 2.0), candidate({"turn": 0.5}, 1.0)]).fitness == 2
    )  # split
    assert fittest_mixture(both, [candidate({"turn": 0.0, "split": 0.0}, 2.0)]) is None


class Worker:
    """The command in a process of its own, which hangs in its second candidate."""

    def __init__(self, folder, name):
        self.sign, self.log = folder / f"{name} hangs", folder / f"{name}.log"
        words = ("evolve", "-c", "tiny.yaml", "--out", "shared", "--heartbeat", "1")
        self.process = start(self.log, *words, folder=folder, HANG=str(self.sign))

    def kill_as_it_hangs(self, patience):
        end = time.monotonic() + patience
        while not self.sign.exists():
            assert self.process.is_alive(), self.log.read_text()
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.02)
        self.process.kill()
        self.process.join()
        return self.log.read_text()


def test_two_workers_share_a_folder_and_when_both_are_killed_the_command_again_finishes(study, home, capsys):
    workers = [Worker(home, name) for name in ("one", "other")]  # at once: one of them makes the study
    try:
        told = [worker.kill_as_it_hangs(patience=300) for worker in workers]
    finally:
        for worker in workers:
            worker.process.kill()
    finished = [re.findall(r"Candidate (\d+): ", text) for text in told]
    assert [len(each) for each in finished] == [1, 1], told
    assert main(["evolve", "-c", "tiny.yaml", "--out", "shared", "--heartbeat", "1"]) == 0
    mine = re.findall(r"Candidate (\d+): ", capsys.readouterr().err)
    assert sorted(map(int, [*finished[0], *finished[1], *mine])) == list(range(7))

    shared, alone = listed(home / "shared"), listed(study)
    assert [c["state"] for c in shared] == ["done"] * 7
    assert sorted(c["tries"] for c in shared) == [1] * 5 + [2] * 2
    assert len({c["worker"] for c in shared}) == 3
    for key in ("weights", "fitness", "facts", "probe", "steps"):  # whoever ran it, and after whatever else
        assert [c[key] for c in shared] == [c[key] for c in alone]
    assert (home / "shared" / "best.yaml").read_text() == (study / "best.yaml").read_text()
