"""What a run across domains is worth: its target score beside those that it is to be compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pretext.report.table import STAR, Cell, Column, Row, Table
from pretext.report.words import figure

MEASURES = {"accuracy": "accuracy", "miou": "mean IoU"}


def table(score: Mapping[str, Any]) -> Table | None:
    """Make a table of the rows of `score.json`; None where a run is no adaptation."""
    if score.get("task") != "adaptation":
        return None
    measure = next(name for name in MEASURES if name in score)
    columns = [
        Column("On the target's test items", words=True),
        Column(MEASURES[measure], unit="%", first="descending"),
        Column("gap closed", unit="%", first="descending"),
    ]
    rows = [
        Row(
            [
                Cell(row["name"], star=STAR if row["chosen"] else ""),
                Cell(row[measure], row["low"], row["high"]),
                row["gap_closed"],
            ],
            "chosen" if row["chosen"] else "aside",
        )
        for row in score["rows"]
    ]
    return Table("Across domains", columns, rows, _caption(score, measure))


def _caption(score: Mapping[str, Any], measure: str) -> str:
    """Say on what the table is, by what weights were chosen, and what is missing."""
    source = score.get("source")
    said = [f"{score['items']} test items, chance {figure(score['chance'])}."]
    if source is not None:
        said.append(f"On the source's own test items: {figure(source[measure])}.")
    chosen = f"Weights were chosen by {score['selected']}"
    known = {
        "validation": "source validation",
        "entropy": "mean entropy of target predictions",
        "diversity": "entropy of their mean",
    }
    figures = ", ".join(f"{name} {figure(score[key])}" for key, name in known.items() if key in score)
    said.append(f"{chosen} ({figures})." if figures else f"{chosen}.")
    if all(row["gap_closed"] is None for row in score["rows"]):
        said.append("The gap is told where it is known: --model.beside.source_only RUN --model.beside.on_target RUN.")
    return " ".join(said)
