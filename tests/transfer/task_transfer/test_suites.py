"""Suites whose networks were trained before, whose correlations are voted or scored; and two processes, one killed."""

import time
from functools import partial

import forked
import pytest
import torch
import yaml
from nets import TinyNet
from predicted import TASKS, suite_file

from datamodules import Digits, Splitting
from pretext import Denoising, Pretrainer, fit
from pretext.__main__ import main
from pretext.transfer.task_transfer.picture import PictureTask
from pretext.transfer.task_transfer.results import Predicted
from pretext.transfer.task_transfer.runner import Predictor
from pretext.transfer.task_transfer.suite import read_task_suite

SMALL = {
    "targets": ["unlabelled"],
    "training": {"models": 1, "subset": 40, "steps": 1, "batch": 10},
    "few": 0,
    "items": 50,
    "test_items": 20,
}
SMALL["regression"] = {"hidden": 4, "steps": 1, "batch": 5, "consistency": [0.0]}
PAIRS = [f"{a}|{b}" for i, a in enumerate([*TASKS, "unlabelled"]) for b in [*TASKS, "unlabelled"][i + 1 :]]


def predicted(folder, **changes):
    """Predict, and return the last target, which has no labels, and the suite."""
    file = suite_file(folder, **SMALL | changes)
    assert main(["transfer", "predict", str(file), "--out", str(folder / "out")]) == 0
    shop = Predictor(read_task_suite(file), folder / "out")
    assert [one.failed for one in shop.results().targets if one.failed] == []
    return shop.results().targets[-1], shop


def test_votes_of_how_much_pairs_have_to_do_and_of_which_pair_has_more_are_both_correlations(tmp_path):
    judged = [f"{pair},{rater},{k % 3}" for k, pair in enumerate(PAIRS) for rater in ("x", "y")]
    (tmp_path / "votes.csv").write_text("\n".join(["item,rater,answer", *judged]))
    found, shop = predicted(tmp_path, correlations={"votes": str(tmp_path / "votes.csv"), "items": 10, "steps": 1})
    places = {pair: k % 3 for k, pair in enumerate(PAIRS)}  # raters agree
    assert found.gamma == pytest.approx([places[f"{name}|unlabelled"] for name in found.sources])
    assert set(found.sources) == set(TASKS)
    before = shop.own.file("targets", "unlabelled")
    turns = [(PAIRS[k], PAIRS[(k + 1) % len(PAIRS)]) for k in range(len(PAIRS))]
    preferred = [f"x,{a},{b},{a},{1 + k}" for k, (a, b) in enumerate(turns)]
    (tmp_path / "votes.csv").write_text("\n".join(["rater,a,b,winner,count", *preferred]))
    own = Predictor(read_task_suite(shop.folder.parent / "suite.yaml"), shop.folder).own  # as the next process reads it
    assert own.file("targets", "unlabelled") != before  # another content, another suite
    assert own.model_file("edges", 0) == shop.own.model_file("edges", 0)
    strengths = own.gamma().between([*TASKS], ["unlabelled"])[:, 0]
    assert len({round(float(strength), 6) for strength in strengths}) == len(TASKS)
    assert own.gamma().between(["edges"], ["edges"]).item() >= strengths.max()


