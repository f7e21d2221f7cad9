"""Can the network of a dense task be predicted from those of other tasks? Each of nine is left out in turn.

    python benchmarks/task_transfer.py --root DATA [--only models|targets|study] [--dry]

DATA/cifar10 holds CIFAR-10 as folders of pictures (README.md says where from). Start it a second time to share the
work, and again to go on after a kill. What is finished stands in results/task_transfer/cells/, one small JSON for each
model, target and set of sources, and in task_transfer.json all that is said of it. Weights stay in runs/, and are
trained again where they are gone and still needed. `--dry` does everything in small, to see that it works.

Tasks computed from photos: autoencoding, denoising, edges, keypoints, inpainting, colorization, super-resolution, and
both halves of a split-brain; a tiny encoder with one head for all; five models of each task, trained on random subsets
of photos. Arm "common": all models begin alike and meet their photos in the same order. Arm "own": each draws its own
start, so that weights have no common basis: what that costs. There TTNet regresses weights alone; in the first arm the
weight of the loss of predicted networks (0 or .1) is chosen by leaving known tasks out.

Correlations are measured: read-outs on frozen encoders, with 200 labelled photos of each target. So predictions are
zero-shot in weights, and not quite in labels. Colorization and the half of the split-brain that sees lightness ask the
same in two ways: figures without both stand beside those of all targets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from shared import interval, save

from pretext.jobs.files import FileJob, finish, read_result
from pretext.report.task_transfer import write_all
from pretext.training.callbacks.record import environment
from pretext.transfer.tables import write_transfers
from pretext.transfer.task_transfer.results import SUPERVISED, Predicted
from pretext.transfer.task_transfer.runner import Draw, Predictor
from pretext.transfer.task_transfer.selection import TTNET, WAYS
from pretext.transfer.task_transfer.suite import Correlated, Regression, TaskEntry, TaskSuite, Training, check

HERE = Path(__file__).parent
CELLS, RESULT = HERE / "results" / "task_transfer" / "cells", HERE / "task_transfer.json"
ARMS = ("common", "own")
TWINS = ("colorization", "colours from lightness")
SMALL_HEAD = {"channels": 8, "width": 8, "ups": 1}  # of a task whose own head is not used
TASKS = {
    "autoencoding": TaskEntry({"class_path": "pretext.Autoencoding"}),
    "denoising": TaskEntry({"class_path": "pretext.Denoising"}),
    "edges": TaskEntry({"class_path": "pretext.Edges"}),
    "keypoints": TaskEntry({"class_path": "pretext.Keypoints"}),
    "inpainting": TaskEntry({"class_path": "pretext.Inpainting", "init_args": {"mask": "block", **SMALL_HEAD}}),
    "colorization": TaskEntry({"class_path": "pretext.Colorization", "init_args": {"stride": 1}}),
    "super-resolution": TaskEntry({"class_path": "pretext.SuperResolution"}),
    "colours from lightness": TaskEntry({"class_path": "pretext.SplitBrain", "init_args": {"stride": 1}}, "light", 0),
    "lightness from colours": TaskEntry({"class_path": "pretext.SplitBrain", "init_args": {"stride": 1}}, "colour", 1),
}
DRY = ("edges", "inpainting", "super-resolution", "colorization", "lightness from colours")


def suite_of(arm: str, args: argparse.Namespace) -> TaskSuite:
    """Describe an arm. That of own starts takes the correlations that the other one measured."""
    dry = args.dry
    table = None if arm == "common" else str(args.out / "correlations.csv")
    weights = {} if arm == "common" else {"consistency": [0.0]}
    suite = TaskSuite(
        {"class_path": "tiny.Tiny"},
        {"data": "datamodules.ImageFolder", "data.root": str(args.root / "cifar10"), "data.canvas": 32},
        {name: entry for name, entry in TASKS.items() if not dry or name in DRY},
        width=8 if dry else 16,
        training=Training(*((2, 20, 2, 10) if dry else (5, 1000, 300, 50)), start=arm),
        correlations=Correlated(table, "linear", items=20 if dry else 200, steps=2 if dry else 100),
        regression=Regression(steps=2 if dry else 1000, batch=8 if dry else 32, **weights),
        few=10 if dry else 50,
        few_steps=2 if dry else 50,
        items=100 if dry else 5000,
        test_items=50 if dry else 300,
        title=f"Tasks without labels, {arm} start",
    )
    if table is None:
        check(suite)
    return suite


def predictor(arm: str, args: argparse.Namespace) -> Predictor:
    """Open an arm; weights stay in its folder."""
    return Predictor(
        suite_of(arm, args),
        args.out / arm,
        ((3,) if args.dry else (4, 6, 8)) if arm == "common" else (),
        1 if args.dry else 2,
    )


def model_jobs(shops: dict[str, Predictor], args: argparse.Namespace) -> Iterator[FileJob]:
    """List the models of both arms."""
    for arm, shop in shops.items():
        for name in shop.suite.tasks:
            for model in range(shop.suite.training.models):
                job = shop.model_job(name, model)
                file = args.cells / "models" / f"{arm}-{_file(name)}-{model}.json"
                yield job._replace(label=f"{arm}: {job.label}", file=file)


def target_jobs(shops: dict[str, Predictor], args: argparse.Namespace) -> Iterator[FileJob]:
    """List the targets of both arms."""
    for arm, shop in shops.items():
        for name in shop.suite.tasks:
            yield FileJob(
                f"{arm}: predict {name}",
                args.cells / "targets" / f"{arm}-{_file(name)}.json",
                lambda shop=shop, name=name: said_of(prepared(shop, shops, args).target_job(name)),
                lambda reason: {"failed": reason},
            )


def study_jobs(shops: dict[str, Predictor], args: argparse.Namespace) -> Iterator[FileJob]:
    """List the sets of sources of the study."""
    for draw in shops["common"].plan():
        yield FileJob(
            f"study: {draw.target} from {draw.size}, {draw.number}",
            args.cells / "study" / f"{_file(draw.target)}-{draw.size}-{draw.number}.json",
            lambda draw=draw: done(prepared(shops["common"], shops, args).study_job(draw)),
            lambda reason: {"failed": reason},
        )


def prepared(shop: Predictor, shops: dict[str, Predictor], args: argparse.Namespace) -> Predictor:
    """Make what predictions need and is not there: models, and correlations, which are written for the other arm."""
    first = shops["common"]
    for one in dict.fromkeys((first, shop)):
        models = [(name, k) for name in one.suite.tasks for k in range(one.suite.training.models)]
        missing = [unit for unit in models if not one.own.model_file(*unit).exists()]
        for unit in missing:
            done(one.model_job(*unit)._replace(file=args.out / "again" / f"{one.suite.training.start}-{unit}.json"))
    pairs = [(a, b) for b in first.suite.tasks for a in first.suite.tasks]
    finish(pairs, lambda unit: first.affinity_job(*unit), lambda: None, "task_transfer")
    write_transfers(first.own.gamma().transfers, args.out / "correlations.csv")
    return shop


def done(job: FileJob) -> Any:
    """Finish a job, and return its result.

    Raises:
        RuntimeError: it failed.

    """
    finish([job], lambda one: one, lambda: None, "task_transfer")
    found = read_result(job.file)
    if found is None or found.get("failed"):
        raise RuntimeError(found["failed"] if found else f"{job.label} left nothing")
    return found


def said_of(job: FileJob) -> dict[str, Any]:
    """Say what a prediction is worth, without the loss of every photo."""
    one = Predicted.from_json(done(job))
    wins = {way: [round(x, 4) for x in win] for way in one.losses if (win := one.win(way, SUPERVISED))}
    trivial = {way: [round(x, 4) for x in win] for way in one.losses if (win := one.win(TTNET, way))}
    return {
        "target": one.target,
        "losses": {way: round(one.mean(way), 4) for way in one.losses},
        "beats supervised": wins,
        "TTNet beats": trivial,
        "left out": [list(left) for left in one.left],
        "chosen": one.chosen,
        "gamma": dict(zip(one.sources, one.gamma, strict=True)),
        "shared": one.shared,
        "warning": one.warning,
        "remembered": one.remembered,
        "reuse": one.reuse,
        "reused": one.reused,
        "seconds": one.seconds,
    }


def results(args: argparse.Namespace, shops: dict[str, Predictor]) -> dict[str, Any]:
    """Say what both arms and the study have shown so far."""
    found: dict[str, Any] = {}
    for arm in ARMS:
        cells = [read_result(args.cells / "targets" / f"{arm}-{_file(name)}.json") for name in shops[arm].suite.tasks]
        good = [cell for cell in cells if cell and "failed" not in cell]
        apart = [cell for cell in good if cell["target"] not in TWINS]
        found[arm] = {"all targets": averaged(good), "without twins": averaged(apart)}
        found[arm] |= {"failed": sum(bool(cell) and "failed" in cell for cell in cells)}
    found["study"] = {str(size): studied(args, shops["common"].plan(), size) for size in shops["common"].sizes}
    return found


def averaged(cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Average over targets; intervals are Student's t over targets."""
    if not cells:
        return {}
    ways = list(cells[0]["losses"])
    best = [min(WAYS, key=lambda way, cell=cell: cell["losses"][way]) for cell in cells]
    return {
        "targets": len(cells),
        "loss": {way: round(mean(cell["losses"][way] for cell in cells), 4) for way in ways},
        "beats supervised, %": {way: interval([c["beats supervised"][way][0] for c in cells]) for way in ways},
        "TTNet beats, %": {way: interval([c["TTNet beats"][way][0] for c in cells]) for way in ways},
        "best of predicted": {way: best.count(way) for way in WAYS},
        "chosen without labels is best": sum(c["chosen"] == b for c, b in zip(cells, best, strict=True)),
        "shared basis": round(mean(cell["shared"] for cell in cells), 4),
        "warnings": sum(bool(cell["warning"]) for cell in cells),
    }


