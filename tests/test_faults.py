"""The harness of faults: a small part of it, and what it is made of."""

import json
import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))  # last: no script there hides a library or a file of these tests

import faults  # noqa: E402
from fault_parts.calls import wrong_calls  # noqa: E402
from fault_parts.damage import KINDS  # noqa: E402
from fault_parts.samples import FORMATS, whole_files  # noqa: E402

SLOWER = ("videos", "sounds", "kills", "disk", "soak")  # in processes of their own


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Let what the harness sets for itself and for the processes that it starts be forgotten after each test."""
    for name in ("PYTHONPATH", *faults.THREADS):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        if not os.environ[name]:
            monkeypatch.delenv(name)
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def test_a_small_part_of_it_finds_nothing_and_a_second_start_asks_nothing_again(tmp_path, capsys):
    call = ["--small", "--out", str(tmp_path), "--only", "pictures", "hostile", "calls", "uses"]
    assert faults.main(call) == 0, capsys.readouterr().out
    parts = json.loads((tmp_path / "faults.json").read_text())["parts"]
    assert {name: part["state"] for name, part in parts.items() if "state" in part} == dict.fromkeys(call[-4:], "done")
    files = parts["pictures"]["answers"]
    assert len(files) == len(KINDS)
    assert all(answer["bad"] <= answer["files"] == 10 for answer in files.values())
    capsys.readouterr()
    assert faults.main(call) == 0
    assert capsys.readouterr().out.count("done in an earlier start") == 4


@pytest.mark.slow
def test_a_small_part_of_what_takes_processes_of_its_own_finds_nothing(tmp_path):
    assert faults.main(["--small", "--out", str(tmp_path), "--only", *SLOWER]) == 0


def test_damage_depends_on_its_seed_alone_and_leaves_no_file_as_it_was():
    whole, other = whole_files("PNG")[:2]
    for kind, spoil in KINDS.items():
        made = [[spoil(whole, other, np.random.default_rng([seed, k])) for k in range(20)] for seed in (0, 0, 1)]
        assert made[0] == made[1] != made[2], kind
        assert sum(data != whole for data in made[0]) >= 18, kind


def test_there_is_a_file_of_every_suffix_family_and_many_wrong_calls():
    assert {form.module for form in FORMATS.values()} == {"pictures", "videos", "sounds"}
    assert len(wrong_calls()) >= 60
    assert len({call for call, _ in wrong_calls()}) == len(wrong_calls())


def test_a_part_that_is_not_there_is_said_in_a_line(tmp_path, capsys):
    assert faults.main(["--small", "--out", str(tmp_path), "--only", "luck"]) == 2
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith("there are pictures, videos, sounds, kills, disk, hostile, calls, uses, soak")
    )
