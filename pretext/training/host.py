"""What every Lightning module with a backbone shares: how it looks at data, and how its optimiser is run."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Generator, Tensor
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from pretext.backbones.multimodal import MultiModal
from pretext.core.rng import rng, seed_of
from pretext.core.tree import mapped
from pretext.core.types import Backbone, Seen, Tree
from pretext.views.augment import Augment, unit

OptimizerFactory = Callable[[Iterable[Any]], Optimizer]
"""Builds the optimiser from parameters, or from groups of them."""
Schedule = Literal["cosine", "constant"]


class Host(pl.LightningModule, ABC):
    """A module whose backbone is trained, probed or fine-tuned.

    Args:
        backbone: the network.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optimizer: builds the optimiser from the parameters (a class and its other arguments).
        schedule: of the learning rate after the warm-up.
        warmup: share of all steps in which the learning rate grows linearly to its full value.
        seed: first part of the key of all chance.
        channels_last: lay images and clips out channel by channel last, which is faster on many devices.
        compile: compile the backbone with `torch.compile`.

    Raises:
        ValueError: a warm-up outside [0, 1].

    """

    def __init__(
        self,
        backbone: Backbone,
        augment: Augment | None = None,
        optimizer: OptimizerFactory = AdamW,
        schedule: Schedule = "cosine",
        warmup: float = 0.05,
        seed: int = 0,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= warmup <= 1:
            raise ValueError(f"{type(self).__name__}: warmup is a share of all steps in [0, 1], got {warmup}")
        self.backbone = backbone
        self.augment = augment
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup = warmup
        self.seed = seed
        self.channels_last = channels_last
        self.compile_backbone = compile
        self.modality: str | None = None  # that the backbone was for, where it was one of several
        self.canvas: int | None = None  # side of the canvases that it is trained on; travels in the checkpoint

    def setup(self, stage: str) -> None:
        if self.channels_last:
            for parameter in self.backbone.parameters():
                parameter.data = _channels_last(parameter.data)
        if self.compile_backbone:
            self.backbone.compile()

    def look(self, question: Tree) -> Seen:
        """Let the backbone see a question: the one place where it is called in training."""
        dtype = next(self.backbone.parameters()).dtype  # bfloat16 where the weights are
        question = mapped(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, question)
        return self.backbone(mapped(_channels_last, question) if self.channels_last else question)

    def view(self, x: Tree) -> Tree:
        """Turn uint8 canvases (N, C, S, S) or clips of them into what evaluation sees: centre crops in [0, 1].

        Canvases of another side than in training are resized to it first, or the crop would cut out another share.
        Sounds (int16) are brought to [-1, 1]; of several modalities each is treated after its kind.
        """
        x = self._sized(x)
        return mapped(unit, x) if self.augment is None else self.augment.centre(x)

    def augmented(self, x: Tree, chance: Generator) -> Tree:
        """Turn canvases as `view` does, but into crops as training sees them, by `chance`.

        Raises:
            ValueError: there is no augmentation.

        """
        if self.augment is None:
            raise ValueError(
                f"{type(self).__name__}: there is no augmentation to make views with; name one, such as "
                "--model.augment pretext.Augment --model.augment.crop 32"
            )
        return self.augment(self._sized(x), chance)

    def _sized(self, x: Tree) -> Tree:
        return x if self.canvas is None else mapped(partial(_resized, side=self.canvas), x)

    def network(self, modality: str | None = None) -> tuple[Backbone, str | None]:
        """Return the backbone, or of a `MultiModal` one network (the first, unless named) with its modality.

        Raises:
            ValueError: there is no such network.

        """
        if not isinstance(self.backbone, MultiModal):
            if modality not in (None, self.modality):
                raise ValueError(
                    f"{type(self).__name__}: no modality {modality!r} to choose: "
                    f"{type(self.backbone).__name__} is one network"
                )
            return self.backbone, self.modality
        names = list(self.backbone.backbones)
        modality = modality or names[0]
        if modality not in names:
            raise ValueError(f"{type(self).__name__}: the backbone has no network for {modality!r}, only for {names}")
        return self.backbone.network(modality), modality

    def seen(self, modality: str | None = None) -> str:
        """Say in words what evaluation sees of an item."""
        if self.network(modality)[0].axes == "t":
            return "as loaded, as in training"
        crop = self.augment.crop if self.augment and self.augment.crop else self.canvas
        if self.canvas is None:
            return "canvases as loaded" if crop is None else f"centre {crop} px of canvases as loaded"
        return f"centre {crop} px of canvases of {self.canvas} px, as in training"

    def shown(self, x: Tree, modality: str | None = None) -> Tree:
        """Turn a batch into what one network is shown in evaluation: a `modality` of `view`, as its axes want it.

        An image backbone is shown the frames of clips, (N T, C, H, W); its features are to be averaged.

        Raises:
            ValueError: the batch has no such modality, or several and none is named.

        """
        if isinstance(x, dict) and modality is not None:
            if modality not in x:
                raise ValueError(
                    f"{type(self).__name__}: the data has no {modality!r}, only {sorted(x)}; set its `modalities`"
                )
            x = x[modality]
        return self.arranged(self.view(x), modality)

    def arranged(self, x: Tree, modality: str | None = None) -> Tree:
        """Bring crops in [0, 1] to the shape that one network reads, its `modality` taken out of several.

        Raises:
            ValueError: the crops have no such modality, or several and none is named.

        """
        if isinstance(x, dict) and modality in x:
            x = x[modality]
        network, _ = self.network(modality)
        if isinstance(x, Tensor) and x.ndim == 5 and network.axes == "hw":
            return x.transpose(1, 2).flatten(0, 1)
        if not isinstance(x, Tensor) or x.ndim != 2 + len(network.axes):
            got = f"a dict of {sorted(x)}" if isinstance(x, dict) else f"{tuple(x.shape)}"
            raise ValueError(
                f"{type(self).__name__}: {type(network).__name__} reads {network.axes!r}, the data has {got}; "
                "choose other data"
            )
        return x

    def train_view(self, x: Tree, batch_idx: int) -> Tree:
        """Turn a loaded batch into what training sees: crops in [0, 1], by chance keyed with epoch and batch."""
        key = (self.global_rank, self.current_epoch, batch_idx)
        torch.manual_seed(seed_of(self.seed, "train", "network", *key))  # dropout: a resumed run drops the same
        self.canvas = canvas_of(x)
        with torch.no_grad():
            chance = rng(self.device, self.seed, "train", "augment", *key)
            return mapped(unit, x) if self.augment is None else self.augment(x, chance)

    def groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups of parameters: one of all that are trained, unless a module has others."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.optimizer(self.groups())
        self.options = [{key: value for key, value in g.items() if key != "params"} for g in optimizer.param_groups]
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["canvas"] = self.canvas

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.canvas = checkpoint["canvas"]

    def on_train_start(self) -> None:
        # Not in configure_optimizers: there this property makes Lightning open the training data before it has restored
        # where in the epoch a resumed run stopped, and the run would begin the epoch anew.
        self.steps = self.trainer.estimated_stepping_batches
        for group, options in zip(self.trainer.optimizers[0].param_groups, self.options, strict=True):
            group.update(options)  # the config decides, not what the resumed checkpoint says of rates and decays

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        factor = learning_rate(self.trainer.global_step, self.steps, self.warmup, self.schedule)
        for group, options in zip(self.trainer.optimizers[0].param_groups, self.options, strict=True):
            group["lr"] = options["lr"] * factor


def learning_rate(step: int, total: float, warmup: float, schedule: str) -> float:
    """Scale the learning rate at `step` of `total`: a pure function, so that a resumed run needs no scheduler's state.

    Linear over the share `warmup` of all steps, then constant or half a cosine down to 0 at step `total`. Where the end
    is not known (`total` infinite) there is neither warm-up nor cosine.
    """
    if not math.isfinite(total):
        return 1.0
    grown = math.ceil(warmup * total)
    if step < grown:
        return (step + 1) / (grown + 1)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - grown) / max(1, total - grown)))


def by_item(rows: Tensor, items: int) -> Tensor:
    """Average rows that stand item by item, as an image backbone sees the frames of clips: (items, D)."""
    return rows.view(items, -1, rows.shape[-1]).mean(1)


def _channels_last(x: Tensor) -> Tensor:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.ndim]) if x.ndim in formats else x


def canvas_of(x: Tree) -> int | None:
    """Find the side of the pictures of a batch; None where there is only sound."""
    parts = x.values() if isinstance(x, dict) else [x]
    return next((int(part.shape[-1]) for part in parts if part.ndim > 3), None)


def _resized(x: Tensor, side: int) -> Tensor:
    """Resize canvases (N, C, S, S) or clips of them; sounds and what has that side already stay as they are."""
    if x.ndim < 4 or x.shape[-1] == side:
        return x
    frames = x.flatten(1, -3)  # of a clip all at once
    return F.interpolate(frames, (side, side), mode="bilinear", antialias=True).view(*x.shape[:-2], side, side)
