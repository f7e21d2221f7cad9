"""What turns loaded data into what a network sees: canvas, augmentation, modality."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Generator, Tensor
from torch.nn import functional as F

from pretext.backbones.multimodal import MultiModal
from pretext.core.errors import described, require
from pretext.core.tree import mapped
from pretext.core.types import Backbone, Tree
from pretext.training.batches import lawful
from pretext.views.augment import Augment, unit


class InputPipeline:
    """Turns batches as they are loaded into what a network sees, in training at random and in evaluation always alike.

    Canvases of another side than in training are resized to it first, or the crop would cut out another share. Sounds
    (int16) are brought to [-1, 1]; of several modalities each is treated after its kind.

    Args:
        backbone: the network, or a `MultiModal` of several.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        modality: that the backbone was for, where it was one of several.

    """

    def __init__(self, backbone: Backbone, augment: Augment | None = None, modality: str | None = None) -> None:
        crop = augment if isinstance(augment, int) else 28
        is_one = augment is None or isinstance(augment, Augment)
        require(is_one, "Augment", f"augment is {described(augment)}", f"give pretext.Augment(crop={crop}), or none")
        self.backbone, self.augment, self.modality = backbone, augment, modality
        self.canvas: int | None = None  # side of the canvases that it is trained on; travels in the checkpoint

    def train_input(self, x: Tree, generator: Generator) -> Tree:
        """Turn uint8 canvases (N, C, S, S) or clips of them into crops in [0, 1], and remember the canvases' side."""
        self.canvas = canvas_of(x)
        return mapped(unit, x) if self.augment is None else self.augment(x, generator)

    def augmented(self, x: Tree, generator: Generator) -> Tree:
        """Turn canvases into crops as in training, but of canvases of the side that training had.

        Raises:
            ValueError: there is no augmentation.

        """
        if self.augment is None:
            raise ValueError(
                "InputPipeline: there is no augmentation to make views with; name one, such as "
                "--model.augment pretext.Augment --model.augment.crop 32"
            )
        return self.augment(_sized(x, self.canvas), generator)

    def centre(self, x: Tree) -> Tree:
        """Turn canvases into what evaluation sees: centre crops in [0, 1]."""
        x = _sized(x, self.canvas)
        return mapped(unit, x) if self.augment is None else self.augment.centre(x)

    def eval_input(self, x: Tree, modality: str | None = None) -> Tree:
        """Turn a batch into what one network sees in evaluation: a `modality` of `centre`, as its axes want it.

        An image backbone sees the frames of clips, (N T, C, H, W); its features are to be averaged.

        Raises:
            ValueError: the batch has no such modality, or several and none is named.

        """
        if isinstance(x, dict) and modality is not None:
            if modality not in x:
                raise ValueError(
                    f"InputPipeline: the data has no {modality!r}, only {sorted(x)}; set the data's `modalities`"
                )
            x = x[modality]
        return self.for_network(self.centre(x), modality)

    def for_network(self, x: Tree, modality: str | None = None) -> Tree:
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
                f"InputPipeline: {type(network).__name__} reads {network.axes!r}, the data has {got}; choose other data"
            )
        return x

    def describe_view(self, modality: str | None = None) -> str:
        """Say in words what evaluation sees of an item."""
        if self.network(modality)[0].axes == "t":
            return "as loaded, as in training"
        crop = self.augment.crop if self.augment and self.augment.crop else self.canvas
        if self.canvas is None:
            return "canvases as loaded" if crop is None else f"centre {crop} px of canvases as loaded"
        return f"centre {crop} px of canvases of {self.canvas} px, as in training"

    def network(self, modality: str | None = None) -> tuple[Backbone, str | None]:
        """Return the backbone, or of a `MultiModal` one network (the first, unless named) with its modality.

        Raises:
            ValueError: there is no such network.

        """
        if not isinstance(self.backbone, MultiModal):
            if modality not in (None, self.modality):
                raise ValueError(
                    f"InputPipeline: no modality {modality!r} to choose: {type(self.backbone).__name__} is one network"
                )
            return self.backbone, self.modality
        names = list(self.backbone.backbones)
        modality = modality or names[0]
        if modality not in names:
            raise ValueError(f"InputPipeline: the backbone has no network for {modality!r}, only for {names}")
        return self.backbone.network(modality), modality


def canvas_of(x: Tree) -> int | None:
    """Find the side of the pictures of a batch; None where there is only sound."""
    parts = x.values() if isinstance(x, dict) else [x]
    return next((int(part.shape[-1]) for part in parts if part.ndim > 3), None)


def items_of(batch: Any) -> int:
    """Count the items of a training batch, of one in two halves those of both."""
    if isinstance(batch, Mapping) and "index" in batch:
        return len(batch["index"])
    if isinstance(batch, Mapping) and "x" not in batch:
        return sum(len(half["index"]) for half in batch.values())
    return len(lawful(batch)["index"])


def by_item(rows: Tensor, items: int) -> Tensor:
    """Average rows that stand item by item, as an image backbone sees the frames of clips: (items, D)."""
    return rows.view(items, -1, rows.shape[-1]).mean(1)


def _sized(x: Tree, canvas: int | None) -> Tree:
    return x if canvas is None else mapped(partial(_resized, side=canvas), x)


def _resized(x: Tensor, side: int) -> Tensor:
    """Resize canvases (N, C, S, S) or clips of them; sounds and what has that side already stay as they are."""
    if x.ndim < 4 or x.shape[-1] == side:
        return x
    frames = x.flatten(1, -3)  # of a clip all at once
    return F.interpolate(frames, (side, side), mode="bilinear", antialias=True).view(*x.shape[:-2], side, side)
