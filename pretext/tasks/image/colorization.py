"""https://arxiv.org/abs/1603.08511 (Zhang, Isola, Efros: Colorization, ECCV 2016): what colours were they?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.heads import Hypercolumn
from pretext.nn.losses import blind_guess
from pretext.nn.rebalance import Rebalance
from pretext.ops.gamut import BINS, annealed_mean, bins, soft_encode
from pretext.ops.geometric import picture
from pretext.ops.lab import lab_to_rgb, lightness, rgb_to_lab

WHITE = 100.0  # lightness L of white
UNIT = 5.0  # of a and b in what the head says: large enough to be learnt fast, small enough to start near grey
TINY = torch.finfo(torch.float32).tiny  # divides 0, where nothing counts


class Colorization(Task):
    """Tell an image's colours from its lightness.

    The backbone sees L of CIE Lab in all three channels; the head says a and b on every `stride`-th pixel, by default
    as a distribution over 313 bins, which may have several modes where a mean would be a dull brown. Images without
    any colour do not count: nothing tells a black and white photograph from one whose colour was taken.

    The head reads all stages linearly (a hypercolumn) instead of the paper's decoder, so that it adds no capacity of
    its own and any backbone will do. The distribution of colours that rebalancing needs is observed while training,
    where the paper takes ImageNet's. A blind guess is one that knows no colour from another: who knows which are common
    already does better, so compare with a run on random features.

    Args:
        backbone: reads images.
        target: "classes", or "values" to regress a and b by least squares (the paper's L2 variant; its loss is the
            share of the squared ab that is missed, so that grey costs 1), without neighbours, rebalance, temperature.
        stride: between the pixels whose colour is asked; 4 in the paper.
        neighbours: bins that the target is spread over; 10 in the authors' code, 5 in the paper.
        rebalance: share of the uniform distribution when rare colours are given more weight; 1: none are.
        temperature: of the annealed mean that turns a distribution into the colour that is drawn.
        grey_below: an image counts if a or b exceeds this anywhere, in Lab units.

    Raises:
        ValueError: the backbone does not read images or has no stages, or a number is out of range.

    """

    def __init__(
        self,
        backbone: Backbone,
        target: Literal["classes", "values"] = "classes",
        stride: int = 4,
        neighbours: int = 10,
        rebalance: float = 0.5,
        temperature: float = 0.38,
        grey_below: float = 5.0,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        _check(backbone, target, stride, neighbours, rebalance, temperature, grey_below)
        self.target = target
        self.stride = stride
        self.neighbours = neighbours
        self.temperature = temperature
        self.grey_below = grey_below
        self.rebalance = Rebalance(bins(), rebalance) if target == "classes" else None
        self.head = Hypercolumn(backbone.stages, BINS if target == "classes" else 2)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Take the colour from images (N, 3, H, W): the question is L / 100, the same in three channels.

        The answer is ab (N, 2, h, w) in Lab units at every `stride`-th pixel, from the middle of the first cell;
        L / 100 there, (N, 1, h, w), is given, which tells the head its size.

        Raises:
            ValueError: `x` is not RGB, or too small for the stride.

        """
        start, step = self.stride // 2, self.stride
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[-2:]) <= start:
            raise ValueError(
                f"Colorization wants RGB images (N, 3, H, W) with sides above {start} for stride={step}, "
                f"got {tuple(x.shape)}; use larger images or a smaller stride"
            )
        light = lightness(x) / WHITE
        sparse = (..., slice(start, None, step), slice(start, None, step))  # subsampled first: few pixels to convert
        colours = rgb_to_lab(x[sparse])[:, 1:]
        question = light.to(x.dtype).expand(-1, 3, -1, -1).contiguous()
        return Puzzle(question, colours.to(x.dtype), light[sparse].to(x.dtype).contiguous())

    def solve(self, features: Features, given: Tensor) -> Tensor:
        """Give logits over the bins, (N, 313, h, w), or values of ab, (N, 2, h, w)."""
        height, width = given.shape[-2:]
        said: Tensor = self.head(features.stages, (height, width))
        return said if self.rebalance is not None else said * UNIT

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        """Grade the pixels of images that have a colour; "accuracy" is how often the nearest bin is the likeliest."""
        ab, said = answer.float(), prediction.float()
        coloured = (ab.abs().amax((1, 2, 3)) > self.grey_below).float()[:, None, None]  # (N, 1, 1)
        if self.rebalance is not None:
            return self._classes(said, ab, coloured, self.rebalance)
        missed, all_ = (((gap * gap).sum(1) * coloured).sum() for gap in (ab - said, ab))
        return Grade(missed / all_.clamp(min=TINY), {})

    def chance(self) -> Grade:
        """Grade equal logits, or the values of grey."""
        return blind_guess(BINS) if self.target == "classes" else Grade(torch.tensor(1.0), {})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the lightness, the true colours on it (as coarse as they are asked), and the predicted ones."""
        light = puzzle.question[:, :1].detach().float().cpu() * WHITE
        ab = puzzle.answer.detach().float().cpu()
        rows = [
            [Panel(picture(asked), "which colours?"), Panel(true, "answer")]
            for asked, true in zip(puzzle.question, _paint(light, ab), strict=True)
        ]
        if prediction is not None:
            said = prediction.detach().float().cpu()
            guess = annealed_mean(said, self.temperature) if self.rebalance is not None else said
            misses = (guess - ab).square().sum(1).mean((1, 2)).sqrt().tolist()
            for row, image, miss in zip(rows, _paint(light, guess), misses, strict=True):
                row.append(Panel(image, f"prediction: off by {miss:.1f} in ab"))
        return rows

    def extra_repr(self) -> str:
        common = f"target={self.target!r}, stride={self.stride}, grey_below={self.grey_below}"
        if self.rebalance is None:
            return common
        return (
            f"{common}, neighbours={self.neighbours}, rebalance={self.rebalance.share}, temperature={self.temperature}"
        )

    def _classes(self, logits: Tensor, ab: Tensor, coloured: Tensor, rebalance: Rebalance) -> Grade:
        """Grade logits (N, 313, h, w) by cross entropy with the soft-encoded colours, weighted by their rarity."""
        shares, near = soft_encode(ab.movedim(1, -1), self.neighbours)  # (N, h, w, k)
        weights = rebalance.weights()[near[..., 0]] * coloured  # by what came before this batch
        if self.training:
            rebalance.observe(near, shares * coloured[..., None])
        # The logits' own logarithm and the k that matter: neither dense targets nor dense log-probabilities are built.
        likely = (logits.gather(1, near.movedim(-1, 1)) * shares.movedim(-1, 1)).sum(1)
        loss = (weights * (logits.logsumexp(1) - likely)).sum() / weights.sum().clamp(min=TINY)
        right = (logits.detach().argmax(1) == near[..., 0]) * coloured
        return Grade(loss, {"accuracy": right.sum() / coloured.expand_as(right).sum().clamp(min=1)})


def _paint(light: Tensor, ab: Tensor) -> Tensor:
    """Lay colours (N, 2, h, w), enlarged, over lightness (N, 1, H, W): RGB (N, 3, H, W)."""
    return lab_to_rgb(torch.cat((light, F.interpolate(ab, light.shape[-2:], mode="bilinear")), 1))


def _check(
    backbone: Backbone,
    target: str,
    stride: int,
    neighbours: int,
    rebalance: float,
    temperature: float,
    grey_below: float,
) -> None:
    """Raise a ValueError that names what is out of its range."""
    if not backbone.stages:
        raise ValueError(f"Colorization reads the stages of a backbone; {type(backbone).__name__} has none")
    if target not in ("classes", "values"):
        raise ValueError(f'Colorization: target is {target!r}; choose "classes" or "values"')
    if stride < 1 or not 1 <= neighbours <= BINS:
        raise ValueError(
            f"Colorization: stride={stride}, neighbours={neighbours}; give at least 1, and at most {BINS} neighbours"
        )
    if not 0 <= rebalance <= 1 or temperature <= 0 or grey_below < 0:
        raise ValueError(
            f"Colorization: rebalance={rebalance}, temperature={temperature}, grey_below={grey_below}; "
            "give a share in [0, 1], a temperature above 0, and a distance from grey of 0 or more"
        )
