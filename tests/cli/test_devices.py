"""`--devices 2`: helpers are real processes. (Under a launcher like torchrun: tests/test_ranks.py.)"""

import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml

from pretext.__main__ import main
from pretext.cli.devices import crew_of

ROOT = Path(__file__).parents[2]
CONFIG = {
    "model": {
        "backbone": {"class_path": "nets.TinyNet"},
        "tasks": {"turn": {"class_path": "pretext.Rotation"}},
        "optim": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05}}},
    },
    "data": {"class_path": "datamodules.Digits", "init_args": {"size": 8, "batch_size": 64}},
    "trainer": {"max_steps": 3, "max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 0, "log_every_n_steps": 1},
}


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A benchmark of one entry, in processes of one thread each."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    config, file = tmp_path / "turn.yaml", tmp_path / "suite.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    board = {"data": {"data": "datamodules.Digits", "data.size": 8}, "entries": {"turn": {"config": str(config)}}}
    file.write_text(yaml.safe_dump({"seeds": [0], "protocols": ["linear"], "dims": 64, "boards": {"digits": board}}))
    return file


def results(folder):
    """What was measured, by file; without times and commands."""
    found = {}
    for file in [*folder.glob("cells/**/*.json"), *folder.glob("probe.json")]:
        result = json.loads(file.read_text())
        found[file.name] = {key: value for key, value in result.items() if key not in ("seconds", "command")}
    return found


@pytest.mark.slow
def test_a_benchmark_and_a_probe_are_those_of_one_process_to_the_last_digit(suite, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for devices in ("1", "2"):
        out = tmp_path / devices
        assert main(["bench", str(suite), "--out", str(out), "--devices", devices]) == 0
        (run,) = out.glob("runs/digits/*-0-*/")
        assert main(["probe", str(run), "--out", str(out), "--protocols", "knn", "--devices", devices]) == 0
        assert not list(out.glob("**/shards-*"))
    torch.set_num_threads(threads)
    one, two = results(tmp_path / "1"), results(tmp_path / "2")
    assert len(one) == 4  # the cell, what it is compared with, and the probe
    assert one == two


@pytest.mark.slow
def test_a_helper_that_dies_ends_the_work(tmp_path):
    """`python -m pretext`, which a helper is started as, does not know this verb."""
    own, rows = Namespace(devices=2), {"labels": torch.zeros(1)}
    gone = pytest.raises(RuntimeError, match="a process of --devices ended with exit code 1")
    with gone, crew_of(own, ["no-verb"], tmp_path, print) as crew:
        list(crew.lead(None, lambda batches, types: iter([rows]), [1]))


@pytest.mark.parametrize("devices", [0, -1])
def test_there_is_at_least_one_device(devices, tmp_path):
    with (
        pytest.raises(ValueError, match=f"--devices {devices}: give at least 1"),
        crew_of(Namespace(devices=devices), [], tmp_path, print),
    ):
        pass
