"""What is true of items that several raters judged: tables, a page, CSV and JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pretext.core.files import write_json, write_whole
from pretext.report.page import write_page
from pretext.report.table import Cell, Column, Row, Table
from pretext.transfer.votes import Truth

SHOWN = 50  # items in a terminal
SURE = 0.95


def write_all(found: Truth, stem: Path, command: str) -> list[Path]:
    """Write STEM_votes.html, .csv and .json."""
    base = stem.with_name(f"{stem.name}_votes")
    about = f"{len(found.votes.items)} items, {len(found.votes.raters)} raters, {int(found.votes.counts.sum())} answers"
    page = write_page(
        base.with_suffix(".html"), "votes.html", f"Votes: {stem.name}", about,
        findings=findings(found), truth=truth_table(found),
        raters=[rater_table(found, k) for k in range(len(found.votes.raters))],
        shares=shares_table(found), summary=summary_table(found), likelihood=found.likelihood,
        steps=len(found.history), command=command,
    )  # fmt: skip
    return [page, write_whole(base.with_suffix(".csv"), truth_table(found).csv()), _write_json(found, base)]


def findings(found: Truth) -> list[str]:
    """Say how much is certain, and who is right most often and least."""
    certain, shares = int((found.chances.max(1) >= SURE).sum()), _right(found)
    named = dict(zip(found.votes.raters, shares, strict=True))
    best, worst = max(named, key=lambda rater: named[rater]), min(named, key=lambda rater: named[rater])
    sure = f"{certain} of {len(found.votes.items)} items have a label that is {100 * SURE:g} % certain or more."
    raters = f"{best} is right most often ({100 * named[best]:.1f} % of the answers)"
    return [sure, f"Rater {raters}, {worst} least ({100 * named[worst]:.1f} %)."]


def truth_table(found: Truth, most: int | None = None) -> Table:
    """List the likeliest label of each item, how likely it is, and how likely all others are."""
    votes = found.votes
    columns = [Column("Item", words=True, first="ascending"), Column("Label", words=True, first="ascending")]
    columns += [Column("Confidence", "%", first="descending")]
    columns += [Column(label, "%", bare=True, first="descending") for label in votes.labels]
    chosen = zip(votes.items, found.chosen, found.chances, strict=True)
    rows = [Row([item, label, float(chances.max()), *map(float, chances)]) for item, label, chances in chosen]
    left = len(rows) - (most or len(rows))
    return Table("What is true", columns, rows[:most], f"{left} more items stand in the files" if left > 0 else "")


def summary_table(found: Truth) -> Table:
    """Tell of each rater how many answers there are, and how often it is right."""
    columns = [Column("Rater", words=True, first="ascending"), Column("Answers", first="descending")]
    columns += [Column("Right", "%", first="descending")]
    answers = found.votes.counts.sum((0, 2)).tolist()
    each = zip(found.votes.raters, answers, _right(found), strict=True)
    rows = [Row([rater, int(given), right]) for rater, given, right in each]
    return Table("Raters", columns, rows)


def _right(found: Truth) -> list[float]:
    """Give the share of each rater's answers that are true, by their chances."""
    shares: list[float] = (
        np.einsum("ij,ikj->k", found.chances, found.votes.counts) / found.votes.counts.sum((0, 2))
    ).tolist()
    return shares


def rater_table(found: Truth, rater: int) -> Table:
    """Show how often a rater gives each answer where each label is true; nothing where it never met a label."""
    labels = found.votes.labels
    columns = [Column("True", words=True), *(Column(f"says {label}", "%", bare=True) for label in labels)]
    rows = []
    for label, shares in zip(labels, found.confusion[rater], strict=True):
        rows.append(Row([label, *(Cell() if np.isnan(share) else Cell(float(share)) for share in shares)]))
    return Table(f"Rater {found.votes.raters[rater]}", columns, rows, look="board")


def shares_table(found: Truth) -> Table:
    """Tell how frequent each label is, and what share of the votes it got."""
    columns = [Column("Label", words=True), Column("Share", "%", ".2f"), Column("Of the votes", "%", ".2f")]
    given = found.votes.counts.sum((0, 1)) / found.votes.counts.sum()
    pairs = zip(found.votes.labels, found.shares, given, strict=True)
    return Table("Labels", columns, [Row([label, float(share), float(said)]) for label, share, said in pairs])


def _write_json(found: Truth, base: Path) -> Path:
    votes = found.votes
    matrices = [[[None if np.isnan(x) else x for x in row] for row in one] for one in found.confusion.tolist()]
    plain: dict[str, Any] = {
        "labels": votes.labels,
        "shares": found.shares.tolist(),
        "log-likelihood": found.likelihood,
        "items": dict(zip(votes.items, found.chances.tolist(), strict=True)),
        "raters": dict(zip(votes.raters, matrices, strict=True)),
    }
    return write_json(base.with_suffix(".json"), plain)
