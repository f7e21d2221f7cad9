"""Damaged files through the data modules as a user runs them: what is lost, what is told, what it takes."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
from schedule import Answer, Clock, Part, Question

from datamodules import Clips, Disk, ImageFolder, Reading, Sampling, Sounds, Splitting, Windows
from datamodules.base import DataModule
from datamodules.decoding.client import CLIENT
from fault_parts.damage import KINDS
from fault_parts.processes import apart
from fault_parts.samples import FORMATS, RATE, Format, whole_files
from fault_parts.setting import Setting

TIME_LIMIT, MEMORY_LIMIT = 120.0, 1.0  # seconds and GiB that a file may take
CONTAINED = ("the decoder crashed", "the decoder exited", "needs more than", "took longer")
PATIENCE = 600.0  # seconds of a cell, after which it hangs
BATCH = 20


class Cell(NamedTuple):
    """Some files of one format with one kind of damage."""

    format: str
    kind: str
    files: int
    seed: int
    folder: str


def part(setting: Setting, module: str) -> Part:
    """Make the part of a data module's files, "pictures", "videos" or "sounds": every format with every damage."""
    names = [form.name for form in FORMATS.values() if form.module == module]
    names = setting.size(names, names[:1])
    files = setting.size(200, 10)
    cells = [Cell(name, kind, files, setting.seed, str(setting.out / "files")) for name in names for kind in KINDS]
    asked = [Question(f"{cell.format}: {cell.kind}", partial(ask, setting, cell)) for cell in cells]
    return Part(module, f"damaged {module} through their data module", 1.0, lambda: asked, table)


def ask(setting: Setting, cell: Cell, clock: Clock, before: Answer) -> Answer:
    """Train and probe on the files of a cell, in a process of its own, which is what must not be lost.

    Raises:
        AssertionError: a good file was lost, or a bad one neither used nor told.

    """
    found: Answer = (
        go_through(cell) if setting.small else apart(setting.out / "files.txt", go_through, cell, patience=PATIENCE)
    )
    wrong = {
        key: found[key] for key in ("good files lost", "neither used nor told", "told without a cause") if found[key]
    }
    if wrong:
        raise AssertionError(f"seed {cell.seed}: {wrong}")
    return found


def go_through(cell: Cell) -> Answer:
    """Make the files, train for two epochs with a cache and one without, and probe; judge what was told."""
    warnings.simplefilter("ignore")
    root = Path(cell.folder) / f"{cell.format}-{cell.kind}".replace(" ", "-").replace(",", "")
    rmtree(root, ignore_errors=True)
    form = FORMATS[cell.format]
    good = write(form, cell, root / "data")
    try:
        passes = [trained(form, root, cached=True, epochs=2), trained(form, root, cached=False, epochs=1)]
        probing, seconds = probed(form, root)
        passes.append(probing)
        return judged(cell, good, passes, seconds)
    finally:
        rmtree(root, ignore_errors=True)


class Seen(NamedTuple):
    """What a pass used, what it told, and of which files there were."""

    names: list[str]
    used: set[str]
    told: dict[str, str]


def write(form: Format, cell: Cell, root: Path) -> set[str]:
    """Write the damaged files of a cell, with some good ones among them; return the names of the good ones."""
    whole, key = whole_files(form.name), [cell.seed, list(FORMATS).index(form.name), list(KINDS).index(cell.kind)]
    good = set()
    for k in range(cell.files + cell.files // 10):
        chance = np.random.default_rng([*key, k])
        number, other = chance.integers(0, len(whole), 2).tolist()
        spoil = k % 11 != 10
        name = f"train/{'ab'[k % 2]}/{k:04}{form.suffix}"
        data = whole[number]
        if spoil:
            data = KINDS[cell.kind](data, whole[other] if k % 2 else _foreign(form, other), chance)
        else:
            good.add(name)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return good


def _foreign(form: Format, number: int) -> bytes:
    """Take a whole file of another format for the same data module."""
    kin = [name for name, other in FORMATS.items() if other.module == form.module and name != form.name]
    return whole_files(kin[number % len(kin)])[0]


def module(form: Format, root: Path, cached: bool, batch_size: int) -> DataModule:
    """Make the data module that a user would take."""
    reading = Reading(workers=1, max_bad=1.0, time_limit=TIME_LIMIT, memory_limit=MEMORY_LIMIT)
    data, split = root / "data", Splitting(val=0, test=0)
    if form.module == "pictures":
        cache = "memory" if cached else 0
        return ImageFolder(data, 32, batch_size, cache, reading=reading, split=split)
    if form.module == "sounds":
        cache = str(root / "cache") if cached else 0
        return Sounds(data, "folders", 0.5, Sampling(RATE), batch_size, cache=cache, reading=reading, split=split)
    several = ("rgb", "audio") if form.sound else ("rgb",)
    disk = Disk(root / "cache") if cached else Disk()
    windows, sampling = Windows(frames=4, fps=12.5), Sampling(RATE, clips=2)
    return Clips(data, "folders", several, 32, windows, sampling, batch_size, reading=reading, split=split, disk=disk)


class Looker(pl.LightningModule):
    """Takes batches as a training does, and keeps which items they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.items: set[int] = set()

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.items |= set(batch["index"].tolist())

    def configure_optimizers(self) -> None:
        return None


def trained(form: Format, root: Path, cached: bool, epochs: int) -> Seen:
    """Train, and read what the run's list says."""
    data, looker, run = module(form, root, cached, BATCH), Looker(), root / f"run-{cached}"
    run.mkdir(exist_ok=True)  # which is not the data's to make
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, enable_model_summary=False, default_root_dir=run, **quiet
    )
    trainer.fit(looker, datamodule=data)
    names = data._source("train").names
    listed = (run / "skipped.txt").read_text().splitlines() if (run / "skipped.txt").exists() else []
    told = {name: cause for name, _, cause in (line.partition("\t") for line in listed)}
    return Seen(names, {names[k] for k in looker.items}, told)


