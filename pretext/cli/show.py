"""`pretext show`: draw what the tasks of a run or a config ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pretext.cli.parser import Parser, run_of
from pretext.cli.preflight import ready
from pretext.core.runs import CONFIG, LAST, find

if TYPE_CHECKING:
    from pretext.audit.where import Where


def main(args: list[str]) -> None:
    """Draw what the tasks of a run or a config ask. Further options, such as --data.root DIR, override the config's."""
    name, rest = run_of(args)
    parser = _parser(main.__doc__)
    own, _ = parser.parse_known_args(rest)
    if (name is None) == (own.config is None):
        raise ValueError("give either a run, before any option, or -c CONFIG")
    if own.where and own.walk is not None:
        raise ValueError("--where and --walk are two pictures; ask for one at a time")
    run = find(name) if name else None
    own, options = parser.parse_known_args(ready(rest, run))
    from pretext.evaluation.kept import kept
    from pretext.report.verdicts import of_probe
    from pretext.training.loaders import taken
    from pretext.training.other_data import with_own_data
    from pretext.training.run import build, read, restore
    from pretext.verbs.looking import draw, draw_walk, draw_where

    config = read(run / CONFIG if run else own.config)
    module, data = build(with_own_data(config, options) if run else config, options)
    if data is None:
        raise ValueError("the config names no data; add --data CLASS")
    trained = run is not None and (run / LAST).exists()
    if run is not None and trained:
        restore(module, run)
    data, folder = taken(data), run or Path()
    if own.where:
        picture = own.out or folder / "where.png"
        _where(draw_where(module, data, own.count, picture), picture)
        return
    if own.walk is not None:
        print(f"look: {draw_walk(module, data, own.count, own.walk, own.out or folder / 'walk.png')}")
        return
    pages = draw(module, data, own.count, trained, own.out or folder / "puzzles.png")
    files = ", ".join(map(str, pages))
    print(f"look: {files}; {f'measure: pretext probe {run}' if run else f'train: pretext fit -c {own.config}'}")
    for file, result in (kept(run) if run else {}).items():
        print(f"{file}: {of_probe(result)[0]}")


def _parser(about: str | None) -> Parser:
    parser = Parser("show", "[RUN]", about)
    parser.add_argument("-c", "--config", help="a config instead of a run, to look before training")
    parser.add_argument("--out", type=Path, help="the picture (default: puzzles.png, in the run if there is one)")
    parser.add_argument("--count", type=int, default=6, help="puzzles per task (default 6)")
    where = "draw where puzzles are seen instead, or an evaluator's classes: Grad-CAM++ and causal effects (where.png)"
    parser.add_argument("--where", action="store_true", help=where)
    walk = (
        "draw walks through a generator's latent space instead (walk.png), along the direction between two attributes"
    )
    parser.add_argument("--walk", nargs="?", const="", metavar="FROM,TO", help=walk)
    return parser


def _where(found: Where, picture: Path) -> None:
    """Say what was drawn, what was not and why, and what answers owe to features."""
    from rich.console import Console

    from pretext.report.where import tables

    console = Console()
    for table in tables(found.effects):
        console.print(table.rich(), "")
    for name, cause in found.why_not.items():
        print(f"{name} is not drawn: {cause}")
    print(f"look: {picture}" if found.rows else "nothing is drawn")
