"""https://arxiv.org/abs/1604.07379 (Pathak et al.: context encoders, CVPR 2016): what was in the hole?"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from pretext.core.errors import require, require_input
from pretext.core.ranks import total
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.adversarial import Discriminator, adversarial
from pretext.nn.heads import small
from pretext.ops.drawing import panels, rows
from pretext.ops.geometric import MEAN, SPREAD, drawable
from pretext.ops.masks import MASKS

FILL = (0.485, 0.456, 0.406)  # ImageNet's mean colour: a constant, because a statistic of the image would tell of it
RING = 10.0  # weight of a pixel around the central hole, in the authors' code
SMALLEST = 8  # pixels a side: below it a block or the half within its ring could vanish
DULL = 1e-4  # variance under which a batch has nothing to paint: the loss is not magnified further


class Target(NamedTuple):
    """What the picture is compared with, and where."""

    x: Tensor
    """(N, 3, H, W): the images as they were."""
    weights: Tensor
    """(N, 1, H, W): 1 where hidden, more in the ring around, 0 elsewhere."""
    hidden: Tensor
    """(N, 1, H, W) bool"""


class Inpainting(Task):
    """Paint what was hidden of an image, from the features of what was not.

    Masks are drawn per image. "centre" hides the central half of each side less the ring; "block" 4 blocks that may
    overlap, a quarter of the image at most; "region" any shapes that add up to 20 to 30 % (thresholded smooth noise,
    which the authors choose for features: a fixed border teaches what a border looks like). Lengths are shares of the
    image's shorter side, so that one setting serves all sizes. Crop without padding by reflection (`Augment(pad=0)`):
    it would show a copy of what is hidden near the border.

    Around the central hole a ring of visible pixels is painted too and weighs more, so that the picture joins on. With
    the other masks hidden pixels alone count, as in the authors' command for random regions: their outlines are so long
    that a ring would make nine tenths of the loss. The loss is the weighted squared error over that of the batch's own
    mean colour, so a guess that knows nothing but that colour costs exactly 1. The score "hidden" is the same ratio
    over the hidden pixels alone. Where there is an adversary, "error" is the loss without its part.

    The head sees the deepest stage only, because the bottleneck is the point: 1x1 convolution, a layer connected fully
    over places but not over channels, 1x1 convolution, `ups` doublings. Its picture of `grid * 2**ups` pixels a side
    is resized to the image's size. Train on reconstruction alone for features: the adversary makes sharper pictures.

    Args:
        backbone: any that reads images.
        mask: what is hidden.
        overlap: width of the ring, a share of the shorter side, rounded to pixels (4 of 128 in the paper's code).
        overlap_weight: of a pixel in the ring; a hidden one weighs 1. None: 10 for "centre", 0 for the others.
        grid: side of the map that the layer over places connects.
        ups: how often the head doubles it.
        width: channels after the first doubling, halved by each that follows.
        channels: of the layer over places.
        adversarial: weight of a discriminator's -log D beside the mean squared error of pixels in [0, 1], not divided
            by a blind guess's; 0 builds none. The paper's 0.001 beside 0.999 of the error in [-1, 1], four times ours,
            is 2.5e-4 here.

    Raises:
        ValueError: the backbone does not read images, or an argument is out of its range.

    """

    fill: Tensor

    def __init__(
        self,
        backbone: Backbone,
        mask: Literal["centre", "block", "region"] = "region",
        overlap: float = 1 / 32,
        overlap_weight: float | None = None,
        grid: int = 4,
        ups: int = 3,
        width: int = 128,
        channels: int = 256,
        adversarial: float = 0.0,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        require(mask in MASKS, self, f"{mask=}", 'choose "centre", "block" or "region"')
        if overlap_weight is None:
            overlap_weight = RING if mask == "centre" else 0.0
        require(
            0 <= overlap <= 1 / 8 and min(overlap_weight, adversarial) >= 0,
            self,
            f"{overlap=}, {overlap_weight=}, {adversarial=}",
            "the first is a share of the image's side in [0, 1/8], the others are weights of 0 or more",
        )
        require(
            grid >= 2 and ups >= 1 and channels >= 1 and width >= 2 ** (ups - 1),
            self,
            f"{grid=}, {ups=}, {width=}, {channels=}",
            "a picture takes a grid of 2, one doubling, one channel, and a width that can be halved with each further "
            "doubling",
        )
        self.mask, self.overlap, self.overlap_weight = mask, overlap, overlap_weight
        self.grid, self.ups, self.adversarial = grid, ups, adversarial
        self.register_buffer("fill", torch.tensor(FILL).view(3, 1, 1), persistent=False)
        self.stage, depth = list(backbone.stages.items())[-1]
        self.squeeze = nn.Conv2d(depth, channels, 1)
        self.places = ChannelwiseLinear(channels, grid)
        self.paint = _painter(channels, width, ups)
        self.discriminator = Discriminator() if adversarial else None

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Hide parts of images (N, 3, H, W); given is where, (N, 1, H, W) bool, and the answer a `Target`.

        Raises:
            ValueError: `x` is not (N, 3, H, W) of at least 8 x 8.

        """
        fits = x.ndim == 4 and x.shape[1] == 3 and min(x.shape[-2:]) >= SMALLEST
        require_input(fits, self, f"images (N, 3, H, W) of at least {SMALLEST} x {SMALLEST}", x, "use larger ones")
        n, _, height, width = x.shape
        ring = math.floor(self.overlap * min(height, width) + 0.5)
        hidden = MASKS[self.mask](n, height, width, ring, rng)
        near = F.max_pool2d(hidden.float(), 2 * ring + 1, stride=1, padding=ring) > 0
        weights = (hidden + self.overlap_weight * (near & ~hidden)).to(x.dtype)
        return Puzzle(torch.where(hidden, self.fill.to(x.dtype), x), Target(x.clone(), weights, hidden), hidden)

    def solve(self, features: Features, given: Tensor) -> Tensor:
        """Paint whole images (N, 3, H, W), in float32: half precision has no fine shades."""
        map_ = self.squeeze(features.stages[self.stage])
        side = (self.grid, self.grid)
        if min(map_.shape[-2:]) >= self.grid:
            map_ = F.adaptive_avg_pool2d(map_, side)
        else:
            map_ = F.interpolate(map_, side, mode="bilinear")
        painted = MEAN + SPREAD * self.paint(self.places(F.relu(map_))).float()
        size = given.shape[-2:]
        return painted if painted.shape[-2:] == size else F.interpolate(painted, size, mode="bilinear", antialias=True)

    def grade(self, prediction: Tensor, answer: Target) -> Grade:
        target, weights, hidden = answer
        prediction, target = prediction.float(), target.float()
        blind = _blind_error(target, weights.float())
        loss = _error(prediction, target, weights.float()) / blind
        shown = hidden.float()
        scores = {"hidden": _error(prediction.detach(), target, shown) / _blind_error(target, shown)}
        if self.discriminator is not None:
            pasted = torch.where(hidden, prediction, target)
            duel = adversarial(self.discriminator, target, pasted, self.adversarial / blind)
            scores |= {"error": loss.detach(), **duel.scores}
            loss = loss + duel.loss
        return Grade(loss, scores)

    def chance(self) -> Grade:
        """Return what the batch's mean colour costs, and an undecided discriminator."""
        one = torch.tensor(1.0)
        if self.discriminator is None:
            return Grade(one, {"hidden": one})
        return Grade(one + 2 * math.log(2), {"hidden": one, "error": one, "discriminator": torch.tensor(0.5)})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the image with its hole, the whole image, and the prediction pasted into the hole."""
        target, _, hidden = puzzle.answer
        original, shares = drawable(target), hidden.float().mean((1, 2, 3)).tolist()
        columns = [
            panels(drawable(puzzle.question), "what was hidden?"),
            panels(original, [f"answer: {share:.0%} were hidden" for share in shares]),
        ]
        if prediction is not None:
            columns.append(panels(torch.where(hidden.cpu(), drawable(prediction), original), "prediction"))
        return rows(*columns)

    def extra_repr(self) -> str:
        return (
            f"mask={self.mask!r}, overlap={self.overlap:g}, overlap_weight={self.overlap_weight:g}, grid={self.grid}, "
            f"ups={self.ups}, adversarial={self.adversarial:g}"
        )


class ChannelwiseLinear(nn.Module):
    """Connect all places of a map with all others, each channel for itself: C P^2 weights for P = side^2 places.

    A dense layer would have C^2 P^2; the 1x1 convolution that follows lets the channels meet.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        bound = 1 / side  # one over the root of the inputs, as in nn.Linear
        self.weight = nn.Parameter(torch.empty(channels, side**2, side**2).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, side, side) to the same shape."""
        return torch.einsum("ncp,cpq->ncq", x.flatten(2), self.weight).view(x.shape)

    def extra_repr(self) -> str:
        return f"channels={self.weight.shape[0]}, places={self.weight.shape[1]}"


def _painter(channels: int, width: int, ups: int) -> nn.Sequential:
    """Turn a map of so many channels into a picture `2**ups` times as large."""
    layers: list[nn.Module] = [nn.Conv2d(channels, channels, 1), nn.ReLU()]
    for inside, outside in pairwise([channels, *(width >> i for i in range(ups))]):
        layers += [nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers, small(nn.Conv2d(width >> (ups - 1), 3, 3, padding=1)))


def _error(picture: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Take the weighted mean of the squared error, over pixels and colours."""
    return total((weights * (picture - target) ** 2).sum()) / (target.shape[1] * total(weights.sum()))


def _blind_error(target: Tensor, weights: Tensor) -> Tensor:
    """Tell the error of the weighted mean colour of `target` over the batch."""
    mean = total((weights * target).sum((0, 2, 3), keepdim=True)) / total(weights.sum())
    return _error(mean, target, weights).clamp(min=DULL)
