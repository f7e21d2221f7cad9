"""What embedding and probing take of memory, by number of images, in the shapes of a ResNet-50 at 224 px.

The network is a stand-in that gives a ResNet-50's five stages, already on the grids that they are pooled to, so that
storage alone is measured: 3,904 means and 44,032 grid values an image, written as they come. Then a linear probe is
fitted on a stage of 9,216 values, which is read from disk in blocks where float32 would take more than 2 GiB.
Anonymous resident memory (what is not a file's pages) is sampled all the while. At last one pass of the solver over the
same stage with a thousand classes, the features read from disk in blocks, says what 1,281,167 images would take.

    python benchmarks/embed_memory.py      # 96 kB of disk for each image
    python benchmarks/embed_memory.py --images 12812 25623      # ImageNet, 1/100 and 1/50 of its images
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pretext.core.types import Backbone, Features
from pretext.evaluation.embed import Cache, embed
from pretext.evaluation.solvers.logistic_problem import Items, SharedDesign
from pretext.evaluation.solvers.logistic_regression import FINE, fit
from pretext.evaluation.solvers.products import products
from pretext.evaluation.solvers.standardize import standardizer_of

SHAPES = {"stem": (64, 12), "layer1": (256, 6), "layer2": (512, 4), "layer3": (1024, 3), "layer4": (2048, 2)}
CLASSES, BATCH, L2 = 10, 64, 1e-2
IMAGENET, ITS_CLASSES = 1_281_167, 1000
PASSES = 80  # over a stage of 9,216 values in `benchmarks/probe_speed.py`: four strengths and the last fit


class Shapes(Backbone):
    """A ResNet-50's five stages, made of a few numbers of each image."""

    axes, dim = "hw", 2048
    stages = {name: channels for name, (channels, _) in SHAPES.items()}  # noqa: RUF012  # as every backbone has them

    def forward(self, x: Tensor) -> Features:
        values = x.flatten(1)
        stages = {}
        for name, (channels, side) in SHAPES.items():
            parts = values.repeat(1, -(-channels // values.shape[1]))[:, :channels]
            stages[name] = parts[:, :, None, None].expand(-1, -1, side, side)
        return Features(stages, stages["layer4"].mean((-2, -1)))


class Batches:
    """Random numbers whose first ones tell the class."""

    def __init__(self, images: int) -> None:
        self.images = images

    def __len__(self) -> int:
        return -(-self.images // BATCH)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for index in torch.arange(self.images).split(BATCH):
            y = torch.randint(CLASSES, index.shape, generator=generator)
            x = torch.rand(len(index), 3, 4, 4, generator=generator)
            x.view(len(index), -1).scatter_add_(1, y[:, None], torch.ones(len(index), 1))
            yield {"x": x, "index": index, "y": y}


class Watch:
    """The largest anonymous resident memory while it runs, in MB."""

    def __enter__(self) -> Watch:
        self.most, self.over = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        self.thread.join()

    def _look(self) -> None:
        while not self.over.wait(0.02):
            self.most = max(self.most, resident())


def resident() -> float:
    """Return this process's anonymous resident memory in MB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon"))


def a_pass(features: Tensor) -> float:
    """Take the loss and the gradient of a classifier of a thousand classes, read from disk; returns seconds."""
    target = torch.arange(len(features))[None] % ITS_CLASSES
    design = SharedDesign(features, standardizer_of(features), limit=0)
    weight = torch.zeros(1, ITS_CLASSES, design.width)
    begin = time.perf_counter()
    with products(fast=True):
        design.evaluate(weight, Items(target, torch.full(target.shape, 1 / len(features))))
    return time.perf_counter() - begin


def main() -> None:
    """Print a row for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[5000, 20_000, 80_000])
    parser.add_argument("--disk", type=Path, help="folder for the features (default: the temporary one)")
    own = parser.parse_args()
    print("| images | on disk, GB | before, MB | embedding, MB | images/s | fitting layer1, MB | s ", end="")
    print("| a pass, 1,000 classes, MB | s | ImageNet, GB | hours |\n|---|---|---|---|---|---|---|---|---|---|---|")
    for images in own.images:
        with tempfile.TemporaryDirectory(dir=own.disk) as folder:
            before, begin = resident(), time.perf_counter()
            with Watch() as embedding:
                embedded = embed(
                    Shapes(), Batches(images), lambda x: x, cache=Cache(Path(folder), "random", "as they are")
                )
            speed = images / (time.perf_counter() - begin)
            size = sum(file.stat().st_size for file in Path(folder).rglob("*.npy")) / 1e9
            begin = time.perf_counter()
            with Watch() as fitting:
                fit(embedded.grid["layer1"], embedded.labels, [L2], FINE)
            seconds = time.perf_counter() - begin
            with Watch() as passing:
                once = a_pass(embedded.grid["layer1"])
            widths = sum(channels * side**2 for channels, side in SHAPES.values()) / embedded.grid["layer1"].shape[1]
            hours = once * PASSES * widths * IMAGENET / images / 3600
            cells = f"{images:,} | {size:.1f} | {before:.0f} | {embedding.most:.0f} | {speed:.0f}"
            last = f"{passing.most:.0f} | {once:.1f} | {size * IMAGENET / images:.0f} | {hours:.0f}"
            print(f"| {cells} | {fitting.most:.0f} | {seconds:.0f} | {last} |", flush=True)
            del embedded


if __name__ == "__main__":
    main()