@pytest.mark.slow  # a map of 16 transfers first
def test_scores_of_a_map_are_correlations(tmp_path):
    """Its targets have the names of tasks; each asks for the digits, at a size of its own."""
    names = [*TASKS, "unlabelled"]
    sources = {name: {"backbone": f"nets.TinyNet,width={k + 3}"} for k, name in enumerate(TASKS)}
    targets = {name: {"data": {"data": "datamodules.Digits", "data.size": 8 + k}} for k, name in enumerate(names)}
    readout = {"width": 4, "items": 60, "test_items": 20, "steps": 1, "batch": 20, "seeds": [0], "kind": "linear"}
    content = {"network": {"class_path": "nets.TinyNet"}, "sources": sources, "targets": targets, "readout": readout}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(content | {"self_items": 60, "self_steps": 1}))
    assert main(["transfer", str(tmp_path / "map.yaml"), "--out", str(tmp_path / "map")]) == 0
    for score in ("log_me", "h_score"):
        found, shop = predicted(tmp_path, correlations={"scores": str(tmp_path / "map"), "score": score})
        assert len(set(found.gamma)) == len(TASKS)
        column = shop.own.gamma().between(list(TASKS), ["unlabelled"])[:, 0]
        assert column.mean() == pytest.approx(0, abs=1e-6)  # standardised for each target
        assert found.gamma == pytest.approx(column)


def trained(folder, task, width=4):
    """Train a run of one task for a step; all begin with the same weights and have one kind of head."""
    torch.manual_seed(0)
    module = Pretrainer(TinyNet(width, norm=False), {"pixels": partial(PictureTask, width=4, **task)})
    quiet = {"max_epochs": -1, "accelerator": "cpu", "enable_progress_bar": False, "limit_val_batches": 0}
    fit(module, Digits(size=16, split=Splitting(limit=60)), folder=folder, max_steps=1, **quiet)
    return {"runs": [str(folder)]}


def with_runs(folder, tasks):
    """Describe a suite of finished runs, and one task without labels."""
    tasks = tasks | {"unlabelled": {}}
    rows = [f"{a},{b},{(7 * i + 3 * j) % 5}" for i, a in enumerate(tasks) for j, b in enumerate(tasks)]
    (folder / "runs.csv").write_text("\n".join(["sources,target,value", *rows]))
    correlations = {"table": str(folder / "runs.csv"), "scale": "linear", "items": 10, "steps": 1}
    return SMALL | {"tasks": tasks, "targets": ["light", "unlabelled"], "correlations": correlations}


@pytest.mark.slow  # four runs
def test_finished_runs_are_known_tasks(tmp_path):
    kinds = ("masking", "gaussian", "salt_and_pepper")
    asked = {kind: {"task": partial(Denoising, noise=kind)} for kind in kinds}
    asked["light"] = {"task": Denoising, "sees": "light"}
    tasks = {name: trained(tmp_path / name, task) for name, task in asked.items()}
    found, shop = predicted(tmp_path, **with_runs(tmp_path, tasks))
    light = shop.results().targets[0]
    assert set(light.losses) == {"TTNet", "ridge", "mean", "best source", "supervised"}  # nobody knows their start
    assert light.shared > 0.5  # and it is one
    assert light.win("supervised", "supervised").rate == 0.5
    assert set(found.sources) == {*kinds, "light"}
    best = shop.own.loaded(found.sources[found.gamma.index(max(found.gamma))]).state_dict()
    written = torch.load(tmp_path / "out" / "predicted" / "unlabelled" / "best-source.pt", weights_only=True)
    assert all(torch.equal(value, best[name]) for name, value in written.items())


