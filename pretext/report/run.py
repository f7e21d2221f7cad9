"""The report of a run: one HTML file with everything inside, made from nothing but the files in the run's folder."""

from __future__ import annotations

import base64
import csv
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from PIL import Image

from pretext.core.files import write_whole
from pretext.evaluation.results import ProbeResult
from pretext.evaluation.statistics.intervals import wilson
from pretext.report.charts import SPLITS, Line, chart, keys, level
from pretext.report.probe import LEFT, Grid, grids, value

Curves = dict[str, dict[int, float]]
"""Of each column of metrics.csv the value at each step."""
ONLINE = ("/knn", "/linear")
"""How columns of `callbacks.Online` end that are accuracies, on as many items as its column `HELD_OUT` says."""
HELD_OUT = "held_out"
ACCURACIES = ("/accuracy", *ONLINE)
PROBES = {"linear": "Linear probe, accuracy in %", "knn": "kNN, accuracy in %", "svm": "Linear SVM, in %"}


def write_report(run: Path) -> Path:
    """Write `report.html` into a run's folder and return its path. A part that is not there says how to make it.

    Raises:
        FileNotFoundError: `run` is not a folder.
        ValueError: a file of the run cannot be read; the message names it.

    """
    facts = _read(run)
    date = str(facts.environment.get("date", ""))[:16].replace("T", " ")
    template = Template((files("pretext.report") / "templates" / "run.html").read_text(encoding="utf-8"))
    page = template.substitute(
        name=escape(_name(run)),
        about=escape(" · ".join(part for part in (", ".join(facts.tasks), date) if part)),
        headline=_headline([*_test_numbers(run), *_task_numbers(facts), *_probe_numbers(facts.probe)]),
        puzzles=_puzzles(run),
        training=_training(facts),
        probe=_probe(facts),
        skipped=_skipped(run / "skipped.txt"),
        repeat=_repeat(facts),
        config=_config(run / "config.yaml"),
        environment=_environment(facts.environment),
    )
    return write_whole(run / "report.html", page)


# ---- What the files say


class _Run(NamedTuple):
    """The files of a run; what is missing is empty."""

    folder: Path
    curves: Curves
    chance: dict[str, Any]
    probe: dict[str, Any]
    environment: dict[str, Any]
    tasks: list[str]


def _read(run: Path) -> _Run:
    if not run.is_dir():
        raise FileNotFoundError(f"report: {run} is not a folder; give the folder of a run, such as runs/rotation/0")
    curves, chance = _curves(run / "metrics.csv"), _json(run / "chance.json")
    parts = [column.split("/") for column in curves]
    tasks = dict.fromkeys([*chance, *(name[1] for name in parts if len(name) == 3 and name[0] in SPLITS)])
    return _Run(run, curves, chance, _json(run / "probe.json"), _json(run / "environment.json"), list(tasks))


def _json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"report: {file} is not complete JSON ({error}); delete it or make it again") from error
    if not isinstance(content, dict):
        raise ValueError(f"report: {file} holds a {type(content).__name__}, not a dict; delete it or make it again")
    return content


def _curves(file: Path) -> Curves:
    """Read metrics.csv. Where a resumed run wrote a step again, its later row counts."""
    if not file.exists():
        return {}
    curves: Curves = {}
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        columns = [column for column in reader.fieldnames or [] if column not in ("step", "epoch")]
        for row in reader:
            try:
                for column in (column for column in columns if row[column]):
                    curves.setdefault(column, {})[int(float(row["step"]))] = float(row[column])
            except (KeyError, ValueError) as error:
                raise ValueError(
                    f"report: line {reader.line_num} of {file} is not a row of numbers: {error}"
                ) from error
    return {column: dict(sorted(curves[column].items())) for column in columns if column in curves}


def _name(run: Path) -> str:
    """Name a run by its folder; a mere number tells too little, so it brings its parent."""
    run = run.resolve()
    return f"{run.parent.name}/{run.name}" if run.name.isdigit() else run.name


# ---- The headline


class _Number(NamedTuple):
    """A number to remember, with what it must be compared with."""

    label: str
    value: str
    notes: list[str]


