"""`pretext bench`: train what is missing, probe everything, and write leaderboard.html, .csv and .md."""

from __future__ import annotations

import shlex
from functools import lru_cache, partial
from pathlib import Path

from pretext.cli.devices import add_devices, crew_of
from pretext.cli.parser import Parser, run_of
from pretext.cli.preflight import plain
from pretext.core.files import write_whole


def main(args: list[str]) -> None:
    """Train what is missing, probe everything, and write leaderboard.html, .csv and .md."""
    name, rest = run_of(args)
    parser = Parser("bench", "SUITE.yaml", main.__doc__)
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/bench/<the file's name>)")
    parser.add_argument("--only", nargs="+", help="boards to work on (default: all)")
    add_devices(parser)
    own = parser.parse_args(rest)
    if name is None:
        raise ValueError("give the YAML of a benchmark before any option")
    _check(name)
    from filelock import FileLock

    from pretext.benchmark.gather import boards
    from pretext.benchmark.runner import plan_of, probed_networks, work
    from pretext.benchmark.suite import read_suite
    from pretext.evaluation.probe import assist
    from pretext.report.leaderboard import markdown, write_csv
    from pretext.report.leaderboard_page import write_html
    from pretext.training.callbacks.record import environment

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

    networks = lru_cache(1)(partial(probed_networks, suite, folder))  # those of the cell that is worked on
    with crew_of(own, args, folder, lambda crew: assist(crew, networks, plan_of(suite))) as crew:
        work(suite, folder, write, own.only, crew)
    write()
    print(f"look: {folder / 'leaderboard.html'} (also .csv and .md)")


def _check(name: str) -> None:
    """Refuse what is no benchmark, before anything slow is imported."""
    if not Path(name).is_file():
        raise FileNotFoundError(f"bench: no file {name}")
    if "model" in plain(Path(name)):
        raise ValueError(f"{name} is a config of training, no benchmark: train it with pretext fit -c {name}")
