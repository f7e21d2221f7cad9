"""Generators out of runs, and walks through what they draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Generator, Tensor, nn

from pretext.core.built import Built
from pretext.core.errors import require
from pretext.core.rng import rng
from pretext.core.types import Panel
from pretext.evaluation.embed import moved as to_device
from pretext.ops.drawing import panels
from pretext.training.batches import lawful
from pretext.training.host import Host
from pretext.training.pretrainer import Pretrainer
from pretext.training.puzzles import Rows
from pretext.training.run import load
from pretext.views.latent.generator import InvertibleGenerator, LatentGenerator, decoded
from pretext.views.latent.operations import fitted_direction, interpolated, moved, sought
from pretext.views.latent.views import LatentViews

_LOOKED_AT = 4096  # latents, or pictures, that a direction is fitted to
_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)


class HostGenerator(nn.Module):
    """What a task draws, and a backbone encodes: a `LatentGenerator` that can also encode. It stays as it is.

    Args:
        backbone: of a `Pretrainer`.
        task: one of its tasks that has `sample`, `decode` and `encode(features)`, such as a `VAE`.

    """

    def __init__(self, backbone: nn.Module, task: nn.Module) -> None:
        super().__init__()
        self.backbone, self.task = backbone, task

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw latents (count, D)."""
        return cast(LatentGenerator, self.task).sample(count, generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Make pictures (N, 3, size, size) in [0, 1]."""
        return cast(LatentGenerator, self.task).decode(latents)

    def encode(self, images: Tensor) -> Tensor:
        """Find latents (N, D) of pictures (N, 3, S, S) in [0, 1], of the size that the backbone was trained on."""
        dtype = next(self.backbone.parameters()).dtype
        found: Tensor = cast(Any, self.task).encode(self.backbone(images.to(dtype)))
        return found

    def features(self, latents: Tensor) -> Tensor:
        """Tell the decoder's own features (N, F), where the task has some, else the latents."""
        own: Any = getattr(self.task, "features", None)
        return latents if own is None else cast(Tensor, own(latents))


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
        self.network = HostGenerator(host.backbone, tasks[cast(str, name)])
        self.eval().requires_grad_(False)

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Draw latents (count, D)."""
        return self.network.sample(count, generator)

    def decode(self, latents: Tensor) -> Tensor:
        """Make pictures (N, 3, size, size) in [0, 1]."""
        return self.network.decode(latents)

    def encode(self, images: Tensor) -> Tensor:
        """Find latents (N, D) of pictures (N, 3, S, S) in [0, 1], of the size that the run was trained on."""
        return self.network.encode(images)

    def features(self, latents: Tensor) -> Tensor:
        """Tell the decoder's own features, (N, F)."""
        return self.network.features(latents)

    def train(self, mode: bool = True) -> Self:
        return self  # its host's train() reaches every module inside; a generator stays in evaluation mode


def generator_of(module: Host) -> LatentGenerator:
    """Find what a module draws with: a task of it, or the generator of its views.

    Raises:
        ValueError: it draws nothing.

    """
    tasks = list(module.tasks.values()) if isinstance(module, Pretrainer) else []
    for task in tasks:
        if isinstance(task, LatentGenerator):
            return HostGenerator(module.backbone, cast(nn.Module, task))
    views = [part for task in tasks for part in task.modules() if isinstance(part, LatentViews)]
    require(bool(views), "walk", "a run or config that draws nothing", "give one with pretext.VAE or LatentViews")
    return views[0].generator


@torch.no_grad()
def walk(generator: LatentGenerator, device: torch.device, count: int, direction: Tensor | None = None) -> Rows:
    """Draw `count` walks, each a row of five pictures: along a direction (D,), or from one drawn picture to another."""
    start, end = (generator.sample(count, rng(device, "walk", k)) for k in range(2))
    if direction is None:
        stops = [(f"{share:.0%} of the way", interpolated(start, end, share)) for share in _SHARES]
    else:
        stops = [(f"{step:+g} along" if step else "as drawn", moved(start, direction, step)) for step in _STEPS]
    columns: list[list[Panel]] = [panels(decoded(generator, z).float().cpu(), said) for said, z in stops]
    return [list(row) for row in zip(*columns, strict=True)]


_NO_CLASSES = (
    "neither the generator nor the data has classes; show labelled pictures, "
    "--data datamodules.ImageFolder --data.root DIR"
)


@torch.no_grad()
def direction_between(generator: LatentGenerator, module: Host, data: Any, names: Sequence[str]) -> Tensor:
    """Fit the direction (D,) from what has one attribute to what has another.

    An attribute is one of the generator's `attribute_names` or `classes`, of which it tells the latents, or else a
    class of the data, whose pictures are encoded.

    Args:
        generator: draws, and perhaps encodes.
        module: turns pictures into what is encoded.
        data: labelled, where the generator knows no attribute itself.
        names: of two attributes.

    Raises:
        ValueError: not two names, one that is not known, or nothing drawn has one of them.

    """
    told: dict[str, tuple[str, int]] = {}
    for kind, teller in (("classes", "labels"), ("attribute_names", "attributes")):
        if hasattr(generator, teller):
            told |= {name: (teller, k) for k, name in enumerate(getattr(generator, kind, []))}
    classes = list(getattr(data, "classes", [])) if isinstance(generator, InvertibleGenerator) and not told else []
    known = [*told, *classes]
    got = f"--walk {','.join(names)}"
    wanted = f"name two of {', '.join(known)}" if known else _NO_CLASSES
    require(len(names) == 2 and set(names) <= set(known), "walk", got, wanted)
    if told:
        parts = [_told(generator, module, *told[name]) for name in names]
    else:
        parts = _encoded(cast(InvertibleGenerator, generator), module, data, [classes.index(name) for name in names])
    return fitted_direction(*parts)


def _told(generator: LatentGenerator, module: Host, teller: str, place: int) -> Tensor:
    def having(latents: Tensor) -> Tensor:
        found: Tensor = getattr(generator, teller)(latents)
        return found == place if found.ndim == 1 else found[:, place] > 0

    return sought(generator, having, _LOOKED_AT, rng(module.device, "walk", "attributes"))[1]


def _encoded(generator: InvertibleGenerator, module: Host, data: Any, places: Sequence[int]) -> list[Tensor]:
    """Encode pictures of some classes, by class."""
    found: dict[int, list[Tensor]] = {place: [] for place in places}
    for batch in data.ordered("train", _LOOKED_AT):
        one = lawful(batch)
        latents = generator.encode(module.inputs.centre(to_device(one["x"], module.device)))
        for place in places:
            found[place].append(latents[(one["y"] == place).to(latents.device)])
    return [torch.cat(rows) for rows in found.values()]
