"""What of jigsaw and relative position is answered by where in a photo a tile lies, with a still and a moving grid?

Each task is trained twice from the same initialisation, on the same crops: as it is, and with its relation destroyed
(`Task.destroyed`: in every cell the same cell's tile of another image). What the second answers needs no other tile.

    python benchmarks/place.py --root DATA [--images clothing10]     # DATA/cifar10/{train,test}/<class>/*.jpg
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from datamodules import ImageFolder, Splitting
from pretext import Augment, Jigsaw, RelativePosition, TorchVision
from pretext.core.rng import rng
from pretext.core.types import Backbone, Grade, Task
from pretext.evaluation.statistics.intervals import wilson
from pretext.ops.tile_cut import EXTENT, TileCut

RATE = 2e-3
EXTENTS = {"still": None, "moving": EXTENT}


class Images(NamedTuple):
    """A set, how it is looked at, and how long a task is learnt."""

    canvas: int
    crop: int
    train: int | None
    test: int | None
    """How many images (None: all)."""
    looks: int
    """Questions about each test image; the interval counts the image once."""
    steps: int
    items: int
    jigsaw: dict[str, int]


SETS = {
    "cifar10": Images(32, 32, 10_000, 2_048, 1, 220, 128, {}),
    "clothing10": Images(72, 64, None, None, 4, 1000, 64, {"grid": 2, "permutations": 24}),
}


def tasks(chosen: Images, extent: tuple[float, float] | None) -> dict[str, Callable[[Backbone], Task]]:
    """Name the tasks, as the configs of small images have them; of photos four tiles, since nine are not learnt."""
    return {
        "jigsaw": partial(Jigsaw, **chosen.jigsaw, puzzles=4, width=128, cut=TileCut(extent=extent)),
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


def accuracy(build: Callable[[Backbone], Task], chosen: Images, train: Tensor, test: Tensor, destroyed: bool) -> float:
    """Train, and judge held-out images."""
    torch.manual_seed(0)
    net: Backbone = TorchVision("resnet18", stem="small", stem_stride=2, width=0.25)
    task, augment = build(net), Augment(crop=chosen.crop)
    optimiser = torch.optim.AdamW([*net.parameters(), *task.parameters()], lr=RATE)
    for step in range(chosen.steps):
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / chosen.steps)
        items = torch.randint(len(train), (chosen.items,), generator=rng("cpu", "place", "items", step))
        x = augment(train[items], rng("cpu", "place", "views", step))
        optimiser.zero_grad()
        sit(net, task, x, destroyed, step).loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    net.eval(), task.eval()
    with torch.no_grad():
        return (
            sum(judged(net, task, test, destroyed, look, chosen.items) for look in range(chosen.looks)) / chosen.looks
        )


def judged(net: Backbone, task: Task, test: Tensor, destroyed: bool, look: int, items: int) -> float:
    """Ask once about every test image."""
    parts = enumerate(test.split(items))
    grades = [sit(net, task, part.float() / 255, destroyed, "test", look, i) for i, part in parts]
    return float(torch.stack([grade.scores["accuracy"] for grade in grades]).mean())


def images(folder: Path, split: str, items: int | None, canvas: int) -> Tensor:
    """Read so many images (N, 3, S, S), uint8."""
    data = ImageFolder(folder, canvas=canvas, batch_size=500, split=Splitting(limit=items, val=0.0))
    data.prepare_data()
    batches = data.ordered(split, items)
    return torch.cat([batch["x"] for batch in batches])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--images", choices=list(SETS), default="cifar10")
    parser.add_argument("--extent", type=float, nargs=2, help="sides of another moving grid")
    options = parser.parse_args()
    chosen, folder = SETS[options.images], options.root / options.images
    train, test = (images(folder, part, getattr(chosen, part), chosen.canvas) for part in ("train", "test"))
    edge = (chosen.canvas - chosen.crop) // 2
    whole = len(test) // chosen.items * chosen.items
    test = test[:whole, :, edge : edge + chosen.crop, edge : edge + chosen.crop]
    extents = {"moving": tuple(options.extent)} if options.extent else EXTENTS
    print("| task | grid | one image | different images |", "|---|---|---|---|", sep="\n")
    for name in tasks(chosen, None):
        for grid, extent in extents.items():
            start, found = time.perf_counter(), []
            for destroyed in (False, True):
                share = accuracy(copy.copy(tasks(chosen, extent)[name]), chosen, train, test, destroyed)
                low, high = wilson(round(share * len(test)), len(test))
                found.append(f"{100 * share:.1f} ({100 * low:.1f}-{100 * high:.1f})")
            print(f"| {name} | {grid} | {' | '.join(found)} |  # {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
