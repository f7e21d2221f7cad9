"""Finished cells are small files that can be taken to another machine, where the data lie elsewhere."""

import os
import subprocess
from shutil import copytree

import pytest
import torch
import yaml
from folders import labelled_folder
from nets import TinyNet

from pretext.__main__ import main
from pretext.benchmark.cells import cells, file_of, run_of
from pretext.benchmark.suite import read_suite
from pretext.benchmark.train import as_command
from pretext.evaluation.cache import outline

CONFIG = {
    "model": {
        "backbone": {"class_path": "nets.TinyNet"},
        "tasks": {"turn": {"class_path": "pretext.Rotation"}},
        "optim": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}},
    },
    "data": {
        "class_path": "datamodules.ImageFolder",
        "init_args": {"root": "${oc.env:SHELF}/pictures", "canvas": 8, "batch_size": 8, "reading": {"workers": 1}},
    },
    "trainer": {"max_steps": 2, "max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 0, "log_every_n_steps": 1},
}
DATA = {"data": "datamodules.ImageFolder", "data.root": "${oc.env:SHELF}/pictures", "data.canvas": 8}


@pytest.fixture
def moved(tmp_path, monkeypatch):
    """Two places with the same pictures, of other dates; call it to be at one."""
    for name in ("here", "there"):
        labelled_folder(tmp_path / name / "pictures", 12)
        os.utime(tmp_path / name / "pictures" / "train" / "cat" / "0.jpg", ns=(1, len(name)))
    return lambda name: monkeypatch.setenv("SHELF", str(tmp_path / name))


def suite_file(folder, **entries):
    config = folder / "turn.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    known = {name: {"config": str(config), "options": options} for name, options in entries.items()}
    board = {"data": DATA, "entries": known}
    file = folder / "suite.yaml"
    file.write_text(yaml.safe_dump({"seeds": [0], "protocols": ["knn"], "dims": 64, "boards": {"cats": board}}))
    return file


def finished(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.glob("cells/**/*.json")}


def test_another_machine_finds_what_is_finished_and_its_baselines_serve_new_entries(moved, tmp_path):
    moved("here")
    out, far = tmp_path / "out", tmp_path / "far"
    file = suite_file(tmp_path, turn={})
    assert main(["bench", str(file), "--out", str(out)]) == 0
    known = finished(out)
    assert not any(str(tmp_path / "here").encode() in content for content in known.values())
    assert sorted(name.rsplit("/")[-1].rsplit("-", 1)[0] for name in known) == ["=random", "=raw", "turn-0"]
    copytree(out / "cells", far / "cells")
    moved("there")
    longer = suite_file(tmp_path, turn={}, longer={"trainer.max_steps": 3})
    assert main(["bench", str(longer), "--out", str(far)]) == 0
    after = finished(far)
    assert known.items() <= after.items()
    (new,) = after.keys() - known.keys()
    assert new.startswith("cells/cats/longer-0-")
    assert [run.name.rsplit("-", 1)[0] for run in (far / "runs" / "cats").iterdir()] == ["longer-0"]
    assert (far / "leaderboard.md").read_text().count("*random initialisation") == 1


def test_names_do_not_change_with_the_place_but_with_all_else(moved, tmp_path):
    def names(**options):
        suite = read_suite(suite_file(tmp_path, turn=options))
        (cell,) = cells(suite)
        return file_of(suite, tmp_path, cell), run_of(suite, tmp_path, cell)

    moved("here")
    before = names(**{"data.root": "${oc.env:SHELF}/pictures"})
    moved("there")
    assert names(**{"data.root": "${oc.env:SHELF}/pictures"}) == before
    assert names(**{"data.root": "${oc.env:SHELF}/others"}) != before
    assert names(**{"data.root": str(tmp_path / "there" / "pictures")}) != before


def test_the_command_that_repeats_a_run_names_the_variable_as_a_shell_does():
    words = ["pretext", "fit", "--data.root", "${oc.env:SHELF}/my pictures", "--model.x", "{a: 1}"]
    line = as_command(words)
    assert line == "pretext fit --data.root \"${SHELF}/my pictures\" --model.x '{a: 1}'"
    told = subprocess.run(["sh", "-c", f"printf '%s,' {line}"], env={"SHELF": "/x"}, capture_output=True, check=True)
    assert told.stdout == b"pretext,fit,--data.root,/x/my pictures,--model.x,{a: 1},"


def test_a_variable_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("SHELF", raising=False)
    with pytest.raises(ValueError, match="SHELF"):
        read_suite(suite_file(tmp_path, turn={}))


def test_the_outline_of_a_network_forgives_rounding_and_nothing_else():
    def net(seed=0, **options):
        torch.manual_seed(seed)
        return TinyNet(**options)

    first, rounded = outline(net()), net()
    with torch.no_grad():
        for weight in rounded.parameters():
            weight.mul_(1 + 2e-7)  # as another processor may round
    assert outline(rounded) == first
    assert (
        len({first, outline(net(1)), outline(net(width=9)), outline(net(norm=False)), outline(net(dropout=0.1))}) == 5
    )
