"""Images per second: our folder reader with crops on the device, against torchvision's with crops in the workers.

    python benchmarks/loading.py --root DIR      (or PRETEXT_DATA=DIR; it holds clothing10/train/<class>/*.jpg)

All contenders read the same files with the same number of workers and deliver float crops of the same size. They take
turns within one run, `--repeats` times, each time from the start; the files are read once before, so that the disk
plays no part. Ratios are taken within a repeat; the median is given with the smallest and the largest. "Device" here is
the processor: torch gets one thread of its own there (`--threads`), so that crops and decoding share the cores.
"""

from __future__ import annotations

import argparse
import os
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from datamodules import ImageFolder, Reading, Splitting
from pretext.views.augment import Augment

LATER = 2  # epochs timed after the first
SCALE = (0.08, 1.0)  # RandomResizedCrop's share of the area, its own default

Epoch = Callable[[], Iterable[torch.Tensor]]


def theirs(folder: Path, options: argparse.Namespace) -> Epoch:
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
    return lambda: (x for x, _ in loader)


def ours(folder: Path, options: argparse.Namespace, keep: bool, scale: tuple[float, float]) -> Epoch:
    """Build our reader: workers decode and resize, crop and flip follow on whole batches."""
    data = ImageFolder(
        folder,
        options.canvas,
        options.batch_size,
        cache="memory" if keep else 0,
        reading=Reading(workers=options.workers),
        split=Splitting(val=0),
    )
    data.setup("fit")
    loader, augment, rng = data.train_dataloader(), Augment(options.crop, scale=scale), torch.Generator()
    return lambda: (augment(batch["x"], rng) for batch in loader)


def speed(epoch: Epoch, options: argparse.Namespace) -> float:
    """Time one pass, images per second."""
    start, images = time.perf_counter(), 0
    for x in epoch():
        assert x.shape[1:] == (3, options.crop, options.crop)
        assert x.dtype == torch.float32
        images += len(x)
    return images / (time.perf_counter() - start)


def spread(values: list[float], digits: int) -> str:
    """Write a median with its smallest and largest value."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.environ.get("PRETEXT_DATA"), help="folder that holds clothing10")
    for name, default in {
        "crop": 112,
        "canvas": 128,
        "batch-size": 64,
        "workers": 2,
        "repeats": 5,
        "threads": 1,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if options.root is None or not (folder := Path(options.root) / "clothing10").is_dir():
        parser.error("name the folder that holds clothing10 with --root or PRETEXT_DATA")
    contenders: dict[str, Callable[[], Epoch]] = {
        "torchvision": lambda: theirs(folder, options),
        "ours, kept, crop": lambda: ours(folder, options, True, (1.0, 1.0)),
        "ours, kept, resized crop": lambda: ours(folder, options, True, SCALE),
        "ours, streamed, crop": lambda: ours(folder, options, False, (1.0, 1.0)),
    }
    torch.set_num_threads(options.threads)
    for path in folder.rglob("*.jpg"):
        path.read_bytes()
    first: dict[str, list[float]] = {name: [] for name in contenders}
    later: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(options.repeats):
        print(f"repeat {repeat + 1} of {options.repeats}", file=sys.stderr)
        for name, build in contenders.items():
            epoch = build()
            first[name].append(speed(epoch, options))
            later[name].append(statistics.mean(speed(epoch, options) for _ in range(LATER)))
    settings = ", ".join(f"{name} {value}" for name, value in vars(options).items() if name != "root")
    print(f"    {shlex.join(['python', *sys.argv]).replace(options.root, 'DIR')}\n")
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {settings}\n")
    print("| reader | first epoch, images/s | ratio | later epochs, images/s | ratio |\n|---|---|---|---|---|")
    for name in contenders:
        cells = [name]
        for speeds in (first, later):
            ratios = [mine / base for mine, base in zip(speeds[name], speeds["torchvision"], strict=True)]
            cells += [spread(speeds[name], 0), spread(ratios, 2)]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
