"""What read-outs read: one stage of frozen networks, of several side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pretext.core.types import Backbone, Features

STAGE = "code"


class Code(Backbone):
    """One stage of one or several networks as a backbone of its own; of several, their channels one after the other.

    Maps of several sizes are brought to the first one's, bilinearly or by averages.

    Args:
        networks: of one kind of input.
        stage: the name of a stage that all have; none: the deepest of each.

    Raises:
        ValueError: a network without that stage, or networks of several kinds of input.

    """

    def __init__(self, networks: Sequence[Backbone], stage: str | None = None) -> None:
        super().__init__()
        self.axes = networks[0].axes
        self.names = [list(network.stages)[-1] if stage is None else stage for network in networks]
        for network, name in zip(networks, self.names, strict=True):
            if name not in network.stages or network.axes != self.axes:
                raise ValueError(
                    f"Code got a {type(network).__name__} that reads {network.axes!r} and has the stages "
                    f"{', '.join(network.stages)}; it wants {self.axes!r} and a stage {name!r} of all sources"
                )
        self.networks = nn.ModuleList(networks)
        self.dim = sum(network.stages[name] for network, name in zip(networks, self.names, strict=True))
        self.stages = {STAGE: self.dim}

    def forward(self, x: Tensor) -> Features:
        maps = [network(x).stages[name] for network, name in zip(self.networks, self.names, strict=True)]
        size = maps[0].shape[2:]
        code = torch.cat([_resized(map_, size) for map_ in maps], dim=1)
        return Features({STAGE: code}, code.flatten(2).mean(2))


class Shape(Backbone):
    """A backbone's shape without its weights: what heads are built for when features are there already."""

    def __init__(self, code: Backbone) -> None:
        super().__init__()
        self.axes, self.dim, self.stages = code.axes, code.dim, dict(code.stages)

    def forward(self, x: Tensor) -> Features:
        raise RuntimeError("Shape has no weights; features are computed once, by the Code whose shape it has")


def _resized(map_: Tensor, size: torch.Size) -> Tensor:
    if map_.shape[2:] == size:
        return map_
    if map_.ndim != 4:
        raise ValueError(f"Code got maps of {tuple(map_.shape[2:])} and {tuple(size)} places; it resizes pictures only")
    if map_.shape[-2] >= size[-2]:
        return F.adaptive_avg_pool2d(map_, (size[-2], size[-1]))
    return F.interpolate(map_, (size[-2], size[-1]), mode="bilinear")
