"""Steps of `pretext fit` against a bare loop on ready-made tensors: what the framework and the loader add."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from shutil import rmtree
from typing import Any, NamedTuple

import torch
from schedule import Answer, Clock, Part, Question
from torch import nn

import pretext
from gpu_parts.callbacks import Marks, Nothing, marks_of
from gpu_parts.setting import Setting
from pretext.core.types import Backbone

Config = dict[str, Any]
TURNS = 4  # of every image, so many images go through the backbone


class Case(NamedTuple):
    """A network, its data, and which steps are timed."""

    make: Callable[[], Backbone]
    backbone: Config
    """The same in a config."""
    crop: int
    canvas: int
    batch: int
    photos: bool
    limit: int
    """Of the training images: one epoch has limit / batch steps."""
    first: tuple[int, int]
    """Steps of the first epoch between which time is taken."""
    later: tuple[int, int] | None
    """Steps of a later epoch; None where every epoch decodes anew."""
    recorded: bool = False
    """Are the network's kernels recorded and replayed."""


def network(kind: str, /, **options: Any) -> tuple[Callable[[], Backbone], Config]:
    """Give what builds a backbone, and how a config names it."""
    return partial(getattr(pretext, kind), **options), {"class_path": f"pretext.{kind}", "init_args": options}


def cases(setting: Setting) -> dict[str, Case]:
    """List what is timed."""
    if setting.dry:
        small = network("TorchVision", name="resnet18", stem="small", stem_stride=2, width=0.125)
        return {
            "RotNet's NIN, 32 px": Case(*network("NIN", width=0.1), 32, 32, 4, False, 16, (1, 3), (5, 7)),
            "RotNet's NIN, 32 px, recorded": Case(
                *network("NIN", width=0.1), 32, 32, 4, False, 16, (1, 3), (5, 7), recorded=True
            ),
            "ResNet-18, 32 px, small stem": Case(*small, 32, 32, 4, False, 16, (1, 3), (5, 7)),
            "ResNet-50, 224 px": Case(*small, 64, 72, 4, True, 16, (1, 3), None),
            "does nothing, 8 images": Case(Nothing, NOTHING, 32, 32, 4, False, 16, (1, 3), (5, 7)),
        }
    nin = network("NIN", blocks=4)
    small = network("TorchVision", name="resnet18", stem="small")
    files = (32, 32, 128, False, 20_000, (30, 150), (330, 450))  # CIFAR-10's
    large = network("TorchVision", name="resnet50")
    return {
        "RotNet's NIN, 32 px": Case(*nin, *files),
        "RotNet's NIN, 32 px, recorded": Case(*nin, *files, recorded=True),
        "ResNet-18, 32 px, small stem": Case(*small, *files),
        "ResNet-18, 32 px, small stem, recorded": Case(*small, *files, recorded=True),
        "ResNet-50, 224 px": Case(*large, 224, 240, 64, True, 5_400, (15, 75), None),
        "does nothing, 8 images": Case(Nothing, NOTHING, 32, 32, 8, False, 4_000, (100, 450), (600, 950)),
    }


NOTHING: Config = {"class_path": "gpu_parts.callbacks.Nothing"}


def part(setting: Setting) -> Part:
    """Make the part."""
    least = setting.size(20.0, 1.0)
    asked = [Question(name, partial(measure, setting, name, case), least) for name, case in cases(setting).items()]
    return Part("steps", "`pretext fit` against a bare loop", 0.22, lambda: asked, table)


