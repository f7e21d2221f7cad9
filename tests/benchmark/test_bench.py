"""A benchmark trains, measures, survives a kill, shares its work, and repeats nothing: real runs, real processes."""

import csv
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from forked import ended, start
from nets import TinyNet

from pretext.__main__ import main
from pretext.benchmark.cells import cells, file_of
from pretext.benchmark.gather import boards, finished
from pretext.benchmark.suite import read_suite
from pretext.benchmark.train import arguments

ROOT = Path(__file__).parents[2]
CONFIG = {
    "model": {
        "backbone": {"class_path": "nets.TinyNet"},
        "tasks": {"turn": {"class_path": "pretext.Rotation"}},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}},
    },
    "data": {"class_path": "datamodules.Digits", "init_args": {"size": 8, "batch_size": 64}},
    "trainer": {"max_steps": 3, "max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 0, "log_every_n_steps": 1},
}


def suite_file(folder, **changes):
    """Write a benchmark of two entries on Digits, and their config."""
    config = folder / "turn.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    entries = {
        "turn": {"config": str(config)},
        "wide": {"config": str(config), "options": {"model.backbone.init_args.width": 12}},
    }
    board = {"data": {"data": "datamodules.Digits", "data.size": 8}, "entries": entries}
    content = {"seeds": [0, 1], "protocols": ["linear", "knn"], "dims": 64, "boards": {"digits": board}}
    content |= changes
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def written(folder):
    """Every finished cell and every checkpoint, with the time of its writing."""
    files = [*folder.glob("cells/**/*.json"), *folder.glob("runs/**/last.ckpt")]
    return {str(file): file.stat().st_mtime_ns for file in files}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    home = tmp_path_factory.mktemp("bench")
    file = suite_file(home)
    assert main(["bench", str(file), "--out", str(home / "out")]) == 0
    return file, home / "out"


def test_every_entry_is_trained_with_every_seed_and_compared(done):
    file, out = done
    found = finished(read_suite(file), out, "digits")
    trained = {(cell.entry, cell.seed) for cell in found if cell.kind == "trained"}
    assert trained == {("turn", 0), ("turn", 1), ("wide", 0), ("wide", 1)}
    # each width has its own random network for each seed; the raw digits are measured once
    random = [cell.entry for cell in found if cell.kind == "random"]
    assert sorted(random) == ["random", "random", "random, as wide", "random, as wide"]
    assert [cell.entry for cell in found if cell.kind == "raw"] == ["raw"]
    for cell in found:
        assert sum(row.chosen for row in cell.rows) == 1
        assert cell.failed is None


def test_baselines_that_agree_in_every_figure_are_one(done, tmp_path):
    """Networks of several modalities, of which one is probed, begin alike whatever the others are."""
    file, out = done
    shutil.copytree(out / "cells", tmp_path / "cells")
    cells = tmp_path / "cells" / "digits"
    wide = next(cell for cell in cells.glob("wide-0-*.json"))
    plain = json.loads(wide.read_text())
    (random,) = (name for name in plain["compared"] if name.startswith("=random"))
    twin = json.loads((cells / random).read_text()) | {"architecture": "another"}
    (cells / "=random-twin.json").write_text(json.dumps(twin))
    other = [name.replace(random, "=random-twin.json") for name in plain["compared"]]
    (cells / next(cells.glob("wide-1-*.json")).name).write_text(json.dumps(plain | {"seed": 1, "compared": other}))
    found = [cell for cell in finished(read_suite(file), tmp_path, "digits") if cell.kind == "random"]
    assert sorted(cell.entry for cell in found) == ["random", "random", "random, as wide"]


def test_a_cell_says_what_its_run_scored_beside_a_blind_guess(done):
    file, out = done
    cell = next(cell for cell in finished(read_suite(file), out, "digits") if cell.entry == "turn")
    assert cell.pretext["chance"]["turn/accuracy"] == 0.25
    loss, guess = cell.pretext["scores"]["turn/loss"], cell.pretext["chance"]["turn/loss"]
    assert cell.pretext["skill"] == pytest.approx(1 - loss / guess)
    assert cell.seconds["train"] > 0 < cell.seconds["probe"]
    assert cell.command.startswith("pretext fit -c ")


def test_the_figures_are_those_of_a_probe_by_hand(done, tmp_path):
    file, out = done
    suite = read_suite(file)
    cell = json.loads(file_of(suite, out, next(cells(suite))).read_text())
    (run,) = out.glob("runs/digits/turn-0-*")
    args = ["probe", str(run), "--protocols", "linear", "knn", "--dims", "64"]
    assert main(args) == 0
    rows = json.loads((run / "probe.json").read_text())["rows"]
    assert [{"features": "trained", **row} for row in cell["rows"]] == [r for r in rows if r["features"] == "trained"]


