"""What nine tasks ask, and what trained heads answer: tasks.png.

    python benchmarks/pictures.py --root DATA [--out FILE]        # DATA holds clothing10/; goes on after a kill

Trains a small network for each task on the training photos of clothing10 without labels, and draws what it answers on
held-out ones: the first of every third class, as they come. Then it prints each head's scores on all held-out photos.
Jigsaw has four tiles: of nine in 64 px one sees too little.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from shared import must

import pretext
from datamodules import ImageFolder
from pretext.report.puzzles import paint
from pretext.training.pretrainer import Pretrainer
from pretext.training.puzzles import Rows, puzzles
from pretext.training.run import load

HERE = Path(__file__).parent
CANVAS, CROP, BATCH = 72, 64, 64
EVERY = 3
NETWORK = ["--model.backbone", "pretext.TorchVision"]
NETWORK += ["--model.backbone.init_args", "{name: resnet18, stem: small, stem_stride: 2, width: 0.25}"]
OPTIM = ["--model.optim.optimizer", "torch.optim.AdamW", "--model.optim.optimizer.init_args", "{lr: 0.002}"]
ONE_TURN = ["--model.tasks.rotation.init_args.turns", "one"]
WIDE = "extent: [0.75, 1.0]"  # a grid of half a photo often holds nothing but cloth
JIGSAW = f"{{grid: 2, permutations: 24, puzzles: 4, width: 128, cut: {{{WIDE}}}}}"
FOUR_TILES = ["--model.tasks.jigsaw.init_args", JIGSAW]
NINE_TILES = ["--model.tasks.position.init_args", f"{{jitter: 0.1, pairs: centre, {WIDE}}}"]
TASKS: dict[str, tuple[int, list[str]]] = {
    "rotation": (1500, [*NETWORK, *ONE_TURN]),
    "jigsaw": (2000, [*NETWORK, *FOUR_TILES]),
    "relative_position": (2000, [*NETWORK, *NINE_TILES]),
    "inpainting": (600, NETWORK),
    "colorization": (600, NETWORK),
    "split_brain": (600, []),
    "counting": (600, NETWORK),
    "super_resolution": (400, NETWORK),
    "contrast": (600, NETWORK),
}
"""Steps, and options beside those of the task's config."""


def main() -> None:
    """Train what is missing, pose each task's puzzles to its trained head, draw and score them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/pictures"))
    parser.add_argument("--out", type=Path, default=HERE / "tasks.png")
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=list(TASKS))
    args = parser.parse_args()
    root = args.root / "clothing10"
    for name in args.only:
        train(name, args.runs / name, root)
    x = shown(root)
    paint({name.replace("_", " "): drawn(args.runs / name, x) for name in args.only}, args.out)
    for name in args.only:
        print(name, pretext.test(args.runs / name))


def train(name: str, run: Path, root: Path) -> None:
    """Train a task, or go on where it stopped."""
    if (run / "finished").exists():
        return
    steps, own = TASKS[name]
    words = ["-c", f"image/{name}", *own, *OPTIM, "--data.root", str(root), "--data.batch_size", str(BATCH)]
    words += ["--data.canvas", str(CANVAS), "--model.augment.init_args", f"{{crop: {CROP}}}"]
    words += ["--data.cache", "memory", "--data.split.val", "0", "--trainer.limit_val_batches", "0"]
    words += ["--trainer.max_steps", str(steps), "--trainer.max_epochs", "-1"]
    begun = (run / "checkpoints" / "last.ckpt").exists()
    must(["fit", str(run)] if begun else ["fit", *words, "--trainer.default_root_dir", str(run)])
    (run / "finished").touch()


def shown(root: Path) -> torch.Tensor:
    """Return the first held-out photo of every third class, uint8 (N, 3, S, S)."""
    data = ImageFolder(root, canvas=CANVAS)
    data.prepare_data()
    batches = list(data.ordered("test"))
    x, y = (torch.cat([batch[key] for batch in batches]) for key in ("x", "y"))
    return torch.stack([x[(y == label).nonzero()[0, 0]] for label in range(0, len(data.classes), EVERY)])


def drawn(run: Path, x: torch.Tensor) -> Rows:
    """Draw what a trained task is asked and answers."""
    module = load(run)
    assert isinstance(module, Pretrainer)
    (rows,) = puzzles(module, {"x": x}, len(x), trained=True).values()
    return rows


if __name__ == "__main__":
    main()
