"""https://arxiv.org/abs/1611.09842 (Zhang, Isola, Efros: split-brain, CVPR 2017): what does the rest look like?"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pretext.backbones.split import Split
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task
from pretext.nn.heads import Hypercolumn
from pretext.ops.gamut import BINS, annealed_mean, soft_encode
from pretext.ops.geometric import picture
from pretext.ops.lab import lab_to_rgb, rgb_to_lab

LEVELS = 100  # bins of lightness, one unit of L each
SHOWN = 60.0  # lightness at which colours alone are drawn, where the gamut is wide

Pair = tuple[Tensor, Tensor]
"""Of colour (N, ..., h, w) and of lightness (N, ..., h, w)."""


class SplitBrain(Task):
    """Tell colours from lightness with one half of the backbone, and lightness from colours with the other.

    The backbone is a `Split`. Each half predicts from all its stages, by 1x1 convolutions alone, what the other one
    sees, at every `stride`-th pixel: the first half colour (a, b), the second lightness (L). The halves meet in the
    loss only, so neither sees what it has to tell. Unlike in `Colorization`, all colours and all images count alike.

    With `target="classes"` colours are the 313 bins of arXiv:1603.08511, each spread over its `neighbours`, and
    lightness has 100 bins: the paper's best. With "values" the three numbers are regressed, each in units of its
    deviation over the batch about its mean there, so that a blind guess has an error of 1.

    Args:
        backbone: a `Split`.
        stride: pixels from one answer to the next, along both axes; there are ceil((H - stride // 2) / stride) rows.
        target: what is predicted, "classes" or "values".
        neighbours: bins that a colour is spread over.

    Raises:
        ValueError: the backbone is not a `Split`, or an argument is out of its range.

    """

    def __init__(
        self,
        backbone: Backbone,
        stride: int = 4,
        target: Literal["classes", "values"] = "classes",
        neighbours: int = 10,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, Split):
            raise ValueError(
                f"SplitBrain needs a Split, whose halves see lightness and colour alone, got "
                f"{type(backbone).__name__}; configure backbone: {{class_path: pretext.Split, init_args: {{half: "
                f"{{class_path: pretext.TorchVision, init_args: {{name: resnet18, width: 0.5}}}}}}}}"
            )
        if stride < 1 or target not in ("classes", "values") or not 1 <= neighbours <= BINS:
            raise ValueError(
                f'SplitBrain: wants stride of at least 1, target "classes" or "values" and 1 to {BINS} neighbours; '
                f"got stride={stride}, target={target!r}, neighbours={neighbours}"
            )
        self.stride, self.target, self.neighbours = stride, target, neighbours
        classes = target == "classes"
        half = {name: channels // 2 for name, channels in backbone.stages.items()}
        self.colour = Hypercolumn(half, BINS if classes else 2)
        self.light = Hypercolumn(half, LEVELS if classes else 1)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Ask for what is there: images (N, 3, H, W), their colours (N, 2, h, w) and lightness (N, 1, h, w).

        Given is an empty map (1, 1, h, w), which tells the head the size of its answer.

        Raises:
            ValueError: `x` is too small for a single answer.

        """
        first = self.stride // 2  # the middle of each cell
        if min(x.shape[-2:]) <= first:
            raise ValueError(
                f"SplitBrain: images of {x.shape[-2]} x {x.shape[-1]} have no pixel to ask for with "
                f"stride={self.stride}; lower the stride or use larger images"
            )
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
        (ab, light), (true_ab, true_light) = prediction, answer
        if self.target == "values":
            ab_error, l_error = _error(ab, true_ab), _error(light, true_light)
            return Grade(ab_error + l_error, {"ab_error": ab_error.detach(), "l_error": l_error.detach()})
        ab_loss, ab_accuracy = self._grade_colour(ab.float(), true_ab)
        levels = true_light[:, 0].float().floor().clamp(0, LEVELS - 1).long()
        l_loss = F.cross_entropy(light.float(), levels)
        scores = {
            "ab_loss": ab_loss.detach(),
            "ab_accuracy": ab_accuracy,
            "l_loss": l_loss.detach(),
            "l_accuracy": (light.detach().argmax(1) == levels).float().mean(),
        }
        return Grade(ab_loss + l_loss, scores)

    def _grade_colour(self, logits: Tensor, ab: Tensor) -> Pair:
        """Return the cross entropy with the soft bins, and how often the likeliest bin is the nearest."""
        weights, bins = soft_encode(ab.permute(0, 2, 3, 1), self.neighbours)  # (N, h, w, k)
        weights, bins = weights.permute(0, 3, 1, 2), bins.permute(0, 3, 1, 2)
        chosen = logits.log_softmax(1).gather(1, bins)
        return -(weights * chosen).sum(1).mean(), (logits.detach().argmax(1) == bins[:, 0]).float().mean()

    def chance(self) -> Grade:
        if self.target == "values":
            return Grade(torch.tensor(2.0), {"ab_error": torch.tensor(1.0), "l_error": torch.tensor(1.0)})
        ab, light = math.log(BINS), math.log(LEVELS)
        scores = {"ab_loss": ab, "ab_accuracy": 1 / BINS, "l_loss": light, "l_accuracy": 1 / LEVELS}
        return Grade(torch.tensor(ab + light), {name: torch.tensor(value) for name, value in scores.items()})

    def draw(self, puzzle: Puzzle, prediction: Pair | None) -> list[list[Panel]]:
        """Draw what either half sees, the image, and both predictions: colours on true lightness, and lightness."""
        lab = rgb_to_lab(torch.stack([picture(image) for image in puzzle.question]))
        bare, flat = torch.zeros_like(lab[:, 1:]), torch.full_like(lab[:, :1], SHOWN)
        columns = {
            "lightness: what colour is it?": (lab[:, :1], bare),
            "colour: how light is it?": (flat, lab[:, 1:]),
            "answer": (lab[:, :1], lab[:, 1:]),
        }
        if prediction is not None:
            ab, light = (_resized(x, lab) for x in self._decode(prediction, puzzle.answer))
            columns["prediction: colour"] = (lab[:, :1], ab)
            columns["prediction: lightness"] = (light, bare)
        images = {caption: lab_to_rgb(torch.cat(parts, 1)) for caption, parts in columns.items()}
        return [[Panel(picture(x[i]), caption) for caption, x in images.items()] for i in range(len(lab))]

    def _decode(self, prediction: Pair, answer: Pair) -> Pair:
        """Turn a prediction into colours (N, 2, h, w) and lightness (N, 1, h, w), on the CPU."""
        ab, light = (x.detach().float().cpu() for x in prediction)
        if self.target == "classes":
            middles = torch.arange(LEVELS).view(1, -1, 1, 1) + 0.5
            return annealed_mean(ab), (light.softmax(1) * middles).sum(1, keepdim=True)
        (ab_mean, ab_deviation), (l_mean, l_deviation) = (_moments(x.float().cpu()) for x in answer)
        return ab * ab_deviation + ab_mean, light * l_deviation + l_mean

    def extra_repr(self) -> str:
        return f"stride={self.stride}, target={self.target!r}, neighbours={self.neighbours}"


def _moments(truth: Tensor) -> Pair:
    """Find each channel's mean over the batch and its deviation about it, (1, C, 1, 1)."""
    mean = truth.mean((0, 2, 3), keepdim=True)
    deviation = (truth - mean).square().mean((0, 2, 3), keepdim=True).sqrt()
    return mean, deviation.clamp(min=1.0)  # less than one unit of Lab cannot be seen: grey images ask for no colour


def _error(prediction: Tensor, truth: Tensor) -> Tensor:
    """Return the mean squared error, in variances of the truth over the batch: 1 for a guess of 0, the mean."""
    mean, deviation = _moments(truth.float())
    return (prediction.float() - (truth.float() - mean) / deviation).square().mean()


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear")
