"""The table of a run across domains: on a terminal, in Markdown, on its page."""

import json

from pretext.report.adaptation import table
from pretext.report.run import write_report
from pretext.supervised.adaptation.selection import RULE

ROWS = [
    {"name": "DANN", "accuracy": 0.8149, "low": 0.80, "high": 0.83, "chosen": True, "gap_closed": 0.579},
    {"name": "source only", "accuracy": 0.5749, "low": 0.56, "high": 0.59, "chosen": False, "gap_closed": 0.0},
]
SCORE = {
    "task": "adaptation",
    **{key: ROWS[0][key] for key in ("accuracy", "low", "high")},
    "source": {"accuracy": 0.97, "low": 0.96, "high": 0.98},
    "rows": ROWS,
    "selected": RULE,
    "validation": 0.96,
    "entropy": 0.125,
    "diversity": 0.875,
    "items": 500,
    "chance": 0.114,
    "classes": ["a", "b"],
}


def test_rows_and_shares_are_those_of_the_score():
    assert table(SCORE).markdown().splitlines()[2:] == [
        "| DANN ★ | 81.5 (80.0-83.0) | 57.9 |",
        "| *source only* | 57.5 (56.0-59.0) | 0.0 |",
    ]
    caption = table(SCORE).caption.replace("\u00a0", " ")
    assert "mean entropy of target predictions 12.5 %, entropy of their mean 87.5 %)" in caption
    assert "--model.beside" not in caption


def test_a_gap_that_is_not_known_says_how_it_gets_known():
    alone = {**SCORE, "rows": [{**ROWS[0], "gap_closed": None}]}
    assert "--model.beside.source_only RUN --model.beside.on_target RUN" in table(alone).caption


def test_other_tests_have_no_such_table():
    assert table({"task": "finetune", "accuracy": 0.5}) is None
    assert table({}) is None


def test_the_page_of_the_run_has_it(tmp_path):
    (tmp_path / "score.json").write_text(json.dumps(SCORE))
    text = write_report(tmp_path).read_text()
    assert "Across domains" in text
    assert "source only" in text
    (tmp_path / "score.json").write_text(json.dumps({**SCORE, "task": "finetune"}))
    assert "Across domains" not in write_report(tmp_path).read_text()
