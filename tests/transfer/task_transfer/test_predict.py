"""`pretext transfer predict` on digits: trains, predicts, repeats nothing, and says what cannot be."""

import csv
import json
from dataclasses import replace

import pytest
import torch
from predicted import TASKS, suite_file

from pretext.__main__ import main
from pretext.backbones.pretrained.build import pretrained
from pretext.core.files import write_json
from pretext.core.rng import rng
from pretext.report.task_transfer import findings
from pretext.transfer.task_transfer.networks import build, losses_of
from pretext.transfer.task_transfer.picture import Network, PictureTask
from pretext.transfer.task_transfer.results import Predicted, Predictions
from pretext.transfer.task_transfer.runner import Predictor
from pretext.transfer.task_transfer.suite import Correlated, read_task_suite
from pretext.transfer.task_transfer.vectors import layout_of


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    home = tmp_path_factory.mktemp("predict")
    file = suite_file(home)
    assert main(["transfer", "predict", str(file), "--out", str(home / "out"), "--study", "3"]) == 0
    return file, home / "out"


def test_every_target_is_predicted_by_every_way_and_judged_where_somebody_can(done):
    file, out = done
    edges, unlabelled = Predictor(read_task_suite(file), out).results().targets
    ways = ["TTNet", "ridge", "mean", "best source", "start"]
    assert [edges.failed, unlabelled.failed] == [None, None]
    assert list(edges.losses) == [*ways, "supervised", *(f"{way} + few" for way in ways)]
    assert [len(edges.losses[way]) for way in ("TTNet", "supervised")] == [1, 2]
    assert edges.win("supervised", "supervised").rate == 0.5
    assert set(edges.reuse) == set(ways)
    assert "edges" not in edges.sources
    assert unlabelled.losses == {}
    assert set(unlabelled.sources) == set(TASKS)
    assert edges.shared > 0.5  # one start, few steps
    assert edges.warning == ""


def test_files_hold_what_was_found_and_the_study_has_a_picture(done):
    _, out = done
    rows = list(csv.DictReader((out / "predict.csv").read_text().splitlines()))
    assert sorted(row["target"] for row in rows if row["chosen"] == "yes") == ["edges", "unlabelled"]
    found = json.loads((out / "predict.json").read_text())
    assert {one["target"] for one in found["study"]} == {"edges"}  # nobody can judge the other
    html = (out / "predict.html").read_text()
    assert "by number of sources" in html
    assert "2 of 2 targets predicted" in html


def test_what_is_finished_is_never_done_again(done):
    file, out = done
    files = [file for kind in ("models", "targets", "study") for file in (out / kind).iterdir()]
    before = {f: f.stat().st_mtime_ns for f in files if f.suffix != ".lock"}  # which some filelocks touch
    assert main(["transfer", "predict", str(file), "--out", str(out), "--study", "3"]) == 0
    assert {f: f.stat().st_mtime_ns for f in before} == before


def test_a_predicted_encoder_is_a_backbone_that_others_can_take(done):
    _, out = done
    file = out / "predicted" / "unlabelled" / "ridge-encoder.pt"
    encoder = pretrained("nets.TinyNet,width=4", str(file)).trained()
    whole = torch.load(out / "predicted" / "unlabelled" / "ridge.pt", weights_only=True)
    assert torch.equal(encoder.conv1[0].weight, whole["encoder.conv1.0.weight"])


def test_models_of_one_start_begin_alike_and_others_do_not(done):
    suite = read_task_suite(done[0])
    one, two = build(suite, "edges").state_dict(), build(suite, "inpainting").state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    own = build(suite, "edges", "edges 1").state_dict()
    assert not torch.equal(own["encoder.conv1.0.weight"], one["encoder.conv1.0.weight"])
    assert not torch.equal(own["task.head.decoder.layers.0.weight"], one["task.head.decoder.layers.0.weight"])


def test_predicted_weights_pass_gradients_on(done):
    file, out = done
    shop = Predictor(read_task_suite(file), out).own
    vector = shop.weights("denoising")[0].clone().requires_grad_()
    shop.consistency("denoising", vector, 0).backward()
    assert (vector.grad != 0).float().mean() > 0.5
    assert shop.losses("denoising", shop.weights("denoising")[0]) == shop.losses("denoising", vector.detach())


