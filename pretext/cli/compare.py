"""`pretext compare`: print the probes of several runs side by side."""

from __future__ import annotations

import shlex
from pathlib import Path

from pretext.cli.parser import Parser
from pretext.core.runs import find


def main(args: list[str]) -> None:
    """Print the probes of several runs side by side."""
    parser = Parser("compare", "RUN RUN ...", main.__doc__)
    parser.add_argument("runs", nargs="+", help="folders of probed runs")
    parser.add_argument("--out", type=Path, help="write the page of a leaderboard too")
    own = parser.parse_args(args[1:])
    for run in map(find, own.runs):
        if not (run / "probe.json").is_file():
            raise FileNotFoundError(f"{run} was not probed yet; run `pretext probe {run}` first")
    from rich.console import Console

    from pretext.benchmark.compare import compared
    from pretext.report.leaderboard import table
    from pretext.report.leaderboard_page import write_html
    from pretext.training.callbacks.record import environment

    boards = compared(own.runs)
    for board in boards:
        Console().print(table(board))
    if own.out is not None:
        write_html(boards, own.out, "Comparison", shlex.join(["pretext", *args]), environment())
        print(f"look: {own.out}")
    else:
        print("as a page: add --out FILE.html")
