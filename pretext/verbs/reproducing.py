"""`pretext.reproduce`: published numbers, ours beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretext.benchmark.published.rotnet import ROTNET
from pretext.benchmark.published.simclr import SIMCLR
from pretext.benchmark.reproduce import Publication, Reproduction, Row
from pretext.core.errors import require
from pretext.core.files import write_whole
from pretext.core.quiet import quiet
from pretext.jobs.arguments import arguments
from pretext.report.table import Cell, Column, Table
from pretext.report.table import Row as Line

PUBLICATIONS = {"rotnet": ROTNET, "simclr": SIMCLR}


@dataclass(frozen=True)
class Reproduced:
    """Our figures beside published ones.

    Args:
        rows: each in per cent, with its 95 % interval.
        table: of them, as terminals and pages show it.
        file: where it stands, as Markdown.

    """

    rows: tuple[Row, ...]
    table: Table
    file: Path


@quiet()
def reproduce(
    publication: str,
    folder: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    scale: float = 1.0,
) -> Reproduced:
    """Train and judge as a paper does, and set ours beside the published values; go on with what is unfinished.

    Args:
        publication: "rotnet" or "simclr".
        folder: of the results; none: runs/reproduce/<publication>, with the scale behind it where that is less than 1.
        options: of all configs, such as {"data.root": DIR}.
        scale: share of the published steps; less than 1 is quick, and no reproduction.

    Raises:
        ValueError: no such publication, a scale outside (0, 1], or a folder of another scale or other options.

    """
    return reproduced(publication, folder, arguments(dict(options or {})), scale)


def reproduced(publication: str, folder: str | Path | None, options: Sequence[str], scale: float) -> Reproduced:
    """Do what `reproduce` does, with options of the command line."""
    known = publication in PUBLICATIONS
    require(known, "reproduce", f"publication={publication!r}", f"choose one of {', '.join(PUBLICATIONS)}")
    share = "" if scale == 1 else f"-{scale:g}"
    home = Path(folder or Path("runs") / "reproduce" / f"{publication}{share}")
    work = Reproduction(PUBLICATIONS[publication], home, tuple(options), scale)
    rows = work.run()
    drawn = table(work.publication, rows, work.differs)
    file = write_whole(home / "reproduce.md", f"{drawn.title}\n\n{drawn.markdown()}\n\n{drawn.caption}\n")
    return Reproduced(tuple(rows), drawn, file)


def table(publication: Publication, rows: Sequence[Row], differs: str) -> Table:
    """Set our figures beside the published ones."""
    columns = [Column("Judge", words=True), Column("Stage", words=True)]
    columns += [Column(title, form=".2f") for title in ("Ours", "Published", "Difference", "Best test epoch")]
    lines = []
    for row in rows:
        difference = None if row.published is None else row.ours - row.published
        lines.append(
            Line([row.what, row.stage, Cell(row.ours, row.low, row.high), row.published, difference, row.best])
        )
    caption = f"ours: the last epoch; the best by test accuracy is told and never chosen. {publication.notes}"
    if differs:
        caption = f"{differs}: this is no reproduction. {caption}"
    return Table(publication.title, columns, lines, caption)