@pytest.mark.parametrize("name", TASKS)
def test_a_blind_guess_costs_1_whatever_the_task(done, name):
    network = build(read_task_suite(done[0]), name)
    for parameter in network.task.head.parameters():
        torch.nn.init.zeros_(parameter)
    photos = torch.randint(256, (50, 3, 16, 16), dtype=torch.uint8, generator=rng("cpu", "photos"))
    losses = losses_of(network, network.state_dict(), photos, name)
    assert isinstance(network.task, PictureTask)
    if name == "inpainting":  # holes only
        assert sum(losses) / 50 == pytest.approx(1, abs=0.1)
    else:
        assert sum(losses) / 50 == pytest.approx(1, abs=1e-3)


def test_layouts_hold_the_head_that_all_share_and_not_the_tasks_own(done):
    suite = read_task_suite(done[0])
    layouts = {name: layout_of(build(suite, name).state_dict()) for name in TASKS}
    assert len(set(layouts.values())) == 1
    assert isinstance(build(suite, "light"), Network)


def test_correlations_are_measured_where_no_file_has_them(done):
    """Affinities of one target sum to 1: what is standardised are their logarithms, of mean 0."""
    file, out = done
    suite = read_task_suite(file)
    tasks = {name: entry for name, entry in suite.tasks.items() if entry.known}
    shop = Predictor(replace(suite, tasks=tasks, targets=[], correlations=Correlated(items=10, steps=1)), out)
    for source in tasks:
        shop.affinity_job(source, "edges").file.parent.mkdir(exist_ok=True)
        write_json(shop.affinity_job(source, "edges").file, shop.affinity_job(source, "edges").run())
    column = shop.own.gamma().between(list(tasks), ["edges"])[:, 0]
    assert column.mean() == pytest.approx(0, abs=1e-9)
    assert column.std() == pytest.approx(1)


def test_a_page_begins_with_which_way_is_best_and_whether_one_can_tell():
    losses = [
        {"TTNet": a, "ridge": 0.5, "mean": b, "best source": 0.9} for a, b in ((0.4, 0.6), (0.7, 0.3), (0.8, 0.2))
    ]
    done = tuple(
        Predicted(name, chosen="mean", losses={way: [[loss]] for way, loss in one.items()})
        for name, one in zip("abc", losses, strict=True)
    )
    assert findings(Predictions("title", done, 3)) == [
        "Without labels “mean” has the lowest loss on 2 of 3 targets, TTNet on 1.",
        "The way that does best on known tasks is the best one on 2 of 3 targets.",
    ]
    tied = findings(Predictions("title", done[:2], 2))[0]
    assert tied == "Without labels “TTNet” and “mean” have the lowest loss on 1 of 2 targets each."
    assert findings(Predictions("title", (Predicted("a"),), 3)) == ["Nothing is predicted yet, or nobody can judge it."]


def test_a_warning_says_what_it_costs():
    one = Predicted("depth", shared=0.001, left=(("ridge", 0.0, 0.04, None), ("mean", 0.0, -0.1, None)))
    assert "sources of depth have no common basis (squared cosines 0.001" in one.warning
    assert "the best way finds a cosine of 0.04 (chance 0)" in one.warning
    assert Predicted.from_json(one.to_json()) == one
    assert one.unlearnt == ""
    assert "depth: TTNet has not even learnt" in Predicted("depth", remembered=0.79).unlearnt
    assert Predicted("depth", remembered=0.06).unlearnt == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--study", "2", "3"], "a study of 2 sources; from 3 to 3 of them can be drawn"),
        (["--study", "4"], "a study of 4 sources; from 3 to 3 of them can be drawn"),
        (["--study", "3", "--draws", "0"], "draws=0; give 1 or more"),
    ],
)
def test_a_study_that_cannot_be_is_told_in_one_line(tmp_path, capsys, words, message):
    assert main(["transfer", "predict", str(suite_file(tmp_path)), "--out", str(tmp_path / "out"), *words]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"targets": ["depth"]},
            "targets depth are no tasks; there are denoising, edges, inpainting, light, unlabelled",
        ),
        ({"tasks": {name: TASKS[name] for name in ("edges", "light")}, "targets": []}, "2 known tasks; it wants four"),
        ({"correlations": {}}, "unlabelled: it names no task; correlations with it cannot be measured here"),
        ({"training": {"start": "any", "subset": 9}}, "start='any'; choose one of common, own"),
        ({"correlations": {"table": "none.csv"}}, "no none.csv, which correlations are to come from"),
        ({"tusks": {}}, "Key 'tusks' not in 'TaskSuite'"),
    ],
)
def test_a_suite_that_cannot_be_is_told_in_one_line(tmp_path, capsys, changes, message):
    assert main(["transfer", "predict", str(suite_file(tmp_path, **changes))]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
