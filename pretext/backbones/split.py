"""Two networks side by side, one for lightness and one for colour: https://arxiv.org/abs/1611.09842."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pretext.core.types import Backbone, Features
from pretext.ops.lab import rgb_to_lab

LIGHT = 100.0  # L reaches from 0 to this
REACH = 200.0  # a and b, in -108 ... 99, over this and half, lie in [0, 1]


class Split(Backbone):
    """One network that sees lightness alone and one that sees colour alone, their features side by side.

    Every stage and `pooled` hold the channels of the first (lightness) and then as many of the second (colour), so
    that two halves of `width=0.5` are as wide as one whole network. Nothing is shared or mixed, batch norm included:
    it equals one network of twice the channels whose convolutions have two groups.

    Each half sees three channels in [0, 1], which it normalises as it does RGB: the first L / 100 three times, the
    second a / 200 + 0.5, b / 200 + 0.5 and 0.5, of CIE Lab. A grey image therefore is a constant one to the second.

    Args:
        half: builds either network; it is called twice.

    Raises:
        ValueError: `half` builds no backbone for images, or two that differ in their stages.

    """

    axes = "hw"

    def __init__(self, half: Callable[[], Backbone]) -> None:
        super().__init__()
        if isinstance(half, nn.Module):
            raise ValueError(
                f"Split: half must build a backbone, because it is called twice, got a {type(half).__name__} already "
                f"built; give its class, or functools.partial(TorchVision, width=0.5)"
            )
        self.light, self.colour = half(), half()  # `half` is not kept: it may be a lambda, which cannot be pickled
        for net in (self.light, self.colour):
            if not isinstance(net, Backbone) or net.axes != "hw":
                what = f"reads {net.axes!r}" if isinstance(net, Backbone) else "is no backbone"
                raise ValueError(
                    f"Split: half must build a backbone that reads images ('hw'), but {type(net).__name__} {what}; "
                    f"choose one such as TorchVision with width=0.5"
                )
        one, two = self.light, self.colour
        if (one.stages, one.dim) != (two.stages, two.dim):
            raise ValueError(
                f"Split: both halves must have the same stages, got {one.stages} and {two.stages}; "
                f"let half build the same network each time"
            )
        self.stages = {name: 2 * channels for name, channels in one.stages.items()}
        self.dim = 2 * one.dim

    def forward(self, x: Tensor) -> Features:
        lab = rgb_to_lab(x)  # in float32: the difference of two similar numbers would be coarse in bfloat16
        light: Features = self.light(lightness_of(lab).to(x.dtype))
        colour: Features = self.colour(colour_of(lab).to(x.dtype))
        stages = {name: torch.cat((light.stages[name], colour.stages[name]), 1) for name in self.stages}
        return Features(stages, torch.cat((light.pooled, colour.pooled), 1))


def lightness_of(lab: Tensor) -> Tensor:
    """Make what the first half sees of Lab (N, 3, H, W): lightness in [0, 1], three times."""
    return (lab[:, :1] / LIGHT).expand_as(lab)


def colour_of(lab: Tensor) -> Tensor:
    """Make what the second half sees of Lab (N, 3, H, W): a and b in [0, 1], and a channel without content."""
    ab = lab[:, 1:] / REACH + 0.5
    return torch.cat((ab, torch.full_like(ab[:, :1], 0.5)), 1)
