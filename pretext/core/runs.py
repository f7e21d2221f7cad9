"""Where runs are: folders with config.yaml and checkpoints, below `runs`. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.yaml"
LAST = Path("checkpoints") / "last.ckpt"
RUNS = Path("runs")


def find(path: str | Path) -> Path:
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
    raise FileNotFoundError(f"{said}; `pretext runs` lists those here" if RUNS.is_dir() else said)


def numbered(path: Path) -> list[Path]:
    """List the numbered folders in `path`, oldest first."""
    if not path.is_dir():
        return []
    return sorted((p for p in path.iterdir() if p.is_dir() and p.name.isdecimal()), key=lambda p: int(p.name))
