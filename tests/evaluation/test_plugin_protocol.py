"""A protocol of a user's own, in a file beside the run, stands in every result and on every page."""

import csv
import json
import sys

import pytest
import torch
import yaml

from pretext.__main__ import main
from pretext.benchmark.compare import compared
from pretext.benchmark.suite import read_suite
from pretext.benchmark.summary import summary
from pretext.evaluation.available import DEFAULT, EVERY, protocols_named, with_sources
from pretext.evaluation.embed import Embedded
from pretext.evaluation.measure import measure
from pretext.evaluation.protocol import Curve, Description, Metric, Protocol, Sets
from pretext.evaluation.results import Score

PLUGIN = '''
"""A protocol in a file of its own."""

import torch

from pretext.evaluation.protocol import Description, Metric, Protocol
from pretext.evaluation.results import Score
from pretext.evaluation.statistics.intervals import accuracy_of


class NearestMean(Protocol):
    """Each test item gets the class whose mean is nearest."""

    description = Description(
        name="nearest_mean",
        title="Nearest class mean",
        short="Class mean",
        about="Euclidean distance to the mean of each class, on each stage's average",
        metrics=(Metric("accuracy", "accuracy", unit="%", interval="Wilson"),),
        settings={"norm": "p"},
    )

    def suits(self, sets):
        return sets.single

    def measure(self, stage, sets, rng):
        (train, test), (labels, answers) = sets.mean(stage), sets.labels()
        classes = torch.unique(labels)
        means = torch.stack([train[labels == label].float().mean(0) for label in classes])
        return Score({**accuracy_of(classes[torch.cdist(test.float(), means).argmin(1)], answers), "norm": 2.0})
'''
CONFIG = {
    "model": {
        "backbone": {"class_path": "nets.TinyNet"},
        "tasks": {"turn": {"class_path": "pretext.Rotation"}},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}},
    },
    "data": {"class_path": "datamodules.Digits", "init_args": {"size": 8, "batch_size": 64}},
    "trainer": {"max_steps": 3, "max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 0, "log_every_n_steps": 1},
}
PATH = "own_protocol.NearestMean"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the plug-in and a benchmark that measures by it."""
    home = tmp_path_factory.mktemp("home")
    (home / "own_protocol.py").write_text(PLUGIN)
    (home / "turn.yaml").write_text(yaml.safe_dump(CONFIG))
    board = {"data": {"data": "datamodules.Digits", "data.size": 8}, "entries": {"turn": {"config": "turn.yaml"}}}
    suite = {"seeds": [0], "protocols": ["knn", PATH], "dims": 64, "boards": {"digits": board}}
    (home / "suite.yaml").write_text(yaml.safe_dump(suite))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.syspath_prepend(home)
        yield home


@pytest.fixture(scope="module")
def bench(home):
    assert main(["bench", "suite.yaml", "--out", "out"]) == 0
    return home / "out"


@pytest.fixture(scope="module")
def run(bench):
    (run,) = bench.glob("runs/digits/turn-0-*")
    assert main(["probe", str(run), "--protocols", "knn", PATH, "--dims", "64"]) == 0
    return run


def test_the_plugin_stands_in_probe_json_with_what_it_says_of_itself(run):
    plain = json.loads((run / "probe.json").read_text())
    for row in plain["rows"]:
        assert list(row) == ["features", "stage", "dims", "chosen", "knn", "nearest", "nearest_mean"]
        assert 0.1 < row["nearest_mean"]["low"] < row["nearest_mean"]["accuracy"] < row["nearest_mean"]["high"]
    assert plain["protocol"]["nearest_mean"].startswith("Euclidean distance")
    assert Description.from_json(plain["described"]["nearest_mean"]).title == "Nearest class mean"
    assert list(plain["described"]) == ["nearest_mean"]  # what is known anyway is not written


def test_the_plugin_stands_in_the_cells_and_their_summary(bench, run):
    (board,) = compared([run])
    cells = [json.loads(file.read_text()) for file in bench.glob("cells/digits/*.json")]
    assert len(cells) == 3
    assert all("nearest_mean" in row for cell in cells for row in cell["rows"])
    trained = next(cell for cell in board.cells if cell.kind == "trained")
    entry = next(entry for entry in summary(board) if entry.kind == "trained")
    assert entry.others["nearest_mean"].value == trained.chosen.score("nearest_mean").value("accuracy").value


def test_the_plugin_has_its_columns_in_the_csv(bench, run):
    with (bench / "leaderboard.csv").open(newline="") as lines:
        rows = {(row["kind"], row["stage"]): row for row in csv.DictReader(lines)}
    for row in json.loads((run / "probe.json").read_text())["rows"]:
        for key in ("accuracy", "low", "high", "norm"):
            assert float(rows[row["features"], row["stage"]][f"nearest_mean/{key}"]) == row["nearest_mean"][key]


def percent(run):
    """The plug-in's accuracy on the chosen stage of the trained network, as pages show it."""
    rows = json.loads((run / "probe.json").read_text())["rows"]
    chosen = next(row for row in rows if row["features"] == "trained" and row["chosen"])
    return f"{100 * chosen['nearest_mean']['accuracy']:.1f}"


