"""Do pretext tasks rank architectures as labels do, and do they find good cells? UnNAS in small.

    python benchmarks/nas.py --root DATA [--only rank|search|board] [--device cuda] [--processes 2] [--dry]

DATA/cifar10 holds CIFAR-10 as folders of pictures (README.md says where from). Two processes share the work; start it
again to go on after a kill. What is finished stands in results/nas/cells/, one small JSON for each architecture and
measure, and in nas.json all that is said of it. `--dry` does everything in small, to see that it works.

Part "rank": ResNets of drawn width, blocks and kernels, each trained on rotation, colorization, jigsaw and labels with
one budget and two seeds, on 5,000 images at 16 px: Spearman's correlation of every pair, with intervals over
architectures, and the curve of the random experiment. The paper's figures stand beside it; they answer another
question (CIFAR-10's tasks against labels of *ImageNet*, 500 networks of cells, 100 epochs).

Part "search": one first-order DARTS search for each task and for labels (5 cells, width 8); the cells that it finds are
trained on labels with the budget of random cells of the same space: accuracy, mean and interval over seeds.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shared import interval, must, save

from pretext.backbones.genotype import genotype_of
from pretext.jobs.files import FileJob, finish, read_result
from pretext.search.nas.objective import Measurer
from pretext.search.nas.results import compared
from pretext.search.nas.scoring import value_of
from pretext.search.nas.settings import SUPERVISED, read_comparison
from pretext.search.nas.study import Measurement, architectures
from pretext.search.space import CellSpace, draw
from pretext.search.space.architecture import with_backbone
from pretext.training.run import read

HERE = Path(__file__).parent
CELLS, RESULT = HERE / "results" / "nas" / "cells", HERE / "nas.json"
PAPER = {"rotation": 0.82, "colorization": 0.77, "jigsaw": 0.87, "supervised": 0.90}
"""Rank correlation with labels of ImageNet, of tasks and labels on CIFAR-10, 500 networks (figure 4, DARTS' space)."""
TASKS = {
    "rotation": {"class_path": "pretext.Rotation"},
    "colorization": {"class_path": "pretext.Colorization"},
    "jigsaw": {"class_path": "pretext.Jigsaw", "init_args": {"grid": 2, "permutations": 24}},
}
LOSSES = (*TASKS, SUPERVISED)


class Plan:
    """How much is done: in full, or `dry`."""

    def __init__(self, dry: bool) -> None:
        self.architectures, self.seeds, self.steps = (3, 1, 2) if dry else (24, 2, 600)
        self.limit, self.items, self.calibration = (200, 40, 32) if dry else (5000, 1000, 512)
        self.search_steps, self.random_cells, self.board_steps = (2, 1, 2) if dry else (300, 6, 300)
        self.board_seeds = 1 if dry else 3
        self.widths = [4] if dry else [4, 8, 12, 16]


def ranking(args: argparse.Namespace, plan: Plan) -> Any:
    """Describe the comparison of ResNets."""
    data = images(args, plan)
    nas = {"architectures": plan.architectures, "seeds": plan.seeds, "steps": plan.steps, "items": plan.items}
    nas |= {"calibration": plan.calibration}
    options = [word for name, value in nas.items() for word in (f"--{name}", str(value))]
    config = read(HERE.parent / "configs" / "nas" / "sample.yaml")
    config["nas"]["space"] = {
        "class_path": "pretext.search.space.ResNetSpace",
        "init_args": {"widths": plan.widths},
    }
    return read_comparison(config, [*options, *data, "--trainer.accelerator", accelerator(args)])


def images(args: argparse.Namespace, plan: Plan) -> list[str]:
    """Say where the images are, and how many; several processes share the cores."""
    return [
        *("--data.root", str(args.root / "cifar10"), "--data.split.limit", str(plan.limit)),
        *("--data.reading.workers", "1", "--data.cache", "memory"),
    ]


def accelerator(args: argparse.Namespace) -> str:
    """Name the device as Lightning does."""
    return "gpu" if args.device == "cuda" else "cpu"


def rank_jobs(args: argparse.Namespace, plan: Plan) -> Iterator[FileJob]:
    """List a job for each architecture, measure and seed; a file stands for each."""
    comparison = ranking(args, plan)
    measurer: list[Measurer] = []  # opened by the first job that is run

    def run(architecture: int, measure: str, seed: int) -> dict[str, Any]:
        if not measurer:
            measurer.append(Measurer(comparison, args.out))
        host = measurer[0].trained(measure, measurer[0].drawn(architecture), seed)
        figures = measurer[0].scored(host, measure)
        return {"score": value_of(figures), "figures": figures, "network": measurer[0].cost(host)}

    for architecture in range(plan.architectures):
        for measure in comparison.measures:
            for seed in range(plan.seeds):
                name = f"{architecture:02d}-{measure}-{seed}"
                yield FileJob(
                    f"rank: {name}",
                    args.cells / "rank" / f"{name}.json",
                    lambda a=architecture, m=measure, s=seed: run(a, m, s),
                    lambda reason: {"failed": reason},
                )


def rank_results(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Say what the comparison has shown so far."""
    comparison = ranking(args, plan)
    jobs = []
    for architecture in range(plan.architectures):
        for measure in comparison.measures:
            for seed in range(plan.seeds):
                found = read_result(args.cells / "rank" / f"{architecture:02d}-{measure}-{seed}.json")
                state = "waiting" if found is None else "failed" if "failed" in found else "done"
                found = found or {}
                facts = found.get("network", {})
                why = found.get("failed")
                score = found.get("score")
                jobs.append(Measurement(architecture, measure, seed, state, score, facts, None, why, 1, None))
    results = compared(comparison.measures, architectures(comparison, jobs))
    return {
        "complete": len(results.complete),
        "failed": len(results.failed),
        "correlations": [
            {"first": p.first, "second": p.second, "rho": known(p.rank.rho), "95 %": [*map(known, p.interval)]}
            for p in results.pairs
        ],
        "paper (against labels of ImageNet)": PAPER,
        "curves": {name: [list(point) for point in curve] for name, curve in results.curves.items()},
        "controls": [[p.first, known(p.rank.rho), *map(known, p.interval)] for p in results.controls],
        "taken": {name: [one.name, one.scores[SUPERVISED]] for name, one in results.taken.items()},
        "best by labels": max((one.scores[SUPERVISED] for one in results.complete), default=None),
    }


def known(value: float) -> float | None:
    """Return a number, or None where there is none: JSON has no word for it."""
    return value if math.isfinite(value) else None


def search_jobs(args: argparse.Namespace, plan: Plan) -> Iterator[FileJob]:
    """List a search for each loss."""
    for loss in LOSSES:
        yield FileJob(
            f"search: {loss}",
            args.cells / "search" / f"{loss}.json",
            lambda name=loss: searched(name, args, plan),
            lambda reason: {"failed": reason},
        )


def searched(loss: str, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Search the cells of one loss, or go on, and return the genotype."""
    run = args.out / "search" / loss
    if (run / "config.yaml").exists():
        must(["nas", "search", str(run)])
    else:
        tasks = json.dumps({loss: TASKS[loss]}) if loss in TASKS else "null"
        own = [*images(args, plan), "--model.tasks", tasks]
        own += ["--trainer.max_steps", str(plan.search_steps), "--trainer.accelerator", accelerator(args)]
        config = str(HERE.parent / "configs" / "nas" / "darts.yaml")
        must(["nas", "search", "-c", config, *own, "--trainer.default_root_dir", str(run)])
    return {"genotype": json.loads((run / "genotype.json").read_text())}


def contestants(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Name the genotypes to train: what was found, and random cells of the space without `none`, as a search has it."""
    found = {f"searched by {loss}": read_result(args.cells / "search" / f"{loss}.json") for loss in LOSSES}
    named = {name: result["genotype"] for name, result in found.items() if result and "genotype" in result}
    space = CellSpace(operations=[name for name in CellSpace().operations if name != "none"])
    for number, choice in enumerate(draw(space, plan.random_cells, seed=0)):
        config = space.configured({"model": {}}, choice)
        named[f"random {number}"] = config["model"]["backbone"]["init_args"]["genotype"]
    return named


def board_jobs(args: argparse.Namespace, plan: Plan) -> Iterator[FileJob]:
    """List supervised training of every contestant and seed; equal width, cells, steps and data."""
    for name, genotype in contestants(args, plan).items():
        for seed in range(plan.board_seeds):
            yield FileJob(
                f"board: {name}, seed {seed}",
                args.cells / "board" / f"{name.replace(' ', '-')}-{seed}.json",
                lambda g=genotype, n=name, s=seed: supervised(n, g, s, args, plan),
                lambda reason: {"failed": reason},
            )


def supervised(name: str, genotype: Any, seed: int, args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Train one network of cells on labels, and score it on the test items."""
    comparison = ranking(args, plan)
    backbone = {"genotype": genotype_of(genotype).plain(), "width": 8, "cells": 5, "stem": "small"}
    made = with_backbone(comparison.config, "pretext.Cells", backbone)
    settings = replace(comparison.settings, steps=plan.board_steps)
    measurer = Measurer(comparison._replace(settings=settings), args.out)
    host = measurer.trained(SUPERVISED, made, seed)
    return {"name": name, "seed": seed, **measurer.scored(host, SUPERVISED), **measurer.cost(host)}


def board_results(args: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """Average the accuracies of each contestant, and those of all random cells."""
    found: dict[str, list[float]] = {}
    for name in contestants(args, plan):
        for seed in range(plan.board_seeds):
            result = read_result(args.cells / "board" / f"{name.replace(' ', '-')}-{seed}.json")
            if result and "accuracy" in result:
                found.setdefault(name, []).append(result["accuracy"])
    random = [sum(values) / len(values) for name, values in found.items() if name.startswith("random")]
    said = {name: interval(values) for name, values in found.items()}
    return {"accuracy, %": said, "random cells, mean of each, %": interval(random) if random else None}


def work(args: argparse.Namespace, plan: Plan) -> None:
    """Do what is left, sharing it with other processes, part by part."""
    parts = {"rank": rank_jobs, "search": search_jobs, "board": board_jobs}
    for name, jobs in parts.items():
        if args.only in (None, name):
            finish(list(jobs(args, plan)), lambda job: job, lambda: write(args, plan), "nas")
    write(args, plan)


def write(args: argparse.Namespace, plan: Plan) -> None:
    """Write all that can be said so far."""
    command = "python benchmarks/nas.py --root DATA"
    about = {"command": command, "plan": vars(plan), "device": args.device}
    file = RESULT if args.cells == CELLS else args.cells.parent / RESULT.name
    save(file, {**about, "rank": rank_results(args, plan), "search": board_results(args, plan)})


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and work, in as many processes as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/nas-benchmark"))
    parser.add_argument("--cells", type=Path, default=CELLS, help="folder of finished cells")
    parser.add_argument("--only", choices=["rank", "search", "board"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--dry", action="store_true")
    args = parser.parse_args(words)
    args.out.mkdir(parents=True, exist_ok=True)
    again = [word for word in (words or sys.argv[1:]) if not word.startswith("--processes")]
    others = []
    if args.processes > 1:
        command = [sys.executable, __file__, *_without(again, args.processes), "--processes", "1"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        others = [subprocess.Popen(command, env=environment) for _ in range(args.processes - 1)]
    work(args, Plan(args.dry))
    if any(process.wait() for process in others):
        raise SystemExit(1)


def _without(words: Sequence[str], processes: int) -> list[str]:
    """Leave out the number that stood behind --processes."""
    return [word for word in words if word != str(processes)]


if __name__ == "__main__":
    main()
