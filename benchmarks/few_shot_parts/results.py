"""What finished cells of `few_shot.py` come to."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from shared import interval

from few_shot_parts.sets import KINDS
from pretext.jobs.files import read_result

WAYS = 5


def cell(cells: Path, name: str) -> Path:
    """Name the file of a cell's result."""
    return cells / f"{name.replace(' ', '-').replace(',', '')}.json"


def results(cells: Path, splits: int, sines: Sequence[int], learners: Iterable[str]) -> dict[str, Any]:
    """Average over splits: "mean ± half the 95 % interval over splits", and beside it that over episodes."""
    found: dict[str, Any] = {}
    for name, kind in KINDS.items():
        for shots in kind.shots:
            rows: dict[str, list[Any]] = {}
            for split in range(splits):
                for which in ("pretext", "random", "raw input"):
                    for way, score in (result(cells, f"{name}/{split}-{shots}-frozen-{which}") or {}).items():
                        rows.setdefault(f"{which}, {way}", []).append(score)
                    if tuned_one := result(cells, f"{name}/{split}-{shots}-tuned-{which}"):
                        rows.setdefault(f"{which}, fine-tuned", []).append(tuned_one)
                for method in learners:
                    if score := result(cells, f"{name}/{split}-{shots}-{method}"):
                        rows.setdefault(method, []).append(score)
            found[f"{name}, {WAYS} ways, {shots} shots"] = {row: said(scores) for row, scores in rows.items()}
    sinusoid = {str(steps): result(cells, f"sinusoid/{steps}") for steps in sines}
    return {"accuracy": {key: rows for key, rows in found.items() if rows}, "sinusoid": sinusoid}


def result(cells: Path, name: str) -> Any:
    """Read a finished cell; None where there is none, or it failed."""
    found = read_result(cell(cells, name))
    return None if found is None or "failed" in found else found


def said(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Say what the splits of a row come to, in percent."""
    half = statistics.mean(50 * (score["high"] - score["low"]) for score in scores)
    spent = [score["training_seconds"] for score in scores if "training_seconds" in score]
    about = {"training, s": round(statistics.mean(spent), 1)} if spent else {}
    over = {"over splits": interval([score["accuracy"] for score in scores]), "splits": len(scores)}
    if lost := sum(score.get("diverged", 0) for score in scores):
        about["episodes that diverged"] = lost
    return {**over, "± over episodes": round(half, 1), **about}
