"""How fast files become batches, and what that costs the process that trains.

    python benchmarks/loading.py --root DIR      (or PRETEXT_DATA=DIR; it holds clothing10 or cifar10, class folders of
                                                  JPEG files: --set says which)

Six parts (`--only` chooses some), each with contenders that take turns within one run, `--repeats` times; ratios are
taken within a repeat; the median is given with the smallest and the largest. All files are read once before, so that
the disk plays no part. Torch gets `--threads` threads in the process that trains. Two cores are wanted.

- core: images per second when all processes share one core, against decode and resize by torchvision in a bare loop.
- beside: a step of training (products of matrices) on one core while files are decoded on another, against the same
  step while nothing is decoded.
- python: time of the training process's own thread per image (`time.thread_time`).
- epochs: images per second in the first epoch, in later ones, and in a second run with a cache on disk.
- index: bytes and time that each of a million files takes, without any being read.
- readers: against `torchvision.datasets.ImageFolder` in a `DataLoader`, to float crops on the device.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms.v2 import functional

from datamodules import ImageFolder, Reading, Splitting
from datamodules.decoding.client import CLIENT
from datamodules.draws import held_out, shuffled
from datamodules.images.canvases import Decoding
from datamodules.images.nvjpeg import plain_jpeg
from datamodules.keeping.records import key_of
from pretext.views.augment import Augment

LATER = 2  # epochs timed after the first
SCALE = (0.08, 1.0)  # RandomResizedCrop's share of the area, its own default
STEP = 0.02  # seconds that a step takes, about
STEPS = 100  # of a block
PER_BATCH = 10  # steps: so many that one core decodes a batch meanwhile, since steps that wait for it would say nothing

Speeds = dict[str, list[float]]


def module(folder: Path, options: argparse.Namespace, cache: int | str = 0, workers: int | None = None) -> ImageFolder:
    """Open the files with our data module, for training on all of them."""
    reading = Reading(workers=options.workers if workers is None else workers)
    split = Splitting(val=0, limit=options.limit or None)
    data = ImageFolder(folder, options.canvas, options.batch_size, cache=cache, reading=reading, split=split)
    data.setup("fit")
    return data


@contextmanager
def on_cores(mine: set[int], workers: set[int]) -> Iterator[None]:
    """Bind this process to some cores, and those that it starts meanwhile to others."""
    before = os.sched_getaffinity(0)
    CLIENT.close()  # the next one inherits what is set now
    os.sched_setaffinity(0, workers)
    CLIENT.start()
    os.sched_setaffinity(0, mine)
    try:
        yield
    finally:
        CLIENT.close()
        os.sched_setaffinity(0, before)


def count(batches: Iterable[dict[str, torch.Tensor]]) -> int:
    """Go through batches and count their images."""
    return sum(len(batch["index"]) for batch in batches)


def rate(work: Callable[[], int]) -> float:
    """Time some work that tells how many images it read, images per second."""
    start = time.perf_counter()
    images = work()
    return images / (time.perf_counter() - start)


def bare(files: list[Path], canvas: int) -> int:
    """Decode and resize by torchvision, one file after the other."""
    for file in files:
        image = decode_jpeg(read_file(str(file)), ImageReadMode.RGB)
        side = min(image.shape[1:])
        functional.resize(functional.center_crop(image, [side, side]), [canvas, canvas], antialias=True)
    return len(files)


def core(folder: Path, files: list[Path], options: argparse.Namespace) -> None:
    """Compare speeds on one core."""
    speeds: Speeds = {"torchvision, bare loop": [], "ours, one worker": []}
    with on_cores({0}, {0}):
        data = module(folder, options, workers=1)
        count(data.train_dataloader())
        for _ in range(options.repeats):
            speeds["torchvision, bare loop"].append(rate(lambda: bare(files, options.canvas)))
            speeds["ours, one worker"].append(rate(lambda: count(data.train_dataloader())))
    table("images/s on one core, epochs after the first", speeds, "torchvision, bare loop")


def steps(matrix: torch.Tensor, products: int) -> Iterator[float]:
    """Time steps of so many products."""
    while True:
        start = time.perf_counter()
        for _ in range(products):
            torch.mm(matrix, matrix)
        yield time.perf_counter() - start


def beside(folder: Path, options: argparse.Namespace) -> None:
    """Compare steps beside a decoder that never ends with steps beside none."""
    matrix = torch.randn(512, 512)
    one = statistics.median(next(steps(matrix, 1)) for _ in range(20))
    step = steps(matrix, max(1, round(STEP / one)))
    times: Speeds = {"nothing is decoded": [], "files are decoded": []}
    mine, workers = {0}, {max(os.sched_getaffinity(0))}
    with on_cores(mine, workers):
        kept = module(folder, options, cache="memory", workers=1)
        count(kept.train_dataloader())
        loader = module(folder, options, workers=1).train_dataloader()
        for _ in range(options.repeats):
            for name, source in (("nothing is decoded", kept.train_dataloader()), ("files are decoded", loader)):
                batches = (batch for again in cycle([source]) for batch in again)
                next(batches)
                start = time.perf_counter()
                for k in range(STEPS):
                    next(step)
                    if k % PER_BATCH == 0:
                        next(batches)
                times[name].append((time.perf_counter() - start) / STEPS * 1000)
                batches.close()
    table("a step and its batch, ms", times, "nothing is decoded", digits=2)


def python(folder: Path, files: list[Path], options: argparse.Namespace) -> None:
    """Measure what an image costs the thread that takes the batches, or those that read for a CUDA device."""
    costs: Speeds = {"decoded anew": [], "kept in memory": [], "kept on disk": []}
    with TemporaryDirectory() as disk:
        loaders = {name: module(folder, options, cache) for name, cache in zip(costs, (0, "memory", disk), strict=True)}
        for data in loaders.values():
            count(data.train_dataloader())
        for _ in range(options.repeats):
            for name, data in loaders.items():
                start = time.thread_time()
                images = count(data.train_dataloader())
                costs[name].append((time.thread_time() - start) / images * 1e6)
            start = time.thread_time()
            for file in files:
                plain_jpeg(file, Decoding(options.canvas))
            costs.setdefault("read for a CUDA device", []).append((time.thread_time() - start) / len(files) * 1e6)
    table("us of the training process's thread per image", costs, None)


def epochs(folder: Path, options: argparse.Namespace) -> None:
    """Measure first and later epochs and a second run."""
    speeds: Speeds = {}
    for _ in range(options.repeats):
        with TemporaryDirectory() as disk:
            runs = {"anew": 0, "kept in memory": "memory", "kept on disk": disk, "kept on disk, second run": disk}
            for name, cache in runs.items():
                epoch = partial(count, module(folder, options, cache).train_dataloader())
                speeds.setdefault(f"{name}, first epoch", []).append(rate(epoch))
                later = [rate(epoch) for _ in range(LATER)]
                speeds.setdefault(f"{name}, later epochs", []).append(statistics.mean(later))
    table("images/s", speeds, "anew, first epoch")


def index(count: int = 1_000_000) -> None:
    """Print what the index of so many files takes: memory, and the time of what is done once or once an epoch."""
    print("| of each file | bytes | us |\n|---|---|---|")

    def row(what: str, make: Callable[[], object]) -> Any:
        tracemalloc.start()
        start = time.perf_counter()
        made = make()
        seconds = time.perf_counter() - start
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        tensors = sum(x.nbytes for x in made if isinstance(x, torch.Tensor)) if isinstance(made, tuple) else 0
        print(f"| {what} | {(held + tensors) / count:.1f} | {seconds / count * 1e6:.2f} |", flush=True)
        return made

    names = row("its name", lambda: [f"train/class{k % 1000:04}/{k:09}.jpg" for k in range(count)])
    row("its label", lambda: (torch.tensor([k % 1000 for k in range(count)]),))
    train, _ = row("whether it is held out", lambda: held_out(count, 0.1, "val"))
    row("the order of an epoch", lambda: (train[shuffled(len(train), 0, 0)],))
    row("where it is kept", lambda: (torch.full((count,), -1), torch.zeros(count, dtype=torch.int64)))
    row("a key (no such file)", lambda: b"".join(key_of(name) for name in names))
    print(flush=True)


def theirs(folder: Path, options: argparse.Namespace) -> Callable[[], int]:
    """Build torchvision's reader: decode, resized crop, flip and conversion to floats in worker processes."""
    moves = [
        transforms.RandomResizedCrop(options.crop, SCALE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
    loader = DataLoader(
        datasets.ImageFolder(folder / "train", transforms.Compose(moves)),
        options.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=True,
    )
    return lambda: sum(len(x) for x, _ in loader)


def ours(folder: Path, options: argparse.Namespace, cache: int | str, scale: tuple[float, float]) -> Callable[[], int]:
    """Build our reader: workers decode and resize, crop and flip follow on whole batches."""
    loader = module(folder, options, cache).train_dataloader()
    augment, rng = Augment(options.crop, scale=scale), torch.Generator()
    return lambda: sum(len(augment(batch["x"], rng)) for batch in loader)


def readers(folder: Path, options: argparse.Namespace) -> None:
    """Compare whole readers."""
    contenders: dict[str, Callable[[], Callable[[], int]]] = {
        "torchvision": lambda: theirs(folder, options),
        "ours, kept, crop": lambda: ours(folder, options, "memory", (1.0, 1.0)),
        "ours, kept, resized crop": lambda: ours(folder, options, "memory", SCALE),
        "ours, streamed, crop": lambda: ours(folder, options, 0, (1.0, 1.0)),
    }
    first: Speeds = {name: [] for name in contenders}
    later: Speeds = {name: [] for name in contenders}
    for _ in range(options.repeats):
        for name, build in contenders.items():
            epoch = build()
            first[name].append(rate(epoch))
            later[name].append(statistics.mean(rate(epoch) for _ in range(LATER)))
    table("images/s to float crops, first epoch", first, "torchvision")
    table("images/s to float crops, later epochs", later, "torchvision")


def spread(values: list[float], digits: int) -> str:
    """Write a median with its smallest and largest value."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def table(title: str, values: Speeds, base: str | None, digits: int = 0) -> None:
    """Print what was measured, with ratios to one of the contenders."""
    print(f"| | {title} |{'' if base is None else ' ratio |'}\n|---|---|{'' if base is None else '---|'}")
    for name, mine in values.items():
        ratios = [] if base is None else [a / b for a, b in zip(mine, values[base], strict=True)]
        print(
            f"| {' | '.join([name, spread(mine, digits if base else 1), *([spread(ratios, 2)] if ratios else [])])} |"
        )
    print(flush=True)


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("PRETEXT_DATA"), help="folder that holds the set")
    parser.add_argument("--set", default="clothing10")
    parts = ("core", "beside", "python", "epochs", "readers", "index")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    numbers = {"crop": 112, "canvas": 128, "batch-size": 64, "workers": 2, "repeats": 5, "threads": 1, "limit": 0}
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.root is None or not (folder := Path(options.root) / options.set / "train").is_dir():
        parser.error("name the folder that holds the set with --root or PRETEXT_DATA")
    folder = folder.parent
    torch.set_num_threads(options.threads)
    files = sorted((folder / "train").rglob("*.jpg"))[: options.limit or None]
    for path in files:
        path.read_bytes()
    print(f"    {shlex.join(['python', *sys.argv]).replace(options.root, 'DIR')}\n")
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {len(files)} files\n")
    run = {
        "core": lambda: core(folder, files, options),
        "beside": lambda: beside(folder, options),
        "python": lambda: python(folder, files, options),
        "epochs": lambda: epochs(folder, options),
        "readers": lambda: readers(folder, options),
        "index": index,
    }
    for part in options.only:
        run[part]()


if __name__ == "__main__":
    main()
