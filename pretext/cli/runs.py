"""`pretext runs`: list the runs below a folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from pretext.cli.listing import listed, told
from pretext.cli.parser import Parser, run_of
from pretext.core.runs import CONFIG, LAST, RUNS

RESULTS = ("accuracy", "ranking", "loss")  # what tells most of a task first


def main(args: list[str]) -> None:
    """List the runs below a folder (default: runs): tasks, step, last result, disk, newest last."""
    name, rest = run_of(args)
    Parser("runs", "[FOLDER]", main.__doc__).parse_args(rest)
    folder = Path(name or RUNS)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; `pretext fit -c CONFIG` makes runs in {RUNS}")
    found = sorted((file.parent for file in folder.rglob(CONFIG)), key=lambda run: (run / CONFIG).stat().st_mtime)
    if not found:
        print(f"no runs in {folder}; `pretext fit -c CONFIG` makes them")
        return
    print(listed([_row(run) for run in found]), end="")


def _row(run: Path) -> tuple[str, ...]:
    step, result = last_result(run)
    state = f"step {step}" if (run / LAST).exists() else "no checkpoint"
    return str(run), state, size(run), told(", ".join(tasks(run)), result)


def tasks(run: Path) -> list[str]:
    """Name the tasks of a run; of an evaluator its class."""
    try:
        return list(json.loads((run / "chance.json").read_text(encoding="utf-8"))) or [_model(run)]
    except (OSError, ValueError):
        return [_model(run)]


def _model(run: Path) -> str:
    lines = (run / CONFIG).read_text(encoding="utf-8", errors="replace").splitlines()
    after = lines[lines.index("model:") + 1 :] if "model:" in lines else []
    named = next((line for line in after[:1] if "class_path:" in line), "")
    return named.partition("class_path:")[2].strip()


def last_result(run: Path) -> tuple[int, str]:
    """Return the step that a run has come to, and each task's last score on held-out items, or else in training."""
    step, last = 0, dict[str, str]()
    if (run / "metrics.csv").is_file():
        with (run / "metrics.csv").open(newline="", encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                step = max(step, int(float(row["step"])) + 1 if row.get("step") else 0)
                last.update({key: value for key, value in row.items() if key and value})
    scores = []
    for task in tasks(run):
        names = [f"{split}/{task}/{score}" for split in ("val", "train") for score in RESULTS]
        found = next((name for name in names if name in last), None)
        if found is not None:
            scores.append(f"{found} {float(last[found]):.3f}")
    return step, ", ".join(scores)


def size(run: Path) -> str:
    """Say how much disk a run takes."""
    taken = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    return f"{taken / 1e9:.1f} GB" if taken >= 1e9 else f"{taken / 1e6:.1f} MB"
