"""What training a config for a benchmark gives: its run, and what the run scored on its held-out share."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pretext.audit.sitting import SCORES as SHARES
from pretext.audit.trained import control_scores
from pretext.benchmark.cells import Cell
from pretext.benchmark.suite import Entry, Options, in_place
from pretext.jobs.arguments import arguments as arguments
from pretext.jobs.files import held, once
from pretext.jobs.keys import here
from pretext.supervised.scores import FILE as SCORE
from pretext.supervised.scores import MEASURES
from pretext.training.cli import PretextCLI
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import CONFIG, LAST, evaluates, read

Plain = dict[str, Any]
SCORED = "bench.json"
"""What a run scored, in its folder."""


def train(cell: Cell, options: Options, run: Path, start: Path | None = None) -> Plain:
    """Train a config, or go on where it stopped, and score it.

    Returns {"command", "pretext", "seconds"} and, of an evaluator, "test", what its own test gives.

    Args:
        cell: whose entry names a config.
        options: of its board.
        run: folder for the run.
        start: the run that an evaluator starts from.

    """
    fit = _words(here(options), in_place(cell.entry), cell.seed, start)
    scored = once(run / SCORED, partial(_fit_and_score, fit, run), _lock(run))
    guesses = json.loads((run / "chance.json").read_text())
    test = {"test": scored["test"]} if "test" in scored else {}
    skill = pretext_skill(scored["scores"], guesses, scored.get("controls", {}))
    command = as_command(["pretext", *_words(options, cell.entry, cell.seed, start)])
    return {"command": command, "pretext": skill, "seconds": scored["seconds"], **test}


def _words(options: Options, entry: Entry, seed: int, start: Path | None) -> list[str]:
    assert entry.config is not None
    own = [*arguments({**options, **entry.options}), "--seed_everything", str(seed)]
    return ["fit", "-c", entry.config, *own, *(["--model.run", str(start)] if start else [])]


def as_command(words: Iterable[str]) -> str:
    """Join words to a line for a shell, in which `${oc.env:NAME}` becomes the shell's variable."""
    quoted = (re.subn(r"\$\{oc\.env:(\w+)\}", r"${\1}", word) for word in words)
    return " ".join(f'"{word}"' if variables else shlex.quote(word) for word, variables in quoted)


def being_trained(run: Path) -> bool:
    """Tell whether another process is training a run."""
    return not (run / SCORED).exists() and held(_lock(run))


def _lock(run: Path) -> Path:
    """Name a run's lock: another suite, of other protocols, may want the same run, so it stands outside it."""
    return run.parents[1] / f"{run.parent.name}-{run.name}.lock"


def _fit_and_score(fit: list[str], run: Path) -> Plain:
    begin, started = time.perf_counter(), (run / LAST).exists()
    PretextCLI(["fit", str(run)] if started else [*fit, "--trainer.default_root_dir", str(run)])
    seconds = {} if started else {"train": round(time.perf_counter() - begin, 1)}  # of a resumed run: not known
    scored = PretextCLI(["validate", str(run), "--trainer.limit_val_batches", "1.0"])
    scores = {name: float(value) for name, value in scored.trainer.callback_metrics.items()}
    if isinstance(scored.model, Pretrainer):
        controls = control_scores(scored.model.eval(), scored.datamodule.val_dataloader())
        return {"seconds": seconds, "scores": scores, "controls": controls}
    if not evaluates(read(run / CONFIG)):
        return {"seconds": seconds, "scores": scores}
    PretextCLI(["test", str(run)])
    return {"seconds": seconds, "scores": scores, "test": own_score(json.loads((run / SCORE).read_text()))}


def own_score(written: Mapping[str, Any]) -> Plain | None:
    """Take out of an evaluator's `score.json` its measure with the interval, of several stages that of the chosen one.

    Returns:
        {"accuracy" (or another of `MEASURES`), "low", "high"}; None where no stage was chosen.

    """
    rows: list[Mapping[str, Any]] = written.get("rows", [written])
    chosen = next((row for row in rows if row.get("chosen", True)), {})
    measure = next((name for name in MEASURES if name in chosen), None)
    return None if measure is None else {name: chosen[name] for name in (measure, "low", "high")}


def pretext_skill(
    logged: Mapping[str, float], chance: Mapping[str, Mapping[str, float]], controls: Mapping[str, float]
) -> Plain | None:
    """Set a run's held-out scores beside a blind guess's; its skill is the share of that loss that it removed.

    Args:
        logged: by name, such as "val/turn/loss".
        chance: by task, what a blind guess scores.
        controls: as `logged`, "turn/loss", on puzzles without the relation that they ask about.

    Returns:
        {"skill", "scores", "chance", "controls", "control" (what of the accuracy or ranking above a blind guess, or of
        the loss removed where there is neither, is left in the controls)}; None where no task has a blind guess.

    """
    if not chance:
        return None
    scores = {name.removeprefix("val/"): value for name, value in logged.items() if name.count("/") == 2}
    guesses = {f"{task}/{name}": value for task, of in chance.items() for name, value in of.items()}
    known = {name: guesses[name] for name in scores if name in guesses}
    removed = [1 - scores[f"{task}/loss"] / chance[task]["loss"] for task in chance if f"{task}/loss" in scores]
    both = scores.keys() & controls.keys()  # an earlier version has controls of tasks of weight 0, without scores
    kept = [_kept(task, scores, guesses, controls) for task in chance if f"{task}/loss" in both]
    about = {"controls": dict(controls), "control": _mean(value for value in kept if value is not None)}
    return {"skill": _mean(removed), **(about if kept else {}), "scores": scores, "chance": known}


def _kept(
    task: str, scores: Mapping[str, float], guesses: Mapping[str, float], controls: Mapping[str, float]
) -> float | None:
    """Say what share of a task's score above a blind guess its controls have; None where there is nothing above."""
    name = next(name for name in (f"{task}/{score}" for score in (*SHARES, "loss")) if name in guesses)
    sign = -1 if name.endswith("/loss") else 1
    above, left = (sign * (found[name] - guesses[name]) for found in (scores, controls))
    return left / above if above > 0 else None


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
