"""Curves over an amount: whose figures they are, where they are drawn, and what they are compared with."""

import re

import pytest

from pretext.benchmark.amounts import OWN, amount_curves
from pretext.benchmark.results import Board
from pretext.benchmark.summary import summary
from pretext.evaluation.statistics.ranking import mean_over_seeds
from pretext.report.leaderboard import markdown
from pretext.report.leaderboard_amounts import amounts_charts, amounts_table
from pretext.report.leaderboard_page import write_html

AMOUNTS = {
    "few": {"equal steps": 100},
    "more": {"equal steps": 1000},
    "all": {"equal steps": 10_000, "equal epochs": 10_000},
}
BEST = {"few": 0.4, "more": 0.5, "all": 0.6, "random": 0.35, "supervised": 0.8}


def cell(entry, seed, test=None):
    kind = entry if entry in ("random", "supervised") else "supervised" if test else "trained"
    accuracy = BEST[entry] + 0.01 * seed
    linear = {"accuracy": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02}
    few = [("1 per class", 10, 0.5), ("5 per class", 50, 0.7), ("1 %", 50, 0.9)]
    return {
        "entry": entry,
        "kind": kind,
        "seed": seed,
        "rows": [{"stage": "stem", "chosen": True, "linear": linear}],
        "low_label": [
            {"stage": "stem", "labels": name, "items": n, "accuracy": share * accuracy, "low": 0.0, "high": 1.0}
            for name, n, share in few
        ],
        "failed": None,
        **({"test": {"accuracy": accuracy + 0.1, "low": accuracy, "high": accuracy + 0.2}} if test else {}),
    }  # fmt: skip


def board(test=None):
    entries = [*AMOUNTS, "random", "supervised"]
    plain = [cell(entry, seed, test if entry in AMOUNTS else None) for entry in entries for seed in range(3)]
    facts = {"name": "a", "data": {}, "protocol": {}, "planned": 15, "amounts": AMOUNTS, "amount": "images"}
    return Board.from_json({**facts, "cells": plain})


def test_a_board_with_amounts_is_read_as_it_was_written():
    assert Board.from_json(board().to_json()) == board()


def test_every_point_is_the_mean_over_seeds_of_its_entry():
    found = board()
    curves = {one.title: one for one in amount_curves(found, summary(found))}
    assert list(curves) == [
        "Linear probe",
        "Few labels: 1 per class",
        "Few labels: 5 per class",
    ]  # of "1 %" the items are known
    probe = curves["Linear probe"]
    assert list(probe.curves) == ["equal steps", "equal epochs"]
    assert list(probe.curves["equal steps"]) == [100, 1000, 10_000]
    for name, amounts in AMOUNTS.items():
        values = [(BEST[name] + 0.01 * seed, 0.0, 1.0) for seed in range(3)]
        for curve, amount in amounts.items():
            assert probe.curves[curve][amount] == pytest.approx(tuple(mean_over_seeds(values)))
    assert {kind: round(level.value, 9) for kind, level in probe.levels.items()} == {"supervised": 0.81, "random": 0.36}
    few = curves["Few labels: 5 per class"]
    assert few.curves["equal steps"][1000].value == pytest.approx(0.7 * 0.51)
    assert few.levels["random"].value == pytest.approx(0.7 * 0.36)


def test_what_an_evaluator_is_tested_on_takes_the_place_of_the_probe():
    found = board(test=True)
    (own,) = amount_curves(found, summary(found))
    assert own.title == OWN
    assert [figure.value for figure in own.curves["equal steps"].values()] == pytest.approx([0.51, 0.61, 0.71])
    assert own.levels == {}


def test_a_board_without_amounts_has_no_curves():
    plain = {**board().to_json(), "amounts": {}}
    found = Board.from_json(plain)
    assert amount_curves(found, summary(found)) == []
    assert "By images" not in markdown([found])


def test_amounts_are_drawn_on_a_logarithmic_scale():
    found = board()
    keys, charts = amounts_charts(amount_curves(found, summary(found)))
    assert len(charts) == 3
    first = re.search(r'class="curve-0">.*?d="M([\d.]+) [\d.]+L([\d.]+) [\d.]+L([\d.]+) ', charts[0])
    left, middle, right = map(float, first.groups())
    assert middle - left == pytest.approx(right - middle, abs=0.11)  # places have one digit
    assert charts[0].count('class="line"') == 2 + 2  # curves and levels
    assert "equal epochs" in keys
    assert "random initialisation" in charts[0]


def test_the_table_has_a_row_for_each_amount_and_each_level(tmp_path):
    found = board()
    table = amounts_table(amount_curves(found, summary(found)), "images")
    named = [(row.cells[0], row.cells[1] and row.cells[1].value) for row in table.rows]
    assert named[:3] == [("equal steps", 100), ("equal steps", 1000), ("equal steps", 10_000)]
    assert named[3:] == [("equal epochs", 10_000), ("trained with labels", None), ("random initialisation", None)]
    text = markdown([found])
    assert "| equal steps | 1,000 | 51.0 (48.5-53.5) |" in text
    write_html([found], tmp_path / "a.html", "A", "pretext bench", {})
    assert (tmp_path / "a.html").read_text().count("equal epochs") >= 2
