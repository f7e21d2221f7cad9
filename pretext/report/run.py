"""The report of a run: one HTML file with everything inside, made from nothing but the files in the run's folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pretext.evaluation.available import descriptions
from pretext.evaluation.kept import overtaken
from pretext.evaluation.results import ProbeResult
from pretext.report import adaptation, probe, where
from pretext.report.chart import Chart, Level, Series
from pretext.report.glossary import glossary
from pretext.report.page import Tile, embedded, write_page
from pretext.report.plot import Key, legend
from pretext.report.verdicts import UNPROBED, of_probe, of_test, on_what
from pretext.report.words import date, figure
from pretext.supervised.scores import MEASURES
from pretext.training.logs import HELD_OUT, ONLINE, SPLITS, Logs, intervals, read_logs

ACCURACIES = ("/accuracy", *ONLINE)
TITLES = {"loss": "loss of all tasks", "lr": "learning rate", "items/s": "items per second"}
LEGEND = [Key("train", "training", ""), Key("val", "validation"), Key("test", "test"), Key("chance", "blind guess", "")]


def write_report(run: Path) -> Path:
    """Write `report.html` into a run's folder and return its path. A part that is not there says how to make it.

    Raises:
        FileNotFoundError: `run` is not a folder.
        ValueError: a file of the run cannot be read; the message names it.

    """
    logs = read_logs(run)
    sections = [probe.section(one) for one in logs.probes.values()]
    return write_page(
        run / "report.html",
        "run.html",
        _name(run),
        " · ".join(filter(None, (", ".join(logs.tasks), date(logs.environment)))),
        run=shlex.quote(str(run)),
        verdict=_verdict(logs),
        numbers=list(_numbers(logs)),
        puzzles=embedded(run / "puzzles.png"),
        poses=logs.poses,
        where=embedded(run / where.PICTURE),
        why_not=logs.where.get("why_not", {}),
        effects=where.tables_of(logs.where),
        across=adaptation.table(logs.score),
        masks=embedded(run / "segmentation.png"),
        training=_training(logs),
        probes=sections,
        glossary=glossary(
            (table for section in sections for table in section["tables"]),
            (own for one in logs.probes.values() for own in descriptions(one.described)),
            [*_legends(logs), *(str(row.features) for one in logs.probes.values() for row in one.stages)],
        ),
        skipped=logs.skipped,
        commands=list(_commands(logs)),
        config=_text(run / "config.yaml"),
        environment=logs.environment,
    )


def summary(run: Path) -> str:
    """Say the headline numbers of a run in plain text, one per line. Raises as `write_report` does."""
    return "\n".join(f"{label}: {value} ({'; '.join(notes)})" for label, value, notes in _numbers(read_logs(run)))


def _name(run: Path) -> str:
    """Name a run by its folder; a mere number tells too little, so it brings its parent."""
    run = run.resolve()
    return f"{run.parent.name}/{run.name}" if run.name.isdigit() else run.name


# ---- The headline


def _verdict(logs: Logs) -> list[str]:
    """Say what is known of the run's worth, the most important first."""
    said = [sentence for one in logs.probes.values() for sentence in (*of_probe(one), *_overtaken(one, logs.folder))]
    return [*filter(None, [of_test(logs.score)]), *said] or [UNPROBED]


def _overtaken(one: ProbeResult, run: Path) -> Iterator[str]:
    """Say which probe is not of the run as it is now."""
    if words := overtaken(one, run):
        yield f"{on_what(one)}: {words}."


def _legends(logs: Logs) -> list[str]:
    """Name what stands in the legends of the training charts."""
    return ["blind guess"] if logs.chance and logs.curves else []


