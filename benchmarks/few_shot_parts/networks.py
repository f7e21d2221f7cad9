"""How much `few_shot.py` does, and the networks that it starts from."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from filelock import FileLock

from datamodules import HeldClasses
from few_shot_parts.sets import KINDS, Held, Kind, sets_of
from pretext import ArrowOfTime, Optim, Pretrainer, ResNet, Rotation, Sound
from pretext.core.files import whole

SPLITS, EPISODES = 3, 600


class Plan:
    """How much is done: in full, or `dry`."""

    def __init__(self, dry: bool) -> None:
        self.steps, self.pretext_steps, self.episodes, self.val = (1, 1, 4, 2) if dry else (100, 300, EPISODES, 20)
        self.splits, self.clusters, self.tuning_steps = (1, 8, 2) if dry else (SPLITS, 40, 10)
        self.sines = (2, 4) if dry else (5000, 15000)
        self.items = 400 if dry else 100_000
        self.width = 4 if dry else 8


def network(kind: Kind, plan: Plan, seed: int) -> Any:
    """Build a small network; sounds are seen as 16 bands of 0.1 s each."""
    torch.manual_seed(seed)
    net = ResNet(blocks=(1, 1), width=plan.width)
    return Sound(net, rate=8000, bands=16, window=0.1, hop=0.1) if kind.sound else net


def quiet(where: Path, steps: int) -> pl.Trainer:
    """Make a trainer that says nothing and keeps nothing."""
    off = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    where.mkdir(parents=True, exist_ok=True)
    return pl.Trainer(
        default_root_dir=where, max_steps=steps, max_epochs=-1, accelerator="cpu", limit_val_batches=0,
        num_sanity_val_steps=0, **dict.fromkeys(off, False),
    )  # fmt: skip


def pretext_run(name: str, split: int, root: Path, out: Path, plan: Plan) -> Any:
    """Return a network that was trained on the training classes' items without labels; trained once."""
    kind, data = KINDS[name], Held(sets_of(name, root, out, plan.items))
    file = out / "pretext" / f"{name}-{split}-{plan.pretext_steps}.pt"
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            train, _, _ = HeldClasses(test=kind.test, draw=split).divided(data, len(data.classes))
            task = {"answer": ArrowOfTime if kind.sound else Rotation}
            optim = Optim(partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.01))
            module = Pretrainer(network(kind, plan, split), task, optim=optim, seed=split)
            quiet(out, plan.pretext_steps).fit(module, datamodule=Held(data.sets, train))
            with whole(file) as draft:
                torch.save(module.backbone.state_dict(), draft)
    net = network(kind, plan, split)
    net.load_state_dict(torch.load(file, weights_only=True))
    return net
