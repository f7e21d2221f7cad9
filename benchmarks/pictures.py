"""What nine tasks ask, and what trained heads answer: tasks.png, from the leaderboard's first runs on CIFAR-10.

    python benchmarks/pictures.py PHOTOS [--runs benchmarks/results/leaderboard/runs/cifar10] [--out FILE]

PHOTOS is a folder of photos; those of the committed picture are scikit-image's astronaut.png, chelsea.png, coffee.png
and rocket.jpg. No network saw them in training. Run `pretext bench benchmarks/leaderboard.yaml --only cifar10` first.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from datamodules import Photos, Splitting
from pretext.report.puzzles import paint
from pretext.training.pretrainer import Pretrainer
from pretext.training.puzzles import Rows, puzzles
from pretext.training.run import load

HERE = Path(__file__).parent
TASKS = ("rotation", "jigsaw", "relative position", "inpainting", "colorization", "split-brain", "counting")
TASKS += ("super-resolution", "contrast")


def main() -> None:
    """Pose each task's puzzles of all photos to its trained head, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--runs", type=Path, default=HERE / "results" / "leaderboard" / "runs" / "cifar10")
    parser.add_argument("--out", type=Path, default=HERE / "tasks.png")
    args = parser.parse_args()
    data = Photos(args.photos, canvas=32, batch_size=64, split=Splitting(val=0.0))
    data.prepare_data()
    data.setup("fit")
    batch = next(iter(data.ordered("train")))
    paint({name: drawn(name, args.runs, batch) for name in TASKS}, args.out)


def drawn(name: str, runs: Path, batch: dict[str, object]) -> Rows:
    """Draw what the first run of a task is asked and answers."""
    found = sorted(runs.glob(f"{name.replace(' ', '-')}-0-*")) or sorted(runs.glob(f"{name}-0-*"))
    if not found:
        raise SystemExit(f"{runs} has no run of {name!r} with seed 0: train it first, with the board cifar10")
    module = load(found[0])
    assert isinstance(module, Pretrainer)
    (rows,) = puzzles(module, batch, len(batch["x"]), trained=True).values()  # type: ignore[arg-type]
    return rows


if __name__ == "__main__":
    main()
