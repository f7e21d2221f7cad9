"""What the framework costs: a step of `pretext fit` with Rotation against a bare PyTorch loop.

Both train the same backbone with the same optimiser on the same number of images per step, in one process, in
alternating blocks. The bare loop gets ready-made turned float tensors; `pretext fit` loads, crops, flips, turns, logs,
schedules and checkpoints. Only steady steps are timed (the first of each block are not).

    python benchmarks/overhead.py --root DATA      # DATA holds cifar10/ and clothing10/ (class folders of JPEGs)
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pytorch_lightning as pl
import torch
from shared import as_trained
from torch import nn

from pretext import TorchVision
from pretext.training.cli import PretextCLI

SKIPPED = 3  # first steps of a block: allocation, kernel selection

CONFIG = """
model:
  backbone: {{class_path: pretext.TorchVision, init_args: {{name: resnet18, stem: {stem}, stem_stride: {stride}}}}}
  tasks: {{rotation: {{class_path: pretext.Rotation}}}}
  augment: {{class_path: pretext.Augment, init_args: {{crop: {crop}, pad: {pad}}}}}
  optim:
    optimizer: {{class_path: torch.optim.SGD, init_args: {{lr: 0.01, momentum: 0.9}}}}
data:
  class_path: datamodules.ImageFolder
  init_args: {{root: {root}, canvas: {canvas}, batch_size: {batch}}}
trainer:
  max_steps: {steps}
  limit_val_batches: 0
  precision: bf16-mixed
  enable_progress_bar: false
  callbacks: [{{class_path: overhead.Clock}}]
"""
SETTINGS = {
    32: {"folder": "cifar10", "stem": "small", "stride": 2, "pad": 4, "canvas": 32, "batch": 64},
    96: {"folder": "clothing10", "stem": "imagenet", "stride": 1, "pad": 0, "canvas": 112, "batch": 32},
}


class Clock(pl.Callback):
    """Note when each step begins."""

    times: list[float] = []  # noqa: RUF012  (one list for the process: the config builds the callback)

    def on_train_batch_start(self, *unused: object) -> None:
        Clock.times.append(time.perf_counter())


def framework(config: Path, folder: str) -> list[float]:
    """Time the steps of `pretext fit`."""
    from overhead import Clock as Timed  # the class that the config names, not this script's own copy

    Timed.times.clear()
    PretextCLI(["fit", "-c", str(config), "--trainer.default_root_dir", folder])
    marks = Timed.times[SKIPPED:]
    return [b - a for a, b in pairwise(marks)]


def bare(crop: int, stem: str, stride: int, images: int, steps: int) -> list[float]:
    """Time the steps of a plain loop."""
    torch.manual_seed(0)
    backbone = TorchVision("resnet18", stem=stem, stem_stride=stride)  # type: ignore[arg-type]  # a literal
    head = nn.Linear(backbone.dim, 4)
    optimizer = torch.optim.SGD([*backbone.parameters(), *head.parameters()], lr=0.01, momentum=0.9)
    x, y = torch.rand(images, 3, crop, crop), torch.arange(4).repeat_interleave(images // 4)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        with as_trained():
            loss = nn.functional.cross_entropy(head(backbone(x).pooled), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    return times[SKIPPED:]


def measure(crop: int, root: Path, steps: int, blocks: int) -> str:
    """Alternate blocks of both and return a row of the table."""
    values = {**SETTINGS[crop]}
    images = 4 * int(str(values["batch"]))
    ours: list[float] = []
    theirs: list[float] = []
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "overhead.yaml"
        config.write_text(CONFIG.format(crop=crop, root=root / str(values["folder"]), steps=steps, **values))
        for block in range(blocks):
            ours += (a := framework(config, f"{folder}/{block}"))
            theirs += (b := bare(crop, str(values["stem"]), int(str(values["stride"])), images, steps))
            ratios.append(statistics.median(a) / statistics.median(b))
    a, b = statistics.median(ours), statistics.median(theirs)
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    return f"| {crop} px | 4 x {values['batch']} | {a * 1000:.0f} ms | {b * 1000:.0f} ms | {a / b:.3f} | {spread} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"))
    parser.add_argument("--steps", type=int, default=15, help="steps in a block")
    parser.add_argument("--blocks", type=int, default=4)
    own = parser.parse_args()
    if own.root is None or not (own.root / "cifar10").is_dir() or not (own.root / "clothing10").is_dir():
        raise SystemExit("--root (or PRETEXT_DATA) must name a folder that holds cifar10/ and clothing10/")
    rows = [measure(crop, own.root, own.steps, own.blocks) for crop in SETTINGS]
    print("| input | images per step | pretext fit | bare loop | ratio of medians | ratio per block |")
    print("|---|---|---|---|---|---|", *rows, sep="\n")


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    main()
