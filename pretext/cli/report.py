"""`pretext report`: write one self-contained HTML page of a run."""

from __future__ import annotations

from pretext.cli.parser import Parser, needed, run_of
from pretext.report.run import write_report
from pretext.training.run import find


def main(args: list[str]) -> None:
    """Write one self-contained HTML page of a run."""
    name, rest = run_of(args)
    Parser("report", "RUN", main.__doc__).parse_args(rest)
    print(write_report(find(needed(name))))
