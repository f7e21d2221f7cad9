"""Where runs are: folders with config.yaml and checkpoints, below `runs`. Nothing here needs torch."""

from __future__ import annotations

from difflib import get_close_matches
from os import PathLike
from pathlib import Path

from pretext.core.configs import like_config

CONFIG = "config.yaml"
LAST = Path("checkpoints") / "last.ckpt"
RUNS = Path("runs")


def find(path: str | PathLike[str]) -> Path:
    """Find the folder of a run: `path` itself, or the newest of the numbered runs in it.

    Raises:
        FileNotFoundError: there is no run.

    """
    path = Path(path)
    if (path / CONFIG).is_file():
        return path
    if runs := [run for run in numbered(path) if (run / CONFIG).is_file()]:
        return runs[-1]
    said = f"no run in {path}: a run is a folder with {CONFIG}, made by `pretext fit`"
    if RUNS.is_dir():
        said += f"; {_meant(path)}`pretext runs` lists those here"
    if config := like_config(path, cutoff=0.9, trains=True):
        said += f"; to train our config: pretext fit -c {config}"
    raise FileNotFoundError(said)


def _meant(path: Path) -> str:
    """Guess which run was meant, by its whole path, or by its last parts."""
    runs = {str(file.parent): file.parent for file in RUNS.rglob(CONFIG)}
    named = {**{str(run.parent): run.parent for run in runs.values()}, **runs}
    short = {str(run.relative_to(RUNS)): run for run in named.values() if run != RUNS}
    like = get_close_matches(str(path), [*named, *short], n=1)
    return f"did you mean {named.get(like[0]) or short[like[0]]}? " if like else ""


def numbered(path: Path) -> list[Path]:
    """List the numbered folders in `path`, oldest first."""
    if not path.is_dir():
        return []
    return sorted((p for p in path.iterdir() if p.is_dir() and p.name.isdecimal()), key=lambda p: int(p.name))