def studied(args: argparse.Namespace, plan: Sequence[Draw], size: int) -> dict[str, str]:
    """Average the win rates of one number of sources: of each target over draws, then over targets."""
    found: dict[str, dict[str, list[float]]] = {}
    for draw in (draw for draw in plan if draw.size == size):
        cell = read_result(args.cells / "study" / f"{_file(draw.target)}-{draw.size}-{draw.number}.json")
        for way, win in (cell or {}).get("wins", {}).items():
            found.setdefault(way, {}).setdefault(draw.target, []).append(win)
    return {way: interval([mean(values) for values in own.values()]) for way, own in found.items()}


def write(args: argparse.Namespace, shops: dict[str, Predictor]) -> None:
    """Write all that can be said so far, and the pages."""
    suite = shops["common"].suite
    about = {"command": "python benchmarks/task_transfer.py --root DATA", "training": vars(suite.training)}
    file = RESULT if args.cells == CELLS else args.cells.parent / RESULT.name
    save(file, {**about, **results(args, shops)})
    for arm, shop in shops.items():
        write_all(shop.results(), args.out / arm, f"{about['command']} ({arm})", environment())


def work(args: argparse.Namespace) -> None:
    """Do what is left, part by part."""
    shops = {arm: predictor(arm, args) for arm in ARMS}
    parts = {"models": model_jobs, "targets": target_jobs, "study": study_jobs}
    for name, jobs in parts.items():
        if args.only in (None, name):
            finish(list(jobs(shops, args)), lambda job: job, lambda: None, "task_transfer")
            write(args, shops)


def _file(name: str) -> str:
    return name.replace(" ", "-")


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/task-transfer-benchmark"))
    parser.add_argument("--cells", type=Path, default=CELLS, help="folder of finished cells")
    parser.add_argument("--only", choices=["models", "targets", "study"])
    parser.add_argument("--dry", action="store_true")
    args = parser.parse_args(words)
    sys.path.insert(0, str(HERE))  # tiny.Tiny
    args.out.mkdir(parents=True, exist_ok=True)
    work(args)
    print(json.dumps(results(args, {arm: predictor(arm, args) for arm in ARMS}), indent=1))


if __name__ == "__main__":
    main()
