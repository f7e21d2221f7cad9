"""The cells of a benchmark: each is an entry with one seed on one board, and has a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from pretext.benchmark.suite import Entry, Suite, in_place, seeds_of
from pretext.core.configs import find_config
from pretext.evaluation.available import with_sources
from pretext.evaluation.embed import VERSION
from pretext.jobs.keys import as_written, here, key_of, with_contents
from pretext.training.run import CONFIG, LAST
from pretext.training.unwritten import read_plain


class Cell(NamedTuple):
    """An entry with one seed on one board."""

    board: str
    name: str
    """The entry's."""
    seed: int
    entry: Entry

    @property
    def kind(self) -> str:
        """What the entry is, a key of `results.KINDS`; a network without weights has learned nothing."""
        entry = in_place(self.entry)
        if entry.backbone:
            return "trained" if entry.weights else "random"
        return kind_of(find_config(entry.config) if entry.config else Path(entry.run or "") / CONFIG)


def cells(suite: Suite) -> Iterator[Cell]:
    """List every cell, seed by seed, so that an unfinished benchmark has all entries first."""
    every = sorted({seed for b in suite.boards.values() for e in b.entries.values() for seed in seeds_of(suite, e)})
    for seed in every:
        for board, own in suite.boards.items():
            for name, entry in own.entries.items():
                if seed in seeds_of(suite, entry):
                    yield Cell(board, name, seed, entry)


def file_of(suite: Suite, folder: Path, cell: Cell) -> Path:
    """Return the file of a finished cell; its name changes with what the YAML and the files that it names say of it."""
    data = with_contents(suite.boards[cell.board].data)
    key = key_of(VERSION, _training(suite, cell), data, with_sources(suite.protocols), suite.dims, suite.views)
    return folder / "cells" / cell.board / f"{cell.name}-{cell.seed}-{key}.json"


def run_of(suite: Suite, folder: Path, cell: Cell) -> Path:
    """Return the folder of the run that is trained for a cell."""
    return folder / "runs" / cell.board / f"{cell.name}-{cell.seed}-{key_of(_training(suite, cell))}"


def start_of(suite: Suite, cell: Cell) -> Cell | None:
    """Return the cell from whose run a cell starts, of the same seed."""
    name = cell.entry.start
    return None if name is None else Cell(cell.board, name, cell.seed, suite.boards[cell.board].entries[name])


def _training(suite: Suite, cell: Cell) -> str:
    """Write down all that training, or what is measured instead of it, depends on.

    Names of files depend on every letter of it, so that a folder of an earlier release goes on.
    """
    entry = asdict(cell.entry) | {"seeds": None, "run": with_contents(str(Path(cell.entry.run or "") / LAST))}
    start = start_of(suite, cell)
    del entry["amounts"], entry["start"]  # the former is for the page alone
    config = as_written(find_config(here(cell.entry.config))) if cell.entry.config else None
    parts = [with_contents(part) for part in (entry, suite.boards[cell.board].options, config)]
    return repr([*parts, *([] if start is None else [_training(suite, start)])])


def kind_of(config: Path) -> str:
    """Say whether the backbone of a config has seen labels; under a probe it stays as it was."""
    model = (read_plain(config).get("model") or {}) if config.is_file() else {}
    name = str(model.get("class_path", ""))
    return "supervised" if name.endswith("FineTune") else "trained"
