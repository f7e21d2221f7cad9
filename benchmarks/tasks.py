"""Every image task under one equal budget: what each teaches the same backbone, and what a step of it costs.

For each set, task and seed: `pretext fit` with the shipped config, cut to the same number of steps and the same number
of *images through the backbone* per step. A question counts by its multiplications in the backbone: a whole crop is one
image, four turns of it are four, nine small tiles about one; so the batches differ. Then every stage is probed, as
`pretext probe` does. Beside them: the same backbone at random initialisation and trained on labels with the same
budget, and raw pixels. Labels of the training images only fit the probes; k, L2 strength and the best stage are chosen
on a fifth of them; the test images are scored once. A finished cell is kept, an unfinished run is resumed: the same
command goes on after a kill. The tables are printed and written to tables.md.

    python benchmarks/tasks.py --root DATA       # DATA holds cifar10/ and clothing10/ (class folders of JPEGs)
    python benchmarks/tasks.py --root DATA --costs           # the table of step times alone
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from shared import interval, must, save, train_on_labels
from torch.utils.flop_counter import FlopCounterMode

from pretext.colour import lightness
from pretext.commands.probe import SPLITS, score_stages
from pretext.evaluation.embed import Pixels, View, embed
from pretext.module import Pretrainer
from pretext.rng import rng
from pretext.run import CONFIG, build, read, restore
from pretext.types import Backbone, Puzzle, Task

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
DECODERS = ("inpainting", "colorization", "split_brain", "super_resolution")  # heads that make pictures


class Setting(NamedTuple):
    """A data set and the budget spent on it."""

    folder: str
    configs: Path
    crop: int
    images: int  # through the backbone per step
    steps: int
    backbone: str
    limit: int  # of training images
    labels: int  # that the probes are fitted on


SMALL = "{name: resnet18, stem: small, stem_stride: 2, width: 0.5}"
LARGE = "{name: resnet18, width: 0.5}"
SETTINGS = {
    "cifar10": Setting("cifar10", CONFIGS, 32, 128, 240, SMALL, 10_000, 5_000),
    "clothing10": Setting("clothing10", CONFIGS / "photos", 96, 64, 100, LARGE, 10_000, 10_000),
}


def options(own: Setting, task: str, root: Path, seed: int, limit: int | None = None) -> list[str]:
    """Give all configs of a set the same backbone (a Split keeps its two half-width nets), optimiser and data."""
    same = [] if task == "split_brain" else ["--model.backbone", "pretext.TorchVision"]
    same += [] if task == "split_brain" else ["--model.backbone.init_args", own.backbone]
    optimizer = ["--model.optimizer", "torch.optim.AdamW", "--model.optimizer.init_args", "{lr: 0.001}"]
    crops = ["--model.augment.init_args.pad", "0"]  # what reflection adds gives hidden parts and tiles' places away
    data = ["--data.root", str(root / own.folder), "--data.limit", str(limit or own.limit)]
    return [*same, *optimizer, *crops, *data, "--seed_everything", str(seed)]


def load(own: Setting, task: str, root: Path, seed: int, limit: int | None = None) -> tuple[Pretrainer, Any]:
    """Build a config's module at random initialisation, and its data."""
    module, data = build(read(own.configs / f"{task}.yaml"), options(own, task, root, seed, limit))
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


def pretrain(own: Setting, task: str, root: Path, seed: int, run: Path) -> tuple[Pretrainer, Any]:
    """Train a shipped config within the budget, by the command line, as a user would."""
    module, data = load(own, task, root, seed)
    batch = round(own.images / share(module, own.crop))
    if not (run / "done").exists():
        resume = ["--ckpt_path", "last"] if (run / "checkpoints" / "last.ckpt").exists() else []
        budget = ["--trainer.max_steps", str(own.steps), "--trainer.max_epochs", "-1", "--data.batch_size", str(batch)]
        kept = ["--trainer.default_root_dir", str(run), "--checkpoint.every_n_steps", "50"]
        start = time.perf_counter()
        config = str(own.configs / f"{task}.yaml")
        fit = ["fit", "-c", config, *options(own, task, root, seed), *budget, *kept, *resume]
        must([*fit, "--trainer.limit_val_batches", "0"])
        (run / "done").write_text("resumed" if resume else f"{time.perf_counter() - start:.1f}")
    module, data = build(read(run / CONFIG))
    assert data is not None
    data.prepare_data()
    data.setup("fit")
    return restore(module, run), data


