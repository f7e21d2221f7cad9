"""Architectures compared by tasks and labels: one budget, fixed statistics, what fails, and the authors' own files."""

import copy
import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from nets import TinyNet
from omegaconf import OmegaConf
from scipy import stats
from torch import nn

from datamodules import Digits, Splitting
from pretext import Pretrainer, Rotation
from pretext.backbones.genotype import genotype_of
from pretext.core.rng import rng
from pretext.report.nas import every_score, write_comparison
from pretext.search.nas.objective import Measurer
from pretext.search.nas.published import read_summaries
from pretext.search.nas.results import Architecture, compared
from pretext.search.nas.scoring import calibrate, score, value_of, within
from pretext.search.nas.settings import read_comparison
from pretext.search.nas.worker import _write_genotypes
from pretext.search.space import CellSpace, ResNetSpace, draw
from pretext.training.run import build

CONFIG = OmegaConf.to_container(
    OmegaConf.create("""
model:
  tasks:
    turn: {class_path: pretext.Rotation}
    colour: {class_path: pretext.Colorization}
  augment: {class_path: pretext.Augment, init_args: {crop: 12}}
  optim: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.05}}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 16, split: {limit: 120, val: 0.25}}}
trainer: {max_epochs: 2, accelerator: cpu}
nas:
  space:
    class_path: pretext.search.space.ResNetSpace
    init_args: {widths: [2, 4], depths: [1], kernels: [1, 3], stages: 2}
  architectures: 4
  steps: 3
  items: 40
  calibration: 64
""")
)


def comparison(*options, **section):
    config = copy.deepcopy(CONFIG)
    config["nas"] |= section
    return read_comparison(config, list(options))


class Watched:
    """A data module that notes which items it hands out."""

    def __init__(self, data):
        self.data, self.seen = data, []
        inner = data.train_dataloader
        data.train_dataloader = lambda: self._noted(inner())

    def _noted(self, batches):
        for batch in batches:
            self.seen.append(batch["index"].tolist())
            yield batch


def test_every_job_trains_as_many_steps_on_the_same_batches_in_the_same_order(tmp_path):
    measurer = Measurer(comparison(), tmp_path)
    measurer.check()
    orders = []
    for measure, architecture in (("turn", 0), ("supervised", 3)):
        watched = Watched(measurer.data_of(measure))
        measurer.trained(measure, measurer.drawn(architecture), 0)
        orders.append(watched.seen[:3])
        measurer.data_of(measure).__dict__.pop("train_dataloader")
    assert all(order == orders[0] for order in orders)
    watched = Watched(measurer.data_of("turn"))
    measurer.trained("turn", measurer.drawn(0), 1)
    assert watched.seen[:3] != orders[0]  # another seed


def test_a_job_gives_the_same_score_whatever_was_trained_before(tmp_path):
    scores = []
    for order in (["turn", "supervised"], ["supervised", "turn"]):
        measurer = Measurer(comparison(), tmp_path)
        scores.append({name: measurer.scored(measurer.trained(name, measurer.drawn(2), 0), name) for name in order})
    assert scores[0] == scores[1]
    assert set(scores[0]["turn"]) == {"loss", "accuracy"}
    assert set(scores[0]["supervised"]) == {"accuracy", "low", "high"}


def test_a_supervised_job_is_fine_tuning_from_scratch_with_the_tasks_crops_and_optimiser(tmp_path):
    measurer = Measurer(comparison(), tmp_path)
    pretext, labels = (build(measurer.config(name, measurer.drawn(1), 5))[0] for name in ("turn", "supervised"))
    assert type(labels).__name__ == "FineTune"
    assert (labels.seed, repr(labels.augment)) == (5, repr(pretext.augment))
    assert repr(labels.rates.optim) == repr(pretext.rates.optim)
    for mine, theirs in zip(labels.backbone.parameters(), pretext.backbone.parameters(), strict=True):
        assert torch.equal(mine, theirs)  # the same start


