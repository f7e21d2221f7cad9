"""How good items are that raters preferred one to another: tables, a page, CSV and JSON."""

from __future__ import annotations

from pathlib import Path

from pretext.core.files import write_json, write_whole
from pretext.evaluation.statistics.intervals import share_interval
from pretext.report.colours import Shades
from pretext.report.page import write_page
from pretext.report.table import Cell, Column, Row, Table
from pretext.transfer.preferences import Strengths, preferred

SHADES = Shades(0.0, 1.0)
SURE = 0.975
"""Of being stronger than another item: one side of a 95 % interval."""


def write_all(found: Strengths, stem: Path, command: str) -> list[Path]:
    """Write STEM_votes.html, .csv and .json."""
    base, said = stem.with_name(f"{stem.name}_votes"), found.preferences
    about = f"{len(said.items)} items, {len(said.raters)} raters, {int(said.given.sum())} comparisons"
    page = write_page(
        base.with_suffix(".html"), "preferences.html", f"Votes: {stem.name}", about,
        findings=findings(found), strengths=strength_table(found), chances=chance_table(found),
        raters=rater_table(found), likelihood=found.likelihood, command=command,
    )  # fmt: skip
    return [page, write_whole(base.with_suffix(".csv"), strength_table(found).csv()), _write_json(found, base)]


def findings(found: Strengths) -> list[str]:
    """Say which item is the strongest, or which may be."""
    items, (best, *others) = found.preferences.items, found.order
    near = [items[k] for k in others if found.above(best, k) < SURE]
    if not near:
        return [f"{items[best]} is stronger than every other item, each with {100 * SURE:g} % or more."]
    return [f"{items[best]} is the strongest, but not surely: {', '.join(near)} may be as strong."]


def strength_table(found: Strengths, most: int | None = None) -> Table:
    """List the items, the strongest first, with what each won and how sure it is that it stands above the next."""
    columns = [Column("Item", words=True, first="ascending"), Column("Strength", form=".2f", first="descending")]
    columns += [Column("Preferred", "%", first="descending"), Column("Comparisons", first="descending")]
    columns += [Column("Above the next", "%", first="descending")]
    wins, order, rows = found.preferences.wins.sum(0), found.order, []
    for place, k in enumerate(order):
        asked = float(wins[k].sum() + wins[:, k].sum())
        low, high = found.intervals[k].tolist()
        sure = found.above(k, order[place + 1]) if place + 1 < len(order) else None
        strength = Cell(float(found.values[k]), low, high)
        rows.append(Row([found.preferences.items[k], strength, float(wins[k].sum()) / asked, int(asked), sure]))
    left = len(rows) - (most or len(rows))
    more = f"{left} more items stand in the files" if left > 0 else ""
    return Table("How strong items are", columns, rows[:most], more, sorted_by=1)


def chance_table(found: Strengths) -> Table:
    """Show how often the item of a row is preferred to that of a column, as the model has it."""
    order, items = found.order, found.preferences.items
    columns = [Column("Item", words=True), *(Column(items[k], "%", ".0f", bare=True) for k in order)]
    rows = []
    for i in order:
        chances = [float(preferred(found.values[i], found.values[j])) for j in order]
        cells = [Cell() if i == j else Cell(c, style=SHADES.style(c)) for j, c in zip(order, chances, strict=True)]
        rows.append(Row([items[i], *cells], "trained"))
    return Table("Preferred to", columns, rows, look="heat")


def rater_table(found: Strengths) -> Table:
    """Tell of each rater how often it names the stronger item, with Wilson's interval."""
    columns = [Column("Rater", words=True, first="ascending"), Column("Answers", first="descending")]
    columns += [Column("Ties", first="descending"), Column("Stronger", "%", first="descending")]
    said, rows = found.preferences, []
    for k, rater in enumerate(said.raters):
        share, given = found.with_it(k), int(said.given[k])
        cell = Cell(share, *share_interval(share, given))
        rows.append(Row([rater, given, int(said.ties[k]), cell]))
    return Table("Raters", columns, rows)


def _write_json(found: Strengths, base: Path) -> Path:
    said = found.preferences
    strengths = [{"strength": float(found.values[k]), "interval": found.intervals[k].tolist()} for k in found.order]
    plain = {
        "log-likelihood": found.likelihood,
        "items": dict(zip([said.items[k] for k in found.order], strengths, strict=True)),
        "raters": {rater: found.with_it(k) for k, rater in enumerate(said.raters)},
    }
    return write_json(base.with_suffix(".json"), plain)
