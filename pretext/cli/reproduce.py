"""`pretext reproduce`: published numbers by one command."""

from __future__ import annotations

from pathlib import Path

from pretext.cli.parser import Parser, run_of

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

    from pretext.verbs.reproducing import reproduced

    done = reproduced(name, own.out, options, own.scale)
    Console().print(done.table.rich())
    print(f"wrote {done.file}; the run: pretext report {done.file.parent / 'run'}")
