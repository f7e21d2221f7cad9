"""What a training step of every image task costs beside the bare backbone, part by part.

The shipped configs, with the backbone, optimiser and data of benchmarks/leaderboard.yaml, and batches that send the
same number of *images through the backbone*: a question counts by its multiplications, a whole crop is one image, four
turns of it are four, nine small tiles about one.

    python benchmarks/steps.py --root DATA       # DATA holds cifar10/ and clothing10/ (class folders of JPEGs)

`--tasks all` times configs/image/all.yaml: its nine tasks on one batch of its 64 images, beside its bare backbone on
the same questions, one after the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from shared import as_trained
from torch.utils.flop_counter import FlopCounterMode

from pretext.core.rng import rng
from pretext.core.types import Puzzle, Task
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import build, read

Row = dict[str, Any]
CONFIGS = Path(__file__).parents[1] / "configs" / "image"
TASKS = (
    "rotation",
    "jigsaw",
    "relative_position",
    "inpainting",
    "colorization",
    "split_brain",
    "counting",
    "super_resolution",
    "contrast",
)
ALL = "all"
DECODERS = ("inpainting", "colorization", "split_brain", "super_resolution")  # heads that make pictures


class Setting(NamedTuple):
    """A data set, and what is trained on it."""

    folder: str
    configs: Path
    crop: int
    images: int  # through the backbone per step
    backbone: str
    limit: int  # of training images


SMALL = "{name: resnet18, stem: small, stem_stride: 2, width: 0.5}"
LARGE = "{name: resnet18, width: 0.5}"
SETTINGS = {
    "cifar10": Setting("cifar10", CONFIGS, 32, 128, SMALL, 10_000),
    "clothing10": Setting("clothing10", CONFIGS / "photos", 96, 64, LARGE, 10_000),
}


def options(own: Setting, task: str, root: Path, seed: int) -> list[str]:
    """Give all configs of a set the same backbone (a Split keeps its two half-width nets), optimiser and data."""
    same = [] if task == "split_brain" else ["--model.backbone", "pretext.TorchVision"]
    same += [] if task == "split_brain" else ["--model.backbone.init_args", own.backbone]
    optimizer = ["--model.optim.optimizer", "torch.optim.AdamW", "--model.optim.optimizer.init_args", "{lr: 0.001}"]
    crops = ["--model.augment.init_args.pad", "0"]  # what reflection adds gives hidden parts and tiles' places away
    data = ["--data.root", str(root / own.folder), "--data.split.limit", str(own.limit)]
    return [*same, *optimizer, *crops, *data, "--seed_everything", str(seed)]


def load(own: Setting, task: str, root: Path, seed: int) -> tuple[Pretrainer, Any]:
    """Build a config's module at random initialisation, and its data."""
    module, data = build(read(own.configs / f"{task}.yaml"), options(own, task, root, seed))
    assert data is not None
    data.prepare_data()
    data.setup("fit")
    return module, data


def share(module: Pretrainer, crop: int) -> float:
    """Count the images through the backbone for each image of the loader, by the backbone's multiplications."""
    task = next(iter(module.tasks.values()))
    crops = torch.rand(8, 3, crop, crop)
    work = []
    for question in (pose(task, crops).question, crops):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            module.look(question)
        work.append(counter.get_total_flops())
    return work[0] / work[1]


def pose(task: Any, x: torch.Tensor) -> Puzzle:
    """Pose a puzzle as the host does."""
    with torch.no_grad():
        puzzle: Puzzle = task.pose(x, rng("cpu", "benchmark"))
        return puzzle


def cost(own: Setting, task: str, root: Path, repeats: int) -> str:
    """Time the parts of a step, in turn: bare backbone on the same question, pose, head and grade, all together."""
    module, _ = load(own, task, root, 0)
    x = torch.rand(round(own.images / share(module, own.crop)), 3, own.crop, own.crop)
    solver: Any = next(iter(module.tasks.values()))
    times: dict[str, list[float]] = {}
    for _ in range(repeats + 2):
        for part, seconds in _step(module, solver, x).items():
            times.setdefault(part, []).append(1e3 * seconds)
    ms = {part: statistics.median(values[2:]) for part, values in times.items()}
    bare = ms["backbone"]
    decoder = ms["solve"] if task in DECODERS else 0.0
    added = ms["pose"] + ms["solve"] + ms["grade"] - decoder
    cells = f"{ms['all']:.0f} | {bare:.0f} | {ms['all'] / bare:.2f} | {100 * ms['pose'] / bare:.1f} %"
    parts = f"{100 * ms['solve'] / bare:.1f} % | {100 * ms['grade'] / bare:.1f} %"
    return f"| {task} | {len(x)} | {cells} | {parts} | {100 * added / bare:.1f} % | {100 * decoder / bare:.1f} % |"


