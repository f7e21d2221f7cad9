"""Everything that an accelerator should be asked, by one command.

    python benchmarks/gpu.py --root DATA --seconds 480 [--only PART ...] [--out DIR] [--starts 2] [--dry]

DATA holds `cifar10/{train,test}/<class>/*` (PNG or JPEG) or `cifar10.tar.xz` of that. Everything else that is looked at
is made in `--out`. What needs a package that ours does not bring, such as OpenCV, says where it is missing that it was
not run. Each part knows its share of the time, and asks nothing more when that is over. Every answer goes at once into
`gpu.json` there; a second start asks what is still open (RotNet's training goes on from its checkpoint), and `gpu.md`
has the tables. The exit code is 1 if anything failed. `--dry` does all of it in small on a processor.

Parts: contract, configs, steps, tasks, loaders, resume, elo, probe, rotnet; simclr only where it is named.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from datetime import datetime
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Nothing has to be installed; this folder comes last, so that no script in it hides a library. All that is imported
# below is looked for there, so the path is set first (E402).
sys.path[:] = [str(HERE.parent), *(path for path in sys.path if path != str(HERE)), str(HERE)]

import pytorch_lightning  # noqa: F401, E402  (first, as the command line does)
import torch  # noqa: E402
from gpu_parts import (  # noqa: E402
    configs,
    contract,
    elo,
    loaders,
    probing,
    report,
    resume,
    rotnet,
    simclr,
    steps,
    tasks,
)
from gpu_parts.setting import Setting  # noqa: E402
from provenance import command, commit  # noqa: E402
from schedule import FAILED, Book, Clock, Part, work  # noqa: E402

from datamodules.options import cores  # noqa: E402
from pretext.core.files import write_whole  # noqa: E402

MAKERS = (contract, configs, steps, tasks, loaders, resume, elo, probing, rotnet, simclr)
AGAIN = "PRETEXT_GPU_AGAIN"  # in a process that took another's place: when its time is over
SPARE = 10.0  # seconds for what comes after the last part


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"), help="the folder of data")
    parser.add_argument("--seconds", type=float, help="that this start may take (default 480, dry 3600)")
    parser.add_argument("--only", nargs="+", metavar="PART", help="ask these parts and no others")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="results (default runs/gpu)")
    parser.add_argument("--starts", type=int, default=2, help="that RotNet's training may take (default 2)")
    parser.add_argument("--dry", action="store_true", help="all of it in small on a processor")
    own = parser.parse_args(words)
    if not own.dry and not torch.cuda.is_available():
        parser.error("there is no CUDA device; --dry runs everything in small on a processor")
    if not own.dry and own.root is None:
        parser.error("--root (or PRETEXT_DATA) must name a folder that holds cifar10/ or cifar10.tar.xz")
    own.seconds = own.seconds or (3600.0 if own.dry else 480.0)
    return own


def chosen(setting: Setting, only: list[str] | None) -> list[Part]:
    """Make the parts that are asked.

    Raises:
        ValueError: there is no part of such a name.

    """
    parts = [maker.part(setting) for maker in MAKERS]
    names = [part.name for part in parts]
    if unknown := sorted(set(only or ()) - set(names)):
        raise ValueError(f"--only names {', '.join(unknown)}; there are {', '.join(names)}")
    return [part for part in parts if (part.name in only if only else not part.on_demand)]


def restart_if_lost(end: float) -> None:
    """Begin anew in a new process where the device answers no more, as after an illegal access to its memory."""
    if not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        print(f"the device is lost to this process ({str(error).splitlines()[0]}); going on in a new one", flush=True)
        os.environ[AGAIN] = str(end)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def main(words: list[str] | None = None) -> int:
    """Ask, and return the exit code."""
    own = arguments(words)
    out = own.out.resolve()
    again = os.environ.pop(AGAIN, None)
    end = float(again) if again else time.monotonic() + own.seconds - SPARE
    setting = Setting(own.root and own.root.resolve(), out, own.dry, own.seconds, own.starts)
    start = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command(),
        "driver": "none" if own.dry else report.driver(),
        "cores": cores(),
        "commit": commit(),
    }
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # no line for every seed
    try:
        parts = chosen(setting, own.only)
        book = Book(out / "gpu.json", {"about": report.about(setting), "start": start, "again": bool(again)})
    except ValueError as error:
        print(f"gpu.py: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(128 + signal.SIGTERM))  # trainings of ours are stopped then
    work(parts, book, Clock(end), partial(print, flush=True), lambda: restart_if_lost(end))
    text = report.markdown([maker.part(setting) for maker in MAKERS], book)
    write_whole(out / "gpu.md", text)
    print(text)
    return int(any(book.state(part.name) == FAILED for part in parts))


if __name__ == "__main__":
    sys.exit(main())