def summary(run: Path) -> str:
    """Say the headline numbers of a run in plain text, one per line. Raises as `write_report` does."""
    facts = _read(run)
    numbers = [*_test_numbers(run), *_task_numbers(facts), *_probe_numbers(facts.probe)]
    return "\n".join(f"{n.label}: {n.value} ({'; '.join(n.notes)})" for n in numbers)


def _test_numbers(run: Path) -> Iterable[_Number]:
    """Take what an evaluator scored on the test items."""
    score = _json(run / "score.json")
    for one in [row for row in score.get("rows", [score]) if row.get("chosen", True) and score]:
        name = next((name for name in ("accuracy", "map", "miou") if name in one), None)
        if name is not None:
            notes = [f"95 % interval {_interval(one)}", f"chance {_say(score['chance'])}"]
            label = " · ".join(filter(None, (str(score["task"]).replace("_", " "), one.get("stage"))))
            yield _Number(f"test {name} · {label}", _say(one[name]), notes)


def _task_numbers(run: _Run) -> Iterable[_Number]:
    """Take each task's last score, in validation where there is one, and a blind guess beside it."""
    for task in run.tasks:
        found = [
            (column, split, score)
            for split in ("val", "train")
            for score in ("accuracy", "loss")
            if (column := f"{split}/{task}/{score}") in run.curves
        ]
        if found:
            column, split, score = found[0]
            step, value = list(run.curves[column].items())[-1]
            guess = run.chance.get(task, {}).get(score)
            notes = [f"{SPLITS[split]}, step {step}"]
            notes += [] if guess is None else [f"blind guess {_say(guess, score)}"]
            yield _Number(f"{task} · {score}", _say(value, score), notes)


def _probe_numbers(probe: Mapping[str, Any]) -> Iterable[_Number]:
    """Take the chosen stage's accuracy, with those of random features and of the raw input beside it."""
    chosen = {row["features"]: row for row in probe.get("rows", ()) if row["chosen"]}
    if "trained" not in chosen:
        return
    best = chosen["trained"]
    for kind, words in (("linear", "linear probe"), ("knn", "kNN"), ("svm", "linear SVM")):
        if kind not in best:
            continue
        names = {name: row["stage"] if name == "raw" else name for name, row in chosen.items() if name != "trained"}
        others = [f"{words} {_say(value(chosen[name][kind]))}" for name, words in names.items()]
        yield _Number(
            f"{words} · {best['stage']}",
            _say(value(best[kind])),
            [f"95 % interval {_interval(best[kind])}", *others],
        )


def _headline(numbers: Sequence[_Number]) -> str:
    parts = (
        f'<div><dt>{escape(n.label)}</dt><dd class="number">{escape(n.value)}</dd>'
        f'<dd class="soft">{"<br>".join(map(escape, n.notes))}</dd></div>'
        for n in numbers
    )
    return f'<dl class="headline">{"".join(parts)}</dl>' if numbers else ""


def _say(value: float, score: str = "accuracy") -> str:
    return f"{_percent(value)}\u00a0%" if score == "accuracy" else f"{value:.4g}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _interval(cell: Mapping[str, float]) -> str:
    return f"{_percent(cell['low'])} to {_percent(cell['high'])}"


# ---- The parts


def _puzzles(run: Path) -> str:
    file = run / "puzzles.png"
    if not file.exists():
        if (run / "score.json").exists():
            return '<p class="soft">An evaluator: it poses no puzzles.</p>'
        return _missing("No picture of the puzzles.", f"pretext show {shlex.quote(str(run))}")
    with Image.open(file) as picture:
        width = picture.width  # the page shows it smaller: pixels to spare keep it crisp on dense screens and in print
    data = base64.b64encode(file.read_bytes()).decode()
    words = "What each task asks, and how it was answered"
    image = f'<img src="data:image/png;base64,{data}" style="--width: {width}px" alt="{words}">'
    return scroll_box("Puzzles", image)


