"""https://arxiv.org/abs/1603.08511 (Zhang, Isola, Efros: Colorization, ECCV 2016): what colours were they?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.colour_targets import ColourClasses, ColourTarget
from pretext.nn.heads import Hypercolumn
from pretext.ops.drawing import panels, rows
from pretext.ops.geometric import drawable
from pretext.ops.lab import lab_to_rgb, lightness, rgb_to_lab

WHITE = 100.0  # lightness L of white


class Colorization(Task):
    """Tell an image's colours from its lightness.

    The backbone sees L of CIE Lab in all three channels; the head says a and b on every `stride`-th pixel. Images
    without any colour do not count: nothing tells a black and white photograph from one whose colour was taken.

    The head reads all stages linearly (a hypercolumn) instead of the paper's decoder. So it adds no capacity of its own
    and fits any backbone. Rebalancing needs the distribution of colours: the task observes it while training, where the
    paper takes ImageNet's. A blind guess cannot tell one colour from another. A guess that knows which colours are
    common is already better, so compare with a run on random features.

    Args:
        backbone: reads images.
        target: what is said of a colour; none: `ColourClasses()`, a distribution over 313 bins.
        stride: between the pixels whose colour is asked; 4 in the paper.
        grey_below: an image counts if a or b exceeds this anywhere, in Lab units.

    Raises:
        ValueError: the backbone does not read images or has no stages, or a number is out of range.

    """

    def __init__(
        self,
        backbone: Backbone,
        target: ColourTarget | None = None,
        stride: int = 4,
        grey_below: float = 5.0,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        got = f"reads the stages of a backbone, but {type(backbone).__name__} has none"
        require(bool(backbone.stages), self, got, "choose another")
        wanted = "give a stride of at least 1, and a distance from grey of 0 or more"
        require(stride >= 1 and grey_below >= 0, self, f"{stride=}, {grey_below=}", wanted)
        self.target = ColourClasses() if target is None else target
        self.stride, self.grey_below = stride, grey_below
        self.rebalance = self.target.rebalancing()
        self.head = Hypercolumn(backbone.stages, self.target.outputs)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Take the colour from images (N, 3, H, W): the question is L / 100, the same in three channels.

        The answer is ab (N, 2, h, w) in Lab units at every `stride`-th pixel, from the middle of the first cell;
        L / 100 there, (N, 1, h, w), is given, which tells the head its size.

        Raises:
            ValueError: `x` is not RGB, or too small for the stride.

        """
        start, step = self.stride // 2, self.stride
        fits = x.ndim == 4 and x.shape[1] == 3 and min(x.shape[-2:]) > start
        wanted = f"RGB images (N, 3, H, W) with sides above {start} for stride={step}"
        require_input(fits, self, wanted, x, "use larger images or a smaller stride")
        light = lightness(x) / WHITE
        sparse = (..., slice(start, None, step), slice(start, None, step))  # subsampled first: few pixels to convert
        question, colours = light.to(x.dtype).expand(-1, 3, -1, -1).contiguous(), rgb_to_lab(x[sparse])[:, 1:]
        return Puzzle(question, colours.to(x.dtype), light[sparse].to(x.dtype).contiguous())

    def solve(self, features: Features, given: Tensor) -> Tensor:
        """Give logits over the bins, (N, 313, h, w), or values of ab, (N, 2, h, w)."""
        return self.target.predict(self.head(features.stages, (given.shape[-2], given.shape[-1])))

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        """Grade the pixels of images that have a colour."""
        ab = answer.float()
        coloured = (ab.abs().amax((1, 2, 3)) > self.grey_below).float()[:, None, None]  # (N, 1, 1)
        return self.target.grade(prediction.float(), ab, coloured, self.rebalance, observe=self.training)

    def chance(self) -> Grade:
        """Grade equal logits, or the values of grey."""
        return self.target.chance()

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the lightness, the true colours on it (as coarse as they are asked), and the predicted ones."""
        light = puzzle.question[:, :1].detach().float().cpu() * WHITE
        ab = puzzle.answer.detach().float().cpu()
        columns = [panels(drawable(puzzle.question), "which colours?"), panels(_paint(light, ab), "answer")]
        if prediction is not None:
            guess = self.target.decode(prediction.detach().float().cpu())
            misses = (guess - ab).square().sum(1).mean((1, 2)).sqrt().tolist()
            columns.append(panels(_paint(light, guess), [f"prediction: off by {x:.1f} in ab" for x in misses]))
        return rows(*columns)

    def extra_repr(self) -> str:
        return f"target={self.target}, stride={self.stride}, grey_below={self.grey_below}"


def _paint(light: Tensor, ab: Tensor) -> Tensor:
    """Lay colours (N, 2, h, w), enlarged, over lightness (N, 1, H, W): RGB (N, 3, H, W)."""
    return lab_to_rgb(torch.cat((light, F.interpolate(ab, light.shape[-2:], mode="bilinear")), 1))