def test_batch_norm_has_the_statistics_of_the_fixed_items_and_nothing_else_changes():
    torch.manual_seed(0)
    host = Pretrainer(TinyNet(dropout=0.5), {"turn": Rotation}, seed=3)
    data = Digits(size=16, batch_size=32, split=Splitting(limit=64))
    before = {name: value.clone() for name, value in host.state_dict().items()}
    calibrate(host, data.ordered("train", 64))
    first = host.backbone.conv1
    seen = []
    for number, batch in enumerate(data.ordered("train", 64)):
        x = host.inputs.centre(batch["x"])
        question = host.tasks["turn"].pose(x, rng("cpu", 3, "calibration", "turn", 0, 0, number)).question
        seen.append(first[0]((question - 0.45) / 0.225).mean((0, 2, 3)))
    assert torch.allclose(first[1].running_mean, torch.stack(seen).mean(0), atol=1e-6)
    moved = {name for name, value in host.state_dict().items() if not torch.equal(value, before[name])}
    assert all("running" in name or "num_batches" in name for name in moved)
    assert first[1].momentum == 0.1
    assert not any(module.training for module in host.modules() if isinstance(module, nn.BatchNorm2d))
    again = {name: value.clone() for name, value in host.state_dict().items()}
    calibrate(host, data.ordered("train", 64))
    assert all(torch.equal(value, again[name]) for name, value in host.state_dict().items())


def test_a_task_is_scored_on_the_items_and_puzzles_of_validation():
    torch.manual_seed(0)
    host = Pretrainer(TinyNet(), {"turn": Rotation}, seed=0).eval().requires_grad_(False)
    data = Digits(size=16, batch_size=20, split=Splitting(limit=200, val=0.5))
    figures = score(host, data.val_dataloader())
    grades = []
    for number, batch in enumerate(data.val_dataloader()):
        grade = host.exam(host.tasks["turn"], host.inputs.centre(batch["x"]), 0, "val", "turn", 0, 0, number)
        grades.append((len(batch["index"]), float(grade.loss), float(grade.scores["accuracy"])))
    weights, losses, shares = np.array(grades).T
    assert figures["loss"] == pytest.approx(np.average(losses, weights=weights))
    assert figures["accuracy"] == pytest.approx(np.average(shares, weights=weights))
    assert value_of(figures) == figures["accuracy"]
    assert value_of({"loss": 0.25}) == -0.25
    assert sum(len(batch["index"]) for batch in within(data.val_dataloader(), 41)) == 60  # whole batches
    with pytest.raises(ValueError, match=r"the data holds out none; set a share, such as --data\.split\.val 0\.1"):
        score(host, [])


