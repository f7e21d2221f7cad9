"""What of jigsaw and relative position is answered by where in a photo a tile lies, with a still and a moving grid?

Each task is trained twice from the same initialisation, on the same crops: as it is, and with its relation destroyed
(`Task.destroyed`: in every cell the same cell's tile of another image). What the second answers needs no other tile.

    python benchmarks/place.py --root DATA       # DATA holds cifar10/{train,test}/<class>/*.jpg; 5 minutes of one core
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from datamodules import ImageFolder, Splitting
from pretext import Augment, Jigsaw, RelativePosition, TorchVision
from pretext.core.rng import rng
from pretext.core.types import Backbone, Grade, Task
from pretext.evaluation.statistics.intervals import wilson
from pretext.ops.tile_cut import EXTENT, TileCut

STEPS, ITEMS, RATE = 220, 128, 2e-3
EXTENTS = {"still": None, "moving": EXTENT}


def tasks(extent: tuple[float, float] | None) -> dict[str, Callable[[Backbone], Task]]:
    """Name the tasks, as the configs of small images have them."""
    return {
        "jigsaw": partial(Jigsaw, puzzles=4, width=128, cut=TileCut(extent=extent)),
        "position": partial(RelativePosition, extent=extent),
    }


def sit(net: Backbone, task: Task, x: Tensor, destroyed: bool, *key: object) -> Grade:
    """Take one exam, as it is or destroyed."""
    puzzle = task.pose(x, rng("cpu", "place", *key))
    if destroyed:
        other = task.destroyed(puzzle, rng("cpu", "place", "destroyed", *key))
        assert other is not None
        puzzle = other
    return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


def accuracy(build: Callable[[Backbone], Task], train: Tensor, test: Tensor, destroyed: bool) -> float:
    """Train, and judge held-out images."""
    torch.manual_seed(0)
    net: Backbone = TorchVision("resnet18", stem="small", stem_stride=2, width=0.25)
    task, augment = build(net), Augment(crop=32)
    optimiser = torch.optim.AdamW([*net.parameters(), *task.parameters()], lr=RATE)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        items = torch.randint(len(train), (ITEMS,), generator=rng("cpu", "place", "items", step))
        x = augment(train[items], rng("cpu", "place", "views", step))
        optimiser.zero_grad()
        sit(net, task, x, destroyed, step).loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    net.eval(), task.eval()
    with torch.no_grad():
        parts = [sit(net, task, part.float() / 255, destroyed, "test", i) for i, part in enumerate(test.split(ITEMS))]
    return float(torch.stack([part.scores["accuracy"] for part in parts]).mean())


def images(root: Path, split: str, items: int) -> Tensor:
    """Read so many images (N, 3, 32, 32), uint8."""
    data = ImageFolder(root / "cifar10", canvas=32, batch_size=500, split=Splitting(limit=items, val=0.0))
    data.prepare_data()
    batches = data.ordered(split, items)
    return torch.cat([batch["x"] for batch in batches])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--extent", type=float, nargs=2, help="sides of another moving grid")
    options = parser.parse_args()
    train, test = images(options.root, "train", 10_000), images(options.root, "test", 2_048)
    extents = {"moving": tuple(options.extent)} if options.extent else EXTENTS
    print("| task | grid | one image | different images |", "|---|---|---|---|", sep="\n")
    for name in tasks(None):
        for grid, extent in extents.items():
            start, found = time.perf_counter(), []
            for destroyed in (False, True):
                share = accuracy(copy.copy(tasks(extent)[name]), train, test, destroyed)
                low, high = wilson(round(share * len(test)), len(test))
                found.append(f"{100 * share:.1f} ({100 * low:.1f}-{100 * high:.1f})")
            print(f"| {name} | {grid} | {' | '.join(found)} |  # {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
