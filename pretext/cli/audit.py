"""`pretext audit`: can the tasks of a config be answered without seeing?"""

from __future__ import annotations

import shlex
from pathlib import Path

from pretext.audit.names import STEPS
from pretext.cli.parser import Parser, run_of
from pretext.cli.preflight import ready
from pretext.core.configs import title_of


def main(args: list[str]) -> None:
    """Ask whether the tasks of a config can be answered without seeing, before a GPU-day is spent on them."""
    name, rest = run_of(args)
    parser = Parser("audit", "-c CONFIG", main.__doc__)
    parser.add_argument("-c", "--config", help="whose tasks; further options, such as --data.root DIR, override it")
    parser.add_argument("--out", type=Path, help="folder of the results (default: runs/audit/<the config's name>)")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="tasks of the config (default: all)")
    budget = f"steps of training for each task and control (default {STEPS})"
    parser.add_argument("--budget", type=int, default=STEPS, help=budget)
    own, options = parser.parse_known_args(rest)
    if name is not None or own.config is None:
        raise ValueError("give a config: pretext audit -c CONFIG [--data.root DIR]")
    own, options = parser.parse_known_args(ready(rest))
    from rich.console import Console

    from pretext.report.audit import table
    from pretext.training.run import read
    from pretext.verbs.auditing import looked_at

    name = title_of(Path(own.config)).name
    folder = own.out or Path("runs") / "audit" / name
    command = shlex.join(["pretext", *args])
    found = looked_at(read(own.config), options, folder, name, own.tasks, own.budget, command)
    Console().print(table(list(found.tasks)).rich())
    for one in found.tasks:
        print(f"{one.task}: {one.verdict}")
    print(f"look: {found.page} (also .json and .md)")