def _training(run: _Run) -> str:
    """Draw one chart per score of each task, then of everything else that was logged."""
    if not run.curves:
        return _missing("No curves.", "pretext fit -c CONFIG")
    charts: dict[str, dict[str, Line]] = {}
    for column, values in run.curves.items():
        split, _, score = column.partition("/")
        name, kind = (score, split) if split in SPLITS and score else (column, "train")
        if score == HELD_OUT:
            continue  # drawn as the intervals of what was measured on so many items
        points = [(float(step), _scaled(value, name)) for step, value in values.items()]
        charts.setdefault(name, {})[kind] = Line(points, _online_intervals(run.curves, column))
    for name, lines in charts.items():
        task, _, score = name.partition("/")
        if (guess := run.chance.get(task, {}).get(score)) is not None:
            lines["chance"] = level(_scaled(guess, name), f"blind guess {_say(guess, score)}", lines.values())
    if len(run.tasks) == 1:
        charts.pop("loss", None)  # it is the only task's
    places = {task: place for place, task in enumerate(run.tasks)}
    order = sorted(charts, key=lambda name: (places.get(name.split("/")[0], len(places)), not name.endswith("loss")))
    kinds = [kind for kind in (*SPLITS, "chance") if any(kind in lines for lines in charts.values())]
    around = {n: [y for line in lines.values() for pair in line.intervals for y in pair] for n, lines in charts.items()}
    figures = "".join(chart(_title(name), charts[name], around=around[name]) for name in order)
    return f'{keys(kinds)}<div class="charts">{figures}</div><p class="soft">From left to right: optimiser steps.</p>'


def _online_intervals(curves: Curves, column: str) -> list[tuple[float, float]]:
    """Bound accuracies that `Online` measured, in per cent; nothing for other columns."""
    items = curves.get(f"{column.split('/')[0]}/{HELD_OUT}", {})
    if not column.endswith(ONLINE) or not items.keys() >= curves[column].keys():
        return []
    bounds = [wilson(round(value * items[step]), int(items[step])) for step, value in curves[column].items()]
    return [(100 * low, 100 * high) for low, high in bounds]


def _title(name: str) -> str:
    plain = {"loss": "loss of all tasks", "lr": "learning rate", "items/s": "items per second"}.get(
        name, name.replace("/", " · ")
    )
    return plain + (", %" if name.endswith(ACCURACIES) else "")


def _scaled(value: float, name: str) -> float:
    """Show accuracies in per cent, everything else as it is."""
    return 100 * value if name.endswith(ACCURACIES) else value


def _probe(run: _Run) -> str:
    probe = run.probe
    if not probe:
        return _missing("Not probed yet.", f"pretext probe {shlex.quote(str(run.folder))}")
    rows, points = probe["rows"], probe.get("low_label", [])
    kinds = [kind for kind in ("trained", "random", "raw") if any(row["features"] == kind for row in rows)]
    figures = "".join(_by_stage(rows, kind, title) for kind, title in PROBES.items() if kind in rows[0])
    figures += _by_labels(points) if points else ""
    tables = "".join(_grid(grid) for grid in grids(ProbeResult.from_json(probe)))
    plain = {**{f"data: {key}": value for key, value in probe.get("data", {}).items()}, **probe.get("protocol", {})}
    plain |= {key: probe[key] for key in ("seconds",) if key in probe}
    return f'{keys(kinds)}<div class="charts">{figures}</div>{tables}<h3>Protocol</h3>{fact_table(plain)}'


def _by_stage(rows: Sequence[Mapping[str, Any]], kind: str, title: str) -> str:
    """Chart a score of every stage, that of the raw input as a level."""
    stages = list(dict.fromkeys(row["stage"] for row in rows if row["features"] != "raw"))
    lines = {}
    for features in ("trained", "random"):
        found = {row["stage"]: row[kind] for row in rows if row["features"] == features}
        if found:
            lines[features] = _line([(float(i), found[stage]) for i, stage in enumerate(stages) if stage in found])
    for row in (row for row in rows if row["features"] == "raw"):
        share = value(row[kind])
        lines["raw"] = level(100 * share, f"{row['stage']} {_say(share)}", lines.values())
    around = [100 * row[kind][end] for row in rows for end in ("low", "high")]
    return chart(title, lines, stages, around)


