"""One network for each modality, side by side: what several modalities on one step train."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from pretext.core.errors import name_of, require
from pretext.core.types import Backbone, Features

CONFIGURE = (
    "configure backbone: {class_path: pretext.MultiModal, init_args: {backbones: {rgb: ..., audio: ...}}}, a network "
    "for each modality"
)


class MultiModal(Backbone):
    """A backbone whose input and features are dicts by modality, one network each; nothing is shared or mixed.

    Any subset of the modalities can be looked at, so that a task on one of them costs no more than its own network.
    `stages` are named "rgb.layer1" and so on, `dim` is the sum of all networks', `dims` holds each one's. It has no
    input axes of its own: a task for one modality on it fails when it is built, and belongs in `On(modality, task)`.

    Args:
        backbones: by modality ("rgb", "grey", "flow", "audio", "text", as the data module calls them), its network.

    Raises:
        ValueError: there is no network, one that reads no single modality, or a name that torch cannot hold.

    """

    axes = ""

    def __init__(self, backbones: dict[str, Backbone]) -> None:
        super().__init__()
        require(bool(backbones), self, "no network", "give one for each modality, such as rgb: pretext.R2Plus1D")
        for name, net in backbones.items():
            if not name.isidentifier() or hasattr(nn.ModuleDict(), name):
                raise ValueError(
                    f"MultiModal: {name!r} cannot name a modality; take a plain word that torch does not use itself"
                )
            if not isinstance(net, Backbone) or not net.axes:
                raise ValueError(
                    f"MultiModal: {name} must be a backbone that reads one modality, got a {type(net).__name__}; "
                    f"choose one such as R2Plus1D for clips or Sound for waveforms"
                )
        self.backbones = nn.ModuleDict(backbones)
        self.dims = {name: net.dim for name, net in backbones.items()}
        self.stages = {f"{name}.{key}": count for name, net in backbones.items() for key, count in net.stages.items()}
        self.dim = sum(self.dims.values())

    def network(self, name: str) -> Backbone:
        """Return the network of one modality; a KeyError where there is none."""
        return cast(Backbone, self.backbones[name])  # ModuleDict forgets that its modules are backbones

    def forward(self, x: dict[str, Tensor]) -> dict[str, Features]:
        """Look at some of the modalities, {name: (N, C, *S)} in [0, 1] (waveforms in [-1, 1]), in the order of `x`.

        Raises:
            ValueError: `x` is no dict, or holds a modality that there is no network for.

        """
        if not isinstance(x, dict):
            raise ValueError(
                f"MultiModal: reads a dict by modality ({', '.join(self.dims)}), got a {type(x).__name__}; "
                f"wrap a task for one modality in On"
            )
        if unknown := [name for name in x if name not in self.dims]:
            raise ValueError(
                f"MultiModal: has no network for {', '.join(map(repr, unknown))}; there are {', '.join(self.dims)}; "
                f"add one, or leave that modality out of the question"
            )
        return {name: self.backbones[name](value) for name, value in x.items()}


def needs_several(asker: object, backbone: Backbone, advice: str = CONFIGURE) -> MultiModal:
    """Refuse a backbone that is no `MultiModal`, and return one that is.

    Raises:
        ValueError: the message names the asker, what it got and what to do, which is `advice`.

    """
    if not isinstance(backbone, MultiModal):
        raise ValueError(f"{name_of(asker)} needs a MultiModal, got {type(backbone).__name__}; {advice}")
    return backbone


def two_of(asker: object, backbone: Backbone, first: str, second: str) -> tuple[Backbone, Backbone]:
    """Find two networks of a `MultiModal`; of clips and sounds they are such as `pair_of` finds.

    Raises:
        ValueError: there are no such two; the message names the asker, what it wanted and what it got.

    """
    several = needs_several(asker, backbone)
    if {first, second} <= several.dims.keys() and first != second:
        one, other = several.network(first), several.network(second)
        if not {one.axes, other.axes} <= {"thw", "t"}:
            return one, other
    return pair_of(asker, backbone, first, second)


def pair_of(asker: object, backbone: Backbone, first: str, second: str) -> tuple[Backbone, Backbone]:
    """Find two networks of a `MultiModal` that see and hear the same stretch of time.

    Raises:
        ValueError: there are no such two; the message names the asker, what it wanted and what it got.

    """
    several = needs_several(asker, backbone)
    require(
        first != second and {first, second} <= several.dims.keys(),
        asker,
        f"got {first!r} and {second!r}",
        f"name two different networks of the backbone, which has {', '.join(several.dims)}",
    )
    one, other = several.network(first), several.network(second)
    require(
        {one.axes, other.axes} <= {"thw", "t"} and "thw" in (one.axes, other.axes),
        asker,
        f"{first!r} and {second!r} must be read by networks of clips ('thw') or waveforms ('t'), one at least of "
        f"clips, got {one.axes!r} and {other.axes!r}",
        "choose others",
    )
    return one, other
