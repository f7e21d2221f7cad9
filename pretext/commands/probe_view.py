"""The result of a probe as a table for the terminal, as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

Result = dict[str, Any]
"""What goes to probe.json: {"data", "protocol", "rows", "seconds", "command"}."""

HEAD = ("Features", "Stage", "Dims", "kNN, %", "k", "Linear, %", "L2")
CAPTION = "* best stage on a validation share of train; in brackets 95 % intervals"
BEST_IN_MARKDOWN = "★"
LEGEND = ("trained", "chosen on validation", "random initialisation", "raw input", "chance")


def table(result: Result) -> Table:
    """Lay the result out for a terminal of 80 columns."""
    drawn = Table(
        box=box.SIMPLE_HEAD, title=_title(result), caption=CAPTION, title_justify="left", padding=(0, 1, 0, 0)
    )
    for name in HEAD:
        drawn.add_column(name, justify="left" if name in HEAD[:2] else "right", no_wrap=name not in HEAD[:2])
    last = None
    for row in result["rows"]:
        if last not in (None, row["features"]):
            drawn.add_section()
        last = row["features"]
        drawn.add_row(*_cells(row), style="bold" if row["chosen"] else "")
    return drawn


def markdown(result: Result) -> str:
    """Write the result as a Markdown table."""
    aligned = "|".join("---" if name in HEAD[:2] else "--:" for name in HEAD)
    lines = [f"{_title(result)}.", "", f"| {' | '.join(HEAD)} |", f"|{aligned}|"]
    lines += [f"| {' | '.join(_cells(row)).replace('*', BEST_IN_MARKDOWN)} |" for row in result["rows"]]
    return "\n".join([*lines, "", CAPTION.replace("*", BEST_IN_MARKDOWN), ""])


def _title(result: Result) -> str:
    data, chance = result["data"], result["protocol"]["chance"]
    sizes = f"{data['train']:,} train, {data['test']:,} test items of {len(data['classes'])} classes"
    whose = f", {data['modality']}" if "modality" in data else ""
    return f"{data['class']}{whose}: {sizes}; chance {100 * chance:.1f} %"


def _cells(row: Mapping[str, Any]) -> list[str]:
    nearest, fitted = row["knn"], row["linear"]
    stage = f"{row['stage']} *" if row["chosen"] else row["stage"]
    return [
        row["features"],
        stage,
        str(row["dims"]),
        *(_percent(nearest), str(nearest["k"])),
        _percent(fitted),
        f"{fitted['l2']:g}",
    ]


def _percent(score: Mapping[str, float]) -> str:
    accuracy, low, high = (f"{100 * score[name]:.1f}" for name in ("accuracy", "low", "high"))
    return f"{accuracy} ({low}-{high})"


def plot(result: Result) -> Figure:
    """Draw accuracy by stage: trained against random, raw input and chance as level lines, intervals as bars."""
    stages = list(dict.fromkeys(row["stage"] for row in result["rows"] if row["features"] != "raw"))
    figure = Figure(figsize=(max(9.0, 1.1 * len(stages) + 3), 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, kind, name in ((left, "linear", "linear probe"), (right, "knn", "nearest neighbours")):
        _panel(axes, result, stages, kind)
        axes.set_title(name)
    left.set_ylabel("test accuracy, %")
    handles = {handle.get_label(): handle for handle in left.get_legend_handles_labels()[0]}
    figure.legend([handles[name] for name in LEGEND], LEGEND, loc="outside lower center", ncols=5, frameon=False)
    figure.suptitle(_title(result), fontsize="medium")
    return figure


def _panel(axes: Axes, result: Result, stages: list[str], kind: str) -> None:
    for features, colour, marker, aside in (("trained", "tab:blue", "o", -0.05), ("random", "tab:gray", "s", 0.05)):
        rows = [row for row in result["rows"] if row["features"] == features]
        at = [stages.index(row["stage"]) + aside for row in rows]
        value, low, high = (torch.tensor([100 * row[kind][key] for row in rows]) for key in ("accuracy", "low", "high"))
        label = "trained" if features == "trained" else "random initialisation"
        axes.errorbar(at, value, [value - low, high - value], color=colour, marker=marker, capsize=3, label=label)
        if features == "trained" and kind == "linear":
            best = next(i for i, row in enumerate(rows) if row["chosen"])
            axes.plot(at[best], value[best], "o", ms=13, mfc="none", color=colour, label="chosen on validation")
    raw = next(row[kind] for row in result["rows"] if row["features"] == "raw")
    axes.axhline(100 * raw["accuracy"], color="tab:green", ls="--", label="raw input")
    axes.axhspan(100 * raw["low"], 100 * raw["high"], color="tab:green", alpha=0.12, lw=0)
    axes.axhline(100 * result["protocol"]["chance"], color="black", ls=":", label="chance")
    axes.set_xticks(range(len(stages)), stages, rotation=30 if max(map(len, stages)) > 7 else 0)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
