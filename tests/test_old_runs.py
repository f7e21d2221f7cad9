"""What commit be181bd made (tests/made_by_be181bd) is still read, gone on with, measured and shown."""

import csv
import json
import os
import re
from pathlib import Path
from shutil import copytree

import pytest
import torch
import yaml
from folders import labelled_folder
from safetensors.torch import load_file

import pretext
from pretext.__main__ import main

OLD = Path(__file__).parent / "made_by_be181bd"
WRITTEN = 1_700_000_000 * 10**9  # as in its make.py
QUICK = ("--protocols", "linear", "knn", "low_label", "--dims", "32")
# A float32 convolution of n products is off by n 2^-24 of their size: here, 20 of at most 144 products. Digits of twice
# their size are the same on every machine: bilinear weights are quarters, which are exact.
FLOATS = 20 * 144 * 2**-24
# Features that differ by so much change the answer to items that lie between two classes: of 500, a few.
ITEMS = 5


def copied(folder):
    """Copy what was made, with the pictures that were there."""
    copytree(OLD, folder)
    os.utime(folder / "finished" / "checkpoints" / "last.ckpt", ns=(WRITTEN, WRITTEN))  # which git does not keep
    labelled_folder(folder / "pictures", 12)
    return folder


@pytest.fixture
def old(tmp_path, monkeypatch):
    """Work in a copy."""
    monkeypatch.chdir(copied(tmp_path / "old"))
    return tmp_path / "old"


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """A copy in which one of two runs was probed anew."""
    folder = copied(tmp_path_factory.mktemp("probed") / "old")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["probe", "finished", *QUICK]) == 0
    return folder


def read(file):
    return json.loads(Path(file).read_text())


def steps(run):
    """Every row of metrics.csv, without the columns that it leaves empty."""
    with (run / "metrics.csv").open(newline="") as lines:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(lines)]