def test_runs_of_another_shape_are_told_in_one_line(tmp_path, capsys):
    one, wide = trained(tmp_path / "one", {"task": Denoising}), trained(tmp_path / "wide", {"task": Denoising}, width=6)
    tasks = dict.fromkeys(("a", "b", "c", "light"), one) | {"wide": wide}
    file = suite_file(tmp_path, **with_runs(tmp_path, tasks))
    capsys.readouterr()
    assert main(["transfer", "predict", str(file), "--out", str(tmp_path / "out")]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "wide has another shape than the others: (6, 3, 3, 3) in encoder.conv1.0.weight, they have (4," in told


def test_a_run_of_another_shape_than_what_is_trained_here_is_told_before_that(tmp_path, capsys):
    """Wherever it stands in the suite, it is the run that is named."""
    tasks = {"wide": trained(tmp_path / "wide", {"task": Denoising}, width=6), **TASKS}
    file = suite_file(tmp_path, **with_runs(tmp_path, tasks) | {"targets": ["unlabelled"]})
    capsys.readouterr()
    assert main(["transfer", "predict", str(file), "--out", str(tmp_path / "out")]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "wide has another shape than the others" in told
    assert not list((tmp_path / "out").rglob("*.pt"))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "table",
            "sources,target,value\nedges,light,1\nlight,edges,2",
            "denoising, inpainting, unlabelled are not there; there are edges",
        ),
        (
            "votes",
            "item,rater,answer\nedges|light,x,1\nedges|light,y,2",
            "inpainting, unlabelled are not there",
        ),
        ("votes", "item,rater,answer\nedges|light,x,1", "votes: 1 rater; it wants two"),
        ("votes", "rater,a,b,winner\nx,a|b,a|c,a|b", "no other item is ever preferred to a|b"),
        ("votes", "rater,a,b,winner\nx,a,b,tie", "preferences among other things; items are pairs a|b"),
    ],
)
def test_correlations_that_cannot_serve_are_told_in_one_line_before_anything_is_trained(
    tmp_path, capsys, name, text, message
):
    (tmp_path / "said.csv").write_text(text)
    file = suite_file(tmp_path, **SMALL | {"correlations": {name: str(tmp_path / "said.csv"), "scale": "linear"}})
    assert main(["transfer", "predict", str(file), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out" / "models").exists()


def test_scores_of_a_folder_without_any_are_told(tmp_path, capsys):
    file = suite_file(tmp_path, **SMALL | {"correlations": {"scores": str(tmp_path)}})
    assert main(["transfer", "predict", str(file), "--out", str(tmp_path / "out")]) == 1
    assert "no transfer has a score 'log_me'; targets of classes have such scores" in capsys.readouterr().err


@pytest.mark.slow  # two processes, and a third
def test_two_share_a_study_and_what_one_that_is_killed_had_finished_is_not_done_again(tmp_path):
    size = {"training": {"models": 3, "subset": 60, "steps": 25, "batch": 20}}
    file, out = suite_file(tmp_path, **size), tmp_path / "out"
    words = ["transfer", "predict", file, "--out", out, "--study", 3]
    two = [forked.start(tmp_path / f"{name}.log", *words) for name in ("first", "second")]
    end = time.monotonic() + 120
    while time.monotonic() < end and len(list(out.glob("models/*.json"))) < 4:
        time.sleep(0.02)
    two[0].kill()
    two[0].join()
    assert two[0].exitcode == -9
    assert forked.ended(two[1]) == 0
    first, second = ((tmp_path / f"{name}.log").read_text().splitlines() for name in ("first", "second"))
    began = [[line for line in lines if line.startswith("transfer predict: ")] for lines in (first, second)]
    assert 1 <= len(began[0]) < 12
    assert len(set(began[0]) & set(began[1])) <= 1  # what the first one had in its hands
    planned = 3 * len(TASKS) + 2 + 1  # one set of three sources, which is all
    assert len(set(began[0]) | set(began[1])) == planned
    assert len(began[0]) + len(began[1]) <= planned + 1
    kept = {f: f.stat().st_mtime_ns for kind in ("models", "targets", "study") for f in (out / kind).glob("*.[jp]*")}
    code, said = forked.run(tmp_path / "third.log", *words)
    assert (code, "transfer predict: " in said) == (0, False)
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    assert main(["transfer", "predict", str(file), "--out", str(tmp_path / "alone"), "--study", "3"]) == 0
    alone, shared = (Predictor(read_task_suite(file), folder, [3]).results() for folder in (tmp_path / "alone", out))
    assert [told(one) for one in shared.targets] == [told(one) for one in alone.targets]
    assert shared.study == alone.study


def told(one: Predicted):
    """All that a prediction says, but how long it took."""
    return one.to_json() | {"seconds": 0}
