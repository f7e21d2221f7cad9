"""The result of a probe as tables for the terminal, as Markdown and as a picture; what was not asked for stays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from pretext.evaluation.results import ProbeResult

Result = dict[str, Any]

CAPTION = "* best stage on a validation share of train; in brackets 95 % intervals"
FEW = "A linear probe on few labels, chosen stage, %, mean over draws"
QUALITY = "Label-free, on the average of each stage"
BEST_IN_MARKDOWN = "★"
LEFT = ("Features", "Stage", "Labels")  # columns of words; the others hold numbers
KINDS = {"linear": "linear probe", "knn": "nearest neighbours", "svm": "linear SVM"}
LINES = {
    "trained": ("tab:blue", "o", "trained"),
    "random": ("tab:gray", "s", "random initialisation"),
    "raw": ("tab:green", "^", "raw input"),
}


class Grid(NamedTuple):
    """A table before it is drawn: cells by row, and a name for each group of rows."""

    title: str
    head: list[str]
    rows: list[list[str]]
    chosen: list[bool]
    caption: str = ""


def grids(probed: ProbeResult) -> list[Grid]:
    """Lay out what a probe found: scores by stage, accuracy with few labels, label-free scores."""
    result = probed.to_json()
    rows, points = result["rows"], result.get("low_label", [])
    kinds = [kind for kind in ("knn", "linear", "svm") if kind in rows[0]]
    settings = {"knn": ("kNN, %", "k"), "linear": ("Linear, %", "L2"), "svm": (f"SVM{_of(rows, 'svm')}, %",)}
    cells = [[*_place(row), str(row["dims"]), *(c for kind in kinds for c in _cells(row, kind))] for row in rows]
    head = ["Features", "Stage", "Dims", *(name for kind in kinds for name in settings[kind])]
    found = [Grid(_title(result), head, cells, [row["chosen"] for row in rows], CAPTION)] if kinds else []
    if points:
        found.append(_few(points))
    if "quality" in rows[0]:
        names = list(rows[0]["quality"])
        numbers = [[*_place(row), *(f"{row['quality'][name]:.3g}" for name in names)] for row in rows]
        title = QUALITY if found else f"{_title(result)}. {QUALITY}"
        found.append(Grid(title, ["Features", "Stage", *names], numbers, [row["chosen"] for row in rows]))
    return found


def _few(points: list[Result]) -> Grid:
    """Turn points to a table with a row for each number of labels and a column for each kind of features."""
    whose = list(dict.fromkeys(point["features"] for point in points))
    at = {(point["features"], point["labels"]): point for point in points}
    labels = list(dict.fromkeys(point["labels"] for point in points))
    items = {point["labels"]: str(point["items"]) for point in points}
    rows = [
        [name, items[name], *(_percent(at[one, name]) if (one, name) in at else "" for one in whose)] for name in labels
    ]
    return Grid(FEW, ["Labels", "Items", *whose], rows, [False] * len(rows))


def print_tables(result: ProbeResult, console: Console) -> None:
    """Print every table."""
    for grid in grids(result):
        console.print(table(grid))


def table(grid: Grid) -> Table:
    """Draw a table for a terminal of 80 columns."""
    drawn = Table(
        box=box.SIMPLE_HEAD,
        title=grid.title,
        caption=grid.caption or None,
        title_justify="left",
        padding=(0, 1, 0, 0),
    )
    for name in grid.head:
        left = name in LEFT
        drawn.add_column(name, justify="left" if left else "right", no_wrap=not left)
    last = None
    for cells, chosen in zip(grid.rows, grid.chosen, strict=True):
        if grid.head[0] == "Features" and last not in (None, cells[0]):
            drawn.add_section()
        last = cells[0]
        drawn.add_row(*cells, style="bold" if chosen else "")
    return drawn


def markdown(result: ProbeResult) -> str:
    """Write every table as Markdown."""
    parts = []
    for grid in grids(result):
        aligned = "|".join("---" if name in LEFT else "--:" for name in grid.head)
        lines = [f"{grid.title}.", "", f"| {' | '.join(grid.head)} |", f"|{aligned}|"]
        lines += [f"| {' | '.join(cells).replace('*', BEST_IN_MARKDOWN)} |" for cells in grid.rows]
        parts.append(
            "\n".join([*lines, "", *([grid.caption.replace("*", BEST_IN_MARKDOWN), ""] if grid.caption else [])])
        )
    return "\n".join(parts)


def _title(result: Result) -> str:
    data, chance = result["data"], result["protocol"]["chance"]
    sizes = f"{data['train']:,} train, {data['test']:,} test items of {len(data['classes'])} classes"
    whose = f", {data['modality']}" if "modality" in data else ""
    return f"{data['class']}{whose}: {sizes}; chance {100 * chance:.1f} %"


def _place(row: Mapping[str, Any]) -> list[str]:
    return [row["features"], f"{row['stage']} *" if row["chosen"] else row["stage"]]


def _cells(row: Mapping[str, Any], kind: str) -> list[str]:
    setting = {"knn": "k", "linear": "l2"}.get(kind)
    return [_percent(row[kind]), *([] if setting is None else [f"{row[kind][setting]:g}"])]


def value(score: Mapping[str, float]) -> float:
    """Return an accuracy or, where items have several labels, a mean average precision."""
    return score["accuracy"] if "accuracy" in score else score["map"]


def _of(rows: list[Result], kind: str) -> str:
    return " mAP" if "map" in rows[0].get(kind, {}) else ""


def _percent(score: Mapping[str, float]) -> str:
    share, low, high = (f"{100 * number:.1f}" for number in (value(score), score["low"], score["high"]))
    return f"{share} ({low}-{high})"


def plot(probed: ProbeResult) -> Figure:
    """Draw accuracy by stage, trained against random, raw input and chance, and accuracy by number of labels."""
    result = probed.to_json()
    rows, points = result["rows"], result.get("low_label", [])
    stages = list(dict.fromkeys(row["stage"] for row in rows if row["features"] != "raw"))
    kinds = [kind for kind in KINDS if kind in rows[0]]
    panels = len(kinds) + bool(points)
    figure = Figure(figsize=(max(4.5 * panels, 1.1 * len(stages) + 3), 4.2), layout="constrained")
    every = list(figure.subplots(1, max(panels, 1), sharey=True, squeeze=False)[0])
    for axes, kind in zip(every, kinds, strict=False):
        _panel(axes, result, stages, kind)
        axes.set_title(KINDS[kind])
    if points:
        _curves(every[-1], points, result["protocol"]["chance"])
    every[0].set_ylabel("test mAP, %" if _of(rows, "svm") else "test accuracy, %")
    handles = {handle.get_label(): handle for axes in every for handle in axes.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(_title(result), fontsize="medium")
    return figure


def _panel(axes: Axes, result: Result, stages: list[str], kind: str) -> None:
    for features, aside in (("trained", -0.05), ("random", 0.05)):
        colour, marker, label = LINES[features]
        rows = [row for row in result["rows"] if row["features"] == features]
        at = [stages.index(row["stage"]) + aside for row in rows]
        _errors(axes, at, [row[kind] for row in rows], colour, marker, label)
        best = next((i for i, row in enumerate(rows) if row["chosen"]), None)
        if features == "trained" and best is not None:
            axes.plot(
                at[best],
                100 * value(rows[best][kind]),
                "o",
                ms=13,
                mfc="none",
                color=colour,
                ls="",
                label="chosen on validation",
            )
    for raw in (row[kind] for row in result["rows"] if row["features"] == "raw"):
        axes.axhline(100 * value(raw), color=LINES["raw"][0], ls="--", label="raw input")
        axes.axhspan(100 * raw["low"], 100 * raw["high"], color=LINES["raw"][0], alpha=0.12, lw=0)
    axes.axhline(100 * result["protocol"]["chance"], color="black", ls=":", label="chance")
    axes.set_xticks(range(len(stages)), stages, rotation=30 if max(map(len, stages), default=0) > 7 else 0)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)


def _errors(axes: Axes, at: list[float], scores: list[Result], colour: str, marker: str, label: str) -> None:
    share = torch.tensor([100 * value(score) for score in scores])
    low, high = (torch.tensor([100 * score[end] for score in scores]) for end in ("low", "high"))
    reach = [(share - low).clamp_min(0), (high - share).clamp_min(0)]
    axes.errorbar(at, share, reach, color=colour, marker=marker, capsize=3, label=label)


def _curves(axes: Axes, points: list[Result], chance: float) -> None:
    """Draw accuracy against the number of labelled items."""
    for features, (colour, marker, label) in LINES.items():
        mine = sorted((point for point in points if point["features"] == features), key=lambda point: point["items"])
        if mine:
            _errors(axes, [point["items"] for point in mine], mine, colour, marker, label)
    axes.axhline(100 * chance, color="black", ls=":", label="chance")
    axes.set_xscale("log")
    axes.set_title("few labels, chosen stage")
    axes.set_xlabel("labelled items")
    axes.grid(axis="y", alpha=0.3)
