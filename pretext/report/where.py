"""Where puzzles are solved, and what an answer owes to a feature: a picture, tables, and the file beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pretext.audit.where import Effect, Where
from pretext.core.files import write_json
from pretext.report.puzzles import paint
from pretext.report.table import Column, Row, Table

PICTURE, FACTS = "where.png", "where.json"


def write(found: Where, picture: Path) -> list[Path]:
    """Paint the picture, if there is anything to paint, and write what else was found beside it, as where.json."""
    written = []
    if found.rows:
        paint(found.rows, picture)
        written.append(picture)
    effects = {name: [one._asdict() for one in rows] for name, rows in found.effects.items()}
    file = picture.with_name(picture.stem + ".json")
    return [*written, write_json(file, {"why_not": found.why_not, "effects": effects})]


def tables(effects: Mapping[str, Sequence[Effect]]) -> list[Table]:
    """Tabulate the average causal effects of each task's pooled features, the strongest first."""
    columns = [
        Column("Feature"),
        Column("Answer", words=True),
        Column("set to its least", form=".3g"),
        Column("effect", form="+.3f"),
        Column("set to its most", form=".3g"),
        Column("effect ", form="+.3f"),
    ]
    caption = "By how much the answer's probability rises above its mean when one pooled feature is set, for all items."
    return [
        Table(
            f"What the answers of {name} owe to a feature",
            columns,
            [Row([one.feature, one.answer, one.low, one.at_low, one.high, one.at_high]) for one in rows],
            caption,
            names=1,
        )
        for name, rows in effects.items()
    ]


def tables_of(facts: Mapping[str, Any]) -> list[Table]:
    """Make the tables of what `write` wrote."""
    told = facts.get("effects", {})
    return tables({name: [Effect(**one) for one in rows] for name, rows in told.items()})
