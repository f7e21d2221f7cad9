"""`pretext bench`: train what is missing, probe everything, and write leaderboard.html, .csv and .md."""

from __future__ import annotations

import shlex
from functools import lru_cache, partial
from pathlib import Path

from pretext.cli.devices import add_devices, crew_of
from pretext.cli.parser import Parser, run_of
from pretext.cli.words import plain
from pretext.core.configs import packaged_config


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
    from pretext.benchmark.runner import plan_of, probed_networks
    from pretext.benchmark.suite import read_suite
    from pretext.evaluation.probe import assist
    from pretext.verbs.comparing import rank

    suite = read_suite(name)
    folder = own.out or Path("runs") / "bench" / Path(name).stem
    folder.mkdir(parents=True, exist_ok=True)
    networks = lru_cache(1)(partial(probed_networks, suite, folder))  # those of the cell that is worked on
    with crew_of(own, args, folder, lambda crew: assist(crew, networks, plan_of(suite))) as crew:
        page = rank(suite, folder, shlex.join(["pretext", *args]), own.only, crew).page
    print(f"look: {page} (also .csv and .md)")


def _check(name: str) -> None:
    """Refuse what is no benchmark, before anything slow is imported."""
    if not Path(name).is_file():
        ours = f", which is a config of training: pretext fit -c {name}" if packaged_config(name) else ""
        raise FileNotFoundError(f"bench: no file {name}{ours}")
    if plain(Path(name)).get("model"):
        raise ValueError(f"{name} is a config of training, no benchmark: train it with pretext fit -c {name}")
