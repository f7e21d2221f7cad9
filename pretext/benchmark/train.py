"""What training a config for a benchmark gives: its run, and what the run scored on its held-out share."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pretext.benchmark.cells import Cell
from pretext.benchmark.suite import Options
from pretext.jobs.arguments import arguments as arguments
from pretext.jobs.files import once
from pretext.training.cli import PretextCLI
from pretext.training.run import LAST

Plain = dict[str, Any]


def train(cell: Cell, options: Options, run: Path) -> Plain:
    """Train a config, or go on where it stopped, and score it: {"command", "pretext", "seconds"}.

    Args:
        cell: whose entry names a config.
        options: of its board.
        run: folder for the run.

    """
    assert cell.entry.config is not None
    own = [*arguments({**options, **cell.entry.options}), "--seed_everything", str(cell.seed)]
    fit = ["fit", "-c", cell.entry.config, *own]
    # Another suite, of other protocols, may want the same run: so the lock has the run's name, and stands outside it.
    lock = run.parents[1] / f"{run.parent.name}-{run.name}.lock"
    scored = once(run / "bench.json", partial(_fit_and_score, fit, run), lock)
    guesses = json.loads((run / "chance.json").read_text())
    skill = pretext_skill(scored["scores"], guesses)
    return {"command": shlex.join(["pretext", *fit]), "pretext": skill, "seconds": scored["seconds"]}


def _fit_and_score(fit: list[str], run: Path) -> Plain:
    begin, started = time.perf_counter(), (run / LAST).exists()
    PretextCLI(["fit", str(run)] if started else [*fit, "--trainer.default_root_dir", str(run)])
    seconds = {} if started else {"train": round(time.perf_counter() - begin, 1)}  # of a resumed run: not known
    scored = PretextCLI(["validate", str(run), "--trainer.limit_val_batches", "1.0"])
    scores = {name: float(value) for name, value in scored.trainer.callback_metrics.items()}
    return {"seconds": seconds, "scores": scores}


def pretext_skill(logged: Mapping[str, float], chance: Mapping[str, Mapping[str, float]]) -> Plain | None:
    """Set a run's held-out scores beside a blind guess's; its skill is the share of that loss that it removed.

    Args:
        logged: by name, such as "val/turn/loss".
        chance: by task, what a blind guess scores.

    Returns:
        {"skill", "scores", "chance"}; None where no task has a blind guess.

    """
    if not chance:
        return None
    scores = {name.removeprefix("val/"): value for name, value in logged.items() if name.count("/") == 2}
    guesses = {f"{task}/{name}": value for task, of in chance.items() for name, value in of.items()}
    removed = [1 - scores[f"{task}/loss"] / chance[task]["loss"] for task in chance if f"{task}/loss" in scores]
    skill = sum(removed) / len(removed) if removed else None
    return {"skill": skill, "scores": scores, "chance": {name: guesses[name] for name in scores if name in guesses}}