@torch.no_grad()
def examine(module: Pretrainer, data: Any) -> Row:
    """Grade the one task on the held-out images, a blind guess, and the best constant answer."""
    ((name, task),) = module.tasks.items()
    solved: Any = task
    grades: dict[str, list[dict[str, float]]] = {"scores": [], "constant": []}
    for index, batch in enumerate(data.val_dataloader()):
        x = module.view(batch["x"])
        puzzle: Puzzle = solved.pose(x, rng("cpu", module.seed, "val", name, index))
        prediction = solved.solve(module.look(puzzle.question), puzzle.given)
        grades["scores"].append(_numbers(solved.grade(prediction, puzzle.answer)))
        if name in ("colour", "split"):
            grades["constant"].append(_numbers(solved.grade(_constant(prediction), puzzle.answer)))
    means = {
        who: {key: statistics.fmean(grade[key] for grade in each) for key in each[0]}
        for who, each in grades.items()
        if each
    }
    return {**means, "chance": _numbers(solved.chance())}


def _constant(logits: Any) -> Any:
    """Answer everywhere with the mean of what was answered: the marginal distribution, which needs no look."""
    if isinstance(logits, tuple):
        return tuple(_constant(part) for part in logits)
    return logits.softmax(1).mean((0, 2, 3), keepdim=True).log().expand_as(logits)


def _numbers(grade: Any) -> dict[str, float]:
    return {"loss": float(grade.loss), **{key: float(value) for key, value in grade.scores.items()}}


def probe(backbone: Backbone, own: Setting, root: Path, view: View, name: str) -> list[Row]:
    """Score every stage of a backbone by linear probe and nearest neighbours."""
    data = labelled(own, root)
    train, test = (embed(backbone.eval(), data.ordered(split), view, title=f"{name}, {split}") for split in SPLITS)
    return score_stages(name, train, test, torch.device("cpu"))


def light(x: torch.Tensor) -> torch.Tensor:
    """Show an image as Colorization's backbone was shown it."""
    return lightness(x).expand_as(x) / 100


@lru_cache(maxsize=2)
def labelled(own: Setting, root: Path) -> Any:
    """Keep the images that probes are fitted and tested on."""
    return load(own, "rotation", root, 0, own.labels)[1]


def cell(own: Setting, kind: str, root: Path, seed: int, run: Path) -> Row:
    """Fill one cell of the table: a task, or what it is compared with."""
    if kind in TASKS:
        module, data = pretrain(own, kind, root, seed, run)
        told = (run / "done").read_text()
        found = {**examine(module, data), "seconds": None if told == "resumed" else float(told)}
        found["epochs"] = own.steps / len(data.train_dataloader())
        if kind == "colorization":  # was trained on lightness alone, so colours are new to it
            found["lightness"] = probe(module.backbone, own, root, lambda x: light(module.view(x)), kind)
        return {**found, "rows": probe(module.backbone, own, root, module.view, kind)}
    module, data = load(own, "split_brain" if kind == "random split" else "rotation", root, seed)
    start = time.perf_counter()
    if kind == "supervised":
        train_on_labels(module, data, own.steps, own.images)
    backbone = Pixels() if kind == "pixels" else module.backbone
    return {"seconds": time.perf_counter() - start, "rows": probe(backbone, own, root, module.view, kind)}


def cells(seeds: list[int]) -> Iterator[tuple[str, int]]:
    """List what is in the table, seed by seed, so that a table that is stopped early has every task."""
    for seed in seeds:
        kinds = ("random", "random split", "supervised", *TASKS)
        yield from ((kind, seed) for kind in (*kinds, *(["pixels"] if seed == seeds[0] else [])))


def best(rows: list[Row], how: str) -> Row:
    """Find the stage that is best on the validation share of train."""
    return max(rows, key=lambda row: row[how]["validation"])


def score(results: list[Row]) -> str:
    """Tell a task's main score on held-out images, that of a blind guess, and of the best constant answer if known."""
    percent = "accuracy" in results[0]["scores"] and "constant" not in results[0]
    key = "accuracy" if percent else "loss"  # of colours the loss, in which rare ones count as much
    told = [f"blind {100 * results[0]['chance'][key]:.1f}" if percent else f"blind {results[0]['chance'][key]:.2f}"]
    if "constant" in results[0]:
        constant = statistics.fmean(result["constant"][key] for result in results)
        told.append(f"constant {100 * constant:.1f}" if percent else f"constant {constant:.2f}")
    values = [result["scores"][key] for result in results]
    mean = f"{interval(values)} %" if percent else interval([value / 100 for value in values], 2)
    return f"{key} {mean} ({', '.join(told)})"