def test_a_second_run_trains_and_measures_nothing(done):
    file, out = done
    before = written(out)
    assert main(["bench", str(file), "--out", str(out)]) == 0
    assert written(out) == before
    with (out / "leaderboard.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert len({(row["entry"], row["seed"]) for row in rows}) >= 5
    assert "turn" in (out / "leaderboard.md").read_text()
    assert "turn" in (out / "leaderboard.html").read_text()


def test_what_the_yaml_changes_is_done_anew_and_nothing_else(done):
    file, out = done
    before = written(out)
    content = yaml.safe_load(file.read_text())
    content["boards"]["digits"]["entries"]["wide"]["options"]["model.backbone.init_args.width"] = 10
    changed = file.with_name("changed.yaml")
    changed.write_text(yaml.safe_dump(content | {"seeds": [0]}))
    assert main(["bench", str(changed), "--out", str(out)]) == 0
    after = written(out)
    assert before.items() <= after.items()
    new = sorted(Path(name).name.rsplit("-", 1)[0] for name in after.keys() - before.keys() if name.endswith(".json"))
    assert new == ["=random", "wide-0"]


def test_a_failing_entry_is_noted_and_the_others_go_on(tmp_path):
    file = suite_file(tmp_path, seeds=[0])
    content = yaml.safe_load(file.read_text())
    wild = {"config": str(tmp_path / "turn.yaml"), "options": {"model.optimizer.init_args.lr": 1e30}}
    content["boards"]["digits"]["entries"] = {"wild": wild, "turn": {"config": str(tmp_path / "turn.yaml")}}
    file.write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    assert main(["bench", str(file), "--out", str(out)]) == 0
    found = {cell.entry: cell for cell in finished(read_suite(file), out, "digits")}
    assert "lower" in found["wild"].failed  # the learning rate, says Divergence
    assert found["turn"].failed is None
    assert found["turn"].rows
    assert "failed: wild" in (out / "leaderboard.md").read_text()


@pytest.mark.slow
def test_networks_of_one_width_but_another_shape_each_have_their_own_baseline(tmp_path):
    """As in benchmarks/digits.yaml, where a run and an outsider end in equally many channels."""
    file = suite_file(tmp_path, seeds=[0], protocols=["knn"])
    content = yaml.safe_load(file.read_text())
    config = str(tmp_path / "turn.yaml")
    content["boards"]["digits"]["entries"] = {
        "turn": {"config": config},
        "plain": {"config": config, "options": {"model.backbone.init_args.norm": False}},
        "untrained": {"backbone": "nets.TinyNet"},
    }
    some = {"turn": {"config": config}, "some": {"config": config, "options": {"data.limit": 200}}}
    content["boards"]["items"] = {"data": {"data.size": 8}, "entries": some}  # of the run's own data
    file.write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    assert main(["bench", str(file), "--out", str(out)]) == 0
    nets, items = boards(read_suite(file), out)
    kinds = {cell.entry: cell.kind for cell in nets.cells}
    assert kinds == {
        "turn": "trained",
        "plain": "trained",
        "untrained": "random",
        "random": "random",
        "random, as turn": "random",  # the first entry's is "random" alone, and the file has them by their letters
        "raw": "raw",
        "raw, as untrained": "raw",  # which sees canvases as they are, the others what they were trained on
    }
    few = {cell.entry: cell.data["train"] for cell in items.cells}
    assert few["some"] == few["random"] == few["raw"] == 200  # measured on what the entry was
    assert few["turn"] == few["random, as turn"] == few["raw, as turn"] == 1297
    assert "different items" in items.protocol["attention"]
    assert "turn" in (out / "leaderboard.html").read_text()


def test_another_file_behind_the_same_name_is_measured_anew(tmp_path):
    file, weights = suite_file(tmp_path, seeds=[0]), tmp_path / "weights.pth"
    content = yaml.safe_load(file.read_text())
    content["boards"]["digits"]["entries"] = {"theirs": {"backbone": "nets.TinyNet", "weights": str(weights)}}
    file.write_text(yaml.safe_dump(content))
    suite = read_suite(file)
    (cell,) = cells(suite)
    torch.save(TinyNet().state_dict(), weights)
    before = file_of(suite, tmp_path, cell)
    assert file_of(suite, tmp_path, cell) == before
    os.utime(weights, ns=(1, 1))
    assert file_of(suite, tmp_path, cell) != before
    named = suite_file(tmp_path)
    suite = read_suite(named)
    config, first = tmp_path / "turn.yaml", next(cells(suite))
    before = file_of(suite, tmp_path, first)
    config.write_text("# another comment\n" + config.read_text())
    assert file_of(suite, tmp_path, first) == before
    config.write_text(config.read_text().replace("lr: 0.05", "lr: 0.06"))
    assert file_of(suite, tmp_path, first) != before


def test_a_failing_supervised_entry_is_called_so(tmp_path):
    file = suite_file(tmp_path, seeds=[0])
    content = yaml.safe_load(file.read_text())
    broken = {"class_path": "pretext.FineTune", "init_args": {"backbone": {"class_path": "nets.TinyNet"}, "freeze": 9}}
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump({**CONFIG, "model": broken}))
    content["boards"]["digits"]["entries"] = {"labels": {"config": str(tmp_path / "labels.yaml")}}
    file.write_text(yaml.safe_dump(content))
    assert main(["bench", str(file), "--out", str(tmp_path / "out")]) == 0
    (cell,) = finished(read_suite(file), tmp_path / "out", "digits")
    assert cell.kind == "supervised"
    assert "freeze=9" in cell.failed