def _by_labels(points: Sequence[Mapping[str, Any]]) -> str:
    """Chart accuracy by number of labels, one step for each number that was tried."""
    sizes = sorted({point["items"] for point in points})
    whose = dict.fromkeys(point["features"] for point in points)
    lines = {
        features: _line([(float(sizes.index(p["items"])), p) for p in points if p["features"] == features])
        for features in whose
    }
    around = [100 * point[end] for point in points for end in ("low", "high")]
    return chart("Few labels, chosen stage, accuracy in % by labelled items", lines, [f"{n:,}" for n in sizes], around)


def _line(scores: Iterable[tuple[float, Mapping[str, float]]]) -> Line:
    there = sorted(scores, key=lambda pair: pair[0])
    intervals = [(100 * score["low"], 100 * score["high"]) for _, score in there]
    return Line([(x, 100 * value(score)) for x, score in there], intervals)


def _grid(grid: Grid) -> str:
    """Write a table as HTML."""
    kinds = ["" if name in LEFT else ' class="n"' for name in grid.head]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(grid.head, kinds, strict=True))
    body, last = "", None
    for cells, chosen in zip(grid.rows, grid.chosen, strict=True):
        if cells[0] != last and grid.head[0] == "Features":
            body += "</tbody><tbody>" if body else ""
            last = cells[0]
        row = "".join(f"<td{kind}>{escape(text)}</td>" for text, kind in zip(cells, kinds, strict=True))
        body += f'<tr class="chosen">{row}</tr>' if chosen else f"<tr>{row}</tr>"
    table = f'<table class="wide"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    note = f'<p class="soft">{escape(grid.caption)}</p>' if grid.caption else ""
    return f"<h3>{escape(grid.title)}</h3>{scroll_box(grid.title, table)}{note}"


def _skipped(file: Path) -> str:
    """List what the data module could not read: a name and a cause per line, separated by a tab."""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.exists() else []
    if not lines:
        return ""
    causes = {name: cause for name, _, cause in (line.partition("\t") for line in lines)}
    table = scroll_box("Skipped files", fact_table(causes))
    return (
        f"<section><h2>Skipped files</h2><details><summary>{len(causes)} files could not be read</summary>"
        f"{table}</details></section>"
    )


def _repeat(run: _Run) -> str:
    folder = shlex.quote(str(run.folder))
    fit = run.environment.get("command", f"pretext fit -c {shlex.quote(str(run.folder / 'config.yaml'))}")
    probe = run.probe.get("command", f"pretext probe {folder}")
    second = "test" if (run.folder / "score.json").exists() else "show"  # an evaluator poses no puzzles
    lines = [str(fit), f"pretext {second} {folder}", str(probe), f"pretext report {folder}"]
    words = ("".join(f"<span>{escape(word)}</span> " for word in line.split()) for line in lines)
    return f'<pre class="command">{"<br>".join(words)}</pre>'


def _config(file: Path) -> str:
    if not file.exists():
        return _missing("No config.yaml: this is not the folder of a run.", "pretext fit -c CONFIG")
    text = escape(file.read_text(encoding="utf-8").rstrip())
    return f'<details><summary>config.yaml</summary><pre tabindex="0">{text}</pre></details>'


def _environment(environment: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in environment.items() if key != "command"}  # shown above
    return fact_table(plain) if plain else _missing("Not recorded.", "pretext fit -c CONFIG")


def fact_table(facts: Mapping[str, Any]) -> str:
    """Write a dict as a table of two columns; a list as its items."""
    rows = (
        f"<tr><th>{escape(str(key))}</th>"
        f"<td>{escape(', '.join(map(str, value)) if isinstance(value, list) else str(value))}</td></tr>"
        for key, value in facts.items()
    )
    return f'<table class="facts">{"".join(rows)}</table>'


def _missing(what: str, command: str) -> str:
    return f'<p class="missing">{escape(what)} Run <code>{escape(command)}</code></p>'


def scroll_box(name: str, content: str) -> str:
    """Let wide content scroll inside its own box, by keyboard too, so that the page never does."""
    return f'<div class="box" tabindex="0" role="region" aria-label="{escape(name)}">{content}</div>'
