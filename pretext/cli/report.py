"""`pretext report`: write one self-contained HTML page of a run."""

from __future__ import annotations

from pretext.cli.parser import Parser, needed, run_of
from pretext.core.runs import find


def main(args: list[str]) -> None:
    """Write one self-contained HTML page of a run."""
    name, rest = run_of(args)
    Parser("report", "RUN", main.__doc__).parse_args(rest)
    run = find(needed(name))
    from pretext.report.run import write_report

    print(f"look: {write_report(run)}")
