"""https://arxiv.org/abs/1708.06734 (Noroozi, Pirsiavash, Favaro: learning to count, ICCV 2017): do the parts add up?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.ops.geometric import grey, picture
from pretext.ops.resample import KERNELS, resample_any
from pretext.ops.tiles import mount

GRID = 2  # quadrants: an image shrunk by 2 is as large as each of them, so that all five views fit one network
VIEWS = 1 + GRID**2
BARS, BAR = 16, 4  # of a drawing: how many counts, and the width of each in pixels


class Counting(Task):
    """Count something, no matter what, such that the counts of an image's quadrants add up to the whole image's.

    Each image is seen five times at half its side: shrunk, and as its four quadrants. The head makes a vector of
    non-negative counts phi of each view, and the loss of an image x with another image y is

        |phi(D x) - sum_j phi(T_j x)|^2 + max(0, margin - |phi(D y) - sum_j phi(T_j x)|^2)

    with D x the shrunk image and T_j x its quadrants. The second term keeps the counts from all being 0. The distances
    are those of whole vectors: hinging element by element would be another loss.

    A network that can tell a shrunk image from a quadrant can cheat: it counts a histogram, and divides by 4 in
    quadrants. Every method of shrinking leaves its own trace, so it is drawn anew at each step, and so is whether that
    step's batch is grey, where there is no colour fringe to tell the middle of a lens from its border.

    Args:
        backbone: any that reads images of half the side.
        length: how many things are counted.
        hidden: width of the head's first layer.
        margin: squared distance from which on two images count as different.
        grey: share of the steps that see no colour.

    Raises:
        ValueError: the backbone does not read images, or an argument is out of its range.

    """

    def __init__(
        self, backbone: Backbone, length: int = 1000, hidden: int = 1024, margin: float = 10.0, grey: float = 0.67
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        if min(length, hidden) < 1:
            raise ValueError(f"Counting: length={length}, hidden={hidden}; both must be at least 1")
        if not margin > 0:
            raise ValueError(f"Counting: margin is {margin}; take a squared distance above 0, such as 10")
        if not 0 <= grey <= 1:
            raise ValueError(f"Counting: grey is {grey}; take a share of the steps in [0, 1]")
        self.length, self.hidden, self.margin, self.grey = length, hidden, margin, grey
        last = nn.Linear(hidden, length)
        # Five small vectors, 4 of them summed: their squared lengths stay far below the margin, so it starts at chance;
        # but not so small that nothing is left of a gradient that is proportional to the counts themselves.
        nn.init.normal_(last.weight, std=(0.1 * margin / (length * hidden)) ** 0.5)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(nn.Linear(backbone.dim, hidden), nn.ReLU(), last, nn.ReLU())

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut and shrink images (N, 3, S, S): a question (5 N, 3, S/2, S/2), shrunk image, then quadrants, per image.

        The answer is the index of another image of the batch for each, (N,): what its counts must differ from. A single
        image, such as a validation set may leave over, is its own other, at which nothing can be better than chance.

        Raises:
            ValueError: `x` is not square with an even side.

        """
        if x.ndim != 4 or x.shape[-1] != x.shape[-2] or x.shape[-1] % GRID:
            raise ValueError(
                f"Counting wants square images (N, 3, S, S) of an even side, got {tuple(x.shape)}; "
                "crop them to an even square first (Augment's crop, or the data module's canvas)"
            )
        half = x.shape[-1] // GRID
        kernel = torch.randint(len(KERNELS), (), generator=rng, device=x.device)
        drained = torch.rand((), generator=rng, device=x.device) < self.grey
        shift = torch.randint(1, max(2, len(x)), (), generator=rng, device=x.device)  # a whole turn would meet itself
        shrunk = resample_any(x, half, half, kernel).clamp(0, 1)
        views = torch.cat([shrunk.unsqueeze(1), quadrants(x)], 1)
        views = torch.where(drained, grey(views), views)
        partner = (torch.arange(len(x), device=x.device) + shift) % len(x)
        return Puzzle(views.flatten(0, 1), partner)

    def solve(self, features: Features, given: None) -> Tensor:
        """Count in each view: (N, 5, length), none negative."""
        counts: Tensor = self.head(features.pooled)
        return counts.reshape(-1, VIEWS, self.length)

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        """Grade counts (N, 5, length); scores are the squared distances to the same image ("same") and "other"."""
        same, other = _distances(prediction, answer)
        loss = (same + (self.margin - other).clamp(min=0)).mean()
        return Grade(loss, {"same": same.detach().mean(), "other": other.detach().mean()})

    def chance(self) -> Grade:
        """Grade who counts nothing anywhere."""
        return Grade(torch.tensor(float(self.margin)), {"same": torch.tensor(0.0), "other": torch.tensor(0.0)})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the quadrants and the shrunk image, the other image, and the counts of each view and of all quadrants.

        A bar is one of the 16 things that are counted most in the row; all bars of a row have one scale.
        """
        views = picture(puzzle.question)
        views = views.reshape(-1, VIEWS, *views.shape[1:])
        partners = puzzle.answer.tolist()
        tiles = mount(views[:, 1:], GRID, max(1, views.shape[-1] // 16))
        rows = [
            [
                Panel(parts, "do the counts of these four"),
                Panel(seen[0], "add up to the counts of this?"),
                Panel(views[partner, 0], f"answer: yes, and not to the counts of image {partner + 1}"),
            ]
            for seen, parts, partner in zip(views, tiles, partners, strict=True)
        ]
        if prediction is not None:
            same, other = (distance.tolist() for distance in _distances(prediction.detach(), puzzle.answer))
            for row, counts, near, far in zip(rows, prediction.detach().float().cpu(), same, other, strict=True):
                row += _count_panels(counts, near, far)
        return rows

    def extra_repr(self) -> str:
        return f"length={self.length}, hidden={self.hidden}, margin={self.margin}, grey={self.grey}"


def quadrants(x: Tensor) -> Tensor:
    """Cut images (N, C, S, S) into their quadrants, row by row: (N, 4, C, S/2, S/2). `mount` undoes it."""
    half = x.shape[-1] // GRID
    return x.reshape(*x.shape[:2], GRID, half, GRID, half).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def _distances(counts: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """Measure squared distances (N,) of the quadrants' sum to the shrunk image's counts, and to its partner's."""
    counts = counts.float()
    whole, total = counts[:, 0], counts[:, 1:].sum(1)
    return (whole - total).square().sum(1), (whole[partner] - total).square().sum(1)


