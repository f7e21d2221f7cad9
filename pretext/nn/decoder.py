"""Pictures out of features: a decoder for clips, and what an error in a picture is worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pretext.core import ranks
from pretext.core.errors import name_of, require
from pretext.core.types import Backbone, Panel
from pretext.nn.heads import small
from pretext.ops.drawing import film_strip, panels, rows

LAYERS = 6  # ELo's decoders: six convolutions, https://arxiv.org/abs/2002.12177
DULL = (1 / 255) ** 2  # variance under which there is nothing to draw: one grey level


class Decoder(nn.Module):
    """Draw frames from a map of features by six convolutions, none of them over time.

    Each frame is drawn by itself, from the slice of the map that lies at its own moment, so that what happens over time
    has to be worked out by the backbone. Where the map has fewer slices than there are frames, a learnt embedding of
    the frame's place in the clip tells those of one slice apart.

    Convolutions are 3 x 3 and shared by all frames. The last draws at the full size and each one before at half the
    size of the next, but never below the map's own: what is wide is done where there are few pixels.

    There is no batch norm, which would let frames see one another.

    Args:
        inputs: channels of the map.
        outputs: channels of a frame.
        width: channels between the first four layers; half and a quarter of it after them.
        places: how many places in the clip are embedded; frames between two of them are given a mixture.

    Raises:
        ValueError: a number is out of its range.

    """

    def __init__(self, inputs: int, outputs: int, width: int = 64, places: int = 16) -> None:
        super().__init__()
        require(
            min(inputs, outputs, places) >= 1 and width >= 4,
            self,
            f"{inputs=}, {outputs=}, {width=}, {places=}",
            "give at least 1 of each, and a width of 4, of which a quarter is left",
        )
        widths = [inputs, width, width, width, width // 2, width // 4]
        last = small(nn.Conv2d(widths[-1], outputs, 3, padding=1))
        # All others keep the variance of what passes through them and a ReLU.
        each = [small(nn.Conv2d(a, b, 3, padding=1), math.sqrt(2 / (9 * a))) for a, b in pairwise(widths)]
        self.layers = nn.ModuleList([*each, last])
        self.places = nn.Parameter(torch.randn(width, places))

    def forward(self, map_: Tensor, frames: int, height: int, width: int) -> Tensor:
        """Draw (N, outputs, frames, height, width) from a map (N, inputs, t, h, w), or (N, inputs, h, w)."""
        map_ = map_ if map_.ndim == 5 else map_.unsqueeze(2)
        n, t = len(map_), map_.shape[2]
        sizes = list(zip(_sizes(map_.shape[-2], height), _sizes(map_.shape[-1], width), strict=True))
        x: Tensor = self.layers[0](_resized(map_.transpose(1, 2).flatten(0, 1), *sizes[0]))
        places = functional.interpolate(self.places[None], frames, mode="linear", align_corners=True)[0].mT
        each = x.view(n, t, *x.shape[1:])[:, _slices(t, frames, x.device)] + places[..., None, None]
        x = each.flatten(0, 1)  # (N frames, width, h, w)
        for layer, size in zip(self.layers[1:], sizes[1:], strict=True):
            x = layer(_resized(functional.relu(x), *size))
        return x.view(n, frames, *x.shape[1:]).transpose(1, 2)


def _sizes(start: int, end: int) -> list[int]:
    """Plan a side of each layer's picture: halves counted from the end, but no smaller than the start (nor larger)."""
    return [max(min(start, end), -(-end // 2**left)) for left in reversed(range(LAYERS))]


def _slices(t: int, frames: int, device: torch.device) -> Tensor:
    """Find the slice of `t` in which the middle of each of the frames lies: (frames,) int64."""
    return (2 * torch.arange(frames, device=device) + 1) * t // (2 * frames)


def _resized(x: Tensor, height: int, width: int) -> Tensor:
    """Enlarge (M, C, h, w) by repeating pixels, reduce it by averaging."""
    if x.shape[-2] > height or x.shape[-1] > width:
        x = functional.adaptive_avg_pool2d(x, (min(height, x.shape[-2]), min(width, x.shape[-1])))
    return x if x.shape[-2:] == (height, width) else functional.interpolate(x, (height, width), mode="nearest")


class Blind(NamedTuple):
    """What a head may know of the pictures it has to draw: a blind guess, and how far that is off."""

    picture: Tensor
    """(1, C, T, h, w): in every place the mean of the batch, channel by channel. It also tells the size."""
    deviation: Tensor
    """(1, C, 1, 1, 1), from the mean."""


def shrink(x: Tensor, by: int) -> Tensor:
    """Average (N, C, T, H, W) over cells of `by` x `by` pixels; the last ones may be cut off by the border."""
    small = functional.avg_pool2d(x.flatten(0, 1), by, ceil_mode=True, count_include_pad=False)
    return small.view(*x.shape[:2], *small.shape[1:])


def blind_picture(target: Tensor) -> Blind:
    """Make the blind guess at pictures (N, C, T, h, w)."""
    mean, variance = _moments(target.float())
    guess = mean.expand(-1, -1, *target.shape[2:]).contiguous()
    return Blind(guess.to(target.dtype), variance.sqrt().to(target.dtype))


def decode(said: Tensor, guess: Blind) -> Tensor:
    """Turn what a decoder says (N, C, T, h, w) into pictures: so many deviations from the blind guess, in float32."""
    return guess.picture.float() + guess.deviation.float() * said.float()


def relative_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Divide each item's mean squared error by the batch's variance, channel by channel, and average: (N,).

    The mean over the batch is exactly 1 for the blind guess, and below where something is known. A target that varies
    by less than a grey level counts as if it varied by one: of slow flow, whose bytes are coarse, little is asked.
    """
    prediction, target = prediction.float(), target.float()
    _, variance = _moments(target)
    return ((prediction - target).square() / variance).flatten(1).mean(1)


def clip_rows(
    asked: Iterable[Panel],
    answer: Tensor,
    prediction: Tensor | None,
    show: Callable[..., Tensor] = film_strip,
) -> list[list[Panel]]:
    """Lay out a drawing: what was asked, the answer and, if there is one, what was predicted and how far it is off.

    Args:
        asked: the questions.
        answer: (N, C, T, h, w).
        prediction: as `answer`; none: it is left out.
        show: draws a clip (C, T, h, w); `scale=` gives it the clip whose motion has full colour.

    """
    columns = [list(asked), panels(map(show, answer), "answer")]
    if prediction is not None:
        images = [show(guess, scale=true) for guess, true in zip(prediction, answer, strict=True)]
        misses = relative_errors(prediction, answer).tolist()
        columns.append(panels(images, [f"prediction: {miss:.2f} of a blind guess's error" for miss in misses]))
    return rows(*columns)


def stage_of(backbone: Backbone, stage: str | None, asker: object) -> tuple[str, int]:
    """Find the stage that a decoder reads and its channels; none: the deepest, because the bottleneck is the point.

    Raises:
        ValueError: there is no such stage.

    """
    name = next(reversed(backbone.stages), None) if stage is None else stage
    if name is None or name not in backbone.stages:
        raise ValueError(
            f"{name_of(asker)} reads {'the deepest stage' if stage is None else f'stage {stage!r}'}, but "
            f"{type(backbone).__name__} has {', '.join(backbone.stages) or 'none'}; choose one of these, or another "
            "backbone"
        )
    return name, backbone.stages[name]


def _moments(target: Tensor) -> tuple[Tensor, Tensor]:
    """Find mean and variance (1, C, 1, 1, 1) of the batch; the variance is never less than that of dull pictures."""
    variance, mean = ranks.var_mean(target, (0, 2, 3, 4))
    return mean, variance.clamp(min=DULL)
