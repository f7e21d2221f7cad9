"""From Python: every verb is a function, and a run that Python made is one that the command line takes."""

import csv
import json
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml
from nets import TinyNet
from tolerance import NETWORK, assert_rounded
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import pretext
from datamodules import Digits
from datamodules.options import Splitting
from pretext import Augment, Loaders, Optim, Pretrainer, Rotation
from pretext.__main__ import main
from pretext.evaluation.flat import frame
from pretext.training.networks import from_run
from pretext.training.run import build, read
from pretext.training.unwritten import read_plain
from pretext.verbs.listing import steps_of

QUICK = {"max_steps": 3, "max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 1, "log_every_n_steps": 1}
FAST = {"protocols": ("linear", "knn"), "dims": 16}


def colours(count=48):
    """Red and blue pictures with noise, float in [0, 1], and their classes."""
    chance = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 2
    x = torch.rand(count, 3, 16, 16, generator=chance) * 0.5
    x[torch.arange(count), y * 2] += 0.4
    return x, y


def digits(seed=0):
    return Digits(size=16, batch_size=16, split=Splitting(limit=64), seed=seed)


def pretrainer(**options):
    torch.manual_seed(3)
    tasks = {"turn": Rotation, "again": partial(Rotation, turns="one")}
    optim = Optim(optimizer=partial(torch.optim.SGD, lr=0.05), schedule="constant")
    return Pretrainer(TinyNet(width=4), tasks, augment=Augment(crop=14), optim=optim, seed=3, **options)


def small(folder):
    """A config of one batch an epoch, for the command line."""
    tasks = {"turn": {"class_path": "pretext.Rotation"}}
    data = {"size": 16, "batch_size": 16, "split": {"limit": 16}}
    config = {
        "model": {"backbone": {"class_path": "nets.TinyNet"}, "tasks": tasks},
        "data": {"class_path": "datamodules.Digits", "init_args": data},
        "trainer": {"accelerator": "cpu", "max_epochs": 1, "limit_val_batches": 1},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(config))
    return folder / "small.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that Python made of classes that can be imported."""
    return pretext.fit(pretrainer(), digits(), tmp_path_factory.mktemp("python") / "mine", **QUICK)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A run of a plain module and plain loaders, of which no config can tell."""
    x, y = colours()
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU())
    backbone = pretext.Wrapped(net, image_size=16)
    folder = tmp_path_factory.mktemp("own") / "run"
    return pretext.fit(Pretrainer(backbone, {"turn": Rotation}), (loader, loader), folder, **QUICK)


def test_a_run_of_python_is_a_run_of_the_command_line(run, monkeypatch, capsys):
    assert {"config.yaml", "metrics.csv", "environment.json", "chance.json"} <= {p.name for p in run.folder.iterdir()}
    again, data = build(read(run.folder / "config.yaml"))
    assert again.tasks["again"].extra_repr() == run.module.tasks["again"].extra_repr()
    assert (again.augment.crop, again.rates.optim.schedule, again.seed) == (14, "constant", 3)
    assert (data.size, data.batch_size, data.limit, data.seed) == (16, 16, 64, 3)
    loaded = pretext.load(run).backbone.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in run.backbone.state_dict().items())
    for verb in ("validate", "show", "report"):
        assert main([verb, str(run.folder)]) == 0
    assert (run.folder / "report.html").is_file()


@pytest.mark.slow
def test_the_same_config_trains_the_same_weights_on_the_command_line(run, tmp_path):
    """Where Python seeds as the command line does before it builds."""
    pl.seed_everything(3, verbose=False)
    config = read(run.folder / "config.yaml")
    module, data = build(config)
    mine = pretext.fit(module, data, tmp_path / "python", **QUICK)
    assert (
        main(["fit", "-c", str(run.folder / "config.yaml"), "--trainer.default_root_dir", str(tmp_path / "cli")]) == 0
    )
    theirs = pretext.load(tmp_path / "cli").state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.module.state_dict().items())


def test_a_run_goes_on_where_it_stopped(tmp_path):
    more = QUICK | {"max_steps": 4}
    straight = pretext.fit(pretrainer(), digits(), tmp_path / "straight", **more)
    begun = pretext.fit(pretrainer(), digits(), tmp_path / "parted", **QUICK).module
    with pytest.raises(FileExistsError, match="resume=True"):
        pretext.fit(pretrainer(), digits(), tmp_path / "parted", **more)
    parted = pretext.fit(begun, digits(), tmp_path / "parted", resume=True, **more)  # in training mode again
    for name, value in straight.module.state_dict().items():
        assert torch.equal(value, parted.module.state_dict()[name]), name
    with (tmp_path / "parted" / "metrics.csv").open() as lines:
        steps = [int(row["step"]) for row in csv.DictReader(lines) if row["train/loss"]]
    assert steps == [0, 1, 2, 3]


def test_a_start_that_fails_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = colours(16)
    sound = DataLoader(TensorDataset(x, y), batch_size=16)

    def fails(said, data, folder=None, **options):
        with pytest.raises(ValueError, match=said):
            pretext.fit(pretrainer(), data, folder, **QUICK | options)
        assert list(tmp_path.iterdir()) == []

    fails("divide by 255", DataLoader(TensorDataset(x * 255, y), batch_size=16))
    fails("NaN", DataLoader(TensorDataset(x * torch.nan, y), batch_size=16), "runs/mine")
    fails("did you mean max_steps", sound, max_step=2)
    untrained = pretext.fit(pretrainer(), {"train": sound, "test": sound}, accelerator="cpu", max_steps=0)
    assert untrained.folder == Path("runs/python/0")
    assert list(tmp_path.iterdir()) == []
    assert pretext.probe(untrained, protocols=("knn",), dims=16).data["train"] == 16


def test_training_says_what_is_ours_alone(tmp_path, capfd, caplog):
    x, y = colours(16)
    options = {"accelerator": "cpu", "max_epochs": 1, "enable_progress_bar": False}  # one batch: fewer than ten
    run = pretext.fit(pretrainer(), DataLoader(TensorDataset(x, y), batch_size=16), tmp_path / "run", **options)
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.splitlines()[0].endswith(f"run {run.folder}")
    assert all(line.startswith("  ") for line in told.err.splitlines()[1:])
    assert [record.name for record in caplog.records if "lightning" in record.name] == []
    assert main(["fit", "-c", str(small(tmp_path)), "--trainer.default_root_dir", str(tmp_path / "line")]) == 0
    assert "logging interval" not in capfd.readouterr().err


def test_a_probe_has_rows_and_shows_itself_as_a_table(run):
    result = pretext.probe(run, **FAST)
    assert isinstance(result, pretext.ProbeResult)
    rows = result.rows()
    assert [row["features"] for row in rows] == ["trained"] * 2 + ["random"] * 2 + ["raw"]
    assert rows[0]["linear/accuracy"] == result.stages[0].score("linear").value("accuracy").value
    assert json.loads((run.folder / "probe.json").read_text()) == result.to_json()
    for face in (repr(result), str(result)):
        assert "random initialisation" in face.splitlines()[0]
        assert f"{100 * rows[0]['linear/accuracy']:.1f}" in face
    html = result._repr_html_()
    assert "<table" in html
    assert f"{100 * rows[0]['linear/accuracy']:.1f}" in html


def test_rows_become_a_data_frame_where_pandas_is(run):
    rows = [{"stage": "conv1", "linear/accuracy": 0.5}]
    try:
        import pandas
    except ImportError:
        with pytest.raises(ImportError, match="pip install pandas"):
            frame(rows)
    else:
        pandas.testing.assert_frame_equal(frame(rows), pandas.DataFrame(rows))


def test_loaders_and_plain_modules_are_taken(own):
    config = yaml.safe_load((own.folder / "config.yaml").read_text())
    assert set(config["unwritten"]) == {
        "model.init_args.backbone.init_args.module",
        "data.init_args.train",
        "data.init_args.test",
    }
    result = pretext.probe(own, **FAST)
    best = max(r["linear/accuracy"] for r in result.rows() if r["features"] == "trained")
    assert best > 0.9  # red against blue
    assert {row["features"] for row in result.rows()} == {"trained", "random", "raw"}
    assert result.data == {"class": "Loaders", "train": 48, "test": 48, "classes": ["0", "1"]}
    assert pretext.show(own).file.stat().st_size > 1000
    assert pretext.write_report(own).is_file()


def test_a_run_whose_config_cannot_be_built_is_used_as_it_is(own, tmp_path):
    weights = {name: value.clone() for name, value in own.backbone.state_dict().items()}
    loaded = pretext.load(own)
    assert all(torch.equal(value, weights[name]) for name, value in loaded.backbone.state_dict().items())
    assert loaded.inputs.canvas == own.module.inputs.canvas
    pretext.probe(own, protocols="knn", dims=16)
    assert any(row["kind"] == "trained" for row in pretext.compare(own).rows())
    assert pretext.export(own, out=tmp_path / "net.safetensors").file.is_file()
    tuned = pretext.fit(pretext.FineTune(run=own), own.data, tmp_path / "tuned", **QUICK)
    assert "model.init_args.run" in read_plain(tmp_path / "tuned" / "config.yaml")["unwritten"]
    assert not torch.equal(next(tuned.backbone.parameters()), next(own.backbone.parameters()))
    assert all(torch.equal(value, weights[name]) for name, value in own.backbone.state_dict().items())


def test_a_run_without_the_words_for_its_data_lacks_nothing_else(tmp_path):
    x, y = colours(16)
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    run = pretext.fit(pretrainer(), {"train": loader, "test": loader}, tmp_path / "half", **QUICK)
    loaded = pretext.load(run.folder).state_dict()  # as a new process has it: by its folder
    assert all(torch.equal(value, loaded[name]) for name, value in run.module.state_dict().items())
    assert pretext.probe(run.folder, (loader, loader), protocols=("knn",), dims=16).data["train"] == 16
    other = ["--data", "datamodules.Digits", "--data.size", "16", "--data.split.limit", "50"]
    assert from_run(run.folder, other)[1].data.size == 16  # as on the command line
    assert pretext.predict(run.folder, (loader, loader), accelerator="cpu").values["pooled"].shape == (16, 8)
    with pytest.raises(ValueError, match=r"data\.init_args\.train .*use other data"):
        pretext.probe(run.folder)
    with pytest.raises(ValueError, match="give a module of datamodules"):
        pretext.cluster(run)
    tuned = pretext.FineTune(run=run)
    assert torch.equal(next(tuned.backbone.parameters()), next(run.backbone.parameters()))
    assert repr(run) == f"Run({run.folder}: turn (Rotation), again (Rotation); step 3; TinyNet, 420 parameters)"


def test_the_command_line_says_why_it_cannot_build_such_a_run(own, capsys):
    for verb in ("probe", "fit", "show"):
        assert main([verb, str(own.folder)]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert "what no config can name" in line
        assert "Sequential" in line


def test_a_probe_of_other_data_takes_nobodys_place(run, capsys):
    before = (run.folder / "probe.json").read_bytes() if (run.folder / "probe.json").exists() else None
    if before is None:
        pretext.probe(run, **FAST)
        before = (run.folder / "probe.json").read_bytes()
    x, y = colours()
    loader = DataLoader(TensorDataset(x, y), batch_size=16)
    others = [pretext.probe(run, (loader, loader), **FAST), pretext.probe(run, protocols=("knn",), dims=16)]
    assert (run.folder / "probe.json").read_bytes() == before
    files = sorted(run.folder.glob("probe-*.json"))
    assert sorted(json.loads(file.read_text())["data"]["class"] for file in files) == ["Digits", "Loaders"]
    pretext.probe(run, (loader, loader), **FAST)  # the same again replaces itself
    assert sorted(run.folder.glob("probe-*.json")) == files
    assert main(["show", str(run.folder)]) == 0
    told = capsys.readouterr().out
    assert all(f"{file}: On " in told for file in [run.folder / "probe.json", *files])
    page = pretext.write_report(run).read_text()
    for result in others:
        assert f"{100 * result.rows()[0]['knn/accuracy']:.1f}" in page
    boards = pretext.compare(run)
    assert len(boards.boards) == 3
    assert {row["board"].split(" ")[0] for row in boards.rows()} == {"Digits", "Loaders"}
    assert "Loaders" in repr(boards)
    assert "<table" in boards._repr_html_()


def test_a_plain_module_and_any_data_module_are_probed(tmp_path):
    class Plain(pl.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(TensorDataset(*colours()), batch_size=16, shuffle=True)

        def test_dataloader(self):
            return DataLoader(TensorDataset(*colours(24)), batch_size=16)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU())
    result = pretext.probe(net, Plain(), folder=tmp_path, **FAST)
    assert result.data == {"class": "Adapted", "train": 48, "test": 24, "classes": ["0", "1"]}
    assert (tmp_path / "probe.json").is_file()


PLAIN = """
import pytorch_lightning as pl, torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

class Plain(pl.LightningDataModule):
    def __init__(self, count: int = 16):
        super().__init__()
        self.count = count

    def train_dataloader(self):
        y = torch.arange(self.count) % 2
        x = torch.ones(self.count, 3, 16, 16) * (y / 2 + 0.1)[:, None, None, None]
        return DataLoader(TensorDataset(x, y), batch_size=8)

    val_dataloader = train_dataloader
"""


def test_the_command_line_probes_any_data_module(run, tmp_path, monkeypatch):
    (tmp_path / "plain.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    data = ["--data", "plain.Plain", "--data.count", "24"]
    assert main(["probe", str(run.folder), *data, "--protocols", "knn", "--out", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "probe.json").read_text())
    assert told["data"] == {"class": "Adapted", "train": 24, "test": 24, "classes": ["0", "1"]}


def test_a_file_of_data_starts_from_its_own_defaults(run, tmp_path):
    (tmp_path / "few.yaml").write_text("class_path: datamodules.Digits\ninit_args: {split: {limit: 50}}\n")
    for options, told in (([], {"size": 16, "split.limit": 50}), (["--data.split.limit", "40"], {"split.limit": 40})):
        data = ["--data", str(tmp_path / "few.yaml"), *options]
        out = tmp_path / str(len(options))
        assert main(["probe", str(run.folder), *data, "--protocols", "knn", "--out", str(out)]) == 0
        found = json.loads((out / "probe.json").read_text())
        assert found["options"] == {"size": 16, **told}
        assert found["data"]["train"] == told["split.limit"]
    assert main(["validate", str(run.folder), *data]) == 0


def test_a_network_is_exported(run):
    exported = pretext.export(run, "safetensors")
    assert exported.file == run.folder / "backbone.safetensors"
    assert exported.file.is_file()
    assert "TinyNet" in exported.about


@pytest.mark.slow
def test_a_search_and_a_benchmark_are_functions(tmp_path):
    config = {
        "model": {"backbone": {"class_path": "nets.TinyNet"}, "tasks": {"turn": {"class_path": "pretext.Rotation"}}},
        "data": {"class_path": "datamodules.Digits", "init_args": {"size": 8, "batch_size": 32}},
        "trainer": {"accelerator": "cpu"},
    }
    options = {"candidates": 1, "steps": 1, "items": 1000, "probe": False, "searcher": "random"}
    results = pretext.evolve(config, tmp_path / "search", options)
    assert {c.state for c in results.candidates} == {"done"}
    assert (tmp_path / "search" / "best.yaml").is_file()
    entry = {"backbone": "nets.TinyNet"}
    suite = {
        "title": "One net",
        "dims": 16,
        "protocols": ["knn"],
        "seeds": [0],
        "boards": {
            "digits": {
                "data": {"data": "datamodules.Digits", "data.size": 8},
                "entries": {"net": entry},
            }
        },
    }
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    boards = pretext.bench(tmp_path / "suite.yaml", tmp_path / "bench")
    assert boards.page == tmp_path / "bench" / "leaderboard.html"
    assert {row["entry"] for row in boards.rows()} >= {"net"}


def test_loaders_yield_each_item_once_in_order():
    x, y = colours(20)
    data = Loaders(DataLoader(TensorDataset(x, y), batch_size=8, shuffle=True))
    batches = list(data.ordered("train"))
    assert torch.equal(torch.cat([batch["x"] for batch in batches]), x)
    assert torch.equal(torch.cat([batch["index"] for batch in batches]), torch.arange(20))
    other = Loaders(DataLoader(TensorDataset(x, 1 - y), batch_size=8))
    assert data.fingerprint("train") != other.fingerprint("train")
    assert sum(len(batch["x"]) for batch in data.ordered("train", 8)) == 8


def test_runs_are_listed_with_the_steps_that_they_took(run, own, tmp_path, capsys):
    (found,) = pretext.runs(run.folder)
    assert (found.folder, found.tasks, found.step) == (run.folder, ("turn", "again"), run.steps)
    assert set(found.scores) == {"val/turn/accuracy", "val/again/accuracy"}
    (run.folder / "metrics.csv").rename(tmp_path / "metrics.csv")  # as of a run that was too short to log anything
    try:
        assert main(["runs", str(run.folder)]) == 0
        assert f"{run.folder}  step 3  " in capsys.readouterr().out
        (summary,) = pretext.runs(run.folder)
        assert (summary.step, summary.scores) == (3, {})
    finally:
        (tmp_path / "metrics.csv").rename(run.folder / "metrics.csv")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    assert steps_of(tmp_path / "other.ckpt") is None
    (tmp_path / "torn.ckpt").write_bytes(b"PK")
    assert steps_of(tmp_path / "torn.ckpt") is None


def test_a_run_is_tested_and_predicts_from_memory_and_from_its_folder(run, own, capsys):
    scores = pretext.test(run, accelerator="cpu")
    assert scores == pretext.test(run.folder, accelerator="cpu")
    assert {"test/loss", "test/turn/accuracy", "test/again/accuracy"} <= set(scores)
    x, y = colours(20)
    few = DataLoader(TensorDataset(x, y), batch_size=8)
    said = pretext.predict(run, (few, few), accelerator="cpu")
    with torch.no_grad():
        pooled = run.backbone(run.module.inputs.centre(x)).pooled
    assert torch.equal(said.index, torch.arange(20))
    assert_rounded(said.values["pooled"], pooled, NETWORK)
    assert set(pretext.test(own, (few, few), accelerator="cpu")) == {
        "test/loss",
        "test/turn/loss",
        "test/turn/accuracy",
    }


class Endless(IterableDataset):
    """Items one by one, of which nobody knows how many there are."""

    def __iter__(self):
        return iter(zip(*colours(), strict=True))


def test_a_loader_without_a_length_is_taken(tmp_path):
    loader = DataLoader(Endless(), batch_size=16)
    run = pretext.fit(pretrainer(), loader, tmp_path / "run", max_epochs=1, accelerator="cpu")
    assert run.steps == 3
    assert pretext.probe(run, (loader, loader), protocols="knn", dims=16).data["train"] == 48
    assert [row["board"] for row in pretext.compare([run]).rows()]


def test_no_function_has_the_name_of_a_package():
    names = {p.name for p in Path(pretext.__file__).parent.iterdir() if p.is_dir() or p.suffix == ".py"}
    functions = {name for name in pretext.__all__ if callable(getattr(pretext, name)) and name.islower()}
    known = {
        "fit",
        "load",
        "test",
        "predict",
        "probe",
        "show",
        "export",
        "compare",
        "cluster",
        "bench",
        "evolve",
        "runs",
    }
    assert known | {"write_report", "find_shortcuts", "reproduce", "axis"} == functions
    assert functions.isdisjoint(names | {f"{name}.py" for name in functions} & names)
