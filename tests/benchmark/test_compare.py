"""Probed runs side by side: none is left out, what differs is not ranked together, and old figures are told."""

import json
import os
from dataclasses import replace

import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet
from PIL import Image
from torch.utils.data import DataLoader, Subset, TensorDataset

import pretext
from datamodules import Digits, ImageFolder
from pretext.__main__ import main
from pretext.benchmark.compare import compared
from pretext.benchmark.results import Board
from pretext.benchmark.summary import summary
from pretext.evaluation.kept import keep, step_of
from pretext.evaluation.probe import SPLITS, _listed
from pretext.evaluation.results import ProbeResult, Score, StageRow
from pretext.report.leaderboard import markdown, table
from pretext.training.loaders import taken
from pretext.verbs.comparing import Boards

DATA = {"class": "Loaders", "train": 10, "test": 5, "classes": ["a", "b"]}
PROTOCOL = {"linear": "as it is", "view": "as it is", "chance": 0.5}
PRINTS = {"train": "1", "test": "2"}
OTHERS = {"train": "3", "test": "4"}


def row(features, accuracy):
    figures = {"accuracy": accuracy, "low": accuracy - 0.1, "high": accuracy, "validation": accuracy}
    return StageRow("stem", {"linear": Score(figures)}, chosen=True, features=features)


def probed(folder, *, trained=1.0, random=0.6, raw=0.5, **facts):
    """Leave a run with a probe of it; a second probe takes its place beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text("model: {}\n")
    rows = (row("trained", trained), row("random", random), row("raw", raw))
    keep(ProbeResult(rows, **{"data": DATA, "protocol": PROTOCOL, "fingerprints": PRINTS} | facts), folder)
    return folder


def entries(board):
    return [cell.entry for cell in board.cells]


def trained(boards):
    return [[cell.entry.rpartition("/")[2] for cell in board.cells if cell.kind == "trained"] for board in boards]


def test_runs_of_equal_figures_are_both_listed_and_what_they_share_once(tmp_path):
    runs = [probed(tmp_path / name) for name in "ab"]
    (board,) = compared([*runs, runs[0]])
    assert entries(board) == [str(runs[0]), "random", "raw", str(runs[1])]
    assert board.status == "4 of 4 cells"
    assert [entry.ranks for entry in summary(board) if entry.kind == "trained"] == [(1, 2), (1, 2)]


def test_another_random_network_is_listed_beside_the_first(tmp_path):
    runs = [probed(tmp_path / "a"), probed(tmp_path / "b", random=0.7)]
    (board,) = compared(runs)
    assert entries(board) == [str(runs[0]), "random", "raw", str(runs[1]), f"random, of {runs[1]}"]


def test_a_baseline_stays_where_a_trained_network_agrees_with_it(tmp_path):
    (board,) = compared([probed(tmp_path / "a", trained=0.6, random=0.6, raw=0.6)])
    assert [cell.kind for cell in board.cells] == ["trained", "random", "raw"]


def test_other_items_have_a_board_of_their_own_which_says_whose_they_are(tmp_path):
    runs = [probed(tmp_path / "a"), probed(tmp_path / "b", fingerprints=OTHERS), probed(tmp_path / "c")]
    boards = compared(runs)
    assert trained(boards) == [["a", "c"], ["b"]]
    assert [board.name for board in boards] == [f"Loaders · as it is · items of {run}" for run in runs[:2]]
    for board in boards:
        assert board.name.rpartition(" · ")[2] in str(table(board).title)


def test_boards_of_one_run_are_told_apart_by_its_files(tmp_path):
    run = probed(probed(tmp_path / "a"), fingerprints=OTHERS)
    other = probed(tmp_path / "b", fingerprints=OTHERS)
    boards = compared([run, other])
    assert trained(boards) == [["a"], ["a", "b"]]
    (beside,) = run.glob("probe-*.json")
    assert [board.name.rpartition(" · ")[2] for board in boards] == [
        f"items of {run / 'probe.json'}",
        f"items of {beside}",
    ]


def test_probes_that_do_not_say_of_which_items_stay_together(tmp_path):
    runs = [
        probed(tmp_path / "early", fingerprints=None),
        probed(tmp_path / "a"),
        probed(tmp_path / "b", fingerprints=OTHERS),
        probed(tmp_path / "earlier", fingerprints=None),
    ]
    assert trained(compared(runs)) == [["early", "a", "earlier"], ["b"]]


def test_a_copy_of_the_files_is_the_same_data_and_their_other_dates_are_told(tmp_path):
    names = {"train": "names", "test": "of files"}
    runs = [
        probed(tmp_path / "a", listed=names),
        probed(tmp_path / "b", listed=names, fingerprints=OTHERS),
        probed(tmp_path / "c", listed={**names, "test": "others"}, fingerprints=OTHERS),
        probed(tmp_path / "older"),  # it knows dates alone
    ]
    boards = compared([runs[0], *runs])
    assert trained(boards) == [["a", "b"], ["c"], ["older"]]
    assert boards[0].notes == (
        f"The files of {runs[1]} are named as those of {runs[0]}, but some have another size or date.",
    )
    assert trained(compared([runs[0], runs[3]])) == [["a", "older"]]
    again = probed(runs[0], listed=names, fingerprints=OTHERS)  # touched: a result beside the first
    assert trained(compared([again, runs[1]])) == [["a"], ["a", "b"]]


def test_notes_stand_on_every_face_of_a_board(tmp_path):
    note = "Read this."
    board = replace(compared([probed(tmp_path / "a")])[0], notes=(note,))
    assert Board.from_json(json.loads(json.dumps(board.to_json()))) == board
    pages = [table(board).caption, markdown([board]).replace("\\", "")]
    pages += [repr(Boards((board,))), Boards((board,))._repr_html_()]
    assert all(note in str(page) for page in pages)


# ---- Real runs


def batches(count=24, seed=0):
    """Red and blue pictures with noise."""
    y = torch.arange(count) % 2
    x = torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 0.5
    x[torch.arange(count), y * 2] += 0.4
    return TensorDataset(x, y)


class Birds(TensorDataset):
    """A data set that says what it is of."""


class Feathers(pl.LightningDataModule):
    """A data module of a user's own."""

    def train_dataloader(self):
        return DataLoader(batches(), 8)

    val_dataloader = train_dataloader


