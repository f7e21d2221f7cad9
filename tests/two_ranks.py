"""What two real processes, in the environment that torchrun makes, do together.

The test does the same alone: `train` and `evaluate` take the number of devices.
"""

import json
import os
from functools import partial
from pathlib import Path

import pytorch_lightning as pl
import torch
from every_task import N, cases
from grouped import grouped
from labelled_sets import Labelled, colours
from nets import TinyNet
from pets import pets_folder
from torch import distributed, nn
from torch.utils.data import DataLoader, TensorDataset

from datamodules import Pairs
from datamodules.images.pets import Pets
from pretext import Adaptation, FineTune, LinearProbe, Loaders, Pretrainer, Regression, Rotation, Segmentation
from pretext.__main__ import main
from pretext.core.ranks import gathered, gathered_rows, mean, together, total, world
from pretext.core.rng import rng
from pretext.core.tree import mapped
from pretext.testing.ranks import gradients_of, whole_of
from pretext.training.callbacks import Checkpoint
from pretext.training.cli import PretextCLI
from pretext.verbs.judging import predict


def without_norm(module):
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, nn.Identity())
        else:
            without_norm(child)
    return module


def built(case):
    torch.manual_seed(0)
    net = without_norm(case.backbone())
    task = case.factory(net)
    return without_norm(task).train(), net.train()


def sit(task, net, puzzle):
    return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


