"""`pretext nas sample` as a user meets it: what it leaves, and two workers of which one is killed."""

import csv
import json
import math
import sys
import time
from collections import Counter
from itertools import combinations

import pytest
import torch
from forked import start
from omegaconf import OmegaConf

from pretext.__main__ import main
from pretext.evaluation.statistics.correlation import spearman

TINY = """
model:
  tasks:
    turn: {class_path: pretext.Rotation}
    slow: {class_path: nas_plugin.Slow}
  augment: {class_path: pretext.Augment, init_args: {crop: 12}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 16, split: {limit: 120, val: 0.25}}}
trainer: {accelerator: cpu}
nas:
  space:
    class_path: pretext.search.space.ResNetSpace
    init_args: {widths: [2, 4], depths: [1], kernels: [1, 3], stages: 2}
  architectures: 3
  supervised: false
  steps: 2
  items: 20
  calibration: 32
  heartbeat: 1
"""
# A task that notes each training of it in a file, hangs where it is told to, and diverges on one architecture.
PLUGIN = """
import os, time
from pathlib import Path
import pretext
from pretext.core.types import Grade, Task

class Slow(Task):
    def __init__(self, backbone):
        super().__init__()
        self.inner = pretext.Rotation(backbone)
        self.sick = backbone.dim == 4 and backbone.kernels == [3, 3]

    def pose(self, x, rng):
        return self.inner.pose(x, rng)

    def solve(self, features, given):
        if "HANG" in os.environ and self.training and not self.sick:
            Path(os.environ["HANG"]).touch()
            time.sleep(600)
        return self.inner.solve(features, given)

    def grade(self, prediction, answer):
        grade = self.inner.grade(prediction, answer)
        return Grade(grade.loss * (float("nan") if self.sick else 1.0), grade.scores)

    def chance(self):
        return self.inner.chance()

    def draw(self, puzzle, prediction):
        return self.inner.draw(puzzle, prediction)
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute as the forked processes do: the order of sums depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Work in a folder with a config and a plug-in beside it."""
    folder, path = tmp_path_factory.mktemp("nas"), list(sys.path)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "nas_plugin.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder
    sys.path[:] = path


def listed(folder):
    return json.loads((folder / "measurements.json").read_text())


def checked(folder):
    """Check that every job of a finished comparison is there once, and return the rows of its table."""
    jobs = listed(folder)
    assert Counter((j["architecture"], j["measure"], j["seed"]) for j in jobs) == {
        (a, m, 0): 1 for a in range(3) for m in ("turn", "slow")
    }
    with (folder / "nas.csv").open() as file:
        rows = list(csv.DictReader(file))
    sick = [row for row in rows if row["width"] == "2" and row["kernel 1"] == row["kernel 2"] == "3"]
    assert [row["state"] for row in rows if row not in sick] == ["done"] * (3 - len(sick))
    assert all(row["state"] == "failed" and row["turn"] for row in sick)
    return rows


