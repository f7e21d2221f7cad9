"""The report of a run: one HTML file with everything inside, made from nothing but the files in the run's folder."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from PIL import Image

from pretext.evaluation.results import ProbeResult
from pretext.report import probe
from pretext.report.chart import Chart, Level, Series
from pretext.report.page import data_uri, write_page
from pretext.report.plot import Key, legend
from pretext.training.logs import HELD_OUT, ONLINE, SPLITS, Logs, intervals, read_logs

ACCURACIES = ("/accuracy", *ONLINE)
TITLES = {"loss": "loss of all tasks", "lr": "learning rate", "items/s": "items per second"}
LEGEND = [Key("train", "training", ""), Key("val", "validation"), Key("test", "test"), Key("chance", "blind guess", "")]


class Number(NamedTuple):
    """A number to remember, with what it must be compared with."""

    label: str
    value: str
    notes: list[str]


def write_report(run: Path) -> Path:
    """Write `report.html` into a run's folder and return its path. A part that is not there says how to make it.

    Raises:
        FileNotFoundError: `run` is not a folder.
        ValueError: a file of the run cannot be read; the message names it.

    """
    logs = read_logs(run)
    date = str(logs.environment.get("date", ""))[:16].replace("T", " ")
    return write_page(
        run / "report.html",
        "run.html",
        _name(run),
        " · ".join(part for part in (", ".join(logs.tasks), date) if part),
        run=shlex.quote(str(run)),
        numbers=list(_numbers(logs)),
        puzzles=_picture(run / "puzzles.png"),
        evaluator=bool(logs.score),
        training=_training(logs),
        probe=probe.section(ProbeResult.from_json(logs.probe)) if logs.probe else None,
        skipped=_skipped(run / "skipped.txt"),
        commands=list(_commands(logs)),
        config=_text(run / "config.yaml"),
        environment={key: value for key, value in logs.environment.items() if key != "command"},
    )


def summary(run: Path) -> str:
    """Say the headline numbers of a run in plain text, one per line. Raises as `write_report` does."""
    return "\n".join(f"{n.label}: {n.value} ({'; '.join(n.notes)})" for n in _numbers(read_logs(run)))


def _name(run: Path) -> str:
    """Name a run by its folder; a mere number tells too little, so it brings its parent."""
    run = run.resolve()
    return f"{run.parent.name}/{run.name}" if run.name.isdigit() else run.name


# ---- The headline


def _numbers(logs: Logs) -> Iterator[Number]:
    yield from _test_numbers(logs.score)
    yield from _task_numbers(logs)
    if logs.probe:
        yield from (Number(*number) for number in probe.headline(ProbeResult.from_json(logs.probe)))


def _test_numbers(score: Mapping[str, Any]) -> Iterator[Number]:
    """Take what an evaluator scored on the test items."""
    for row in [row for row in score.get("rows", [score]) if row.get("chosen", True) and score]:
        metric = next((name for name in ("accuracy", "map", "miou") if name in row), None)
        if metric is not None:
            label = " · ".join(filter(None, (str(score["task"]).replace("_", " "), row.get("stage"))))
            bounds = f"95 % interval {100 * row['low']:.1f} to {100 * row['high']:.1f}"
            yield Number(f"test {metric} · {label}", _say(row[metric]), [bounds, f"chance {_say(score['chance'])}"])


def _task_numbers(logs: Logs) -> Iterator[Number]:
    """Take each task's last score, in validation where there is one, and a blind guess beside it."""
    for task in logs.tasks:
        columns = (
            (f"{split}/{task}/{score}", split, score) for split in ("val", "train") for score in ("accuracy", "loss")
        )
        last = next((column for column in columns if column[0] in logs.curves), None)
        if last:
            column, split, score = last
            step, value = list(logs.curves[column].items())[-1]
            guess = logs.chance.get(task, {}).get(score)
            notes = [f"{SPLITS[split]}, step {step}"]
            notes += [] if guess is None else [f"blind guess {_say(guess, score)}"]
            yield Number(f"{task} · {score}", _say(value, score), notes)


def _say(value: float, score: str = "accuracy") -> str:
    return f"{100 * value:.1f}\u00a0%" if score == "accuracy" else f"{value:.4g}"


# ---- The parts


def _training(logs: Logs) -> list[Markup | Chart]:
    """Draw a legend, then one chart per score of each task, then of everything else that was logged."""
    charts: dict[str, list[Series]] = {}
    for column, values in logs.curves.items():
        split, _, score = column.partition("/")
        name, kind = (score, split) if split in SPLITS and score else (column, "train")
        if score != HELD_OUT:  # which is drawn as the intervals of what was measured on so many items
            scale = _scale(name)
            points = [(float(step), scale * value) for step, value in values.items()]
            bounds = [(scale * low, scale * high) for low, high in intervals(logs.curves, column)]
            charts.setdefault(name, []).append(Series(kind, points, bounds))
    if len(logs.tasks) == 1:
        charts.pop("loss", None)  # it is the only task's
    places = {task: place for place, task in enumerate(logs.tasks)}
    order = sorted(charts, key=lambda name: (places.get(name.split("/")[0], len(places)), not name.endswith("loss")))
    levels = {name: list(_guess(logs, name)) for name in order}
    kinds = {line.kind for lines in charts.values() for line in lines} | {"chance" for name in order if levels[name]}
    drawn = [Chart(_title(name), charts[name], levels[name]) for name in order]
    return [legend(key for key in LEGEND if key.kind in kinds), *drawn] if drawn else []


def _guess(logs: Logs, name: str) -> Iterator[Level]:
    """Draw what a blind guess scores."""
    task, _, score = name.partition("/")
    guess = logs.chance.get(task, {}).get(score)
    if guess is not None:
        yield Level("chance", _scale(name) * guess, f"blind guess {_say(guess, score)}")


def _title(name: str) -> str:
    return TITLES.get(name, name.replace("/", " · ")) + (", %" if name.endswith(ACCURACIES) else "")


def _scale(name: str) -> float:
    """Show accuracies in per cent, everything else as it is."""
    return 100.0 if name.endswith(ACCURACIES) else 1.0


def _picture(file: Path) -> tuple[str, int] | None:
    """Read a picture's address and its width: the page shows it smaller, to be crisp on dense screens and in print."""
    if not file.exists():
        return None
    content = file.read_bytes()
    with Image.open(io.BytesIO(content)) as picture:
        return data_uri(content), picture.width


def _skipped(file: Path) -> dict[str, str]:
    """List what the data module could not read: a name and a cause per line, separated by a tab."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    return {name: cause for name, _, cause in (line.partition("\t") for line in lines)}


def _commands(logs: Logs) -> Iterator[str]:
    """Say what makes the run and all that belongs to it."""
    folder = shlex.quote(str(logs.folder))
    yield str(logs.environment.get("command", f"pretext fit -c {shlex.quote(str(logs.folder / 'config.yaml'))}"))
    yield f"pretext {'test' if logs.score else 'show'} {folder}"  # an evaluator poses no puzzles
    yield str(logs.probe.get("command", f"pretext probe {folder}"))
    yield f"pretext report {folder}"


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8").rstrip() if file.exists() else None
