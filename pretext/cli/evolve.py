"""`pretext evolve`: search the weights of a config's tasks."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pretext.cli.parser import Parser, run_of
from pretext.jobs.storage import without_password
from pretext.report.search import write_search
from pretext.search.settings import options_help, read_search
from pretext.search.worker import evolve as search_on
from pretext.training.callbacks.record import environment
from pretext.training.run import read


def main(args: list[str]) -> None:
    """Search the weights of a config's tasks. Options of the search, and of the config such as --data.root DIR."""
    stray, rest = run_of(args)
    if stray is not None:
        raise ValueError(f"evolve takes options alone, got {stray}; give a training config with -c")
    parser = Parser("evolve", "-c CONFIG", main.__doc__)
    parser.add_argument("-c", "--config", help="a training config, perhaps with a section `evolve`")
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/evolve/<the study's name>)")
    parser.epilog, parser.formatter_class = options_help(), argparse.RawDescriptionHelpFormatter
    own, options = parser.parse_known_args(rest)
    if own.config is None:
        raise ValueError("give a training config: pretext evolve -c CONFIG")
    search = read_search(read(own.config), options)
    name = search.settings.study or Path(own.config).stem
    folder = own.out or Path("runs") / "evolve" / name
    command = shlex.join(["pretext", *map(without_password, args)])
    print(search_on(search, name, folder, command, environment(), write_search))
