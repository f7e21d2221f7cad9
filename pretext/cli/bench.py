"""`pretext bench`: train what is missing, probe everything, and write leaderboard.html, .csv and .md."""

from __future__ import annotations

import shlex
from pathlib import Path

from filelock import FileLock

from pretext.benchmark.gather import boards
from pretext.benchmark.runner import work
from pretext.benchmark.suite import read_suite
from pretext.cli.parser import Parser, run_of
from pretext.core.files import write_whole
from pretext.report.leaderboard import markdown, write_csv
from pretext.report.leaderboard_page import write_html
from pretext.training.callbacks.record import environment


def main(args: list[str]) -> None:
    """Train what is missing, probe everything, and write leaderboard.html, .csv and .md."""
    name, rest = run_of(args)
    parser = Parser("bench", "SUITE.yaml", main.__doc__)
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/bench/<the file's name>)")
    parser.add_argument("--only", nargs="+", help="boards to work on (default: all)")
    own = parser.parse_args(rest)
    if name is None:
        raise ValueError("give the YAML of a benchmark before any option")
    suite = read_suite(name)
    folder = own.out or Path("runs") / "bench" / Path(name).stem
    folder.mkdir(parents=True, exist_ok=True)
    command, facts = shlex.join(["pretext", *args]), environment()

    def write() -> None:
        results = boards(suite, folder)
        with FileLock(folder / "leaderboard.lock"):  # several processes may share the work
            write_html(results, folder / "leaderboard.html", suite.title, command, facts)
            write_csv(results, folder / "leaderboard.csv")
            write_whole(folder / "leaderboard.md", markdown(results))

    work(suite, folder, write, own.only)
    write()
    print(folder / "leaderboard.html")
