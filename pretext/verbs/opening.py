"""What a verb is given, in any form: a run in memory, its folder, or a module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretext.training.host import Host
from pretext.training.run import BUILT, CONFIG, LAST, MODEL, build, find, read, restore
from pretext.training.trained import Run


def opened(run: Run | Host | str | Path, with_data: bool) -> tuple[Host, Any, Path, bool]:
    """Return the module, its data (none unless asked for), its folder, and whether the run, if it is one, is trained.

    Raises:
        FileNotFoundError: no such run.
        ValueError: what is needed of its config cannot be built.

    """
    if isinstance(run, Run):
        return run.module, run.data, run.folder, True
    if isinstance(run, Host):
        return run, None, Path(), False
    folder = find(run)
    config = read(folder / CONFIG, BUILT if with_data else MODEL)
    module, data = build(config if with_data else {key: part for key, part in config.items() if key != "data"})
    trained = (folder / LAST).exists()
    return restore(module, folder) if trained else module, data, folder, trained
