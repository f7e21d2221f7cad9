"""`pretext.evolve`: find the weights of a config's tasks by search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretext.benchmark.train import arguments
from pretext.core.errors import require
from pretext.core.quiet import quiet
from pretext.report.search import write_search
from pretext.search.results import Results
from pretext.search.settings import read_search
from pretext.search.worker import evolve as search_on
from pretext.training.callbacks.record import environment
from pretext.training.run import read


@quiet()
def evolve(
    config: str | Path | Mapping[str, Any], folder: str | Path | None = None, options: Mapping[str, Any] | None = None
) -> Results:
    """Search the weights of a training config's tasks, without labels; write evolve.html and best.yaml.

    Args:
        config: a training config's file, or what stands in it, perhaps with a section `evolve`.
        folder: of the results; none: runs/evolve/<the study's name>. A search that stands there goes on.
        options: of the search and of the config, such as {"candidates": 40, "data.root": DIR}.

    Raises:
        ValueError: no such option or task, or a config that cannot be trained.

    """
    what = f"config is a {type(config).__name__}"
    wanted = "give the file of a training config, or a dict of what stands in it"
    require(isinstance(config, str | Path | Mapping), "evolve", what, wanted)
    lacks = isinstance(config, Mapping) and "model" not in config
    require(not lacks, "evolve", "a config without model", "give a training config: model, data, trainer")
    plain = read(config) if isinstance(config, str | Path) else dict(config)
    search = read_search(plain, arguments(dict(options or {})))
    stem = Path(config).stem if isinstance(config, str | Path) else "search"
    name = search.settings.study or stem
    home = Path(folder or Path("runs") / "evolve" / name)
    drawn: list[Results] = []

    def face(results: Results, file: Path, title: str, facts: Mapping[str, Any]) -> None:
        drawn.append(results)
        write_search(results, file, title, facts)

    search_on(search, name, home, "pretext.evolve(...)", environment(), face)
    return drawn[-1]
