"""A generator out of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, cast

from torch import Generator, Tensor, nn

from pretext.core.built import Built
from pretext.core.errors import require
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import load
from pretext.views.latent.generator import LatentGenerator


class TrainedGenerator(Built, nn.Module):
    """The generator that a run trained, such as a `VAE`: a `LatentGenerator` that can also encode. It stays as it is.

    Args:
        run: its folder.
        task: which task of the run generates; none: the first that does.

    Raises:
        FileNotFoundError: there is no run, or no checkpoint in it.
        ValueError: the run has no such task.

    """

    def __init__(self, run: str | Path, task: str | None = None) -> None:
        super().__init__()
        host = load(run)
        tasks: dict[str, Any] = dict(host.tasks.items()) if isinstance(host, Pretrainer) else {}
        able = [name for name, one in tasks.items() if isinstance(one, LatentGenerator)]
        name = task if task is not None else next(iter(able), None)
        said = f"{run} has {', '.join(tasks) or 'no tasks'}" if task is None else f"{task=} of {run}"
        require(name in able, self, f"{said}, but that generates nothing", "give a run of pretext.VAE")
        self.backbone, self.task = host.backbone, tasks[cast(str, name)]
        self.eval().requires_grad_(False)

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw latents (count, D)."""
        return cast(LatentGenerator, self.task).sample(count, generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Make pictures (N, 3, size, size) in [0, 1]."""
        return cast(LatentGenerator, self.task).decode(latents)

    def encode(self, images: Tensor) -> Tensor:
        """Find latents (N, D) of pictures (N, 3, S, S) in [0, 1], of the size that the run was trained on."""
        dtype = next(self.backbone.parameters()).dtype
        found: Tensor = cast(Any, self.task).encode(self.backbone(images.to(dtype)))
        return found

    def train(self, mode: bool = True) -> Self:
        return self  # its host's train() reaches every module inside; a generator stays in evaluation mode
