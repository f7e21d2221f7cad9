"""https://arxiv.org/abs/1708.06734 (Noroozi, Pirsiavash, Favaro: learning to count, ICCV 2017): do the parts add up?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.heads import small
from pretext.ops.drawing import bars, panels, rows
from pretext.ops.geometric import drawable, grey
from pretext.ops.resample import KERNELS, resample_any
from pretext.ops.tiles import mount_tiles, quadrants, swap_places

GRID = 2  # quadrants: an image shrunk by 2 is as large as each of them, so that all five views fit one network
VIEWS = 1 + GRID**2
BARS = 16  # of a drawing: how many counts


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
        require(min(length, hidden) >= 1, self, f"{length=}, {hidden=}", "both must be at least 1")
        require(margin > 0, self, f"{margin=}", "take a squared distance above 0, such as 10")
        require(0 <= grey <= 1, self, f"{grey=}", "take a share of the steps in [0, 1]")
        self.length, self.hidden, self.margin, self.grey = length, hidden, margin, grey
        # Five small vectors, 4 of them summed: their squared lengths stay far below the margin, so it starts at chance;
        # but not so small that nothing is left of a gradient that is proportional to the counts themselves.
        last = small(nn.Linear(hidden, length), (0.1 * margin / (length * hidden)) ** 0.5)
        self.head = nn.Sequential(nn.Linear(backbone.dim, hidden), nn.ReLU(), last, nn.ReLU())

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut and shrink images (N, 3, S, S): a question (5 N, 3, S/2, S/2), shrunk image, then quadrants, per image.

        The answer is the index of another image of the batch for each, (N,): what its counts must differ from. A single
        image, such as a validation set may leave over, is its own other, at which nothing can be better than chance.

        Raises:
            ValueError: `x` is not square with an even side.

        """
        fits = x.ndim == 4 and x.shape[-1] == x.shape[-2] and x.shape[-1] % GRID == 0
        how = "crop them to an even square first (Augment's crop, or the data module's canvas)"
        require_input(fits, self, "square images (N, 3, S, S) of an even side", x, how)
        half = x.shape[-1] // GRID
        kernel = torch.randint(len(KERNELS), (), generator=rng, device=x.device)
        colourless = torch.rand((), generator=rng, device=x.device) < self.grey
        shift = torch.randint(1, max(2, len(x)), (), generator=rng, device=x.device)  # a whole turn would meet itself
        shrunk = resample_any(x, half, half, kernel).clamp(0, 1)
        views = torch.cat([shrunk.unsqueeze(1), quadrants(x)], 1)
        views = torch.where(colourless, grey(views), views)
        partner = (torch.arange(len(x), device=x.device) + shift) % len(x)
        return Puzzle(views.flatten(0, 1), partner)

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Put in place of each quadrant that of another image, so that no counts need add up."""
        views = puzzle.question.unflatten(0, (-1, VIEWS))
        views = torch.cat((views[:, :1], swap_places(views[:, 1:], rng)), 1)
        return puzzle._replace(question=views.flatten(0, 1))

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
        """Return what counting nothing anywhere costs."""
        return Grade(torch.tensor(float(self.margin)), {"same": torch.tensor(0.0), "other": torch.tensor(0.0)})

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the quadrants and the shrunk image, the other image, and the counts of each view and of all quadrants.

        A bar is one of the 16 things that are counted most in the row; all bars of a row have one scale.
        """
        views = drawable(puzzle.question)
        views = views.reshape(-1, VIEWS, *views.shape[1:])
        partners = puzzle.answer.tolist()
        columns = [
            panels(mount_tiles(views[:, 1:], GRID, max(1, views.shape[-1] // 16)), "do the counts of these four"),
            panels(views[:, 0], "add up to the counts of this?"),
            panels(views[partners, 0], [f"answer: yes, and not to the counts of image {p + 1}" for p in partners]),
        ]
        if prediction is not None:
            columns += _counted(prediction.detach().float().cpu(), *_distances(prediction.detach(), puzzle.answer))
        return rows(*columns)

    def extra_repr(self) -> str:
        return f"length={self.length}, hidden={self.hidden}, margin={self.margin}, grey={self.grey}"


def _distances(counts: Tensor, partner: Tensor) -> tuple[Tensor, Tensor]:
    """Measure squared distances (N,) of the quadrants' sum to the shrunk image's counts, and to its partner's."""
    counts = counts.float()
    entire, total = counts[:, 0], counts[:, 1:].sum(1)
    return (entire - total).square().sum(1), (entire[partner] - total).square().sum(1)


def _counted(counts: Tensor, same: Tensor, other: Tensor) -> list[list[Panel]]:
    """Draw counts (N, 5, length) as six columns of bars: each quadrant, their sum, and the shrunk image."""
    total = counts[:, 1:].sum(1, keepdim=True)
    shown = torch.cat((counts[:, 1:], total, counts[:, :1]), 1)  # (N, 6, length)
    most = (total + counts[:, :1]).topk(min(BARS, counts.shape[-1])).indices.expand(-1, VIEWS + 1, -1)
    images = [bars(row / row.max().clamp(min=1e-6)) for row in shown.gather(2, most)]
    names = [*(f"counts of quadrant {j}" for j in range(1, VIEWS)), "their sum"]
    told = [
        f"prediction: {a:.2g} off, the other image {b:.2g}" for a, b in zip(same.tolist(), other.tolist(), strict=True)
    ]
    columns = [panels((row[j] for row in images), name) for j, name in enumerate(names)]
    return [*columns, panels((row[-1] for row in images), told, same < other)]