def test_it_leaves_a_page_and_a_table_and_goes_on_where_it_was(home, capsys):
    assert main(["nas", "sample", "-c", "tiny.yaml"]) == 0
    folder = home / "runs" / "nas" / "tiny"
    rows = checked(folder)
    page = (folder / "nas.html").read_text()
    assert "Rank correlation of every pair" in page or "nothing can be ranked" in page
    assert "src=" not in page.replace('src="data:', "")
    assert all(int(row["parameters"]) > 100 and int(row["multiply-adds"]) > 1000 for row in rows)
    before, capsys_before = (folder / "measurements.json").read_text(), capsys.readouterr()
    assert "6 of 6 done" in capsys_before.err
    assert main(["nas", "sample", "-c", "tiny.yaml"]) == 0
    assert (folder / "measurements.json").read_text() == before
    assert main(["nas", "sample", "-c", "tiny.yaml", "--steps", "3"]) == 1
    assert "nas.steps is 3 here, but 2 in the study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "give one of sample, search, show"),
        (["sample"], "give a training config"),
        (["sample", "-c", "tiny.yaml", "--architectures", "2"], "a rank correlation wants at least 3"),
        (["sample", "--results", "nowhere"], "no sweep_summary.json in nowhere"),
        (["sample", "--results", ".", "--steps", "3"], "takes --reference and --out besides, got --steps 3"),
    ],
)
def test_what_it_cannot_do_is_told_in_one_line(home, capsys, args, said):
    assert main(["nas", *args]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("pretext nas: ")
    assert said in line


def wait_for(there):
    deadline = time.monotonic() + 120
    while not there():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def test_two_workers_of_which_one_is_killed_lose_nothing_and_train_nothing_twice(home):
    """Real processes; the first hangs in a training, the second shares the work, and finishes what the first was at."""
    hung, folder = home / "hung", home / "runs" / "nas" / "shared"
    args = ("nas", "sample", "-c", "tiny.yaml", "--study", "shared")
    first = start(home / "first.log", *args, HANG=str(hung))
    wait_for(hung.exists)
    second = start(home / "second.log", *args)
    wait_for((folder / "measurements.json").exists)
    wait_for(lambda: any(job["worker"] != listed(folder)[0]["worker"] for job in listed(folder) if job["worker"]))
    first.kill()
    first.join(60)
    assert first.exitcode == -9
    second.join(120)
    assert second.exitcode == 0, (home / "second.log").read_text()
    rows = checked(folder)
    (again,) = [job for job in listed(folder) if job["tries"] > 1]  # what the killed one was at
    assert again["worker"].endswith(f":{second.pid}")
    assert (home / "second.log").read_text().count("done. Architecture") + (home / "first.log").read_text().count(
        "done. Architecture"
    ) == len(listed(folder))
    assert main(["nas", "sample", "-c", "tiny.yaml"]) == 0  # one worker alone
    with (home / "runs" / "nas" / "tiny" / "nas.csv").open() as file:
        assert list(csv.DictReader(file)) == rows


def two_sets():
    """Write TINY's comparison over two sets of data, with labels and without the slow task."""
    config = OmegaConf.create(TINY)
    del config.model.tasks["slow"]
    hidden = {"class_path": "datamodules.HiddenDigits", "init_args": dict(config.data.init_args)}
    more = {"architectures": 4, "steps": 4, "items": 40, "supervised": True}
    config.nas.update({**more, "second": hidden, "second_tasks": ["turn", "supervised"]})
    return OmegaConf.to_yaml(config)


@pytest.mark.slow
def test_measures_of_two_sets_of_data_are_correlated_and_a_killed_comparison_goes_on_to_the_same_figures(home):
    """Real training on both sets. What a killed worker left another finishes, with the figures of one alone."""
    (home / "two.yaml").write_text(two_sets())
    folder, torn = home / "runs" / "nas" / "two", home / "runs" / "nas" / "torn"
    assert main(["nas", "sample", "-c", "two.yaml"]) == 0
    worker = start(home / "torn.log", "nas", "sample", "-c", "two.yaml", "--study", "torn")
    wait_for(lambda: (torn / "measurements.json").exists() and sum(j["state"] == "done" for j in listed(torn)) >= 3)
    worker.kill()
    worker.join(60)
    assert main(["nas", "sample", "-c", "two.yaml", "--study", "torn"]) == 0
    for name in ("nas.csv", "nas_correlations.csv"):
        assert (torn / name).read_text() == (folder / name).read_text()
    with (folder / "nas.csv").open() as file:
        scores = list(csv.DictReader(file))
    measures = ["turn", "turn on second data", "supervised on second data", "supervised"]
    assert [row["state"] for row in scores] == ["done"] * 4
    with (folder / "nas_correlations.csv").open() as file:
        pairs = {(row["first"], row["second"]): row for row in csv.DictReader(file)}
    for pair in combinations(measures, 2):
        both = [[float(row[name]) for row in scores] for name in pair]
        expected = spearman(zip(*both, strict=True)).rho
        assert (pairs[pair]["rho"] == "") == math.isnan(expected)  # all equal
        assert math.isnan(expected) or float(pairs[pair]["rho"]) == pytest.approx(expected)
        assert pairs[pair]["data"] == (
            "one set" if pair[0].endswith("second data") == pair[1].endswith("second data") else "two sets"
        )
    digits, hidden = ({row[name] for row in scores} for name in ("turn", "turn on second data"))
    assert digits != hidden  # it is really other data


def test_show_draws_a_published_genotype_and_a_file(home, capsys):
    assert main(["nas", "show", "imagenet_rot", "--out", "rot.html"]) == 0
    said = capsys.readouterr().out
    assert "5,138,083 parameters, 551,491,584 multiply-adds (224 px, 1000 classes)" in " ".join(said.split())
    page = (home / "rot.html").read_text()
    assert page.count(">sep_conv_5x5<") == 1  # in the reduction cell
    (home / "mine.json").write_text(
        json.dumps({"normal": [["none", 0], ["skip_connect", 1]] * 1, "reduce": [["none", 0]] * 2})
    )
    assert main(["nas", "show", "mine.json", "--width", "4", "--cells", "3", "--stem", "small", "--side", "16"]) == 0
    assert "skip_connect of c(k-1)" in " ".join(capsys.readouterr().out.split())
    assert main(["nas", "show", "imagenet_root"]) == 1
    assert "did you mean imagenet_rot" in capsys.readouterr().err
