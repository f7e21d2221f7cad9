"""`pretext reproduce`: published numbers by one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pretext.cli.parser import Parser, run_of
from pretext.core.files import write_whole

if TYPE_CHECKING:
    from pretext.benchmark.reproduce import Publication, Row
    from pretext.report.table import Table

PUBLICATIONS = ("rotnet", "simclr")


def main(args: list[str]) -> None:
    """Train and judge as a paper does, and set ours beside the published values. Options: --data.root DIR."""
    name, rest = run_of(args)
    parser = Parser("reproduce", "|".join(PUBLICATIONS), main.__doc__)
    parser.add_argument(
        "--out", type=Path, help="folder of the results (default: runs/reproduce/NAME, NAME-SCALE of less)"
    )
    about = "share of the published steps (default 1); less is quick, and no reproduction"
    parser.add_argument("--scale", type=float, default=1.0, help=about)
    own, options = parser.parse_known_args(rest)
    if name not in PUBLICATIONS:
        raise ValueError(f"reproduce knows {' and '.join(PUBLICATIONS)}, got {name}; name one before any option")
    from rich.console import Console

    from pretext.benchmark.published.rotnet import ROTNET
    from pretext.benchmark.published.simclr import SIMCLR
    from pretext.benchmark.reproduce import Reproduction

    publication = {"rotnet": ROTNET, "simclr": SIMCLR}[name]
    share = "" if own.scale == 1 else f"-{own.scale:g}"
    folder = own.out or Path("runs") / "reproduce" / f"{name}{share}"
    work = Reproduction(publication, folder, tuple(options), own.scale)
    drawn = table(publication, work.run(), work.differs)
    write_whole(folder / "reproduce.md", f"{drawn.title}\n\n{drawn.markdown()}\n\n{drawn.caption}\n")
    Console().print(drawn.rich())
    print(f"wrote {folder / 'reproduce.md'}; the run: pretext report {folder / 'run'}")


def table(publication: Publication, rows: list[Row], differs: str) -> Table:
    """Set our figures beside the published ones."""
    from pretext.report.table import Cell, Column, Table
    from pretext.report.table import Row as Line

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
