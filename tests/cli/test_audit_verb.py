"""`pretext audit` as a user meets it: a table, a page, errors in one line, and a plug-in that gets all but its own."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))
from html_page import Page, loads_nothing, only_its_own_script_may_run

import pretext
from pretext.__main__ import main

CONFIG = """
model:
  backbone: {class_path: pretext.TorchVision, init_args: {name: resnet18, stem: small, width: 0.25}}
  tasks:
    turn: {class_path: pretext.Rotation}
    negative: {class_path: shortcuts.Negative}
    missing: {class_path: shortcuts.Missing}
data: {class_path: datamodules.Digits, init_args: {size: 32, batch_size: 32}}
"""
PLUG_IN = ["--tasks", "negative", "--budget", "1"]
ASKED = {"nothing", "noise", "constant", "borders", "moments", "blocks", "blocks shifted", "spectrum"}
ASKED |= {"kernels swapped", "aberration"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "tiny.yaml"
    file.write_text(CONFIG)
    return str(file)


def refused(capsys, *args):
    assert main(["audit", *args]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_a_plug_in_gets_all_but_a_control_of_its_own(config, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["audit", "-c", config, *PLUG_IN, "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "audit negative: borders alone" in told.err  # progress
    assert "borders alone" in told.out
    assert "Verdict" in told.out
    assert told.out.splitlines()[-1] == f"look: {out / 'audit.html'} (also .json and .md)"
    (task,) = json.loads((out / "audit.json").read_text())["tasks"]
    assert (task["task"], task["kind"], task["metric"], task["chance"]) == ("negative", "Negative", "accuracy", 0.5)
    assert {one["name"] for one in task["findings"] if one["score"]} == ASKED
    assert {one["name"]: one["note"] for one in task["findings"]}["destroyed"] == "the task has no control of its own"
    html = (out / "audit.html").read_text()
    assert loads_nothing(html)
    assert only_its_own_script_may_run(html)
    page = Page(html)
    assert task["verdict"] in page.text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 1
    assert "chromatic aberration" in (out / "audit.md").read_text()

    assert main(["audit", "-c", config, *PLUG_IN, "--out", str(out)]) == 0  # goes on where it stopped: nothing to do
    found = pretext.find_shortcuts(config, out, tasks=["negative"], budget=1)  # the same from Python
    assert (found.page, [one.to_json() for one in found.tasks]) == (out / "audit.html", [task])
    assert capsys.readouterr().err == ""


def test_mistakes_are_told_in_one_line(config, tmp_path, capsys):
    assert "give a config" in refused(capsys)
    assert "give a config" in refused(capsys, "runs/demo")
    line = refused(capsys, "-c", config, "--tasks", "turns")
    assert line == "pretext audit: no task turns in the config, which has turn, negative, missing"
    assert "budget=0" in refused(capsys, "-c", config, "--budget", "0")
    line = refused(capsys, "-c", config, "--tasks", "missing")
    assert "missing cannot be posed from these data: Missing wants clips, got (8, 3, 32, 32)" in line
    line = refused(capsys, "-c", config, "--tasks", "turn", "--data.split.limit", "20")
    assert "held-out items, of at least 8" in line
    assert "--data.split.val" in line
    file = tmp_path / "no_data.yaml"
    file.write_text(CONFIG.partition("data:")[0])
    assert "names no data" in refused(capsys, "-c", str(file))
