"""What nine tasks ask, and what trained heads answer: tasks.png.

    python benchmarks/pictures.py PHOTOS --root DATA [--out FILE]        # DATA holds cifar10/; goes on after a kill

Trains a small network for each task on all of CIFAR-10's training images without labels, about 50 minutes of one core
in all. PHOTOS is a folder of photos that no network saw; those of the committed picture are scikit-image's
astronaut.png, chelsea.png, coffee.png and rocket.jpg. Jigsaw has four tiles: of nine in 32 px one sees too little.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from shared import must

from datamodules import Photos, Splitting
from pretext.report.puzzles import paint
from pretext.training.pretrainer import Pretrainer
from pretext.training.puzzles import Rows, puzzles
from pretext.training.run import load

HERE = Path(__file__).parent
NETWORK = ["--model.backbone", "pretext.TorchVision"]
NETWORK += ["--model.backbone.init_args", "{name: resnet18, stem: small, stem_stride: 2, width: 0.25}"]
OPTIM = ["--model.optim.optimizer", "torch.optim.AdamW", "--model.optim.optimizer.init_args", "{lr: 0.002}"]
ONE_TURN = ["--model.tasks.rotation.init_args.turns", "one"]
FOUR_TILES = ["--model.tasks.jigsaw.init_args", "{grid: 2, permutations: 24, puzzles: 1, width: 128}"]
TASKS: dict[str, tuple[int, list[str]]] = {
    "rotation": (3000, [*NETWORK, *ONE_TURN]),
    "jigsaw": (2500, [*NETWORK, *FOUR_TILES]),
    "relative_position": (2000, NETWORK),
    "inpainting": (800, NETWORK),
    "colorization": (800, NETWORK),
    "split_brain": (800, []),
    "counting": (800, NETWORK),
    "super_resolution": (800, NETWORK),
    "contrast": (1500, NETWORK),
}
"""Steps of 256 images, and options beside those of the task's config."""


def main() -> None:
    """Train what is missing, pose each task's puzzles of all photos to its trained head, and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--out", type=Path, default=HERE / "tasks.png")
    args = parser.parse_args()
    for name in TASKS:
        train(name, args.runs / name, args.root / "cifar10")
    data = Photos(args.photos, canvas=32, split=Splitting(val=0.0))
    data.prepare_data()
    batch = next(iter(data.ordered("train")))
    paint({name.replace("_", " "): drawn(args.runs / name, batch) for name in TASKS}, args.out)


def train(name: str, run: Path, root: Path) -> None:
    """Train a task, or go on where it stopped."""
    if (run / "finished").exists():
        return
    steps, own = TASKS[name]
    words = ["-c", f"image/{name}", *own, *OPTIM, "--data.root", str(root), "--data.batch_size", "256"]
    words += ["--data.cache", "memory", "--data.split.val", "0.02", "--model.augment.init_args.pad", "0"]
    words += ["--trainer.max_steps", str(steps), "--trainer.max_epochs", "-1", "--trainer.limit_val_batches", "0"]
    begun = (run / "checkpoints" / "last.ckpt").exists()
    must(["fit", str(run)] if begun else ["fit", *words, "--trainer.default_root_dir", str(run)])
    (run / "finished").touch()


def drawn(run: Path, batch: dict[str, object]) -> Rows:
    """Draw what a trained task is asked and answers."""
    module = load(run)
    assert isinstance(module, Pretrainer)
    (rows,) = puzzles(module, batch, len(batch["x"]), trained=True).values()  # type: ignore[arg-type]
    return rows


if __name__ == "__main__":
    main()
