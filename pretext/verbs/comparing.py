"""`pretext.compare` and `pretext.bench`: many networks side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from pretext.benchmark.compare import compared
from pretext.benchmark.gather import boards
from pretext.benchmark.results import Board
from pretext.benchmark.runner import work
from pretext.benchmark.scores import every_score
from pretext.benchmark.suite import Suite, read_suite
from pretext.core.errors import require
from pretext.core.files import write_whole
from pretext.core.quiet import quiet
from pretext.evaluation.flat import frame
from pretext.evaluation.shards import Crew
from pretext.report.leaderboard import markdown, write_csv
from pretext.report.leaderboard_page import write_html
from pretext.report.notebook import boards_html, boards_text
from pretext.training.callbacks.record import environment
from pretext.training.trained import Run

COMMAND = "pretext.bench(...)"


@dataclass(frozen=True, repr=False)
class Boards:
    """Leaderboards, one for each set of data, which terminals and notebooks show as tables.

    Args:
        boards: with all their cells.
        page: the page of them, where one was written.

    """

    boards: tuple[Board, ...]
    page: Path | None = None

    def rows(self) -> list[dict[str, Any]]:
        """Return a flat dict for each board, entry, seed and stage, as `leaderboard.csv` has them."""
        columns, rows = every_score(self.boards)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def to_pandas(self) -> Any:
        """Return `rows` as a `pandas.DataFrame`; raises ImportError where pandas is not installed."""
        return frame(self.rows())

    def __repr__(self) -> str:
        return boards_text(self.boards)

    def _repr_html_(self) -> str:
        return boards_html(self.boards)


def compare(*runs: Run | str | Path | Sequence[Run | str | Path], out: str | Path | None = None) -> Boards:
    """Set the probes of runs side by side, a board for each set of data.

    Args:
        runs: what `pretext.fit` returned, or folders, one by one or in a list.
        out: write the page of a leaderboard there too.

    Raises:
        FileNotFoundError: no such run, or it was not probed yet.
        ValueError: no run.

    """
    each: list[Any] = [one for run in runs for one in (run if isinstance(run, list | tuple) else [run])]
    require(bool(each), "compare", "no run", "give at least one, as in compare('runs/a', 'runs/b')")
    for run in each:
        require(isinstance(run, Run | str | Path), "compare", f"a {type(run).__name__}", "give runs or their folders")
    found = compared([run.folder if isinstance(run, Run) else run for run in each])
    page = None if out is None else Path(out)
    if page is not None:
        write_html(found, page, "Comparison", "pretext.compare(...)", environment())
    return Boards(tuple(found), page)


@quiet()
def bench(suite: str | Path, folder: str | Path | None = None, *, only: Sequence[str] | None = None) -> Boards:
    """Train, probe and rank what a YAML names; go on with what is unfinished; write leaderboard.html, .csv and .md.

    Args:
        suite: the YAML.
        folder: of the results; none: runs/bench/<the file's name>.
        only: boards to work on; none: all.

    Raises:
        ValueError: the YAML cannot be read, or there is no such board.

    """
    wanted = "give the file of a suite, as in bench('suite.yaml')"
    require(isinstance(suite, str | Path), "bench", f"suite is a {type(suite).__name__}", wanted)
    home = Path(folder or Path("runs") / "bench" / Path(suite).stem)
    return rank(read_suite(suite), home, COMMAND, only)


def rank(
    suite: Suite, folder: Path, command: str, only: Sequence[str] | None = None, crew: Crew | None = None
) -> Boards:
    """Do what `bench` does, perhaps with a crew that embeds together."""
    folder.mkdir(parents=True, exist_ok=True)
    write = partial(_write, suite, folder, command, environment())
    work(suite, folder, write, only, crew)
    write()
    return Boards(tuple(boards(suite, folder)), folder / "leaderboard.html")


def _write(suite: Suite, folder: Path, command: str, facts: dict[str, str]) -> None:
    results = boards(suite, folder)
    with FileLock(folder / "leaderboard.lock"):  # several processes may share the work
        write_html(results, folder / "leaderboard.html", suite.title, command, facts)
        write_csv(results, folder / "leaderboard.csv")
        write_whole(folder / "leaderboard.md", markdown(results))
