"""`pretext runs`: list the runs below a folder."""

from __future__ import annotations

from pretext.cli.listing import listed, told
from pretext.cli.parser import Parser, run_of
from pretext.core.runs import RUNS
from pretext.verbs.listing import RunSummary, runs


def main(args: list[str]) -> None:
    """List the runs below a folder (default: runs): tasks, step, last result, disk, newest last."""
    name, rest = run_of(args)
    Parser("runs", "[FOLDER]", main.__doc__).parse_args(rest)
    found = runs(name or RUNS)
    if not found:
        print(f"no runs in {name or RUNS}; `pretext fit -c CONFIG` makes them")
        return
    print(listed([_row(run) for run in found]), end="")


def _row(run: RunSummary) -> tuple[str, ...]:
    state = "no checkpoint" if run.step is None else f"step {run.step}"
    scores = ", ".join(f"{name} {value:.3f}" for name, value in run.scores.items())
    return str(run.folder), state, size(run.disk), told(", ".join(run.tasks), scores)


def size(taken: int) -> str:
    """Say how much disk a run takes."""
    return f"{taken / 1e9:.1f} GB" if taken >= 1e9 else f"{taken / 1e6:.1f} MB"
