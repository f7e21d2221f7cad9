"""What Rotation learns from 10,000 CIFAR-10 images: every stage against random initialisation, labels and raw pixels.

For each seed: `pretext fit` with configs/image/rotation.yaml, then `pretext probe`; and a supervised run of the same
cost (same backbone, crops, optimiser, schedule and number of images through the backbone), probed by the same code.
Labels of the same 10,000 images train the probes; the 10,000 test images only score them. A finished run is kept.

    python benchmarks/rotation.py --root DATA       # DATA holds cifar10/{train,test}/<class>/*.jpg
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from shared import interval, must, train_on_labels

from pretext.evaluation.baselines import raw_input
from pretext.evaluation.probe import ProbePlan, probe_run
from pretext.training.networks import probed_data
from pretext.training.run import CONFIG, build, read

Row = dict[str, Any]
TURNS = 4  # images through the backbone for each image of the loader
DIMS = 2048  # that stages are pooled to
HERE = Path(__file__).parent


def rotation(run: Path, options: list[str]) -> None:
    """Train and probe with the command line, as a user would."""
    if not (run / "checkpoints" / "done").exists():
        config = str(HERE.parent / "configs" / "image" / "rotation.yaml")
        start = time.perf_counter()
        resume = ["--ckpt_path", "last"] if (run / "checkpoints" / "last.ckpt").exists() else []
        must(["fit", "-c", config, "--trainer.default_root_dir", str(run), *options, *resume])
        (run / "checkpoints" / "done").write_text(f"{time.perf_counter() - start:.0f}\n")
    if not (run / "probe.json").exists():
        must(["probe", str(run), "--dims", str(DIMS), "--protocols", "linear", "knn"])


def supervised(run: Path, pattern: Path) -> None:
    """Train the backbone of `pattern`'s run on labels at the same cost, and probe it."""
    if (run / "probe.json").exists():
        return
    run.mkdir(parents=True, exist_ok=True)
    config = read(pattern / CONFIG)
    module, data = build(config)
    fresh, _ = build(config)
    assert data is not None
    data.prepare_data()
    data.setup("fit")
    start = time.perf_counter()
    steps = len(data.train_dataloader()) * int(config["trainer"]["max_epochs"])  # of four loader batches each
    train_on_labels(module, data, steps, TURNS * int(config["data"]["init_args"]["batch_size"]))
    (run / "seconds").write_text(f"{time.perf_counter() - start:.0f}\n")
    networks = {"trained": module.backbone.eval(), "random": fresh.backbone, "raw": raw_input(fresh.backbone, DIMS)}
    plan = ProbePlan(("linear", "knn"), dims=DIMS)
    probe_run(networks, probed_data(module, data, None), run, "benchmarks/rotation.py", plan)


def table(runs: Path, seeds: list[int]) -> list[str]:
    """Gather the probes of all seeds into one Markdown table."""
    results: dict[tuple[str, str], list[Row]] = {}
    for seed in seeds:
        for kind in ("rotation", "supervised"):
            for row in json.loads((runs / f"{kind}-{seed}" / "probe.json").read_text())["rows"]:
                name = kind if row["features"] == "trained" else row["features"]
                if kind == "rotation" or row["features"] == "trained":
                    results.setdefault((name, row["stage"]), []).append(row)
    lines = ["| features | stage | linear probe | kNN | chosen on validation |", "|---|---|---|---|---|"]
    for (name, stage), rows in results.items():
        cells = [interval([row[kind]["accuracy"] for row in rows]) for kind in ("linear", "knn")]
        chosen = sum(row["chosen"] for row in rows)
        lines.append(f"| {name} | {stage} | {cells[0]} | {cells[1]} | {chosen} of {len(rows)} |")
    return lines


def pretext_scores(runs: Path, seeds: list[int]) -> str:
    """Rotation accuracy on held-out images."""
    import csv

    last = []
    for seed in seeds:
        rows = list(csv.DictReader((runs / f"rotation-{seed}" / "metrics.csv").open()))
        last.append([float(r["val/rotation/accuracy"]) for r in rows if r.get("val/rotation/accuracy")][-1])
    return f"rotation accuracy on held-out images: {interval(last)} % (chance 25 %)"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark-rotation"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=10_000, help="of the training set")
    parser.add_argument("--epochs", type=int, help="instead of the config's")
    own = parser.parse_args()
    if own.root is None or not (Path(own.root) / "cifar10").is_dir():
        raise SystemExit("--root (or PRETEXT_DATA) must name a folder that holds cifar10/{train,test}/<class>/*.jpg")
    data = ["--data.root", str(Path(own.root) / "cifar10"), "--data.split.limit", str(own.images)]
    if own.epochs:
        data += ["--trainer.max_epochs", str(own.epochs)]
    for seed in own.seeds:
        rotation(own.runs / f"rotation-{seed}", [*data, "--seed_everything", str(seed)])
        supervised(own.runs / f"supervised-{seed}", own.runs / f"rotation-{seed}")
    print(*table(own.runs, own.seeds), "", pretext_scores(own.runs, own.seeds), sep="\n")


if __name__ == "__main__":
    main()
