"""Small networks that read a target off frozen features: linear, or of three convolutions."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.core.errors import require

KINDS = ("linear", "convolutional")
Form = Literal["class", "several", "mask", "map", "vector"]
IGNORED = 255
"""In a mask: a pixel that is not judged."""


class Wanted(NamedTuple):
    """What labels want."""

    form: Form
    outputs: int
    """Classes, channels or numbers"""


def wanted_of(y: Tensor, classes: int) -> Wanted:
    """Tell from a batch's labels what they are.

    int64 (N,): one class; int8 (N, K): several; uint8 (N, S, S): one for each pixel; floats (N, V): a vector; floats
    (N, C, S, S): a map.

    Raises:
        ValueError: labels of another kind, or of fewer than two classes.

    """
    forms: dict[tuple[bool, int], Form] = {
        (True, 2): "vector",
        (True, 4): "map",
        (False, 2): "several",
        (False, 1): "class",
    }
    form: Form | None = "mask" if y.dtype == torch.uint8 and y.ndim == 3 else forms.get((y.is_floating_point(), y.ndim))
    if form is None:
        raise ValueError(f"a target has labels {y.dtype} {tuple(y.shape)}; see datamodules.base for what they may be")
    outputs = classes if form in ("class", "mask") else int(y.shape[1])
    if form in ("class", "mask") and outputs < 2:
        raise ValueError(f"a target of {outputs} class asks nothing; it wants two classes or more")
    return Wanted(form, outputs)


class ReadOut(nn.Module):
    """Read labels off a map of features (N, D, h, w), or off any other map after averaging.

    Args:
        inputs: channels D.
        wanted: what is read.
        kind: "linear": one layer; "convolutional": two 3 x 3 convolutions before it.
        width: channels of those.

    """

    def __init__(self, inputs: int, wanted: Wanted, kind: str, width: int) -> None:
        super().__init__()
        require(kind in KINDS, self, f"{kind=}", f"choose one of {', '.join(KINDS)}")
        self.wanted, self.dense = wanted, wanted.form in ("mask", "map")
        layers: list[nn.Module] = []
        for _ in range(2 if kind == "convolutional" else 0):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.last = nn.Conv2d(inputs, wanted.outputs, 1)

    def forward(self, code: Tensor, side: tuple[int, int] | None = None) -> Tensor:
        """Say (N, outputs), or (N, outputs, *side) of dense targets."""
        code = code if code.ndim == 4 else code.flatten(2).mean(2)[..., None, None]
        if self.dense and min(code.shape[-2:]) < 2:
            raise ValueError(
                f"ReadOut wants a place for each part of the picture, but the stage has {tuple(code.shape[-2:])}; "
                "name a stage that is less deep (readout.stage), or take a larger canvas"
            )
        said: Tensor = self.last(self.body(code))
        if not self.dense:
            return said.mean((-2, -1))
        return F.interpolate(said, side, mode="bilinear") if side is not None else said

    def losses(self, code: Tensor, y: Tensor) -> Tensor:
        """Grade each item, (N,): by cross-entropy, or the squared error of numbers. What is not judged is left out."""
        said: Tensor = self(code, (int(y.shape[-2]), int(y.shape[-1])) if self.dense else None).float()
        form = self.wanted.form
        if form == "class":
            return F.cross_entropy(said, y, reduction="none")
        if form == "mask":
            return _mean(F.cross_entropy(said, y.long(), ignore_index=IGNORED, reduction="none"), y != IGNORED)
        if form == "several":
            return _mean(F.binary_cross_entropy_with_logits(said, (y > 0).float(), reduction="none"), y >= 0)
        return _mean((said - y.nan_to_num().float()).square(), ~y.isnan())


def _mean(losses: Tensor, judged: Tensor) -> Tensor:
    """Average what is judged of each item; of an item without any it is 0."""
    kept = torch.where(judged, losses, 0.0).flatten(1).sum(1)
    return kept / judged.flatten(1).sum(1).clamp(min=1)
