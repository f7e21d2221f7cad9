"""The benchmark of predicted networks, in small: every part leaves its cells, and is not done again."""

import json
import sys
from pathlib import Path

import pytest
from folders import labelled_folder

ROOT = Path(__file__).parents[3]


@pytest.mark.slow  # 20 models, 10 targets
def test_the_dry_run_leaves_a_cell_for_everything_and_repeats_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT / "benchmarks")])
    from task_transfer import DRY, main

    labelled_folder(tmp_path / "cifar10", count=100)
    words = ["--root", str(tmp_path), "--out", str(tmp_path / "out"), "--cells", str(tmp_path / "cells"), "--dry"]
    main(words)
    cells = sorted((tmp_path / "cells").rglob("*.json"))
    kinds = [cell.parent.name for cell in cells]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"models": 20, "targets": 10, "study": len(DRY)}
    assert not list((tmp_path / "cells").rglob("*.failed"))
    found = json.loads((tmp_path / "task_transfer.json").read_text())
    assert found["common"]["all targets"]["targets"] == len(DRY)
    assert found["common"]["without twins"]["targets"] == len(DRY) - 1
    assert found["common"]["all targets"]["warnings"] == 0
    assert found["own"]["all targets"]["warnings"] == len(DRY)
    assert found["common"]["all targets"]["beats supervised, %"]["supervised"] == "50.0 ± 0.0"
    before = [cell.stat().st_mtime_ns for cell in cells]
    main(words)
    assert [cell.stat().st_mtime_ns for cell in cells] == before