def _numbers(logs: Logs) -> Iterator[Tile]:
    yield from _test_numbers(logs.score)
    for task in logs.tasks:
        if last := logs.last_score(task):
            split, score, step, value = last
            unit, guess = "%" * (score == "accuracy"), logs.chance.get(task, {}).get(score)
            beside = [] if guess is None else [f"blind guess {figure(guess, unit)}"]
            yield f"{task} · {score}", figure(value, unit), [f"{SPLITS[split]}, step {step}", *beside]
    for one in logs.probes.values():
        whose = f"{(one.data or {}).get('class', '')} · " if len(logs.probes) > 1 else ""
        yield from ((f"{whose}{label}", words, notes) for label, words, notes in probe.headline(one))


def _test_numbers(score: Mapping[str, Any]) -> Iterator[Tile]:
    """Take what an evaluator scored on the test items."""
    rows = score.get("rows", [score]) if score else []
    chosen = [row for row in rows if row.get("chosen", True)]
    for row in chosen or rows:  # where none is chosen, all are what the protocol reports
        metric = next((name for name in MEASURES if name in row), None)
        if metric is not None:
            label = " · ".join(filter(None, (str(score["task"]).replace("_", " "), row.get("stage"))))
            bounds = f"95 % interval {100 * row['low']:.1f} to {100 * row['high']:.1f}"
            before = [f"before the examples {figure(score['before'])}"] if "before" in score else []
            yield (
                f"test {metric} · {label}",
                figure(row[metric]),
                [bounds, f"chance {figure(score['chance'])}", *before],
            )
    if {"loss", "low", "high", "before"} <= score.keys():
        bounds = f"95 % interval {figure(score['low'], '')} to {figure(score['high'], '')}"
        label = f"test loss · {str(score['task']).replace('_', ' ')}"
        yield label, figure(score["loss"], ""), [bounds, f"before the examples {figure(score['before'], '')}"]


# ---- The parts


def _training(logs: Logs) -> list[Markup | Chart]:
    """Draw a legend, then one chart per score of each task, then of everything else that was logged."""
    series: dict[str, list[Series]] = {}
    for column, values in logs.curves.items():
        split, _, score = column.partition("/")
        name, kind = (score, split) if split in SPLITS and score else (column, "train")
        if score != HELD_OUT:  # which is drawn as the intervals of what was measured on so many items
            times = _times(name)
            bounds = [(times * low, times * high) for low, high in intervals(logs.curves, column)]
            line = Series(kind, [(float(step), times * value) for step, value in values.items()], bounds)
            series.setdefault(name, []).append(line)
    if len(logs.tasks) == 1:
        series.pop("loss", None)  # it is the only task's
    places = {task: place for place, task in enumerate(logs.tasks)}
    order = sorted(series, key=lambda name: (places.get(name.split("/")[0], len(places)), not name.endswith("loss")))
    charts = [_chart(logs, name, series[name]) for name in order]
    return [legend(LEGEND, {kind for chart in charts for kind in chart.kinds}), *charts] if charts else []


def _chart(logs: Logs, name: str, series: Sequence[Series]) -> Chart:
    """Chart a score, with what a blind guess scores as a level."""
    task, _, score = name.partition("/")
    guess, times = logs.chance.get(task, {}).get(score), _times(name)
    words = "" if guess is None else f"blind guess {figure(guess, '%' * (score == 'accuracy'))}"
    levels = [] if guess is None else [Level("chance", times * guess, words)]
    return Chart(TITLES.get(name, name.replace("/", " · ")) + ", %" * (times == 100), series, levels)


def _times(name: str) -> float:
    """Show accuracies in per cent, everything else as it is."""
    return 100.0 if name.endswith(ACCURACIES) else 1.0


def _commands(logs: Logs) -> Iterator[str]:
    """Say what makes the run and all that belongs to it."""
    folder = shlex.quote(str(logs.folder))
    yield str(logs.environment.get("command", f"pretext fit -c {shlex.quote(str(logs.folder / 'config.yaml'))}"))
    yield f"pretext {'show' if logs.poses else 'test'} {folder}"
    probes = [one.command or f"pretext probe {folder}" for one in logs.probes.values()]
    yield from dict.fromkeys(probes or [f"pretext probe {folder}"])
    yield f"pretext report {folder}"


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8").rstrip() if file.exists() else None
