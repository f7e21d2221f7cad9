"""Positive pairs from a generator's latents: does the probe rise and fall with the step, and do T_z and T_x add up?

    python benchmarks/generated_views.py [--root DATA] [--dry]

One network of one size, with one budget of steps, is trained by `Contrast` on pairs that differ by a step in latent
space (T_z), by pixels (T_x), or both; GenRep (https://arxiv.org/abs/2106.05258) says that the probe rises and falls
with the step, and that both together are best. Beside them: the network at random initialisation, trained on labels
with the same steps, and raw pixels. Each is measured by a linear probe at the stage that its validation chooses; the
step is chosen by validation too, and the test items are looked at once.

Part "shapes": the renderer whose classes are known, so that the share of neighbours that keep the class stands beside.
Part "cifar10" (with --root, a folder that holds `cifar10/`, see README.md): a VAE is trained on the training images,
and pairs are drawn from it; the probe is on real images, and pairs of real images stand beside.

What is finished stands in results/generated_views/cells/, and generated_views.json says all of it; start it again to go
on. About 40 minutes of one core. `--dry` does everything in small.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from shared import interval, must, save
from torch import Tensor, nn

from datamodules import Generated, ImageFolder, Splitting
from pretext import Augment, Contrast, LatentViews, Pretrainer, Shapes, TorchVision, TrainedGenerator
from pretext.core.rng import rng
from pretext.core.types import Backbone
from pretext.evaluation.baselines import raw_input
from pretext.evaluation.probe import ProbedData, ProbePlan, probe_network
from pretext.jobs.files import FileJob, finish, read_result
from pretext.training.optimization import Optim, learning_rate
from pretext.views.augment import unit
from pretext.views.latent.generator import LatentGenerator

HERE = Path(__file__).parent
CELLS, RESULT = HERE / "results" / "generated_views" / "cells", HERE / "generated_views.json"
SIDE, STYLE = 32, "textured"
OPTIM = Optim(partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.01))
CONTROLS = ("random", "supervised", "pixels")
Draw = Callable[[int], Tensor]


class Plan:
    """How much is done: in full, or `dry`."""

    def __init__(self, dry: bool) -> None:
        self.seeds, self.steps, self.batch = (1, 2, 8) if dry else (3, 150, 128)
        self.train, self.test = (60, 30) if dry else (2000, 2000)
        self.both = [0.0, 0.2] if dry else [0.0, 0.1, 0.2, 0.4, 0.8, 1.6]
        self.latent = [0.2] if dry else [0.1, 0.2, 0.4, 0.8, 1.6]
        self.vae_both, self.vae_latent = ([0.2], [0.2]) if dry else ([0.0, 0.2, 0.5, 1.0], [0.5])
        self.vae_steps, self.vae_items = (2, 200) if dry else (800, 10_000)


def pixels() -> Augment:
    """Make GenRep's T_x: resized crops from a fifth of the area on, a flip, colours and grey."""
    colours = partial(Augment, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter=0.8, grey=0.2)
    return colours(scale=(0.2, 1.0), aspect=(3 / 4, 4 / 3))


def network(seed: int) -> Backbone:
    """Make the network that all train, from a seed."""
    torch.manual_seed(seed)
    return TorchVision("resnet18", stem="small", stem_stride=2, width=0.25)


def pretrained(views: Augment | LatentViews, seed: int, plan: Plan, draw: Draw) -> Backbone:
    """Train the network on pairs of views."""
    module = Pretrainer(network(seed), {"contrast": partial(Contrast, views=views, temperature=0.1)}, seed=seed)
    (task,) = module.tasks.values()
    descend(module, plan, lambda step: module.exam(task, draw(step), seed, "train", step).loss)
    return module.backbone


def supervised(seed: int, plan: Plan, labelled: Callable[[int], tuple[Tensor, Tensor]], classes: int) -> Backbone:
    """Train the network on labels, with the same crops, steps and twice the pictures: as many as a pair has views."""
    backbone, augment = network(seed), pixels()
    both = nn.ModuleDict({"backbone": backbone, "head": nn.Linear(backbone.dim, classes)})

    def loss(step: int) -> Tensor:
        x, y = labelled(step)
        views = augment(x.repeat_interleave(2, 0), rng("cpu", seed, "labels", step))
        return nn.functional.cross_entropy(both["head"](backbone(views).pooled), y.repeat_interleave(2))

    descend(both, plan, loss)
    return backbone


