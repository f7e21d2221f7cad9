"""https://arxiv.org/abs/1611.09842 (Zhang, Isola, Efros: split-brain, CVPR 2017): what does the rest look like?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pretext.backbones.split import Split
from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.heads import Hypercolumn
from pretext.nn.split_targets import Pair, SplitClasses, SplitTarget
from pretext.ops.drawing import panels, rows
from pretext.ops.geometric import drawable
from pretext.ops.lab import lab_to_rgb, rgb_to_lab

SHOWN = 60.0  # lightness at which colours alone are drawn, where the gamut is wide
CONFIGURE = (
    "configure backbone: {class_path: pretext.Split, init_args: {half: "
    "{class_path: pretext.TorchVision, init_args: {name: resnet18, width: 0.5}}}}"
)


class SplitBrain(Task):
    """Tell colours from lightness with one half of the backbone, and lightness from colours with the other.

    The backbone is a `Split`. Each half predicts from all its stages, by 1x1 convolutions alone, what the other one
    sees, at every `stride`-th pixel: the first half colour (a, b), the second lightness (L). The halves meet in the
    loss only, so neither sees what it has to tell. Unlike in `Colorization`, all colours and all images count alike.

    Args:
        backbone: a `Split`.
        stride: pixels from one answer to the next, along both axes; there are ceil((H - stride // 2) / stride) rows.
        target: what is predicted; none: `SplitClasses()`, bins of colour and of lightness.

    Raises:
        ValueError: the backbone is not a `Split`, or an argument is out of its range.

    """

    def __init__(self, backbone: Backbone, stride: int = 4, target: SplitTarget | None = None) -> None:
        super().__init__()
        name = type(backbone).__name__
        got = f"needs a Split, whose halves see lightness and colour alone, got {name}"
        require(isinstance(backbone, Split), self, got, CONFIGURE)
        require(stride >= 1, self, f"{stride=}", "give at least 1")
        self.stride, self.target = stride, SplitClasses() if target is None else target
        half = {stage: channels // 2 for stage, channels in backbone.stages.items()}
        self.colour, self.light = (Hypercolumn(half, outputs) for outputs in self.target.outputs)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Ask for what is there: images (N, 3, H, W), their colours (N, 2, h, w) and lightness (N, 1, h, w).

        Given is an empty map (1, 1, h, w), which tells the head the size of its answer.

        Raises:
            ValueError: `x` is too small for a single answer.

        """
        first = self.stride // 2  # the middle of each cell
        got = f"images of {x.shape[-2]} x {x.shape[-1]} have no pixel to ask for with stride={self.stride}"
        require(min(x.shape[-2:]) > first, self, got, "lower the stride or use larger images")
        lab = rgb_to_lab(x[..., first :: self.stride, first :: self.stride]).to(x.dtype)
        return Puzzle(x, (lab[:, 1:], lab[:, :1]), lab.new_zeros(1, 1, *lab.shape[-2:]))

    def solve(self, features: Features, given: Tensor) -> Pair:
        """Give colours from the first half's stages and lightness from the second's: logits of bins, or values."""
        side = (given.shape[-2], given.shape[-1])
        halves = {name: stage.chunk(2, 1) for name, stage in features.stages.items()}
        ab: Tensor = self.colour({name: pair[0] for name, pair in halves.items()}, side)
        light: Tensor = self.light({name: pair[1] for name, pair in halves.items()}, side)
        return ab, light

    def grade(self, prediction: Pair, answer: Pair) -> Grade:
        """Add both halves' losses, in nats or in variances; the scores tell them apart."""
        return self.target.grade(prediction, answer)

    def chance(self) -> Grade:
        return self.target.chance()

    def draw(self, puzzle: Puzzle, prediction: Pair | None) -> list[list[Panel]]:
        """Draw what either half sees, the image, and both predictions: colours on true lightness, and lightness."""
        lab = rgb_to_lab(torch.stack([drawable(image) for image in puzzle.question]))
        bare, flat = torch.zeros_like(lab[:, 1:]), torch.full_like(lab[:, :1], SHOWN)
        columns = {
            "lightness: what colour is it?": (lab[:, :1], bare),
            "colour: how light is it?": (flat, lab[:, 1:]),
            "answer": (lab[:, :1], lab[:, 1:]),
        }
        if prediction is not None:
            said, true = (tuple(part.detach().float().cpu() for part in pair) for pair in (prediction, puzzle.answer))
            decoded = self.target.decode((said[0], said[1]), (true[0], true[1]))
            ab, light = (F.interpolate(part, lab.shape[-2:], mode="bilinear") for part in decoded)
            columns["prediction: colour"] = (lab[:, :1], ab)
            columns["prediction: lightness"] = (light, bare)
        images = {caption: lab_to_rgb(torch.cat(parts, 1)) for caption, parts in columns.items()}
        return rows(*(panels(map(drawable, column), caption) for caption, column in images.items()))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, target={self.target}"