FAST = {"protocols": "knn", "dims": 16, "device": "cpu"}


@pytest.mark.parametrize(
    ("data", "called"),
    [
        (DataLoader(batches(), 8), None),
        ([[batches().tensors]], None),
        (DataLoader(Subset(Birds(*batches().tensors), range(16)), 8), "Birds"),
        (pl.LightningDataModule.from_datasets(batches()), None),
        (Feathers(), "Feathers"),
        (Digits(size=8), None),
    ],
)
def test_data_of_a_users_own_is_called_by_its_own_class(data, called):
    assert getattr(taken(data), "called", None) == called


def test_of_files_a_probe_keeps_what_is_alike_on_every_machine(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for k in range(4):
            Image.new("RGB", (8, 8), (40 * k, 0, 0)).save(tmp_path / name / f"{k}.png")
    data = ImageFolder(tmp_path, 8)
    listed = _listed(data, {split: data.fingerprint(split) for split in SPLITS})
    os.utime(tmp_path / "a" / "0.png", (1, 1))
    touched = ImageFolder(tmp_path, 8)
    prints = {split: touched.fingerprint(split) for split in SPLITS}
    assert _listed(touched, prints) == listed
    assert listed.keys() == prints.keys()
    assert all(listed[split] != prints[split] for split in SPLITS)
    digits = Digits(size=8)
    assert _listed(digits, {split: digits.fingerprint(split) for split in SPLITS}) is None


def test_a_board_is_called_as_its_data_is(tmp_path):
    (board,) = compared([probed(tmp_path / "a", called="Birds"), probed(tmp_path / "b")])
    assert board.name == "Birds · as it is"
    assert str(table(board).title).startswith("as it is: Birds · 10 train items")
    assert "Loaders" not in str(table(board).title)


def test_a_run_that_was_trained_on_says_that_its_probe_is_of_an_earlier_step(tmp_path, capsys):
    loader = DataLoader(batches(), 8, shuffle=True)
    options = {"max_epochs": -1, "accelerator": "cpu", "limit_val_batches": 0, "log_every_n_steps": 1}

    def fit(steps):
        torch.manual_seed(0)
        host = pretext.Pretrainer(TinyNet(width=4), {"turn": pretext.Rotation})
        return pretext.fit(host, (loader, loader), tmp_path / "run", resume=steps > 3, max_steps=steps, **options)

    run = fit(3)
    first = pretext.probe(run, **FAST)
    assert first.step == json.loads((run.folder / "probe.json").read_text())["step"] == 3
    told = f"probed at step 3; the run is at step 5; again: pretext probe {run.folder}."
    assert pretext.compare(run).boards[0].notes == ()
    assert "probed at step" not in pretext.write_report(run).read_text()
    run = fit(5)
    assert pretext.compare(run).boards[0].notes == (f"{run.folder}: {told}",)
    assert main(["compare", str(run.folder), "--out", str(tmp_path / "page.html")]) == 0
    assert "probed at step 3; the run is at step 5" in " ".join(capsys.readouterr().out.split())
    for page in (tmp_path / "page.html", pretext.write_report(run)):
        assert told in page.read_text()
    assert step_of(run.backbone, run.folder) == 5
    keep(replace(first, step=5), run.folder)
    assert pretext.compare(run).boards[0].notes == ()