def descend(module: nn.Module, plan: Plan, loss: Callable[[int], Tensor]) -> None:
    """Take the plan's steps."""
    module.train()
    optimizer = OPTIM.optimizer(module.parameters())
    base = optimizer.param_groups[0]["lr"]
    for step in range(plan.steps):
        optimizer.param_groups[0]["lr"] = base * learning_rate(step, plan.steps, OPTIM)
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()


def probed(backbone: Backbone, data: Any) -> dict[str, Any]:
    """Measure the network by a linear probe at the stage that validation chooses."""
    found = probe_network(backbone, ProbedData(data, unit, "canvases"), ProbePlan(("linear",), dims=512), None, "cell")
    row = next((row for row in found.rows if row.chosen), found.rows[-1])
    score = row.score("linear")
    assert score is not None
    return {"stage": row.stage, "accuracy": score.figures["accuracy"], "validation": score.validation}


class Part:
    """One generator with its data, and the cells to fill."""

    def __init__(self, name: str, plan: Plan, both: Sequence[float], latent: Sequence[float]) -> None:
        self.name, self.plan = name, plan
        self.views = {f"both-{std}" if std else "pixels-alone": (std, True) for std in both}
        self.views |= {f"latent-{std}": (std, False) for std in latent}

    def jobs(self, args: argparse.Namespace) -> Iterator[FileJob]:
        """List a job for each kind of pair, and for each control, and seed."""
        for kind in [*self.views, *self.more(), *CONTROLS]:
            for seed in range(1 if kind == "pixels" else self.plan.seeds):
                name = f"{self.name}-{kind}-{seed}"
                yield FileJob(name, args.cells / f"{name}.json", partial(self.cell, args, kind, seed), failed)

    def more(self) -> list[str]:
        """Name further kinds of pairs."""
        return []

    def cell(self, args: argparse.Namespace, kind: str, seed: int) -> dict[str, Any]:
        """Train and probe one network."""
        data = self.data(args)
        if kind == "pixels":
            return probed(raw_input(network(0)), data)
        if kind == "random":
            return probed(network(seed), data)
        if kind == "supervised":
            return probed(supervised(seed, self.plan, self.labelled(args, seed), len(data.classes)), data)
        if kind in self.more():
            draw = self.labelled(args, seed)
            return probed(pretrained(pixels(), seed, self.plan, lambda step: draw(step)[0]), data)
        std, crops = self.views[kind]
        generator = self.generator(args)
        views = LatentViews(generator, std=std, pixels=pixels() if crops else None)
        told = {"kept": kept(generator, std)} if hasattr(generator, "labels") else {}
        blank = torch.zeros(self.plan.batch, 3, SIDE, SIDE)  # what is loaded does not count
        return {**probed(pretrained(views, seed, self.plan, lambda _: blank), data), **told}

    def generator(self, args: argparse.Namespace) -> LatentGenerator:
        """Make the generator."""
        raise NotImplementedError

    def data(self, args: argparse.Namespace) -> Any:
        """Open what is probed."""
        raise NotImplementedError

    def labelled(self, args: argparse.Namespace, seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Return what gives the pictures and labels of a step."""
        raise NotImplementedError

    def results(self, args: argparse.Namespace) -> dict[str, Any]:
        """Say what has been found so far."""
        found: dict[str, list[dict[str, Any]]] = {}
        for job in self.jobs(args):
            result = read_result(job.file)
            if result and "accuracy" in result:
                found.setdefault(job.label.removeprefix(f"{self.name}-").rpartition("-")[0], []).append(result)
        said = {
            kind: {
                "accuracy, %": interval([one["accuracy"] for one in cells]),
                "validation, %": interval([one["validation"] for one in cells]),
                "stages": [one["stage"] for one in cells],
                **({"neighbours of one class, %": round(100 * cells[0]["kept"], 1)} if "kept" in cells[0] else {}),
            }
            for kind, cells in found.items()
        }
        return {"cells": said, "chosen by validation": self.chosen(found)}

    def chosen(self, found: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
        """Choose a step for each family of pairs by the mean validation, and say whether the curve rises and falls."""
        chosen: dict[str, str] = {}
        for family in ("both", "latent"):
            kinds = [kind for kind in self.views if kind.startswith(family) and kind in found]
            if not kinds:
                continue
            means = {kind: statistics.mean(one["validation"] for one in found[kind]) for kind in kinds}
            best = max(means, key=lambda kind: means[kind])
            place = kinds.index(best)
            shape = "rises and falls" if 0 < place < len(kinds) - 1 else "falls" if place == 0 else "rises"
            accuracy = interval([one["accuracy"] for one in found[best]])
            chosen[family] = f"{best}: {accuracy} %; over the steps validation {shape}"
        return chosen


class Rendered(Part):
    """The renderer of shapes."""

    def generator(self, args: argparse.Namespace) -> LatentGenerator:
        return Shapes(SIDE, STYLE)

    def data(self, args: argparse.Namespace) -> Any:
        plan = self.plan
        return Generated(Shapes(SIDE, STYLE), train_items=plan.train, test_items=plan.test, batch_size=256)

    def labelled(self, args: argparse.Namespace, seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        shapes = Shapes(SIDE, STYLE)

        def drawn(step: int) -> tuple[Tensor, Tensor]:
            latents = shapes.sample(self.plan.batch, rng("cpu", seed, "labelled", step))
            return shapes.decode(latents), shapes.labels(latents)

        return drawn


class Photos(Part):
    """A VAE of CIFAR-10, and its real images."""

    def more(self) -> list[str]:
        return ["real-pixels-alone"]

    def generator(self, args: argparse.Namespace) -> LatentGenerator:
        run = args.out / "vae"
        if not (run / "checkpoints" / "last.ckpt").exists():
            own = ["--data.root", str(args.root / "cifar10" / "train"), "--data.split.limit", str(self.plan.vae_items)]
            own += ["--trainer.max_steps", str(self.plan.vae_steps), "--trainer.accelerator", "cpu"]
            must(["fit", "-c", "generated/vae", *own, "--trainer.default_root_dir", str(run)])
        return TrainedGenerator(run)

    def data(self, args: argparse.Namespace) -> Any:
        split = Splitting(limit=self.plan.train)
        return ImageFolder(args.root / "cifar10", canvas=SIDE, batch_size=256, split=split)

    def labelled(self, args: argparse.Namespace, seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
        split = Splitting(limit=5 * self.plan.train)
        data = ImageFolder(args.root / "cifar10", canvas=SIDE, batch_size=256, split=split)
        x, y = (torch.cat([batch[name] for batch in data.ordered("train")]) for name in ("x", "y"))

        def drawn(step: int) -> tuple[Tensor, Tensor]:
            places = torch.randint(len(x), (self.plan.batch,), generator=rng("cpu", seed, "labelled", step))
            return x[places] / 255, y[places]

        return drawn


def kept(generator: Any, std: float) -> float:
    """Tell the share of neighbours that have the anchor's class."""
    anchor, step = (generator.sample(4000, rng("cpu", "kept", k)) for k in range(2))
    return float((generator.labels(anchor) == generator.labels(anchor + std * step)).float().mean())


def failed(reason: str) -> dict[str, str]:
    """Note why a cell failed."""
    return {"failed": reason}


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and fill the cells that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder that holds cifar10/; without it the shapes alone")
    parser.add_argument("--out", type=Path, default=Path("runs/generated-views"))
    parser.add_argument("--cells", type=Path, default=CELLS, help="folder of finished cells")
    parser.add_argument("--dry", action="store_true")
    args = parser.parse_args(words)
    plan = Plan(args.dry)
    parts: list[Part] = [Rendered("shapes", plan, plan.both, plan.latent)]
    parts += [Photos("cifar10", plan, plan.vae_both, plan.vae_latent)] if args.root else []

    def write() -> None:
        file = RESULT if args.cells == CELLS else args.cells.parent / RESULT.name
        about = {"command": "python benchmarks/generated_views.py --root DATA", "plan": vars(plan)}
        save(file, {**about, **{part.name: part.results(args) for part in parts}})

    for part in parts:
        finish(list(part.jobs(args)), lambda job: job, write, "generated views")
    write()


if __name__ == "__main__":
    main()