def rows(n=12, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.normal(size=n)
    return [
        Architecture(str(i), {"width": i}, {"turn": x + generator.normal(), "noise": generator.normal(), "labels": x})
        for i, x in enumerate(labels.tolist())
    ]


def test_what_is_compared_is_that_of_scipy_and_what_is_taken_the_best_by_each():
    found = compared(["turn", "noise", "labels"], rows())
    columns = {name: [one.scores[name] for one in found.architectures] for name in found.measures}
    for pair in found.pairs:
        expected = stats.spearmanr(columns[pair.first], columns[pair.second])
        assert pair.rank.rho == pytest.approx(expected.statistic)
        assert pair.interval.low <= pair.rank.rho <= pair.interval.high
    assert found.pair("labels", "turn") is found.pair("turn", "labels")
    for name in found.measures:
        best = max(range(12), key=lambda i: columns[name][i])
        assert found.taken[name].name == str(best)
        assert found.curves[name][-1] == (12, columns["labels"][best], 0.0)


def test_measures_of_two_sets_are_told_apart_on_the_page_and_in_the_table(tmp_path):
    names = {"turn": "turn", "noise": "turn on second data", "labels": "supervised"}
    renamed = [replace(one, scores={names[key]: value for key, value in one.scores.items()}) for one in rows(24)]
    found = compared(list(names.values()), [replace(one, parameters=i) for i, one in enumerate(renamed)])
    assert [pair.across for pair in found.pairs] == [True, False, True]
    write_comparison(found, tmp_path / "nas.html", "two", {})
    with (tmp_path / "nas_correlations.csv").open() as file:
        listed = {(row["first"], row["second"]): row for row in csv.DictReader(file)}
    assert [row["data"] for row in listed.values()] == [
        "two sets",
        "one set",
        "two sets",
        "one set",
    ]  # of the control too
    columns = {name: [one.scores[name] for one in found.complete] for name in found.measures}
    for pair in found.pairs:
        row, expected = listed[pair.first, pair.second], stats.spearmanr(columns[pair.first], columns[pair.second])
        assert float(row["rho"]) == pytest.approx(expected.statistic)
        assert float(row["p"]) == pytest.approx(expected.pvalue)
        assert float(row["low"]) <= float(row["rho"]) <= float(row["high"])
        assert row["architectures"] == "24"
    page = (tmp_path / "nas.html").read_text()
    assert "Across two sets of data" in page
    write_comparison(compared(["turn", "labels"], rows(24)), tmp_path / "one.html", "one", {})
    assert "Across two sets of data" not in (tmp_path / "one.html").read_text()


def test_the_size_of_a_network_is_the_control():
    sized = [replace(one, parameters=1000 - i, multiply_adds=None if i else 1) for i, one in enumerate(rows())]
    found = compared(["turn", "labels"], sized)
    (control,) = found.controls  # multiply-adds are not known of all
    expected = stats.spearmanr([one.parameters for one in sized], [one.scores["labels"] for one in sized]).statistic
    assert (control.first, control.second) == ("parameters", "labels")
    assert control.rank.rho == pytest.approx(expected)


def test_the_papers_own_space_is_named_on_the_command_line(tmp_path):
    options = ("--space=pretext.search.space.CellSpace", "--space.width=2", "--space.cells=3")
    found = comparison(*options, space=None)
    measurer = Measurer(found, tmp_path)
    module, _ = build(measurer.config("turn", measurer.drawn(3), 0))
    assert (type(module.backbone).__name__, module.backbone.width, module.backbone.cells) == ("Cells", 2, 3)
    assert found.shared["nas"]["space"]["init_args"]["width"] == 2


def test_what_failed_or_waits_counts_in_no_measure():
    every = rows()
    sick = [
        Architecture("12", {}, {"turn": 9.0}, "failed", reason="labels: diverged"),
        Architecture("13", {}, {}, "waiting"),
    ]
    whole, less = compared(["turn", "labels"], every), compared(["turn", "labels"], [*every, *sick])
    assert less.pairs == whole.pairs
    assert [one.name for one in less.failed] == ["12"]
    assert len(less.complete) == 12


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_too_few_architectures_are_told_on_the_page_and_nothing_breaks(tmp_path, count):
    results = compared(["turn", "labels"], rows()[:count])
    write_comparison(results, tmp_path / "nas.html", "few", {})
    page = (tmp_path / "nas.html").read_text()
    said = (
        "nothing can be ranked"
        if count < 2
        else f"{count} architectures have both: too few"
        if count < 3
        else "wants 20"
    )
    assert said in page
    assert math.isnan(results.pair("turn", "labels").interval.low)


def test_the_page_escapes_names_and_the_table_holds_every_score(tmp_path):
    scores = [{"<b>turn": one.scores["turn"], "labels": one.scores["labels"]} for one in rows(24)]
    every = [Architecture(str(i), {"<q>": "<u>"}, own, parameters=5) for i, own in enumerate(scores)]
    results = compared(["<b>turn", "labels"], every)
    write_comparison(results, tmp_path / "nas.html", "escaped", {"command": "pretext nas sample"})
    page = (tmp_path / "nas.html").read_text()
    assert not [word for word in ("<b>turn", "<q>", "<u>") if word in page]
    table = (tmp_path / "nas.csv").read_text().splitlines()
    assert table[0] == "architecture,state,<b>turn,labels,parameters,multiply-adds,<q>"
    assert table[1].split(",")[2:5] == [repr(results.architectures[0].scores[n]) for n in results.measures] + ["5"]
    assert len(table) == 1 + 24 == len(every_score(results).rows) + 1


def summary(file, errors, nested=False):
    """Write a file as the authors' sweeps do."""
    cells = {
        name: {"normal": [["none", i]], "reduce": [["none", 0]], "normal_concat": [2]} for i, name in enumerate("abcde")
    }
    jobs = [
        {"job_id": i, "net": {"genotype": cells[name]}, "min_test_top1": [99.0, error] if nested else error}
        for i, (name, error) in enumerate(errors.items())
    ]
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"job_summaries": jobs}))


def test_results_of_unnas_are_read_runs_averaged_and_what_is_missing_anywhere_dropped(tmp_path):
    summary(tmp_path / "cifar10" / "rot" / "1" / "sweep_summary.json", {"a": 10, "b": 20, "c": 30, "d": 40})
    summary(
        tmp_path / "cifar10" / "rot" / "2" / "sweep_summary.json", {"d": 41, "c": 31, "b": 21, "a": 12}, nested=True
    )
    summary(tmp_path / "imagenet" / "cls" / "1" / "sweep_summary.json", {"a": 5, "b": 4, "c": 3, "e": 2})
    found = read_summaries(tmp_path)
    assert found.measures == ["cifar10/rot", "imagenet/cls"]
    assert [one.scores["cifar10/rot"] for one in found.complete] == pytest.approx([0.89, 0.795, 0.695])
    assert found.pair("cifar10/rot", "imagenet/cls").rank.rho == -1
    assert found.pair("cifar10/rot", "imagenet/cls").across
    assert [(one.state, one.reason) for one in found.architectures[3:]] == [
        ("failed", "no result of every run of imagenet/cls"),
        ("failed", "no result of every run of cifar10/rot"),
    ]
    assert read_summaries(tmp_path, "cifar10/rot").reference == "cifar10/rot"


