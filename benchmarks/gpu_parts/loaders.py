"""Images per second from files to batches: first epoch, later ones, and a second run that finds what was kept."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any, NamedTuple

import torch
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms.v2 import functional as F

from datamodules import ImageFolder, Splitting
from datamodules.options import cores
from gpu_parts.schedule import Answer, Clock, Part, Question
from gpu_parts.setting import Setting

SPEEDS = ("first", "later", "second_run", "bare_one_thread")


class Files(NamedTuple):
    """A folder of pictures, and how they are read."""

    photos: bool
    canvas: int
    batch: int
    limit: int
    alone: int
    """Files that one thread decodes without us."""


def kinds(setting: Setting) -> dict[str, Files]:
    """List what is read."""
    return {
        "CIFAR-10, 32 px": Files(False, 32, setting.size(128, 4), setting.size(50_000, 16), setting.size(4_000, 8)),
        "photos of 500 px, canvas 240": Files(
            True, setting.size(240, 48), setting.size(64, 4), setting.size(5_400, 16), 200
        ),
    }


def part(setting: Setting) -> Part:
    """Make the part."""
    least = setting.size(15.0, 1.0)
    asked = [Question(name, partial(measure, setting, name, kind), least) for name, kind in kinds(setting).items()]
    return Part("loaders", "images per second from files", 0.08, lambda: asked, table)


def measure(setting: Setting, name: str, kind: Files, clock: Clock, before: Answer) -> Answer:
    """Read all files twice in one run, then by two runs that keep canvases in a folder, beside torchvision's way."""
    root = setting.photos if kind.photos else setting.cifar
    files = sorted(path for path in (root / "train").rglob("*") if path.is_file())
    for path in files[: kind.limit]:
        path.read_bytes()  # so that the disk plays no part
    bare = bare_speed(files[:: max(1, len(files) // kind.alone)][: kind.alone], kind.canvas)
    data = opened(root, kind, "memory")
    begin = epoch(data, 0)
    first, python = begin.speed, begin.python_us
    later = epoch(data, 1).speed
    shelf = setting.out / "caches" / f"canvases-{kind.canvas}"
    rmtree(shelf, ignore_errors=True)
    runs = [epoch(opened(root, kind, str(shelf)), 0).speed for _ in range(2)]
    per_core = first / cores()
    speeds = {"first": first, "later": later, "second_run": runs[1], "bare_one_thread": bare}
    more = {"python_us": python, "first_batch_s": begin.first_batch}
    return {**speeds, "cores": cores(), "per_core_ratio": per_core / bare, **more}


def opened(root: Path, kind: Files, cache: Any) -> ImageFolder:
    """Open the training images, as a new run would."""
    split = Splitting(val=0, limit=kind.limit)
    data = ImageFolder(root, canvas=kind.canvas, batch_size=kind.batch, cache=cache, split=split)
    data.prepare_data()
    data.setup("fit")
    return data


class Epoch(NamedTuple):
    """What reading all files once took."""

    speed: float
    """Images per second after the first batch."""
    python_us: float
    """Microseconds of the calling thread per image, after the first batch."""
    first_batch: float
    """Seconds until there was one: the processes that decode are started."""


def epoch(data: ImageFolder, number: int) -> Epoch:
    """Read an epoch."""
    loader = data.train_dataloader()
    loader.set_epoch(number)  # type: ignore[attr-defined]  # of the loader that shuffles
    start = time.perf_counter()
    batches = iter(loader)
    next(batches)
    begin, busy = time.perf_counter(), time.thread_time()
    images = sum(len(loaded["index"]) for loaded in batches)
    seconds, thread = time.perf_counter() - begin, time.thread_time() - busy
    return Epoch(images / seconds, 1e6 * thread / images, begin - start)


def bare_speed(files: list[Path], canvas: int) -> float:
    """Images per second of torchvision's decoder and antialiased resize, in one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    for file in files:
        image = decode_image(str(file), ImageReadMode.RGB)
        if image.shape[-1] != canvas or image.shape[-2] != canvas:
            F.resize(F.center_crop(image, [min(image.shape[-2:])]), [canvas, canvas], antialias=True)
    seconds = time.perf_counter() - begin
    torch.set_num_threads(threads)
    return len(files) / seconds


def table(answers: dict[str, Answer]) -> list[str]:
    """Lay out the rows of the table."""
    lines = [
        "| files | first batch | first epoch, images/s | later | second run "
        "| torchvision, one thread | per core / that | Python |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, answer in answers.items():
        if "first" in answer:
            first, later, again, bare = (f"{answer[key]:,.0f}" for key in SPEEDS)
            speeds = f"{first} | {later} | {again} | {bare}"
            rest = f"{answer['per_core_ratio']:.2f} of {answer['cores']} cores | {answer['python_us']:.0f} us"
            lines.append(f"| {name} | {answer['first_batch_s']:.1f} s | {speeds} | {rest} |")
    return lines
