"""What sits a puzzle in an audit: a small network, or a few numbers in place of one; both in the shape of another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from pretext.audit.controls import Describe
from pretext.backbones.audio import Sound
from pretext.backbones.multimodal import MultiModal
from pretext.backbones.split import Split
from pretext.backbones.text import Text
from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Tree
from pretext.ops.geometric import MEAN, SPREAD

NARROWEST, WIDEST = 16, 128  # channels of the first stage and of the last ones
STRIDED = 4  # stages that halve the sides: a picture of 32 px ends at 2
HIDDEN = 64  # units that read statistics
DEPTH = 2  # dimensions of the maps of a network for sound that sees a spectrogram
READING = 64  # width of a network for texts

Make = Callable[[Backbone, Tensor], Backbone]
"""Makes a network in the shape of another, from an example of what it will be shown."""


class Small(Backbone):
    """A small convolutional network with the stages of another, so that tasks find those that they name.

    Each stage is a convolution with batch norm, in clips one of space and one of time, in waveforms two.

    Args:
        axes: "hw", "thw" or "t".
        stages: their names, shallow to deep.
        channels: of what it reads.

    """

    def __init__(self, axes: str, stages: list[str], channels: int) -> None:
        super().__init__()
        self.axes = axes
        widths = [min(WIDEST, NARROWEST << i) for i in range(max(1, len(stages)))]
        self.stages = dict(zip(stages, widths, strict=False))
        self.dim = widths[-1]
        still = len(widths) - STRIDED  # stages that keep the sides, from the second on
        inside = pairwise([channels, *widths])
        self.parts = nn.ModuleList(
            _stage(axes, *pair, halve=not 0 < place <= still, first=place == 0) for place, pair in enumerate(inside)
        )

    def forward(self, x: Tensor) -> Features:
        x = x if self.axes == "t" else (x - MEAN) / SPREAD
        maps = []
        for part in self.parts:
            x = part(x)
            maps.append(x)
        return Features(dict(zip(self.stages, maps, strict=False)), x.flatten(2).mean(2))


class Measured(Backbone):
    """A few numbers of what is shown, in place of what a network sees; tasks read them as they do features.

    The numbers are standardised by the batch (in evaluation by the running statistics) and pass one hidden layer.
    Every place of a stage's map, of which there is one, holds the same.

    Args:
        axes: of the network that it stands for.
        stages: channels of its stages, by name.
        maps: dimensions of their grids.
        describe: measures what is shown.
        numbers: how many it gives; 0 where there is nothing to measure.

    """

    def __init__(
        self, axes: str, stages: dict[str, int], maps: int, describe: Describe, numbers: int, dim: int = HIDDEN
    ) -> None:
        super().__init__()
        self.axes, self.stages, self.maps, self.describe, self.dim = axes, dict(stages), maps, describe, dim
        self.numbers = numbers
        self.read = nn.Sequential(
            nn.BatchNorm1d(max(1, numbers), affine=False), nn.Linear(max(1, numbers), HIDDEN), nn.ReLU()
        )
        self.pooled = nn.Linear(HIDDEN, dim)
        self.each = nn.ModuleList(nn.Linear(HIDDEN, channels) for channels in stages.values())

    def forward(self, x: Tensor) -> Features:
        measured = self.describe(x) if self.numbers else None
        known = self.read(x.new_zeros(len(x), 1) if measured is None else measured)
        grid = (1,) * self.maps
        stages = {
            name: layer(known).view(len(x), -1, *grid) for name, layer in zip(self.stages, self.each, strict=True)
        }
        return Features(stages, self.pooled(known).relu())


def small(pattern: Backbone, shown: Tensor) -> Backbone:
    """Make a small network in the shape of another; a `Sound` keeps its spectrogram, a `Text` its blocks and words."""
    if isinstance(pattern, Text):
        return Text(READING, len(pattern.blocks), words=pattern.words, hashes=pattern.hashes)
    if isinstance(pattern, Sound):
        heard = Sound(Small("hw", list(pattern.stages), 3))
        heard.mel = copy.deepcopy(pattern.mel)
        return heard
    return Small(pattern.axes, list(pattern.stages), shown.shape[1])


def measured(describe: Describe) -> Make:
    """Make networks that see nothing but what `describe` measures."""

    def make(pattern: Backbone, shown: Tensor) -> Backbone:
        example = describe(shown[:2])
        maps = DEPTH if isinstance(pattern, Sound) else len(pattern.axes.replace("l", ""))  # texts have no map
        widths = {name: min(WIDEST, NARROWEST << i) for i, name in enumerate(pattern.stages)}
        return Measured(pattern.axes, widths, maps, describe, 0 if example is None else example.shape[1])

    return make


def in_shape_of(pattern: Backbone, shown: Tree, make: Make) -> Backbone:
    """Make a backbone of new networks in the shape of another one, for what it is shown, such as a question.

    Raises:
        ValueError: a network reads neither pictures nor clips nor sound nor text.

    """
    if isinstance(pattern, MultiModal):
        nets = {name: pattern.network(name) for name in pattern.dims if name in shown}
        return MultiModal({name: in_shape_of(net, shown[name], make) for name, net in nets.items()})
    if isinstance(pattern, Split):
        return Split(lambda: make(pattern.light, shown))
    fits = pattern.axes in ("hw", "thw", "t") or isinstance(pattern, Text)
    require(
        fits,
        "audit",
        f"a {type(pattern).__name__} that reads {pattern.axes!r}",
        "choose one of hw, thw or t, or a Text",
    )
    return make(pattern, shown)


def _stage(axes: str, inputs: int, outputs: int, halve: bool, first: bool) -> nn.Sequential:
    """Make one or two convolutions, the first of which halves the sides (quarters those of clips, and of sound)."""
    step = 2 if halve else 1
    if axes == "hw":
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, step, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
    if axes == "thw":
        wide, step = (5, 4) if first else (3, step)
        one: nn.Module = nn.Conv3d(
            inputs, outputs, (1, wide, wide), (1, step, step), (0, wide // 2, wide // 2), bias=False
        )
        two: nn.Module = nn.Conv3d(outputs, outputs, (3, 1, 1), 1, (1, 0, 0), bias=False)
        norms: list[nn.Module] = [nn.BatchNorm3d(outputs) for _ in range(2)]
    else:
        one = nn.Conv1d(inputs, outputs, 9, 4 if halve else 1, 4, bias=False)
        two = nn.Conv1d(outputs, outputs, 3, 1, 1, bias=False)
        norms = [nn.BatchNorm1d(outputs) for _ in range(2)]
    return nn.Sequential(one, norms[0], nn.ReLU(), two, norms[1], nn.ReLU())
