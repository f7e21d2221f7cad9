"""Whole steps of every image task against the bare backbone on the same question, with the time of `pose` alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from schedule import Answer, Clock, Part, Question
from steps import TASKS

from gpu_parts.setting import REPOSITORY, Setting
from pretext.core.rng import rng
from pretext.core.tree import leaves
from pretext.core.types import Tree
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import build, read

CONFIGS = REPOSITORY / "configs" / "image"
ALL = "all.yaml's nine"


def part(setting: Setting) -> Part:
    """Make the part."""
    least = setting.size(8.0, 1.0)
    asked = [Question(name, partial(alone, setting, name), least) for name in TASKS]
    asked.append(Question(ALL, partial(together, setting), least))
    return Part("tasks", "tasks' steps against the backbone", 0.08, lambda: asked, table)


def alone(setting: Setting, name: str, clock: Clock, before: Answer) -> Answer:
    """Time one task of `configs/image/photos` on a ResNet-50 (split-brain keeps its two halves), 64 crops of 96 px."""
    net = setting.size("{name: resnet50}", "{name: resnet18, width: 0.125}")
    same = [] if name == "split_brain" else ["--model.backbone", "pretext.TorchVision"]
    same += [] if name == "split_brain" else ["--model.backbone.init_args", net]
    module = built(setting, f"photos/{name}.yaml", same)
    crops = torch.rand(setting.size(64, 4), 3, 96, 96, device=setting.device)
    return measure(setting, module, crops)


def together(setting: Setting, clock: Clock, before: Answer) -> Answer:
    """Time the nine tasks of `configs/image/all.yaml` on one batch of 64 crops of 32 px, as the config has them."""
    module = built(setting, "all.yaml", [])
    crops = torch.rand(setting.size(64, 4), 3, 32, 32, device=setting.device)
    return measure(setting, module, crops)


def built(setting: Setting, config: str, options: list[str]) -> Pretrainer:
    """Build a config's module on the device, channels last, without its data."""
    content = {key: value for key, value in read(CONFIGS / config).items() if key != "data"}
    module, _ = build(content, [*options, "--model.execution.channels_last", "true"])
    assert isinstance(module, Pretrainer)
    module.setup("fit")
    return module.to(setting.device)


def measure(setting: Setting, module: Pretrainer, crops: torch.Tensor) -> Answer:
    """Alternate whole steps, the backbone alone and `pose` alone; times in ms."""
    tasks: list[tuple[str, Any]] = list(module.tasks.items())
    questions = [task.pose(crops, rng(setting.device, "gpu", name)).question for name, task in tasks]
    step = iter(range(1_000_000))

    def whole() -> None:
        module.zero_grad()
        key = next(step)
        with torch.autocast(setting.device, torch.bfloat16):
            losses = [module.exam(task, crops, "gpu", name, key).loss for name, task in tasks]
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]  # torch's

    def backbone() -> None:
        module.zero_grad()
        for question in questions:
            with torch.autocast(setting.device, torch.bfloat16):
                _backward(module, question)

    @torch.no_grad()
    def pose() -> None:
        key = next(step)
        for name, task in tasks:
            task.pose(crops, rng(setting.device, "gpu", name, key))

    ms = _alternated(setting, {"whole": whole, "backbone": backbone, "pose": pose})
    ratios = [ours / bare for ours, bare in zip(ms["whole"], ms["backbone"], strict=True)]
    middles = {f"{name}_ms": statistics.median(values) for name, values in ms.items()}
    shape = str(tuple(next(iter(leaves(questions[0]))).shape)) if len(tasks) == 1 else f"{len(tasks)} questions"
    return {**middles, "ratios": ratios, "question": shape}


def _backward(module: Pretrainer, question: Tree) -> None:
    features: Any = module.look(question)
    ends = [*features.stages.values(), features.pooled]
    torch.autograd.backward(ends, [torch.ones_like(end) for end in ends])


def _alternated(setting: Setting, what: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
    """Time each in turn, three times; milliseconds per call."""
    for step in what.values():
        setting.time(step, setting.size(5, 1))
    ms: dict[str, list[float]] = {name: [] for name in what}
    for _ in range(setting.size(3, 1)):
        for name, step in what.items():
            ms[name].append(1e3 * setting.time(step, setting.size(10, 1)))
    return ms


def table(answers: dict[str, Answer]) -> list[str]:
    """Lay out the rows of the table."""
    lines = ["| task | question | whole step | backbone | ratio | pose |", "|---|---|---|---|---|---|"]
    for name, answer in answers.items():
        if "ratios" in answer:
            whole, bare, pose = (answer[f"{part}_ms"] for part in ("whole", "backbone", "pose"))
            ratio = f"{statistics.median(answer['ratios']):.3f}"
            cells = f"{answer['question']} | {whole:.1f} ms | {bare:.1f} ms | {ratio} | {pose:.2f} ms"
            lines.append(f"| {name.replace('_', ' ')} | {cells} |")
    return lines