def probed(form: Format, root: Path) -> tuple[Seen, float]:
    """Go through the files as a probe does, one by one; tell how long the longest took of a processor."""
    data = module(form, root, False, 1)
    names, used, longest, before = data._source("train").names, set(), 0.0, time_of_workers()
    for batch in data.ordered("train"):
        now = time_of_workers()
        longest, before = max(longest, now - before), now
        used |= {names[k] for k in batch["index"].tolist()}
    return Seen(names, used, dict(data.skipped)), longest


def judged(cell: Cell, good: set[str], passes: Iterable[Seen], seconds: float) -> Answer:
    """Count what was lost, what was not told, and what it took."""
    lost, silent, bare, bad = set[str](), set[str](), set[str](), dict[str, str]()
    for seen in passes:
        told = {name: cause for name, cause in seen.told.items() if not cause.startswith("in part")}
        lost |= (good & told.keys()) | (good - seen.used)
        silent |= set(seen.names) - seen.used - told.keys()
        bare |= {name for name, cause in seen.told.items() if not cause.strip()}
        bad |= told
    contained = Counter(kind for cause in bad.values() for kind in CONTAINED if cause.startswith(kind))
    return {
        "files": cell.files,
        "bad": len(bad),
        "good files lost": sorted(lost)[:5],
        "neither used nor told": sorted(silent)[:5],
        "told without a cause": sorted(bare)[:5],
        "decoders lost": dict(contained),
        "longest s": round(seconds, 2),
        "peak MiB": peak_of_workers(),
    }


def workers() -> list[int]:
    """Number the processes that decode for this one."""
    server = CLIENT._server
    if server is None or not Path("/proc/self/task").is_dir():
        return []
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def time_of_workers() -> float:
    """Read how long the workers that live have had a processor, seconds: other work of the machine does not count."""
    return sum(map(_time, workers()))


def _time(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_of_workers() -> float:
    """Read the most memory that a worker that lives has held, MiB."""
    return max(map(_peak, workers()), default=0.0)


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024, 1)
    except (OSError, StopIteration):
        return 0.0


def table(answers: dict[str, Answer]) -> list[str]:
    """Lay the cells out, all kinds of damage of a format in a row."""
    columns = ("format", "files", "bad, told", "decoders lost, file told", "longest file, s", "peak of a worker, MiB")
    lines = [f"| {' | '.join(columns)} |", "|---|---|---|---|---|---|"]
    formats = dict.fromkeys(name.split(": ")[0] for name in answers)
    total = 0
    for name in formats:
        mine = [answer for key, answer in answers.items() if key.split(": ")[0] == name and "files" in answer]
        files = sum(answer["files"] for answer in mine)
        contained = sum((Counter(answer["decoders lost"]) for answer in mine), Counter[str]())
        said = ", ".join(f"{count} x {kind}" for kind, count in contained.items()) or "0"
        longest, peak = (max((a[key] for a in mine), default=0.0) for key in ("longest s", "peak MiB"))
        lines.append(f"| {name} | {files:,} | {sum(a['bad'] for a in mine):,} | {said} | {longest} | {peak:.0f} |")
        total += files
    lines += ["", f"{total:,} damaged files of {len(formats)} formats."]
    return lines
