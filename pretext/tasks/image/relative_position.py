"""https://arxiv.org/abs/1505.05192 (Doersch, Gupta, Efros: Context Prediction, ICCV 2015): where is the other tile?"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.losses import blind_guess
from pretext.ops.geometric import MEAN, grey, picture
from pretext.ops.lab import project
from pretext.ops.resample import matrix
from pretext.ops.tiles import cell_side, cut, mount, standardise

GRID, CENTRE, PLACES = 3, 4, 8
SPREAD = 50 / 255  # of a normalised tile
NOISE = 1 / 255  # width of the uniform noise in a dropped colour: one grey level
COARSE, FINE = 100 / 9216, 9025 / 9216  # a pixelated tile's area as a share of the tile's: 10 and 95 px of 96
FADED = 0.25  # how much of the tiles that were not asked about a drawing shows
NAMES = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")


class RelativePosition(Task):
    """Tell in which of the eight directions of one tile of an image another one lies.

    The largest centred square is divided into 3 x 3 cells and one tile is cut from each. The backbone sees every tile
    once, the head concatenated pairs of its features. One head judges all pairs, so it cannot know which cells they
    are from. `pairs="all"` asks for all 40 ordered pairs of neighbours, as the authors do; "centre" for the 8
    neighbours of the centre alone (Kolesnikov et al., https://arxiv.org/abs/1901.09005). There are 6 pairs for each
    straight direction in "all" but 4 for each diagonal; loss and accuracy count all directions alike, so that a blind
    guess stays at ln 8 and 1/8.

    Lengths are shares of the cell's side. The defaults are the authors' numbers, 96 px tiles on a pitch of 144 (images
    of 432 px): a tile wanders by up to 7 px either way, so that neighbours are 34 to 62 px apart, 48 on average. In
    whole pixels `gap` is rounded and `jitter` cut down: on 96 px, cells are 32, tiles 21, gaps 9 to 13; on 32 px
    nothing wanders. Gap and jitter are against edges and textures that continue from tile to tile. Crop without
    padding: a border that `Augment(pad=...)` mirrors is one that only outer tiles can have.

    Tiles should be large beside the network's stride: a stage that makes one pixel of a tile trains the centres of its
    3x3 kernels alone, and on whole images the other weights, random as ever, spoil what it says.

    Args:
        backbone: any that reads images as small as a tile.
        gap: mean distance between neighbouring tiles.
        jitter: how far each tile wanders at most, either way, at random per axis.
        pairs: all ordered pairs of neighbours, or those from the centre only.
        colour: against chromatic aberration, by which a tile tells its distance from the lens's axis. "drop": one
            channel at random, less its mean, the others noise of one grey level; "project": away from the axis between
            green and magenta; "grey"; "keep": nothing is done. Only the first hides it in fine texture: the others
            leave doubled edges, by which a small net still told half of the places of pure texture.
        normalise: give each tile the same mean and deviation, against brightness and contrast that continue.
        pixelate: share of the tiles that lose resolution, against reading the sampling of the pixels.
        hidden: width of the head's layer.

    Attributes:
        pairs: (40 or 8, 2) int64, the cells of each pair, the one to start from first; a buffer.
        labels: (40 or 8,) int64, the direction from the first to the second, row by row; a buffer.
        counts: (8,) int64, how often each direction is asked per image; a buffer.

    Raises:
        ValueError: the backbone does not read images, or an argument is out of its range.

    """

    pairs: Tensor
    labels: Tensor
    counts: Tensor

    def __init__(
        self,
        backbone: Backbone,
        gap: float = 1 / 3,
        jitter: float = 7 / 144,
        pairs: Literal["all", "centre"] = "all",
        colour: Literal["drop", "project", "grey", "keep"] = "drop",
        normalise: bool = True,
        pixelate: float = 1 / 3,
        hidden: int = 256,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        _check(gap, jitter, pairs, colour, pixelate)
        self.gap, self.jitter, self.asked, self.colour = gap, jitter, pairs, colour
        self.normalise, self.pixelate = normalise, pixelate
        chosen = neighbours() if pairs == "all" else neighbours()[neighbours()[:, 0] == CENTRE]
        self.register_buffer("pairs", chosen, persistent=False)
        self.register_buffer("labels", direction(chosen[:, 0], chosen[:, 1]), persistent=False)
        self.register_buffer("counts", self.labels.bincount(minlength=PLACES), persistent=False)
        last = nn.Linear(hidden, PLACES)
        nn.init.normal_(last.weight, std=0.01)  # starts at a blind guess, and still passes gradients on
        nn.init.zeros_(last.bias)
        # Without a scale of its own the norm cannot be turned down to 0, which is how this head dies in training.
        norm = nn.BatchNorm1d(hidden, affine=False)
        # The first layer reads both tiles of a pair side by side. As a sum of what it makes of either, it is computed
        # once per tile and role instead of once per pair: 18 times instead of 40.
        self.roles = nn.Linear(backbone.dim, 2 * hidden, bias=False)
        nn.init.uniform_(self.roles.weight, -((2 * backbone.dim) ** -0.5), (2 * backbone.dim) ** -0.5)
        self.head = nn.Sequential(norm, nn.ReLU(), last)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut images (N, 3, H, W) to tiles (N * 9, 3, t, t), cell by cell; the answer is (N * pairs,) directions.

        Raises:
            ValueError: `x` is no RGB, or too small.

        """
        if x.ndim != 4 or x.shape[1] != 3:
            raise ValueError(f"RelativePosition wants RGB images (N, 3, H, W), got {tuple(x.shape)}; expand grey ones")
        gap, jitter, tile = self.pixels(x.shape[-2], x.shape[-1])
        cells = torch.arange(GRID**2, device=x.device).expand(len(x), -1)
        shape = (2, *cells.shape, 1)
        wander = torch.randint(-jitter, jitter + 1, shape, generator=rng, device=x.device) + gap // 2
        tiles = cut(x, GRID, cells, tile, *wander).flatten(0, 1).float()  # exact: a grey level is less than bfloat16's
        tiles = _recoloured(_pixelated(tiles, self.pixelate, rng), self.colour, rng)
        if self.normalise:
            tiles = MEAN + SPREAD * standardise(tiles)
        return Puzzle(tiles.to(x.dtype), self.labels.repeat(len(x)))

    def pixels(self, height: int, width: int) -> tuple[int, int, int]:
        """Say gap, jitter and a tile's side in whole pixels, for images of this size.

        Raises:
            ValueError: the size is too small.

        """
        cell = cell_side(height, width, GRID)
        gap = math.floor(self.gap * cell + 0.5)
        if cell - gap < 1:
            raise ValueError(
                f"RelativePosition: images of {height} x {width} leave cells of {cell} pixels and, with "
                f"gap={self.gap:.3g}, tiles of {cell - gap}; use larger images or a smaller gap"
            )
        return gap, min(int(self.jitter * cell + 1e-6), gap // 2), cell - gap  # 7 / 144 * 144 may be 6.999... in floats

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits (N * pairs, 8) from the features of all tiles."""
        first, second = self.roles(features.pooled).unflatten(0, (-1, GRID**2)).chunk(2, -1)  # (N, 9, hidden) each
        # A product with 0 and 1 instead of an index, whose backward pass adds up row by row.
        starts, ends = functional.one_hot(self.pairs, GRID**2).to(first.dtype).unbind(1)  # (pairs, 9) each
        logits: Tensor = self.head((starts @ first + ends @ second).flatten(0, 1))
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        weight = 1 / self.counts.float()  # rarer directions count as much as others
        right = (prediction.detach().argmax(1) == answer).float()
        each = weight[answer]
        loss = functional.cross_entropy(prediction.float(), answer, weight)
        return Grade(loss, {"accuracy": (right * each).sum() / each.sum()})

    def chance(self) -> Grade:
        return blind_guess(PLACES)

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the centre and a neighbour of it, twice per image: the question, the true place, the predicted one."""
        tiles = picture(puzzle.question)
        tiles = tiles.view(-1, GRID**2, *tiles.shape[1:])
        from_centre = (self.pairs[:, 0] == CENTRE).nonzero().flatten().tolist()
        guesses = None if prediction is None else prediction.argmax(1).view(len(tiles), -1).cpu()
        rows = []
        for i, image in enumerate(tiles):
            for pair in (from_centre[3 * i % PLACES], from_centre[(3 * i + 4) % PLACES]):  # another two every time
                label, cell = int(self.labels[pair]), int(self.pairs[pair, 1])
                row = [
                    Panel(image[CENTRE], "from here,"),
                    Panel(image[cell], "where is this?"),
                    Panel(_placed(image, cell, label), f"answer: {NAMES[label]}"),
                ]
                if guesses is not None:
                    guess = int(guesses[i, pair])
                    row.append(Panel(_placed(image, cell, guess), f"prediction: {NAMES[guess]}", guess == label))
                rows.append(row)
        return rows

    def extra_repr(self) -> str:
        return (
            f"gap={self.gap:.4g}, jitter={self.jitter:.4g}, pairs={self.asked!r}, colour={self.colour!r}, "
            f"normalise={self.normalise}, pixelate={self.pixelate:.4g}"
        )


def direction(start: Tensor, end: Tensor) -> Tensor:
    """Number the direction from a cell to its neighbour: the ring around it row by row, 0 to 7; the opposite is 7 - it.

    Cells are counted row by row in a grid of 3.
    """
    down = end.div(GRID, rounding_mode="floor") - start.div(GRID, rounding_mode="floor")
    ring = GRID * (down + 1) + end % GRID - start % GRID + 1
    return ring - (ring > CENTRE).long()


def neighbours() -> Tensor:
    """List all ordered pairs of cells of a grid of 3 that touch, corners included: (40, 2) int64."""
    start, end = torch.cartesian_prod(torch.arange(GRID**2), torch.arange(GRID**2)).T
    near = ((start // GRID - end // GRID).abs() <= 1) & ((start % GRID - end % GRID).abs() <= 1) & (start != end)
    return torch.stack((start, end), 1)[near]


def _recoloured(tiles: Tensor, colour: str, rng: Generator) -> Tensor:
    """Take from tiles (M, 3, t, t) the colours by which a lens gives a place away."""
    if colour == "project":
        return project(tiles)
    if colour == "grey":
        return grey(tiles)
    if colour == "keep":
        return tiles
    kept = torch.randint(3, (len(tiles), 1, 1, 1), generator=rng, device=tiles.device)
    noise = NOISE * (torch.rand(tiles.shape, generator=rng, device=tiles.device) - 0.5)
    channel = torch.arange(3, device=tiles.device)[:, None, None]
    return MEAN + torch.where(channel == kept, tiles - tiles.mean((-2, -1), keepdim=True), noise)


def _pixelated(tiles: Tensor, share: float, rng: Generator) -> Tensor:
    """Shrink a random share of tiles (M, 3, t, t) and blow them up again, each to its own side, uniform in area."""
    side = tiles.shape[-1]
    if share == 0 or side < 3:
        return tiles
    drawn, uniform = torch.rand(2, len(tiles), generator=rng, device=tiles.device)
    shrunk = (side * (COARSE + (FINE - COARSE) * uniform).sqrt()).round().long().clamp(2, side - 1)
    rows = _blurs(side, tiles.device)[shrunk - 2].unsqueeze(1)  # (M, 1, t, t)
    with torch.autocast(tiles.device.type, enabled=False):
        coarse = rows @ tiles @ rows.mT
    return torch.where(drawn.view(-1, 1, 1, 1) < share, coarse, tiles)


@lru_cache(maxsize=4)
def _blurs(side: int, device: torch.device) -> Tensor:
    """Stack the matrices that shrink `side` pixels to 2 ... side - 1 and blow them up again: (side - 2, side, side)."""
    with torch.inference_mode(False):  # the cache outlives the mode, in which no tensor for training can be made
        ways = [matrix(few, side, "bilinear") @ matrix(side, few, "bilinear") for few in range(2, side)]
        return torch.stack(ways).to(device)


def _placed(tiles: Tensor, cell: int, place: int) -> Tensor:
    """Mount the tiles (9, 3, t, t), all but the centre faded, with the tile of `cell` in direction `place` from it."""
    shown = 1 - FADED + FADED * tiles
    shown[CENTRE] = tiles[CENTRE]
    shown[place + (place >= CENTRE)] = tiles[cell]
    return mount(shown[None], GRID, max(1, tiles.shape[-1] // 8))[0]


def _check(gap: float, jitter: float, pairs: str, colour: str, pixelate: float) -> None:
    """Raise a ValueError that names what is out of its range."""
    if pairs not in ("all", "centre") or colour not in ("drop", "project", "grey", "keep"):
        raise ValueError(
            f'RelativePosition: pairs={pairs!r}, colour={colour!r}; pairs are "all" or "centre", '
            'colour is "drop", "project", "grey" or "keep"'
        )
    if not 0 <= gap < 1 or jitter < 0 or not 0 <= pixelate <= 1:
        raise ValueError(
            f"RelativePosition: gap={gap}, jitter={jitter}, pixelate={pixelate}; the first two are shares of a cell's "
            "side in [0, 1), the last a share of the tiles in [0, 1]"
        )
    if 2 * jitter > gap + 1e-9:
        raise ValueError(
            f"RelativePosition: two tiles could wander towards each other by twice jitter={jitter}, more than "
            f"gap={gap}, and overlap; raise gap or lower jitter"
        )