def _count_panels(counts: Tensor, same: float, other: float) -> list[Panel]:
    """Draw counts (5, length) as six panels of bars: each quadrant, their sum, and the shrunk image."""
    total = counts[1:].sum(0)
    most = (total + counts[0]).topk(min(BARS, len(total))).indices
    shown = torch.stack([*counts[1:], total, counts[0]])[:, most]
    bars = _bars(shown / shown.max().clamp(min=1e-6))
    names = [f"counts of quadrant {j}" for j in range(1, VIEWS)] + ["their sum"]
    panels = [Panel(image, name) for image, name in zip(bars[:-1], names, strict=True)]
    caption = f"prediction: {same:.2g} off, the other image {other:.2g}"
    return [*panels, Panel(bars[-1], caption, same < other)]


def _bars(heights: Tensor) -> Tensor:
    """Draw rows of heights (R, K) in [0, 1] as dark bars on pale grey: (R, 3, BARS * BAR, K * BAR)."""
    side = BARS * BAR
    level = torch.arange(side, 0, -1).view(side, 1) / side  # of each pixel row's upper edge, so that 0 draws nothing
    filled = heights.repeat_interleave(BAR, 1).unsqueeze(1) >= level - 0.5 / side
    filled = filled & (torch.arange(filled.shape[-1]) % BAR < BAR - 1)  # a pale line between bars
    return 0.92 - 0.72 * filled.float().unsqueeze(1).expand(-1, 3, -1, -1)