def test_the_plugin_stands_in_the_printed_table_and_in_the_report(run, capsys):
    assert main(["probe", str(run), "--protocols", "knn", PATH, "--dims", "64"]) == 0
    printed = capsys.readouterr().out
    assert "class mean" in printed.lower()
    assert percent(run) in printed
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "Nearest class mean" in page
    assert percent(run) in page


def test_the_plugin_stands_on_the_leaderboard(bench, run):
    page = (bench / "leaderboard.html").read_text()
    assert "Nearest class mean" in page
    assert percent(run) in page


def test_the_report_needs_no_import_of_the_plugin(run, monkeypatch):
    """A result says all that is needed to show it; who only looks at it runs nobody's code."""
    monkeypatch.setitem(sys.modules, "own_protocol", None)  # importing it now fails
    assert main(["report", str(run)]) == 0
    (board,) = compared([run])
    assert "nearest_mean" in {description.name for description in board.descriptions}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "liner",
            "no protocol 'liner'; did you mean linear? There are knn, linear, svm, quality, low_label, "
            "transferability, zero_shot, retrieval, or give",
        ),
        ("zzz", "no protocol 'zzz'; there are knn, linear"),
        ("nowhere.Mine", "no protocol 'nowhere.Mine': No module named 'nowhere'"),
        ("own_protocol.Mine", "no protocol 'own_protocol.Mine': own_protocol has no class 'Mine'"),
        ("nets.TinyNet", "nets.TinyNet, which is no pretext.evaluation.protocol.Protocol; derive the class from it"),
    ],
)
def test_a_mistake_in_a_name_is_told_by_both_verbs(home, tmp_path, capsys, name, told):
    assert main(["probe", "--backbone", "nets.TinyNet", "--protocols", name]) == 1
    assert told in capsys.readouterr().err
    content = yaml.safe_load((home / "suite.yaml").read_text()) | {"protocols": [name]}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=r"bench: .*suite\.yaml: ") as refused:
        read_suite(tmp_path / "suite.yaml")
    assert told in str(refused.value)


def test_a_changed_plugin_is_another(home, tmp_path, monkeypatch):
    assert with_sources(list(EVERY)) == list(EVERY)  # so a benchmark finds what release 0.1 measured
    (tmp_path / "other_protocol.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    (before,) = with_sources(["other_protocol.NearestMean"])
    assert with_sources(["other_protocol.NearestMean"]) == [before]
    (tmp_path / "other_protocol.py").write_text(PLUGIN + "# another word")
    assert with_sources(["other_protocol.NearestMean"]) != [before]


class Cheat(Protocol):
    """Named as another is."""

    description = Description("knn", "Mine", "mine", ())

    def suits(self, sets):
        return True

    def measure(self, stage, sets, rng):
        return Score()


class Draws(Protocol):
    """Measured once, at the stage that it needs another to choose; it draws a number."""

    description = Description(
        "draws",
        "Draws",
        "a random number",
        (Metric("number", "number"),),
        needs=("knn",),
        once=True,
        curve=Curve("name", "at", "Name", "At"),
    )

    def suits(self, sets):
        return sets.single

    def measure(self, stage, sets, rng):
        return Score(
            points=tuple(
                Score({"name": str(at), "at": at, "number": torch.rand((), generator=rng).item()}) for at in (1, 2)
            )
        )


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match=r"test_plugin_protocol\.Cheat is called 'knn', which is taken; rename it"):
        protocols_named([f"{__name__}.Cheat"])


def test_each_name_is_built_once_and_the_default_leaves_out_what_is_slow():
    assert [one.description.name for one in protocols_named(["knn", "linear", "knn"])] == ["knn", "linear"]
    assert set(EVERY) - set(DEFAULT) == {"svm", "transferability", "zero_shot", "retrieval"}


def sets(labels):
    z = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0))
    return Embedded({"stem": z, "end": z}, {"stem": z, "end": z}, labels)


def test_a_protocol_that_is_measured_once_brings_what_it_needs_and_stands_at_the_chosen_stage():
    both = sets(torch.arange(20) % 2)
    measured = measure(both, both, [Draws()])
    assert all(row.score("knn") for row in measured.rows)
    assert all(row.score("draws") is None for row in measured.rows)
    chosen = next(row.stage for row in measured.rows if row.chosen)
    assert [(point.stage, point.score.figures["at"]) for point in measured.curves["draws"]] == [
        (chosen, 1),
        (chosen, 2),
    ]


def test_what_does_not_suit_the_sets_is_left_out_and_told_if_nothing_is_left():
    several = sets((torch.arange(60).view(20, 3) % 2).to(torch.int8))
    suited = {name for name in EVERY if protocols_named([name])[0].suits(Sets(several, several))}
    assert suited == {"svm", "quality"}
    with pytest.raises(ValueError, match=r"the protocols \['draws'\]; sets with several labels an item want svm"):
        measure(several, several, [Draws()])
    bare = sets(torch.empty(0, dtype=torch.long))
    assert [name for name in EVERY if protocols_named([name])[0].suits(Sets(bare, bare))] == ["quality"]
