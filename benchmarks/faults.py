"""Load, faults and hostile input, by one command: does anything die, get lost, or go wrong quietly?

    python benchmarks/faults.py [--only PART ...] [--out DIR] [--seconds S] [--seed N] [--small]

Everything that is looked at is made in `--out`. Every answer goes at once into `faults.json` there; a second start asks
what is still open, and `faults.md` has the tables. The exit code is 1 if anything failed. `--small` does a small part.

Parts: pictures, videos and sounds (damaged ones, through their data modules), kills, disk (full, read-only, two
writers, a clock that jumps back), hostile (what others may have written), calls (wrong ones of the command
line), uses (wrong ones from Python), soak.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Nothing has to be installed; this folder comes last, so that no script in it hides a library. All that is imported
# below is looked for there, so the path is set first (E402).
sys.path[:] = [str(HERE.parent), *(path for path in sys.path if path != str(HERE)), str(HERE)]

import pytorch_lightning  # noqa: F401, E402  (first, as the command line does; E402 here and below: the path is set first)
from fault_parts import calls, damaged, disk, hostile, kills, soak, uses  # noqa: E402
from fault_parts.setting import Setting  # noqa: E402
from provenance import command, commit, found  # noqa: E402
from schedule import FAILED, Book, Clock, Part, pages, work  # noqa: E402

from datamodules.options import cores  # noqa: E402
from pretext.core.files import write_whole  # noqa: E402

MAKERS: tuple[Callable[[Setting], Part], ...] = (
    *(partial(damaged.part, module=module) for module in ("pictures", "videos", "sounds")),
    *(maker.part for maker in (kills, disk, hostile, calls, uses, soak)),
)
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "av", "pillow", "optuna")


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="PART", help="ask these parts and no others")
    parser.add_argument("--out", type=Path, default=Path("runs/faults"), help="results (default runs/faults)")
    parser.add_argument("--seconds", type=float, default=7200.0, help="that this start may take (default 7200)")
    parser.add_argument("--seed", type=int, default=0, help="of the damage and of the moments (default 0)")
    parser.add_argument("--small", action="store_true", help="a small part of everything")
    return parser.parse_args(words)


def chosen(setting: Setting, only: list[str] | None) -> list[Part]:
    """Make the parts that are asked.

    Raises:
        ValueError: there is no part of such a name.

    """
    parts = [maker(setting) for maker in MAKERS]
    names = [part.name for part in parts]
    if unknown := sorted(set(only or ()) - set(names)):
        raise ValueError(f"--only names {', '.join(unknown)}; there are {', '.join(names)}")
    return [part for part in parts if only is None or part.name in only]


def facts(setting: Setting) -> dict[str, object]:
    """What all starts must have in common."""
    return {"small": setting.small, "seed": setting.seed, "python": sys.version.split()[0]} | {
        package: found(package) for package in PACKAGES
    }


def set_environment() -> None:
    """Say where processes that are started find everything, and that they have one thread: their runs are compared."""
    os.environ.update({name: os.environ.get(name, "1") for name in THREADS})
    paths = (str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


def main(words: list[str] | None = None) -> int:
    """Ask, and return the exit code."""
    own = arguments(words)
    set_environment()
    setting = Setting(own.out.resolve(), own.small, own.seed)
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    start = {"date": now, "command": command(), "cores": cores(), "commit": commit()}
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".isinstance.treespec, LeafSpec", FutureWarning)
    print(f"seed {own.seed}", flush=True)
    try:
        parts = chosen(setting, own.only)
        book = Book(setting.out / "faults.json", {"about": facts(setting), "start": start})
    except ValueError as error:
        print(f"faults.py: {error}", file=sys.stderr)
        return 2
    work(parts, book, Clock(time.monotonic() + own.seconds), partial(print, flush=True))
    text = "\n".join([head(book), *pages([maker(setting) for maker in MAKERS], book)]) + "\n"
    write_whole(setting.out / "faults.md", text)
    print(text)
    return int(any(book.state(part.name) == FAILED for part in parts))


def head(book: Book) -> str:
    """Say with what, when and where it was measured."""
    about, starts = book.content["about"], book.content["starts"]
    said = ", ".join(f"{key} {value}" for key, value in about.items() if key != "small")
    lines = ["A small part of it: no figure below counts.", ""] if about["small"] else []
    lines += [f"CPU, {starts[-1]['cores']} cores, {said}, commit {starts[-1]['commit']}.", ""]
    return "\n".join([*lines, *(f"    {start['command']}  # {start['date']}" for start in starts)])


if __name__ == "__main__":
    sys.exit(main())
