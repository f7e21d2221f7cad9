"""benchmarks/few_shot.py in small."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve()
ROOT = next(parent for parent in ROOT.parents if (parent / "benchmarks").is_dir())


@pytest.mark.slow  # 22 cells
def test_the_dry_run_leaves_a_cell_for_everything_and_repeats_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "benchmarks")])
    from few_shot import LEARNERS, main

    words = ["--root", str(tmp_path), "--out", str(tmp_path / "out"), "--cells", str(tmp_path / "cells")]
    words += ["--only", "digits", "--dry"]
    main(words)
    cells = sorted((tmp_path / "cells").rglob("*.json"))
    assert len(cells) == 2 * (3 + 2 + len(LEARNERS))  # shots x (frozen features, fine-tuned ones, learners)
    assert not any("failed" in json.loads(cell.read_text()) for cell in cells)
    tables = json.loads((tmp_path / "few_shot.json").read_text())["accuracy"]
    assert list(tables) == ["digits, 5 ways, 1 shots", "digits, 5 ways, 5 shots"]
    assert all(len(rows) == 8 + len(LEARNERS) for rows in tables.values())  # both read-outs of each of three inputs
    before = [cell.stat().st_mtime_ns for cell in cells]
    main(words)
    assert [cell.stat().st_mtime_ns for cell in cells] == before
