"""Results are read and written as release 0.1 wrote them, whose files lie beside this one."""

import json
from pathlib import Path

import pytest

from pretext.benchmark.compare import compared
from pretext.benchmark.measures import measures, ranked_by
from pretext.benchmark.results import Board, CellResult
from pretext.benchmark.summary import summary
from pretext.evaluation.protocol import Description, Metric
from pretext.evaluation.results import ProbeResult, StageRow
from pretext.report.leaderboard import write_csv

OLD = Path(__file__).parent / "release_0_1"
PROBES = [json.loads(file.read_text()) for file in sorted(OLD.glob("probe*.json"))]
CELLS = {file.stem.removeprefix("cell_"): json.loads(file.read_text()) for file in sorted(OLD.glob("cell_*.json"))}


@pytest.mark.parametrize("plain", PROBES)
def test_a_probe_is_written_as_it_was_read_to_the_letter(plain):
    assert json.dumps(ProbeResult.from_json(plain).to_json()) == json.dumps(plain)


@pytest.mark.parametrize("missing", ["low_label", "seconds", "command", "protocol", "data"])
def test_a_probe_of_an_earlier_release_may_lack_parts(missing):
    less = {key: value for key, value in PROBES[0].items() if key != missing}
    assert ProbeResult.from_json(less).to_json() == less


@pytest.mark.parametrize("missing", ["features", "dims", "chosen", "linear", "nearest"])
def test_so_may_a_row(missing):
    less = {key: value for key, value in PROBES[0]["rows"][0].items() if key != missing}
    row = StageRow.from_json(less)
    assert row.to_json() == less
    assert (row.score("linear") is None) == (missing == "linear")
    assert (row.variants("nearest") == {}) == (missing == "nearest")


def test_what_was_not_measured_stays_nothing():
    plain = {"stage": "stem", "linear": None, "svm": {"map": None, "low": 0.1}}
    row = StageRow.from_json(plain)
    assert row.to_json() == plain
    assert row.score("linear") is None
    assert row.score("svm").value("map") is None


@pytest.mark.parametrize("name", list(CELLS))
def test_the_file_of_a_cell_is_written_with_what_was_read(name):
    assert CellResult.from_json(CELLS[name]).to_json() == CELLS[name]


def board():
    """Gather the cells as the runner does."""
    cells = [CELLS["turn"], CELLS["wild"], {**CELLS["random"], "entry": "random"}, {**CELLS["raw"], "entry": "raw"}]
    results = tuple(map(CellResult.from_json, cells))
    return Board("digits", CELLS["turn"]["data"], CELLS["turn"]["protocol"], 4, results)


def test_a_board_is_read_as_it_was_written():
    assert Board.from_json(board().to_json()) == board()
    assert board().status == f"3 of 4 cells; failed: wild, seed 0 ({CELLS['wild']['failed']})"


def test_the_leaderboards_csv_is_the_same_to_the_letter(tmp_path):
    write_csv([board()], tmp_path / "leaderboard.csv")
    assert (tmp_path / "leaderboard.csv").read_bytes() == (OLD / "leaderboard.csv").read_bytes()


def test_a_board_ranks_by_the_linear_probe_and_has_all_else_beside():
    assert ranked_by(board()).title == "Linear probe"
    titles = {key: measure.title for key, measure in measures(board()).items()}
    variants = {f"nearest/{k}": f"kNN, k = {k}" for k in (1, 20, 200)}
    assert titles == {"knn": "kNN", **variants}
    entry = next(entry for entry in summary(board()) if entry.name == "turn")
    row = next(row for row in CELLS["turn"]["rows"] if row["chosen"])
    assert entry.main.value == row["linear"]["accuracy"]
    assert entry.others["nearest/20"].value == row["nearest"]["20"]["accuracy"]
    assert [point.name for point in entry.curves["low_label"]] == [p["labels"] for p in CELLS["turn"]["low_label"]]


@pytest.mark.parametrize("chosen", ["linear", "svm", "knn"])
def test_protocols_rank_in_the_order_of_their_preference(chosen):
    row = {"stage": "stem", "chosen": True, "knn": {"accuracy": 0.3}, "svm": {"map": 0.4}, "linear": {"accuracy": 0.5}}
    order = ["linear", "svm", "knn"]
    row |= dict.fromkeys(order[: order.index(chosen)])
    plain = {"name": "", "data": {}, "protocol": {}, "planned": 1, "cells": [{"kind": "raw", "seed": 0, "rows": [row]}]}
    assert ranked_by(Board.from_json(plain)).protocol.name == chosen


def test_a_description_is_read_as_it_was_written():
    described = Description("mine", "Mine", "as I like it", (Metric("share", "share", unit="%"),), settings={"t": "T"})
    assert Description.from_json(json.loads(json.dumps(described.to_json()))) == described
    assert Description.from_json(described.to_json() | {"of a later release": 1}) == described


def test_probes_of_release_0_1_are_compared(tmp_path):
    (tmp_path / "probe.json").write_text(json.dumps(PROBES[0]))
    (tmp_path / "config.yaml").write_text("model: {}\n")
    (one,) = compared([tmp_path])
    assert {cell.entry for cell in one.cells} == {str(tmp_path), "random", "raw"}
    assert [row.to_json() for row in one.cells[0].rows] == [
        {key: value for key, value in row.items() if key != "features"}
        for row in PROBES[0]["rows"]
        if row["features"] == "trained"
    ]