def checkpoint(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def test_a_run_gives_the_features_that_it_gave(old):
    before = load_file(old / "finished" / "features.safetensors")
    (old / "finished" / "features.safetensors").unlink()
    assert main(["predict", "finished"]) == 0
    after = load_file(old / "finished" / "features.safetensors")
    assert torch.equal(after["index"], before["index"])
    torch.testing.assert_close(after["pooled"], before["pooled"], rtol=0, atol=FLOATS * float(before["pooled"].max()))


def test_a_run_loads_in_python(old):
    network = pretext.load("finished").backbone
    weights = {f"backbone.{name}": value for name, value in network.state_dict().items()}
    trained = checkpoint(old / "finished")["state_dict"]
    assert all(torch.equal(value, trained[name]) for name, value in weights.items())
    assert list(network.stages) == ["stem", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize(("name", "epochs", "step", "last"), [("stopped", 3, 6, 12), ("videos_stopped", 2, 2, 4)])
def test_a_run_that_was_killed_goes_on(old, name, epochs, step, last):
    """One inside an epoch, one at the end of it; of pictures in files, and of videos with their sound."""
    rows, begun = steps(old / name), checkpoint(old / name)
    assert begun["global_step"] == step
    assert main(["fit", name]) == 0
    assert steps(old / name)[: len(rows)] == rows
    trained = [row["step"] for row in steps(old / name)[len(rows) :] if "train/loss" in row]
    assert trained == list(range(step, last))
    assert sum("val/loss" in row for row in steps(old / name)) == epochs
    done = checkpoint(old / name)
    assert done["global_step"] == last
    assert done["state_dict"].keys() == begun["state_dict"].keys()
    moments = done["optimizer_states"][0]["state"]  # AdamW counts its own steps: it was not begun anew
    assert {int(own["step"]) for own in moments.values() if "step" in own} <= {last}


def test_a_probe_finds_what_it_found(probed):
    before, after = read(OLD / "finished" / "probe.json"), read(probed / "finished" / "probe.json")
    assert after.keys() == before.keys() | {"options", "fingerprints", "step"}
    assert after["options"] == {"size": 16, "batch_size": 32, "split.limit": 200}
    assert after["data"] == before["data"]
    assert not list((probed / "finished").glob("probe-*.json"))  # the same probe: it takes the old one's place
    assert after["protocol"].keys() == before["protocol"].keys()
    assert [(row["features"], row["stage"]) for row in after["rows"]] == [
        (row["features"], row["stage"]) for row in before["rows"]
    ]
    pairs = list(zip(before["rows"], after["rows"], strict=True))
    # Random networks are left out: torch does not promise their weights from one release to the next.
    for then, now in ((then, now) for then, now in pairs if then["features"] != "random"):
        assert now.keys() == then.keys()
        for k, score in then["nearest"].items():
            assert now["nearest"][k]["accuracy"] == pytest.approx(score["accuracy"], abs=ITEMS / 500)
        for kind, choice in (("linear", "l2"), ("knn", "k")):
            assert now[kind].keys() == then[kind].keys()
            if now[kind][choice] == then[kind][choice]:
                assert now[kind]["accuracy"] == pytest.approx(then[kind]["accuracy"], abs=ITEMS / 500)
            else:  # a single item may tip the choice between two that are as good
                assert then[kind]["low"] <= now[kind]["accuracy"] <= then[kind]["high"]
    assert [(point["features"], point["labels"]) for point in after["low_label"]] == [
        (point["features"], point["labels"]) for point in before["low_label"]
    ]


def test_a_fine_tuned_run_is_tested_with_the_weights_of_its_best_epoch(old):
    before = read("tuned/score.json")
    assert main(["test", "tuned"]) == 0
    after = read("tuned/score.json")
    assert after.keys() == before.keys()
    assert after["accuracy"] == pytest.approx(before["accuracy"], abs=ITEMS / 500)
    assert {name: after[name] for name in ("task", "epoch", "validation", "items", "classes", "chance")} == {
        name: before[name] for name in ("task", "epoch", "validation", "items", "classes", "chance")
    }


def test_a_report_shows_what_the_files_say(old):
    assert main(["report", "finished"]) == 0
    page = (old / "finished" / "report.html").read_text()
    for row in read("finished/probe.json")["rows"]:
        assert f"{100 * row['linear']['accuracy']:.1f}" in page
    turns = [row["val/turn/accuracy"] for row in steps(old / "finished") if "val/turn/accuracy" in row]
    assert f"{100 * turns[-1]:.1f}" in page
    assert main(["report", "tuned"]) == 0
    assert f"{100 * read('tuned/score.json')['accuracy']:.1f}" in (old / "tuned" / "report.html").read_text()


def test_old_and_new_probes_are_compared_on_one_board(probed, capsys, monkeypatch):
    """Runs are compared where data and protocol are said in the same words, so the words must stay."""
    monkeypatch.chdir(probed)
    assert main(["compare", "finished", "tuned", "--out", "compare.html"]) == 0
    told = capsys.readouterr().out
    assert len(re.findall(r"\d+ of \d+ cells", told)) == 1
    for run in ("finished", "tuned"):
        (best,) = (r for r in read(f"{run}/probe.json")["rows"] if r["chosen"] and r["features"] == "trained")
        assert f"{100 * best['linear']['accuracy']:.1f}" in told
        assert f"{100 * best['linear']['accuracy']:.1f}" in Path("compare.html").read_text()


def test_a_search_goes_on_with_the_candidates_that_wait(old):
    before = read("study/candidates.json")
    assert [c["state"] for c in before] == ["done"] * 6 + ["waiting"] * 2
    assert main(["evolve", "-c", "search.yaml", "--out", "study"]) == 0
    after = read("study/candidates.json")
    assert after[:6] == before[:6]
    assert [c["state"] for c in after] == ["done"] * 8
    assert all(c["steps"] == 3 and c["weights"].keys() == {"turn", "contrast"} for c in after[6:])
    best = max((c for c in after if c["control"] != "all zero"), key=lambda c: c["fitness"])
    found = yaml.safe_load((old / "study" / "best.yaml").read_text())
    assert found["model"]["weighting"]["init_args"]["weights"] == best["weights"]
    assert all(task in (old / "study" / "evolve.html").read_text() for task in best["weights"])


def test_a_benchmark_goes_on_and_repeats_no_entry(old):
    """Baselines may be measured again: the name of their cells has in it what torch and this package are made of."""
    cells = {file: file.read_bytes() for file in (old / "suite" / "cells").rglob("*.json")}
    runs = sorted((old / "suite" / "runs" / "digits").iterdir())
    (turns,) = (old / "suite" / "runs" / "digits").glob("turns-*")
    trained = checkpoint(turns)
    assert main(["bench", "suite.yaml", "--out", "suite"]) == 0
    assert {file: file.read_bytes() for file in cells} == cells
    new = [file for file in (old / "suite" / "cells").rglob("*.json") if file not in cells]
    assert [file.name.rsplit("-", 2)[0] for file in new if file.name[0] != "="] == ["narrower views"]
    assert sorted((old / "suite" / "runs" / "digits").glob("[!.]*-0-*[0-9a-f]")) == runs
    assert checkpoint(turns)["global_step"] == trained["global_step"]
    (resumed,) = (old / "suite" / "runs" / "digits").glob("narrower views-*[0-9a-f]")
    assert [row["step"] for row in steps(resumed) if "train/loss" in row][-2:] == [3, 4]  # of five, from the third on
    assert checkpoint(resumed)["global_step"] == 5
    with (old / "suite" / "leaderboard.csv").open(newline="") as lines:
        entries = {row["entry"] for row in csv.DictReader(lines)}
    assert {"finished run", "turns", "untrained", "narrower views"} <= entries
