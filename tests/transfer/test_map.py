"""A map trains, measures, repeats nothing, survives a kill and shares its work: real runs and processes."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from pretext.__main__ import main
from pretext.transfer.codes import Code
from pretext.transfer.measure import losses_of
from pretext.transfer.networks import build_network
from pretext.transfer.runner import Cell, Workshop
from pretext.transfer.suite import read_suite
from pretext.transfer.tables import read_transfers

ROOT = Path(__file__).parents[2]
DATA = {"data": "datamodules.Digits", "data.size": 16}
CONFIG = {
    "model": {
        "backbone": {"class_path": "nets.TinyNet"},
        "tasks": {"turn": {"class_path": "pretext.Rotation"}},
        "optim": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}},
    },
    "data": {"class_path": "datamodules.Digits", "init_args": {"size": 16, "batch_size": 64}},
    "trainer": {"max_steps": 3, "max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 0, "log_every_n_steps": 1},
}
EDGES = {"class_path": "pretext.Edges", "init_args": {"width": 8}}


def suite_file(folder, **changes):
    """Write a map of two sources and three targets on Digits, and their config."""
    config = folder / "turn.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    content = {
        "network": {"class_path": "nets.TinyNet"},
        "sources": {
            "turn": {"config": str(config)},
            "outsider": {"backbone": "nets.TinyNet"},
        },
        "targets": {
            "digits": {"data": DATA},
            "turns": {"data": DATA, "task": {"class_path": "pretext.Rotation"}},
            "edges": {"data": DATA, "task": EDGES},
        },
        "readout": {"width": 8, "items": 100, "test_items": 60, "steps": 6, "batch": 50, "seeds": [0, 1]},
        "self_items": 200,
        "self_steps": 4,
        "order": 2,
        "beam": 2,
    } | changes
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def written(folder):
    files = [*folder.glob("cells/*.json"), *folder.glob("runs/*.json"), *folder.glob("self/*")]
    files = [file for file in files if file.suffix != ".lock"]  # some filelocks touch theirs
    return {str(file): file.stat().st_mtime_ns for file in files}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    home = tmp_path_factory.mktemp("map")
    file = suite_file(home)
    assert main(["transfer", str(file), "--out", str(home / "out")]) == 0
    return file, home / "out"


def test_every_pair_is_measured_and_each_target_has_a_pair_of_sources(done):
    file, out = done
    found = Workshop(read_suite(file), out).map()
    assert found.failed == {}
    single = {(e.sources, e.target) for e in found.entries if len(e.sources) == 1}
    assert single == {((s,), t) for s in ("turn", "outsider", "random", "self") for t in found.targets}
    assert sorted(e.target for e in found.entries if len(e.sources) == 2) == ["digits", "edges", "turns"]
    for target in found.targets:
        own = [e for e in found.entries if e.target == target]
        assert sum(e.affinity for e in own) == pytest.approx(1, abs=1e-12)
        assert found.entry(("self",), target).win == 0.5


def test_the_loss_of_every_test_item_is_kept_for_each_seed(done):
    _, out = done
    (cell,) = [json.loads(f.read_text()) for f in (out / "cells").glob("turn-to-edges-*.json")]
    losses = np.array(cell["losses"])
    assert losses.shape == (2, 60)
    assert np.isfinite(losses).all()
    assert (losses[0] != losses[1]).any()


def test_scores_without_training_are_ranked_where_there_are_classes(done):
    file, out = done
    found = Workshop(read_suite(file), out).map().rankings
    assert [(r.target, r.score, r.sources) for r in found] == [
        ("digits", score, 3) for score in ("log_me", "h_score", "leep", "nce")
    ]
    assert all(0 <= r.regret < 1 for r in found)


def test_what_is_finished_is_never_done_again_and_what_changes_is(done):
    file, out = done
    before = written(out)
    assert main(["transfer", str(file), "--out", str(out)]) == 0
    assert written(out) == before
    content = yaml.safe_load(file.read_text())
    content["targets"]["edges"]["task"]["init_args"]["width"] = 12
    file.with_name("changed.yaml").write_text(yaml.safe_dump(content))
    changed = Workshop(read_suite(file.with_name("changed.yaml")), out)
    missing = [cell for cell in changed.single() if changed.result(cell) is None]
    assert {cell.target for cell in missing} == {"edges"}


def test_the_same_suite_gives_the_same_losses(done):
    file, out = done
    suite, shop = read_suite(file), Workshop(read_suite(file), out)
    again = losses_of(Code([build_network(suite)]), *shop.ready("turns"), suite.readout, "turns")
    assert tuple(map(tuple, again)) == shop.result(Cell(("random",), "turns")).losses


def test_csv_and_json_hold_every_entry_and_the_table_can_be_asked(done, capsys):
    _, out = done
    rows = list(csv.DictReader((out / "transfer.csv").read_text().splitlines()))
    found = json.loads((out / "transfer.json").read_text())
    assert len(rows) == len(found["entries"]) == 15
    assert {row["predicted"] for row in rows} == {"no"}
    assert len(read_transfers(out / "affinities.csv")) == 15
    assert main(["transfer", "policy", str(out / "affinities.csv"), "--budget", "1"]) == 0
    best = found["choices"][0]["sources"][0]
    assert f"Train {best}:" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow  # two processes
def test_killed_it_goes_on_and_two_share_the_work(tmp_path):
    file, out = suite_file(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "pretext", "transfer", str(file), "--out", str(out)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with (tmp_path / "first").open("w") as log:
        first = subprocess.Popen(command, env=environment, stderr=log)
    end = time.monotonic() + 120
    while time.monotonic() < end and len(list(out.glob("cells/*.json"))) < 3:
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = written(out)
    assert len(list(out.glob("cells/*.json"))) >= 3
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert {name: when for name, when in written(out).items() if name in before} == before
    labels = [line for text in told for line in text.splitlines() if " to " in line and line.startswith("transfer:")]
    assert len(labels) == len(set(labels))  # no cell twice
    assert Workshop(read_suite(file), out).map().failed == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": {"self": {"backbone": "nets.TinyNet"}}}, "self: it has the name of a reference"),
        ({"sources": {"x": {}}}, "x: it names nothing; give a config, a run or a backbone"),
        ({"sources": {"x": {"config": "none.yaml"}}}, "names a config that is not there: none.yaml"),
        ({"readout": {"kind": "deep"}}, "readout.kind='deep'; choose one of linear, convolutional"),
        ({"sources": {"a|b": {"backbone": "nets.TinyNet"}}}, "the name 'a|b'; names are not empty"),
        ({"order": 3}, "order=3, beam=2; order is 1 or 2"),
        ({"target": {}}, "Key 'target' not in 'Suite'"),
    ],
)
def test_a_suite_that_cannot_be_is_told_in_one_line(tmp_path, capsys, changes, message):
    assert main(["transfer", str(suite_file(tmp_path, **changes))]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_what_fails_is_told_and_the_rest_is_measured(tmp_path):
    """One target has too few items, one's only stage has no places, and one read-out is trained until it breaks."""
    one = {"data": DATA | {"data.split.limit": 50}}
    few = {"width": 8, "items": 600, "test_items": 60, "steps": 2, "batch": 50, "seeds": [0]}
    targets = {"digits": one}
    sources = {"outsider": {"backbone": "nets.TinyNet"}}
    file = suite_file(tmp_path, targets=targets, sources=sources, readout=few, self_steps=1, order=1)
    assert main(["transfer", str(file), "--out", str(tmp_path / "out")]) == 0
    failed = Workshop(read_suite(file), tmp_path / "out").map().failed
    assert set(failed) == {f"{s} to digits" for s in ("outsider", "random", "self")}
    assert "has 500 test items, but readout.items and readout.test_items are 600 and 60" in failed["random to digits"]
    few |= {"items": 60, "rate": 1e30, "steps": 9}
    file = suite_file(tmp_path, targets=targets, sources=sources, readout=few, self_steps=1, order=1)
    assert main(["transfer", str(file), "--out", str(tmp_path / "nan")]) == 0
    failed = Workshop(read_suite(file), tmp_path / "nan").map().failed
    assert "FloatingPointError: " in failed["random to digits"]
    assert "smaller rate (readout.rate)" in failed["random to digits"]
