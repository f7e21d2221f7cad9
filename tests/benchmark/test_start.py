"""An entry starts from another entry's run, and keeps what its own test gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from filelock import FileLock
from test_travel import CONFIG

from pretext.__main__ import main
from pretext.benchmark.cells import cells, file_of, run_of
from pretext.benchmark.gather import boards
from pretext.benchmark.runner import _job
from pretext.benchmark.suite import read_suite
from pretext.benchmark.train import own_score

ROOT = Path(__file__).parents[2]
DIGITS = {"class_path": "datamodules.Digits", "init_args": {"size": 8, "batch_size": 64, "split": {"limit": 90}}}
STILL = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.0}}


def suite_file(folder, change=None):
    """Write a board on which `tuned` starts from `turn`, which comes after it, and `scratch` from nothing."""
    (folder / "turn.yaml").write_text(yaml.safe_dump({**CONFIG, "data": DIGITS}))
    model = {"class_path": "pretext.FineTune", "init_args": {"optim": {"optimizer": STILL}}}
    (folder / "tune.yaml").write_text(yaml.safe_dump({**CONFIG, "data": DIGITS, "model": model}))
    tune, turn = str(folder / "tune.yaml"), str(folder / "turn.yaml")
    entries = {
        "tuned": {"config": tune, "start": "turn", "amounts": {"after turns": 40}, "options": {"data.limit": 40}},
        "scratch": {"config": tune, "amounts": {"from nothing": 40}, "options": {"model.backbone": "nets.TinyNet"}},
        "turn": {"config": turn},
    }
    if change:
        change(entries)
    board = {
        "data": {"data": "datamodules.Digits", "data.size": 8, "data.limit": 90},
        "entries": entries,
        "amount": "labels",
    }
    content = {"seeds": [0], "protocols": ["knn"], "dims": 64, "boards": {"digits": board}}
    (folder / "suite.yaml").write_text(yaml.safe_dump(content))
    return folder / "suite.yaml"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    home = tmp_path_factory.mktemp("start")
    file = suite_file(home)
    assert main(["bench", str(file), "--out", str(home / "out")]) == 0
    return read_suite(file), home / "out"


def weights(run):
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in state.items() if "backbone" in name and name.endswith("weight")}


def test_it_starts_from_the_run_of_the_same_seed_which_is_trained_once(done):
    suite, out = done
    runs = {cell.name: run_of(suite, out, cell) for cell in cells(suite)}
    assert {run.name for run in (out / "runs" / "digits").iterdir()} == {run.name for run in runs.values()}
    tuned = yaml.safe_load((runs["tuned"] / "config.yaml").read_text())["model"]["init_args"]
    assert tuned["run"] == str(runs["turn"].resolve())
    pretrained = weights(runs["turn"])  # no rate: the weights stay what they were at the start
    assert pretrained
    assert all(torch.equal(weights(runs["tuned"])[name], weight) for name, weight in pretrained.items())
    assert not all(torch.equal(weights(runs["scratch"])[name], weight) for name, weight in pretrained.items())


def test_an_evaluators_cell_keeps_what_its_own_test_gives(done):
    suite, out = done
    for cell in cells(suite):
        kept = json.loads(file_of(suite, out, cell).read_text()).get("test")
        if cell.name == "turn":
            assert kept is None
            continue
        written = json.loads((run_of(suite, out, cell) / "score.json").read_text())
        assert kept == {key: written[key] for key in ("accuracy", "low", "high")}
        assert written["items"] == 500


def test_the_page_has_its_curves(done):
    suite, out = done
    (board,) = boards(suite, out)
    assert board.amounts == {"tuned": {"after turns": 40.0}, "scratch": {"from nothing": 40.0}}
    assert "By labels" in (out / "leaderboard.html").read_text()
    assert "| after turns | 40 |" in (out / "leaderboard.md").read_text()
    assert "test/accuracy" in (out / "leaderboard.csv").read_text()


def test_of_several_stages_the_chosen_one_counts():
    rows = [
        {"stage": name, "accuracy": value, "low": 0.0, "high": 1.0, "chosen": name == "b"}
        for name, value in (("a", 0.9), ("b", 0.4))
    ]
    assert own_score({"rows": rows}) == {"accuracy": 0.4, "low": 0.0, "high": 1.0}
    assert own_score({"rows": rows[:1]}) is None
    assert own_score({"miou": 0.3, "iou": {"pet": 0.1}, "low": 0.2, "high": 0.4}) == {
        "miou": 0.3,
        "low": 0.2,
        "high": 0.4,
    }


def test_its_name_changes_with_what_it_starts_from_and_not_with_its_place_on_a_curve(tmp_path):
    def names(change=None):
        suite = read_suite(suite_file(tmp_path, change))
        return {cell.name: file_of(suite, tmp_path, cell) for cell in cells(suite)}

    first = names()
    placed = names(lambda entries: entries["tuned"].update(amounts={"other": 3}))
    assert placed == first
    other = names(lambda entries: entries["turn"].update(options={"trainer.max_steps": 3}))
    assert {name for name in first if first[name] != other[name]} == {"turn", "tuned"}


def test_it_comes_later_while_others_train_what_it_starts_from(tmp_path):
    suite = read_suite(suite_file(tmp_path))
    each = {cell.name: cell for cell in cells(suite)}
    run = run_of(suite, tmp_path, each["turn"])
    with FileLock(run.parents[1] / f"digits-{run.name}.lock"):
        assert [_job(suite, tmp_path, None, each[name]).waits() for name in ("tuned", "scratch", "turn")] == [
            True,
            False,
            False,
        ]
        run.mkdir(parents=True)
        (run / "bench.json").write_text("{}")
        assert not _job(suite, tmp_path, None, each["tuned"]).waits()
        (run / "bench.json").unlink()
    assert not _job(suite, tmp_path, None, each["tuned"]).waits()


@pytest.mark.slow
def test_processes_that_share_the_work_train_a_start_once_and_end(tmp_path):
    def twice(entries):
        again = {**entries["tuned"], "options": {"data.limit": 50}, "amounts": {"after turns": 50}}
        entries.update({"again": again, "deeper": {**again, "start": "tuned", "options": {}}})

    file, out = suite_file(tmp_path, twice), tmp_path / "out"
    places = os.pathsep.join(str(ROOT / name) for name in ("", "tests", "tests/benchmark"))
    env = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pretext", "bench", str(file), "--out", str(out)]
    each = [
        subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "abc"
    ]
    said = [process.communicate(timeout=240) for process in each]
    assert [process.returncode for process in each] == [0, 0, 0], said
    suite = read_suite(file)
    assert all(file_of(suite, out, cell).exists() for cell in cells(suite))
    trained = [line for told, _ in said for line in told.splitlines() if line.startswith("run: ")]
    assert len(trained) == len(set(trained)) == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda entries: entries["tuned"].update(start="turns"),
            "digits/tuned starts from 'turns'; the board has scratch, tuned",
        ),
        (
            lambda entries: entries["turn"].update(start="tuned"),
            "only a config starts from an entry, and not from itself",
        ),
        (lambda entries: entries.update(turn={"backbone": "nets.TinyNet"}), "starts from another project's backbone"),
        (lambda entries: entries.update(turn={"run": "x", "start": "scratch"}), "only a config starts"),
    ],
)
def test_a_start_that_leads_nowhere_is_refused(tmp_path, change, told):
    with pytest.raises(ValueError, match=told):
        read_suite(suite_file(tmp_path, change))
