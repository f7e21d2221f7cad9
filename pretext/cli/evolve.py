"""`pretext evolve`: search the weights of a config's tasks."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from pretext.cli.fit_help import options_text
from pretext.cli.parser import Parser, run_of
from pretext.cli.preflight import ready
from pretext.core.catalogue import PACKAGE, described
from pretext.core.configs import title_of


def main(args: list[str]) -> None:
    """Search the weights of a config's tasks. Options of the search, and of the config such as --data.root DIR."""
    stray, rest = run_of(args)
    if stray is not None:
        raise ValueError(f"evolve takes options alone, got {stray}; give a training config with -c")
    parser = Parser("evolve", "-c CONFIG", main.__doc__)
    parser.add_argument("-c", "--config", help="a training config, perhaps with a section `evolve`")
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/evolve/<the study's name>)")
    settings = described(PACKAGE / "search" / "settings.py", "Settings")
    parser.epilog = f"Options of the search, also of the config's section `evolve`:\n\n{options_text(settings.options)}"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    own, _ = parser.parse_known_args(rest)
    if own.config is None:
        raise ValueError("give a training config: pretext evolve -c CONFIG")
    own, options = parser.parse_known_args(ready(rest))
    from pretext.jobs.storage import without_password
    from pretext.report.search import write_search
    from pretext.search.settings import read_search
    from pretext.search.worker import BEST
    from pretext.search.worker import evolve as search_on
    from pretext.training.callbacks.record import environment
    from pretext.training.run import read

    search = read_search(read(own.config), options)
    name = search.settings.study or title_of(Path(own.config)).name
    folder = own.out or Path("runs") / "evolve" / name
    command = shlex.join(["pretext", *map(without_password, args)])
    page = search_on(search, name, folder, command, environment(), write_search)
    print(f"look: {page}")
    if (folder / BEST).is_file():
        print(f"train the best mixture: pretext fit -c {folder / BEST}")
