"""What the benchmarks share: the command line as a user calls it, intervals over seeds, a supervised run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t as student  # comes with scikit-learn
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from pretext.__main__ import main as pretext
from pretext.core.rng import rng, seed_of
from pretext.training.optimization import learning_rate
from pretext.training.precision import cpu_has_bfloat16
from pretext.training.pretrainer import Pretrainer


def as_trained() -> torch.autocast:
    """Return the context in which `bf16-mixed` computes on this processor: float32 where it has no fast bfloat16."""
    return torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16())


def must(args: list[str]) -> None:
    """Call the command line and stop where it fails."""
    if code := pretext(args):
        raise SystemExit(code)


def save(file: Path, content: object) -> None:
    """Write JSON so that the file is either whole or not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1))
    draft.replace(file)


def interval(values: list[float], digits: int = 1) -> str:
    """Mean in percent with the half-width of its 95 % interval over seeds (Student's t)."""
    mean = 100 * statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.{digits}f}"
    half = 100 * statistics.stdev(values) / len(values) ** 0.5 * float(student.ppf(0.975, len(values) - 1))
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def train_on_labels(module: Pretrainer, data: Any, steps: int, images: int) -> None:
    """Train a module's backbone on labels in a plain loop, with its optimiser, schedule and crops."""
    head = nn.Linear(module.backbone.dim, len(data.classes))
    optim = module.rates.optim
    optimizer = optim.optimizer([*module.backbone.parameters(), *head.parameters()])
    schedule = LambdaLR(optimizer, lambda step: learning_rate(step, steps, optim))
    module.backbone.train()
    for step, (canvases, labels) in zip(range(steps), _batches(data, images), strict=False):
        torch.manual_seed(seed_of(module.seed, "supervised", step))
        assert module.augment is not None
        generator = rng("cpu", module.seed, "supervised", "augment", step)
        x = module.augment(canvases, generator)
        with as_trained():
            loss = nn.functional.cross_entropy(head(module.look(x).pooled), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            print(f"supervised: step {step}/{steps}  loss {loss.item():.3f}", flush=True)


def _batches(data: Any, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of so many images, gathered from the loader's, over as many epochs as it takes."""
    kept: dict[str, Tensor] = {}
    loader, epoch = data.train_dataloader(), 0
    while True:
        loader.set_epoch(epoch)
        for batch in loader:
            kept = {key: torch.cat([kept[key], batch[key]]) if kept else batch[key] for key in ("x", "y")}
            while len(kept["y"]) >= images:
                yield kept["x"][:images], kept["y"][:images]
                kept = {key: value[images:] for key, value in kept.items()}
        epoch += 1