def table(runs: Path, seeds: list[int]) -> list[str]:
    """Gather the finished cells of a set into one Markdown table."""
    found: dict[str, list[Row]] = {}
    for kind, seed in cells(seeds):
        file = runs / f"{kind}-{seed}.json".replace(" ", "-")
        if file.exists():
            found.setdefault(kind, []).append(json.loads(file.read_text()))
        if file.exists() and "lightness" in found[kind][-1]:
            grey = {"rows": found[kind][-1]["lightness"], "seconds": None}
            found.setdefault("colorization, probed on lightness", []).append(grey)
    stages = [row["stage"] for row in found.get("random", next(iter(found.values())))[0]["rows"]]
    head = ["features", "held-out pretext score", "best stage", "linear, best", "kNN, best", *stages, "epochs", "s"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for kind, results in found.items():
        chosen = [best(result["rows"], "linear") for result in results]
        near = [best(result["rows"], "knn")["knn"]["accuracy"] for result in results]
        every = []
        for stage in stages:
            values = [row["linear"]["accuracy"] for r in results for row in r["rows"] if row["stage"] == stage]
            every.append(f"{100 * statistics.fmean(values):.1f}" if values else "")
        told = score(results) if "scores" in results[0] else ""
        linear = interval([row["linear"]["accuracy"] for row in chosen])
        seconds = [result["seconds"] for result in results if result["seconds"] is not None]
        spent = f"{statistics.median(seconds):.0f}" if seconds else ""
        epochs = f"{results[0]['epochs']:.1f}" if "epochs" in results[0] else ""
        stage = statistics.mode(row["stage"] for row in chosen)
        lines.append(f"| {' | '.join([kind, told, stage, linear, interval(near), *every, epochs, spent])} |")
    return lines


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


def _step(module: Pretrainer, task: Task, x: torch.Tensor) -> dict[str, float]:
    """Take one step in parts, each with its share of the backward pass."""
    marks: dict[str, float] = {}
    start = time.perf_counter()
    puzzle = pose(task, x)
    marks["pose"] = time.perf_counter() - start
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        features = module.look(puzzle.question)
    ends = [*features.stages.values(), features.pooled]
    torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])
    marks["backbone"] = time.perf_counter() - start
    seen = type(features)(
        {k: v.detach().requires_grad_() for k, v in features.stages.items()}, features.pooled.detach().requires_grad_()
    )
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
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
    with torch.autocast("cpu", torch.bfloat16):
        module.exam(task, x, "benchmark").loss.backward()
    marks["all"] = time.perf_counter() - start
    module.zero_grad()
    return marks


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark-tasks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--tasks", nargs="+", help="only these rows")
    parser.add_argument("--costs", action="store_true", help="only the table of step times")
    parser.add_argument("--repeats", type=int, default=11, help="steps timed for the table of step times")
    own = parser.parse_args()
    missing = [name for name in own.sets if own.root is None or not (Path(own.root) / name).is_dir()]
    if missing:
        raise SystemExit(f"--root (or PRETEXT_DATA) must name a folder that holds {' and '.join(missing)}")
    root = Path(own.root)
    lines: list[str] = []
    for name in own.sets:
        setting, runs = SETTINGS[name], own.runs / name
        for kind, seed in () if own.costs else cells(own.seeds):
            stem = f"{kind}-{seed}".replace(" ", "-")
            if not (runs / f"{stem}.json").exists() and (not own.tasks or kind in own.tasks):
                print(f"{name}: {kind}, seed {seed}", flush=True)
                save(runs / f"{stem}.json", cell(setting, kind, root, seed, runs / stem))
        lines += [] if own.costs else [f"{name}", "", *table(runs, own.seeds), ""]
        lines += [
            f"{name}: a step in milliseconds, and its parts as shares of the bare backbone's forward and backward pass",
            "",
            "| task | batch | step | bare backbone | ratio | pose | solve | grade | added, decoder apart | decoder |",
            "|---|---|---|---|---|---|---|---|---|---|",
            *(cost(setting, task, root, own.repeats) for task in own.tasks or TASKS if task in TASKS),
            "",
        ]
    print(*lines, sep="\n")
    own.runs.mkdir(parents=True, exist_ok=True)
    (own.runs / ("costs.md" if own.costs else "tables.md")).write_text("\n".join(lines))


if __name__ == "__main__":
    main()