def test_killed_and_shared_between_two_processes_it_repeats_no_finished_cell(tmp_path):
    file, out = suite_file(tmp_path), tmp_path / "out"
    command, log = ("bench", file, "--out", out), tmp_path / "log"
    first = start(log, *command)
    deadline = time.monotonic() + 120
    while not list(out.glob("cells/digits/[!=]*.json")) and time.monotonic() < deadline:
        assert first.is_alive(), log.read_text()
        time.sleep(0.05)
    first.kill()
    assert ended(first) == -signal.SIGKILL
    before = {name: at for name, at in written(out).items() if name.endswith(".json")}
    assert any("turn-0" in name for name in before)
    logs = [tmp_path / "one", tmp_path / "other"]
    both = [start(log, *command) for log in logs]
    codes, said = [ended(process) for process in both], [log.read_text() for log in logs]
    assert codes == [0, 0], said
    after = written(out)
    assert before.items() <= after.items()
    worked = [line for text in said for line in text.splitlines() if line.startswith("bench: digits")]
    assert len(worked) == len(set(worked)) == 4 - sum("/=" not in name for name in before)
    assert {cell.entry for cell in finished(read_suite(file), out, "digits")} >= {"turn", "wide"}


def test_another_projects_weights_are_measured_beside_runs(tmp_path):
    file = suite_file(tmp_path, seeds=[0])
    torch.manual_seed(3)
    torch.save(TinyNet().state_dict(), tmp_path / "weights.pth")
    content = yaml.safe_load(file.read_text())
    theirs = {"backbone": "nets.TinyNet", "weights": str(tmp_path / "weights.pth")}
    content["boards"]["digits"]["entries"] = {"theirs": theirs}
    file.write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    assert main(["bench", str(file), "--out", str(out)]) == 0
    found = {cell.entry: cell for cell in finished(read_suite(file), out, "digits")}
    assert set(found) == {"theirs", "random", "raw"}
    assert found["theirs"].rows != found["random"].rows


def test_options_become_those_of_the_command_line():
    options = {"data": "datamodules.Digits", "trainer.max_steps": 3, "model.x": {"a": [1, None]}, "data.root": None}
    flat = arguments(options)
    assert flat[:4] == ["--data", "datamodules.Digits", "--trainer.max_steps", "3"]
    assert flat[4] == "--model.x"
    assert yaml.safe_load(flat[5]) == {"a": [1, None]}
    assert len(flat) == 6


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({}, "digits/turn names nothing; give either a config, a run or a backbone"),
        ({"config": "x.yaml", "run": "y"}, "names config and run"),
        ({"config": "nowhere.yaml"}, "digits/turn names a config that is not there: nowhere.yaml"),
        ({"confg": "x.yaml"}, "confg"),
    ],
)
def test_a_mistake_in_the_yaml_is_named(tmp_path, capsys, entry, told):
    board = {"data": {"data": "datamodules.Digits"}, "entries": {"turn": entry}}
    file = suite_file(tmp_path, boards={"digits": board})
    assert main(["bench", str(file)]) == 1
    assert told in capsys.readouterr().err


def test_an_entry_cannot_have_the_name_of_a_baseline(tmp_path, capsys):
    entry = {"config": str(ROOT / "configs" / "image" / "digits.yaml")}
    board = {"data": {"data": "datamodules.Digits"}, "entries": {"random": entry}}
    assert main(["bench", str(suite_file(tmp_path, boards={"digits": board}))]) == 1
    assert "digits/random has the name of a baseline; call it otherwise" in capsys.readouterr().err


def test_an_unknown_board_is_refused_with_the_known_ones(tmp_path, capsys):
    assert main(["bench", str(suite_file(tmp_path)), "--out", str(tmp_path / "out"), "--only", "digit"]) == 1
    assert "no board digit; there are digits" in capsys.readouterr().err


def test_probed_runs_are_compared(done, tmp_path, capsys):
    _, out = done
    runs = sorted(out.glob("runs/digits/*-0-*"))[:2]
    for run in runs:
        assert main(["probe", str(run), "--protocols", "linear", "knn", "--dims", "64"]) == 0
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert main(["compare", *map(str, runs), "--out", str(page)]) == 0
    told = capsys.readouterr().out
    assert "turn" in told
    assert "random" in told
    assert "turn-0" in page.read_text()


def test_a_run_that_was_not_probed_says_how(done, capsys):
    _, out = done
    run = next(out.glob("runs/digits/turn-1-*"))
    assert main(["compare", str(run)]) == 1
    assert f"run `pretext probe {run}` first" in capsys.readouterr().err
