"""The sets of `few_shot.py`: how they are opened, read once and kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, final

import torch
from filelock import FileLock
from torch import Tensor

from datamodules import CIFAR10, Clips, Digits, ImageFolder, Lists, Sampling, Sounds, Splitting, Windows
from datamodules.base import DataModule
from datamodules.loader import Memory
from pretext.core.files import whole


class Kind(NamedTuple):
    """A set of data."""

    open: Callable[[Path], DataModule]
    sound: bool
    shots: tuple[int, ...]
    queries: int
    """Of each class, in the test."""
    test: int
    """Classes that are held out."""
    facts: str = ""
    """What is known of each class, for task-informed MAML: its name and two words; "": nothing is."""
    least: int = 0
    """Test items that a class has; classes with fewer are left out."""
    rate: float = 0.1
    """Inner rate of MAML that begins with the pretext run; at .1 many an episode of sounds diverges, or all."""


def folder(root: Path, name: str) -> DataModule:
    """Open folders of pictures."""
    return ImageFolder(root / name, canvas=16, split=Splitting(val=0.0))


def sounds(root: Path) -> DataModule:
    """Open ESC-10, whose fold 1 is the test set."""
    return Sounds(root / "esc10", seconds=4.0, sampling=Sampling(8000, 1), fold_pattern=r"^(\d)-", split=Splitting(0.0))


def words(root: Path) -> DataModule:
    """Open the sound of the words."""
    lists = Lists(train_list="labels.csv", columns={"file": "file", "label": "class_id", "split": "split"})
    windows = Windows(frames=25, fps=25.0)
    options: dict[str, Any] = {"layout": "lists", "lists": lists, "modalities": ["audio"], "windows": windows}
    return Clips(root / "lrwar", sampling=Sampling(8000, 1), split=Splitting(0.0), **options)


KINDS = {
    "cifar10": Kind(
        lambda root: CIFAR10(root / "cifar10", split=Splitting(val=0.0)), False, (1, 5), 5, 5,
        "airplane machine air, automobile machine road, bird animal air, cat animal home, deer animal wild, "
        "dog animal home, frog animal wild, horse animal wild, ship machine water, truck machine road",
    ),
    "clothing10": Kind(
        partial(folder, name="clothing10"), False, (1, 5), 5, 5,
        "dress body long, hat head short, longsleeve top long, outwear top long, pants legs long, shirt top long, "
        "shoes feet short, shorts legs short, skirt legs short, t-shirt top short",
    ),
    "digits": Kind(
        lambda root: Digits(size=8, split=Splitting(val=0.0)), False, (1, 5), 5, 5,
        "0 one round, 1 none straight, 2 none round, 3 none round, 4 none straight, 5 none round, 6 one round, "
        "7 none straight, 8 two round, 9 one round",
    ),
    "esc10": Kind(
        sounds, True, (1, 5), 3, 5,
        "Dog_bark animal short, Rain nature long, Sea_waves nature long, Baby_cry person long, "
        "Clock_tick machine short, Person_sneeze person short, Helicopter machine long, Chainsaw machine long, "
        "Rooster animal short, Fire_crackling nature long",
        rate=0.02,
    ),
    "lrwar": Kind(words, True, (1,), 4, 40, least=5, rate=0.02),
}  # fmt: skip
"""Sets: how they are opened, whether they are sounds, shots, questions, classes of the test, and what is known of each
class: its name and two words. Nothing is known of the words of lrwar, of which 95 of 98 have five test items."""


@final
class Held(DataModule):
    """A set that was read once, in memory; `only` some classes of the training set, to train on without labels."""

    def __init__(self, sets: dict[str, Any], only: Sequence[int] | None = None, val: float = 0.0) -> None:
        super().__init__(64, val, limit=None, seed=0)
        self.sets, self.only = sets, only

    @property
    def classes(self) -> list[str]:
        return list(self.sets["classes"])

    def open(self, split: str) -> Memory:  # type: ignore[override]  # "train" or "test"
        x, y = self.sets[split]
        mine = slice(None) if self.only is None or split == "test" else torch.isin(y, torch.tensor(self.only))
        return Memory(x[mine], y[mine])


def sets_of(name: str, root: Path, out: Path, items: int) -> dict[str, Any]:
    """Read so many items of a set once, and keep them in a file below `out`."""
    file = out / "sets" / f"{name}{items}.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            data = KINDS[name].open(root)
            data.prepare_data()
            found: dict[str, Any] = {"classes": [str(one) for one in data.classes]}
            for split in ("train", "test"):
                batches = list(data.ordered(split, min(items, 10_000 if split == "test" else 20_000)))
                x = [b["x"]["audio"] if isinstance(b["x"], dict) else b["x"] for b in batches]
                x = [part if KINDS[name].sound else small(part) for part in x]
                found[split] = (torch.cat(x), torch.cat([b["y"] for b in batches]))
            if KINDS[name].least:
                found = frequent(found, KINDS[name].least)
            with whole(file) as draft:
                torch.save(found, draft)
    loaded: dict[str, Any] = torch.load(file, weights_only=True)
    return loaded


def frequent(found: dict[str, Any], least: int) -> dict[str, Any]:
    """Keep the classes that have so many test items, and number them anew."""
    count = found["test"][1].bincount(minlength=len(found["classes"]))
    kept = (count >= least).nonzero().flatten()
    place = torch.full((len(count),), -1)
    place[kept] = torch.arange(len(kept))
    parts = {split: (x[place[y] >= 0], place[y][place[y] >= 0]) for split, (x, y) in list(found.items())[1:]}
    return {"classes": [found["classes"][k] for k in kept], **parts}


def small(x: Tensor, side: int = 16) -> Tensor:
    """Bring pictures to at most 16 px."""
    if x.shape[-1] <= side:
        return x
    fine = torch.nn.functional.interpolate(x.float(), (side, side), mode="bilinear", antialias=True)
    return fine.round().to(torch.uint8)