def test_an_error_that_is_no_number_is_a_failed_run(tmp_path):
    """Python's JSON writes NaN, and reads it."""
    summary(tmp_path / "rot" / "1" / "sweep_summary.json", {"a": 10, "b": 20, "c": 30, "d": math.nan})
    summary(tmp_path / "cls" / "1" / "sweep_summary.json", {"a": 5, "b": 4, "c": 3, "d": 2})
    found = read_summaries(tmp_path)
    assert len(found.complete) == 3
    assert [(one.state, one.reason) for one in found.failed] == [("failed", "no result of every run of rot")]
    assert found.pair("rot", "cls").rank.rho == -1


def test_cells_of_each_complete_architecture_are_written_as_others_read_them(tmp_path):
    space = CellSpace(width=2, cells=3)
    every = [Architecture(str(i), c, {"turn": 1.0 * i, "labels": 2.0}, "done") for i, c in enumerate(draw(space, 4, 0))]
    results = compared(["turn", "labels"], [*every, Architecture("4", every[0].choice, {}, "failed")])
    _write_genotypes(space, results, tmp_path / "genotypes")
    assert {file.name for file in (tmp_path / "genotypes").iterdir()} == {f"{i}.json" for i in range(4)}
    for one in every:
        expected = space.configured({"model": {}}, one.choice)["model"]["backbone"]["init_args"]["genotype"]
        assert genotype_of(str(tmp_path / "genotypes" / f"{one.name}.json")) == genotype_of(expected)
    write_comparison(results, tmp_path / "nas.html", "cells", {})
    page = " ".join((tmp_path / "nas.html").read_text().split())
    assert "genotypes/N.json beside this page" in page
    assert "0, the first of 4 equals" in page
    assert "rho = nan" not in page
    _write_genotypes(ResNetSpace(), results, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_are_no_results_of_unnas_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no sweep_summary\.json in"):
        read_summaries(tmp_path)
    summary(tmp_path / "rot" / "1" / "sweep_summary.json", {"a": 1})
    with pytest.raises(ValueError, match="holds results of rot alone"):
        read_summaries(tmp_path)
    (tmp_path / "cls").mkdir()
    (tmp_path / "cls" / "sweep_summary.json").write_text('{"job_summaries": [{"job_id": 1}]}')
    with pytest.raises(ValueError, match="is no summary of a sweep"):
        read_summaries(tmp_path)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"architectures": 2}, "architectures=2; a rank correlation wants at least 3"),
        ({"architectures": 50}, "50 points of ResNetSpace, which has 8; draw fewer"),
        ({"steps": 0}, "steps=0"),
        ({"tasks": ["turns"]}, r"unknown tasks \['turns'\]; the tasks are \['colour', 'turn'\]"),
        ({"tasks": ["turn"], "supervised": False}, r"only \['turn'\] to measure"),
        ({"reference": "jigsaw"}, "no measure 'jigsaw' to compare with; there are turn, colour, supervised"),
        ({"space": {"class_path": "pretext.search.space.ResNetSpace", "init_args": {"widths": []}}}, "an empty space"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_in_one_line(section, said):
    with pytest.raises(Exception, match=said):
        comparison(**section)


def test_a_task_that_the_data_cannot_pose_is_named_before_there_is_a_study(tmp_path):
    with pytest.raises(ValueError, match=r"nas: colour: Colorization wants RGB images .* for stride=40"):
        Measurer(comparison("--model.tasks.colour.init_args.stride=40"), tmp_path).check()
    with pytest.raises(ValueError, match=r"nas: turn: nas: tasks are scored on items held out"):
        Measurer(comparison("--data.split.val=0"), tmp_path).check()


def test_measures_of_two_sets_of_data_and_the_reference_stands_last():
    found = comparison(
        second={"class_path": "datamodules.Digits", "init_args": {"size": 16}}, reference="supervised on second data"
    )
    assert found.measures == ["turn", "colour", "supervised", "supervised on second data"]
    assert "root" not in str(found.shared["nas"]["second"])
