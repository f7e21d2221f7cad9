"""What a trunk knows of places: masks by a linear classifier of each, against random initialisation and colours alone.

The data is made of CIFAR-10, laid out as Oxford-IIIT Pet: a blob cut out of a photo of an animal ("pet"), pasted into a
photo of a vehicle ("background"), 32 x 32 px, the pixel on either side of its edge not judged; 1,000 to train on, of
CIFAR's training photos, and 1,000 to test on, of its test photos. The trunk is a ResNet-18 of a quarter of the width,
trained on the rotation of 3,000 photos of CIFAR for a few epochs. Then configs/evaluation/segmentation.yaml, for fewer
epochs, on its second stage (8 x 8 places), chosen beforehand. "Place alone" is the same mask for every photo: pet where
most training masks have it.

    python benchmarks/segmentation.py --root DATA       # DATA holds cifar10/{train,test}/<class>/*.jpg
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from shared import must, save

from datamodules.images.pets import Pets
from pretext.evaluation.segment import IGNORED, confusion, mean_iou
from pretext.training.callbacks import AtomicCheckpointIO, Checkpoint
from pretext.training.run import build, read

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
VEHICLES = ("airplane", "automobile", "ship", "truck")
SIDE, PET, BACKGROUND, BORDER = 32, 1, 2, 3
SIZES = {"train": ("trainval.txt", 1000), "test": ("test.txt", 1000)}
TRUNK: dict[str, Any] = {
    "class_path": "pretext.TorchVision",
    "init_args": {"name": "resnet18", "stem": "small", "stem_stride": 2, "width": 0.25},
}
COLOURS = {"class_path": "pretext.evaluation.segment.Colours"}
Pixels = NDArray[np.uint8]


def blob(generator: np.random.Generator) -> NDArray[np.bool_]:
    """Draw three ellipses that overlap, (SIDE, SIDE); anywhere, since place alone would tell those in the centre."""
    y, x = np.mgrid[:SIDE, :SIDE]
    shape = np.zeros((SIDE, SIDE), bool)
    centre = generator.uniform(0, SIDE, 2)
    for _ in range(3):
        (top, left), (high, wide) = centre + generator.uniform(-6, 6, 2), generator.uniform(4, 9, 2)
        shape |= ((y - top) / high) ** 2 + ((x - left) / wide) ** 2 < 1
    return shape


def trimap(shape: NDArray[np.bool_]) -> Pixels:
    """Mark the pixels on either side of the edge as border."""
    padded = np.pad(shape, 1, mode="edge")
    around = np.stack([padded[1 + a : SIDE + 1 + a, 1 + b : SIDE + 1 + b] for a in (-1, 0, 1) for b in (-1, 0, 1)])
    edge = around.any(0) & ~around.all(0)
    return np.where(edge, BORDER, np.where(shape, PET, BACKGROUND)).astype(np.uint8)


def paste(cifar: Path, folder: Path) -> None:
    """Write the pasted photos and their masks."""
    if (folder / "annotations" / "test.txt").exists():
        return
    for below in ("images", "annotations/trimaps"):
        (folder / below).mkdir(parents=True, exist_ok=True)
    for split, (file, count) in SIZES.items():
        generator = np.random.default_rng([0, len(split)])
        animals, vehicles = (
            sorted(path for name in names for path in (cifar / split / name).iterdir()) for names in (ANIMALS, VEHICLES)
        )
        names = [f"{split}_{k}" for k in range(count)]
        for name in names:
            over, under = (
                np.asarray(Image.open(paths[generator.integers(len(paths))])) for paths in (animals, vehicles)
            )
            shape = blob(generator)
            Image.fromarray(np.where(shape[..., None], over, under)).save(folder / f"images/{name}.jpg", quality=95)
            Image.fromarray(trimap(shape)).save(folder / f"annotations/trimaps/{name}.png")
        (folder / "annotations" / file).write_text("\n".join(names) + "\n")


def rotation(run: Path, cifar: Path, epochs: int, seed: int) -> None:
    """Train the trunk."""
    if (run / "done").exists():
        return
    backbone = ["--model.backbone", "pretext.TorchVision"]
    backbone += [f"--model.backbone.{key}={value}" for key, value in TRUNK["init_args"].items()]
    adam = ["--model.optim.optimizer", "torch.optim.AdamW", "--model.optim.optimizer.lr", "0.002"]
    data = [
        "--data.root",
        str(cifar),
        "--data.split.limit",
        "3000",
        "--data.batch_size",
        "64",
        "--seed_everything",
        str(seed),
    ]
    start = time.perf_counter()
    own = ["--trainer.max_epochs", str(epochs), "--trainer.precision", "32-true", *adam, *backbone, *data]
    must(["fit", "-c", str(CONFIGS / "image" / "rotation.yaml"), "--trainer.default_root_dir", str(run), *own])
    (run / "done").write_text(f"{time.perf_counter() - start:.0f}\n")


def measure(folder: Path, pets: Path, seed: int, epochs: int, what: dict[str, Any]) -> dict[str, Any]:
    """Train and test one head; a finished one is kept."""
    if not (folder / "result.json").exists():
        config = read(CONFIGS / "evaluation" / "segmentation.yaml")
        config["model"]["init_args"] = what
        config["data"]["init_args"] |= {"root": str(pets), "canvas": SIDE}
        module, data = build(config | {"seed_everything": seed})
        trainer = pl.Trainer(
            max_epochs=epochs,
            default_root_dir=folder,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=[Checkpoint()],
            plugins=[AtomicCheckpointIO()],
        )
        start = time.perf_counter()
        trainer.fit(module, datamodule=data)
        seconds = time.perf_counter() - start
        trainer.test(module, datamodule=data, verbose=False)
        save(folder / "result.json", json.loads((folder / "score.json").read_text()) | {"seconds": round(seconds)})
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def place(pets: Path) -> float:
    """Score the same mask for every photo: pet where most training masks have it."""
    data = Pets(pets, canvas=SIDE)
    train, test = (torch.cat([batch["y"] for batch in data.ordered(split)]) for split in ("train", "test"))
    pet, judged = (train == 1).sum(0), (train != IGNORED).sum(0)
    same = (2 * pet > judged).byte().expand_as(test)
    return float(mean_iou(confusion(same, test, len(data.classes)).sum(0)))


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("PRETEXT_DATA"))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark-segmentation"))
    parser.add_argument("--epochs", type=int, default=4, help="of the trunk's training")
    parser.add_argument("--head-epochs", type=int, default=5, help="of each head's training")
    parser.add_argument("--seed", type=int, default=0)
    own = parser.parse_args()
    if own.root is None or not (Path(own.root) / "cifar10").is_dir():
        raise SystemExit("--root (or PRETEXT_DATA) must name a folder that holds cifar10/{train,test}/<class>/*.jpg")
    cifar, pets, trunk = Path(own.root) / "cifar10", own.runs / "pets", own.runs / f"rotation-{own.seed}"
    paste(cifar, pets)
    rotation(trunk, cifar, own.epochs, own.seed)
    print("| features | mIoU, % | 95 % | background | pet | s |", "|---|--:|--:|--:|--:|--:|", sep="\n")
    plans: dict[str, dict[str, Any]] = {"colours alone": {"backbone": COLOURS, "stage": "colours"}}
    plans |= {"random layer2": {"backbone": TRUNK, "stage": "layer2"}}
    plans |= {"rotation layer2": {"run": str(trunk), "stage": "layer2"}}
    print(f"| place alone | {100 * place(pets):.1f} | | | | |", flush=True)
    for name, what in plans.items():
        got = measure(own.runs / f"{name.replace(' ', '-')}-{own.seed}", pets, own.seed, own.head_epochs, what)
        figures = [100 * value for value in (got["miou"], got["low"], got["high"], *got["iou"].values())]
        miou, low, high, background, pet = (f"{figure:.1f}" for figure in figures)
        print(f"| {name} | {miou} | {low}-{high} | {background} | {pet} | {got['seconds']} |", flush=True)
    print(f"\nchance {100 * got['chance']:.1f} %; the trunk took {(trunk / 'done').read_text().strip()} s")


if __name__ == "__main__":
    main()