def measure(setting: Setting, name: str, case: Case, clock: Clock, before: Answer) -> Answer:
    """Alternate bare loop and framework; times in ms, ratios to the mean of the bare loops around."""
    steps = case.later or case.first
    bare = [loop(setting, case, steps[1] - steps[0])]
    first, later, ratios, ratios_later = [], [], [], []
    for repeat in range(setting.size(2, 1)):
        marks = framework(setting, f"steps-{name.replace(',', '').replace(' ', '-')}-{repeat}", case)
        bare.append(loop(setting, case, steps[1] - steps[0]))
        around = statistics.mean(bare[-2:])
        first.append(marks.per_step(*case.first))
        ratios.append(first[-1] / around)
        if case.later:
            later.append(marks.per_step(*case.later))
            ratios_later.append(later[-1] / around)
        if clock.left() < 0:
            break
    middle: Callable[[list[float]], float | None] = lambda values: 1e3 * statistics.median(values) if values else None  # noqa: E731
    times = {"first_ms": middle(first), "later_ms": middle(later), "bare_ms": middle(bare)}
    return {**times, "first_ratios": ratios, "later_ratios": ratios_later, "images": TURNS * case.batch}


def framework(setting: Setting, name: str, case: Case) -> Marks:
    """Run `pretext fit` until the last step that is timed."""
    run = setting.out / "runs" / name
    rmtree(run, ignore_errors=True)
    last = (case.later or case.first)[1]
    marks = {"class_path": "gpu_parts.callbacks.Marks", "init_args": {"steps": [*case.first, *(case.later or ())]}}
    trainer = {"max_steps": last + 1, "max_epochs": -1, "precision": "bf16-mixed", "callbacks": [marks]}
    cli = setting.fit(name, {**model(case), "data": data(setting, case), "trainer": trainer}, run)
    rmtree(run)
    return marks_of(cli.trainer)


def model(case: Case) -> Config:
    """Rotation on the case's backbone."""
    pad = 4 if case.crop == case.canvas else 0
    return {
        "model": {
            "backbone": case.backbone,
            "tasks": {"rotation": {"class_path": "pretext.Rotation"}},
            "augment": {"class_path": "pretext.Augment", "init_args": {"crop": case.crop, "pad": pad}},
            "optim": {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.9}}},
            "execution": {"channels_last": True, "cuda_graphs": case.recorded},
        }
    }


def data(setting: Setting, case: Case) -> Config:
    """Files in class folders, all of them to train on."""
    split: Config = {"val": 0.0, "limit": case.limit}
    options = {"canvas": case.canvas, "batch_size": case.batch, "split": split}
    if case.later is None:
        options["cache"] = 0  # nothing is kept in memory: every epoch is a first one
    root = setting.photos if case.photos else setting.cifar
    return {"class_path": "datamodules.ImageFolder", "init_args": {"root": str(root), **options}}


def loop(setting: Setting, case: Case, steps: int) -> float:
    """Seconds per step of a plain loop on a ready-made batch."""
    device = setting.device
    torch.manual_seed(0)
    net = case.make().to(device)
    head = nn.Linear(net.dim, TURNS).to(device)
    for parameter in net.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD([*net.parameters(), *head.parameters()], lr=0.01, momentum=0.9)
    images = torch.rand(TURNS * case.batch, 3, case.crop, case.crop, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    answers = torch.arange(TURNS, device=device).repeat(case.batch)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16):
            loss = nn.functional.cross_entropy(head(net(images).pooled), answers)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()

    setting.time(step, setting.size(20, 1))
    return setting.time(step, max(steps, 2))


def table(answers: dict[str, Answer]) -> list[str]:
    """Lay out the rows of the table."""
    lines = ["| case | images per step | pretext fit | bare | ratio |", "|---|---|---|---|---|"]
    for name, answer in answers.items():
        if "bare_ms" not in answer:
            continue
        bare = f"{answer['bare_ms']:.2f} ms"
        kinds = ("first", "later") if answer["later_ms"] is not None else ("first",)
        for kind in kinds:
            what = {"first": "first epoch", "later": "later epochs"}[kind] if len(kinds) > 1 else "every epoch decodes"
            ratios = answer[f"{kind}_ratios"]
            ratio = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            ours = f"{answer[f'{kind}_ms']:.2f} ms"
            lines.append(f"| {name}, {what} | {answer['images']} | {ours} | {bare} | {ratio} |")
    return lines