def together(repeats: int, images: int = 64, side: int = 32) -> str:
    """Time a step of all tasks, augmentation, weighting and all losses' backward pass, beside the backbone alone.

    The backbone sees the very same questions, with and without gradient as there, task by task.
    """
    module, _ = build({k: v for k, v in read(CONFIGS / f"{ALL}.yaml").items() if k != "data"})
    assert isinstance(module, Pretrainer)
    canvas = (torch.rand(images, 3, side, side) * 255).byte()
    times: dict[str, list[float]] = {"all": [], "backbone": []}
    for _ in range(repeats + 2):
        start = time.perf_counter()
        with as_trained():
            x = module.train_input(canvas, 0)
            grades = {name: module.exam(task, x, "benchmark", name) for name, task in module._tasks()}
            module._weighted(grades).backward()  # type: ignore[no-untyped-call]  # torch's
        times["all"].append(time.perf_counter() - start)
        module.zero_grad()
        questions = [pose(task, x).question for _, task in module._tasks()]
        start = time.perf_counter()
        for question in questions:
            with as_trained():
                features = module.look(question)
            ends = [*features.stages.values(), features.pooled]
            torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])
        times["backbone"].append(time.perf_counter() - start)
        module.zero_grad()
    both, bare = (1e3 * statistics.median(values[2:]) for values in times.values())
    return (
        f"all nine tasks, {images} images of {side} px: {both:.0f} ms, bare backbone {bare:.0f} ms, {both / bare:.2f}"
    )


def _step(module: Pretrainer, task: Task, x: torch.Tensor) -> dict[str, float]:
    """Take one step in parts, each with its share of the backward pass."""
    marks: dict[str, float] = {}
    start = time.perf_counter()
    puzzle = pose(task, x)
    marks["pose"] = time.perf_counter() - start
    start = time.perf_counter()
    with as_trained():
        features = module.look(puzzle.question)
    ends = [*features.stages.values(), features.pooled]
    torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])
    marks["backbone"] = time.perf_counter() - start
    seen = type(features)(
        {k: v.detach().requires_grad_() for k, v in features.stages.items()}, features.pooled.detach().requires_grad_()
    )
    start = time.perf_counter()
    with as_trained():
        prediction = task.solve(seen, puzzle.given)
    marks["solve"] = time.perf_counter() - start
    tensors = prediction if isinstance(prediction, tuple) else (prediction,)
    free = [p.detach().float().requires_grad_() for p in tensors]
    start = time.perf_counter()
    task.grade(tuple(free) if isinstance(prediction, tuple) else free[0], puzzle.answer).loss.backward()
    marks["grade"] = time.perf_counter() - start
    start = time.perf_counter()
    torch.autograd.backward(tensors, [f.grad.to(p.dtype) for f, p in zip(free, tensors, strict=True)])
    marks["solve"] += time.perf_counter() - start
    module.zero_grad()
    start = time.perf_counter()
    with as_trained():
        module.exam(task, x, "benchmark").loss.backward()
    marks["all"] = time.perf_counter() - start
    module.zero_grad()
    return marks


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"))
    parser.add_argument("--sets", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--tasks", nargs="+", choices=(*TASKS, ALL), default=TASKS, help="only these rows")
    parser.add_argument("--repeats", type=int, default=11, help="steps timed")
    own = parser.parse_args()
    if ALL in own.tasks:
        print(together(own.repeats))
        own.tasks = [task for task in own.tasks if task != ALL]
    own.sets = own.sets if own.tasks else []
    missing = [name for name in own.sets if own.root is None or not (Path(own.root) / name).is_dir()]
    if missing:
        raise SystemExit(f"--root (or PRETEXT_DATA) must name a folder that holds {' and '.join(missing)}")
    for name in own.sets:
        print(
            f"{name}: a step in milliseconds, and its parts as shares of the bare backbone's forward and backward pass"
        )
        print("| task | batch | step | bare backbone | ratio | pose | solve | grade | added, decoder apart | decoder |")
        print("|---|---|---|---|---|---|---|---|---|---|")
        for task in own.tasks:
            print(cost(SETTINGS[name], task, Path(own.root), own.repeats), flush=True)


if __name__ == "__main__":
    main()