def part_of(case, rank):
    return mapped(lambda leaf: leaf.double()[rank * N // 2 : (rank + 1) * N // 2], case.x)


def compare(name, case, rank):
    """Say how far the mean of both ranks' gradients is from one process's, with and without what ranks share."""
    found = {}
    for way in ("together", "apart"):
        task, net = built(case)
        chance = rng("cpu", name, rank)
        with together() if way == "together" else torch.enable_grad():
            puzzle = task.pose(part_of(case, rank), chance)
            grade = sit(task, net, puzzle)
        joined = gradients_of(task, net, grade)
        distributed.all_reduce(joined)
        if way == "together":
            puzzles = [None, None]
            distributed.all_gather_object(puzzles, puzzle)
            by_rows = name in ("counting", "contrast", "frames", "embed", "hardest info-nce", "picture and text")
            task, net = built(case)
            whole = sit(task, net, whole_of(task, puzzles, N // 2, by_rows))
            alone = gradients_of(task, net, whole)
            found["loss"] = [grade.loss.item(), whole.loss.item()]
        found[way] = float((joined / 2 - alone).norm() / alone.norm())
        found[f"{way}, worst"] = float((joined / 2 - alone).abs().max() / alone.abs().max())
    return found


def sums(rank):
    """Ranks of 2 and 3 rows: what each function gives, and its gradient."""
    x = torch.arange(2.0 + rank).view(-1, 1).requires_grad_()
    outside = world(), total(x) is x, gathered(x) is x
    with together():
        rows = gathered(x)
        (rows.square().sum() + total(x.sum()) + mean(x)).backward()
        return {
            "outside": outside,
            "rows": rows.flatten().tolist(),
            "numbers": gathered_rows(torch.arange(len(x)), len(x)).tolist(),
            "mean": mean(x).item(),
            "gradient": x.grad.flatten().tolist(),
            "none": gathered(x[: 2 * rank]).flatten().tolist(),
        }


CONFIG = """\
seed_everything: 3
model:
  backbone: {class_path: nets.TinyNet, init_args: {norm: false}}
  tasks:
    turn: {class_path: pretext.Rotation, init_args: {turns: one}}
    views: {class_path: pretext.Contrast, init_args: {width: 8, outputs: 8}}
    large: {class_path: pretext.SuperResolution, init_args: {width: 4, blocks: 0}}
  augment: {class_path: pretext.Augment, init_args: {crop: 12, pad: 1}}
  optim: {optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.0}}}
data:
  class_path: datamodules.Digits
  init_args: {size: 16, batch_size: 16, split: {limit: 200, val: 0.355}}
trainer:
  max_epochs: 1
  accelerator: cpu
  enable_progress_bar: false
  log_every_n_steps: 1
  callbacks:
    - {class_path: pretext.callbacks.Online, init_args: {items: 40, scores: [knn, quality]}}
"""


def pretext(*words):
    assert main([str(word) for word in words]) == 0


def train(folder, devices):
    """Fit without learning, in 5 batches of validation, then validate in 1 and predict: {what: figures}."""
    config, run = folder / "config.yaml", folder / "run"
    config.write_text(CONFIG)
    pretext("fit", "-c", config, "--trainer.default_root_dir", run, "--trainer.devices", devices)
    few = PretextCLI(["validate", str(run), "--data.batch_size", "100", "--trainer.devices", str(devices)])
    pretext("predict", run, "--data.split.limit", 50, "--trainer.devices", devices)
    return {"validated": {name: float(value) for name, value in few.trainer.callback_metrics.items()}}


def evaluate(folder, devices):
    """Score evaluators of three kinds, whose classifiers are new: {name: what they log and write}."""
    said = {}
    net = partial(TinyNet, norm=False)
    single = torch.randint(3, (75,), generator=rng("cpu", "classes"))
    several = colours(75)
    data = {
        "one label": (FineTune, Labelled((several[0], single), (several[0], single), "abc", val=0.5)),
        "several labels": (FineTune, Labelled(several, several, "abc", val=0.5)),
        "stages": (LinearProbe, Labelled(several, several, "abc", val=0.5)),
        "masks": (Segmentation, pets(folder)),
        "numbers": (Regression, Labelled(numbers(75), numbers(75), val=0.5)),
        "domains": (Adaptation, Pairs(*(Labelled(d, d, "abc", val=0.5) for d in domains()), batch_size=16)),
    }
    for name, (kind, source) in data.items():
        torch.manual_seed(5)
        module, place = kind(backbone=net()), folder / name
        trainer = pl.Trainer(
            devices=devices,
            accelerator="cpu",
            default_root_dir=place,
            **QUIET,
        )
        trainer.validate(module, source, verbose=False)
        logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
        trainer.test(module, source, verbose=False)
        said[name] = logged | {key: float(value) for key, value in trainer.callback_metrics.items()}
    return said


def numbers(count):
    """Pictures, and two numbers of each, some of which nobody knows."""
    x, y = colours(count)
    y = y[:, :2].float() + x.float().mean((1, 2, 3))[:, None]
    return x, torch.where(torch.arange(count)[:, None] % 7 == 0, torch.nan, y)


def domains():
    """Two domains of one class an item, of other sizes."""
    for key, count in enumerate((75, 53)):
        yield colours(count, key)[0], torch.randint(3, (count,), generator=rng("cpu", "classes", key))


def own(devices):
    """Validate, test and predict on plain loaders of a user's own, one of which nobody knows the length of."""
    torch.manual_seed(7)
    module = Pretrainer(TinyNet(norm=False), {"turn": partial(Rotation, turns="one")})
    said = {}
    for name, loader in {"counted": few(35, shuffle=True), "one batch": few(4), "endless": Stream()}.items():
        trainer = pl.Trainer(devices=devices, accelerator="cpu", **QUIET)
        data = Loaders(loader, loader)
        trainer.validate(module, data, verbose=False)
        logged = {key: float(value) for key, value in trainer.callback_metrics.items()}
        trainer.test(module, data, verbose=False)
        said[name] = logged | {key: float(value) for key, value in trainer.callback_metrics.items()}
        rows = predict(module, data, devices=devices, accelerator="cpu", enable_progress_bar=False).index
        said[name]["out of order"] = float((rows != torch.arange(len(rows))).sum())
        said[name]["items"] = float(len(rows))
    return said


def few(count, **options):
    return DataLoader(TensorDataset(colours(count)[0]), batch_size=4, **options)


class Stream:
    """Batches of which nobody knows how many there are."""

    def __iter__(self):
        return iter(colours(20)[0].split(4))


def pets(folder):
    root = folder / f"pets {os.environ.get('RANK', '')}"
    return Pets(pets_folder(root, train=12, test=10), **grouped(Pets, canvas=32, batch_size=4, val=0.5))


QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)


class Look(pl.Callback):
    """Notes before each step what step the checkpoint is of, or none."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, *rest):
        file = Path(trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        self.seen.append(torch.load(file, weights_only=True)["global_step"] if file.exists() else None)


def timed(folder, rank):
    """Train for 10 steps, where only the second rank's clock ever says that it is time for a checkpoint."""
    look, options = Look(), {"every_n_steps": 1000, "every_n_epochs": None}
    save = Checkpoint(**options, every_n_minutes=1e-9 if rank else 60.0)
    trainer = pl.Trainer(
        devices=2, accelerator="cpu", default_root_dir=folder / "timed", callbacks=[save, look], limit_val_batches=0,
        max_epochs=1, **QUIET,
    )  # fmt: skip
    items = colours(80)
    trainer.fit(Pretrainer(TinyNet(norm=False), {"turn": Rotation}), Labelled(items, items, batch_size=4, val=0.0))
    return look.seen


def probe(folder):
    """Probe the run in a view more than the plain one, in batches of 16."""
    out = folder / "probe"
    pretext("probe", folder / "run", "--out", out, "--views", 1, "--protocols", "knn", "linear")


def both(folder):
    """Do everything with the other rank, and leave what was found in the folder."""
    rank = int(os.environ["RANK"])
    distributed.init_process_group("gloo")
    found = {**train(folder, 2), "evaluated": evaluate(folder, 2), "own": own(2), "timed": timed(folder, rank)}
    first, os.environ["MASTER_PORT"] = os.environ["MASTER_PORT"], os.environ["NEXT_PORT"]  # of a launch of its own
    try:
        probe(folder)
        found["exit"] = "led"
    except SystemExit as ended:  # a helper ends with the leader's exit code
        found["exit"] = ended.code
    os.environ["MASTER_PORT"] = first
    # Last, because of what is kept in memory in float64: the full precision that losses compute in.
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    found |= {"sums": sums(rank), **{name: compare(name, case, rank) for name, case in cases().items()}}
    (folder / f"found.{rank}").write_text(json.dumps(found))
    distributed.barrier()
