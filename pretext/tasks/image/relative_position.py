"""https://arxiv.org/abs/1505.05192 (Doersch, Gupta, Efros: Context Prediction, ICCV 2015): where is the other tile?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.heads import small
from pretext.nn.losses import blind_guess
from pretext.ops.aberration import COLOURS, without_aberration
from pretext.ops.drawing import panels, rows
from pretext.ops.geometric import MEAN, drawable
from pretext.ops.resample import pixelated
from pretext.ops.tile_cut import EXTENT, check_extent, least_gap, placed_tiles, whole_gap
from pretext.ops.tiles import mount_tiles, standardise, swap_places

GRID, CENTRE, PLACES = 3, 4, 8
SPREAD = 50 / 255  # of a normalised tile
COARSE, FINE = 100 / 9216, 9025 / 9216  # a pixelated tile's area as a share of the tile's: 10 and 95 px of 96
FADED = 0.25  # how much of the tiles that were not asked about a drawing shows
NAMES = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")


class RelativePosition(Task):
    """Tell in which of the eight directions of one tile of an image another one lies.

    A square somewhere in the image is divided into 3 x 3 cells and one tile is cut from each. The backbone sees every
    tile once, the head concatenated pairs of its features. One head judges all pairs, so it cannot know which cells
    they are from. `pairs="all"` asks for all 40 ordered pairs of neighbours, as the authors do; "centre" for the 8
    neighbours of the centre alone (Kolesnikov et al., https://arxiv.org/abs/1901.09005). There are 6 pairs for each
    straight direction in "all" but 4 for each diagonal; loss and accuracy count all directions alike, so that a blind
    guess stays at ln 8 and 1/8.

    The square's place and size are drawn for each image (`extent`), as the authors draw the grid's origin over a whole
    pitch and the image's size by a factor of 1.7. With a grid that never moves, a tile's place in the photo is its
    place in the grid, and most answers need no comparison of tiles: `destroyed` measures that.

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
        extent: smallest and largest side of the square, shares of the image's shorter side; tiles are enlarged to the
            size that they would have in the largest. None: always the largest square, in the middle.

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
        extent: tuple[float, float] | None = EXTENT,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        require(pairs in ("all", "centre"), self, f"{pairs=}", 'choose "all" or "centre"')
        require(colour in COLOURS, self, f"{colour=}", 'choose "drop", "project", "grey" or "keep"')
        require(
            0 <= gap < 1 and jitter >= 0 and 0 <= pixelate <= 1,
            self,
            f"{gap=}, {jitter=}, {pixelate=}",
            "the first two are shares of a cell's side in [0, 1), the last a share of the tiles in [0, 1]",
        )
        got = f"two tiles could wander towards each other by twice jitter={jitter}, more than gap={gap}, and overlap"
        require(2 * jitter <= gap + 1e-9, self, got, "raise gap or lower jitter")
        self.gap, self.jitter, self.asked, self.colour = gap, jitter, pairs, colour
        check_extent(self, extent)
        self.normalise, self.pixelate, self.extent = normalise, pixelate, extent
        chosen = neighbours() if pairs == "all" else neighbours()[neighbours()[:, 0] == CENTRE]
        self.register_buffer("pairs", chosen, persistent=False)
        self.register_buffer("labels", direction(chosen[:, 0], chosen[:, 1]), persistent=False)
        self.register_buffer("counts", self.labels.bincount(minlength=PLACES), persistent=False)
        last = small(nn.Linear(hidden, PLACES))
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
        require_input(x.ndim == 4 and x.shape[1] == 3, self, "RGB images (N, 3, H, W)", x, "expand grey ones")
        gap, jitter, tile = self.pixels(x.shape[-2], x.shape[-1])
        cells = torch.arange(GRID**2, device=x.device).expand(len(x), -1)
        shape = (2, *cells.shape, 1)
        wander = torch.randint(-jitter, jitter + 1, shape, generator=rng, device=x.device) + gap // 2
        tiles = placed_tiles(x, GRID, cells, tile, wander, self.extent, rng).flatten(0, 1)
        tiles = tiles.float()  # exact: a grey level is less than bfloat16's
        tiles = without_aberration(pixelated(tiles, self.pixelate, (COARSE, FINE), rng), self.colour, rng)
        if self.normalise:
            tiles = MEAN + SPREAD * standardise(tiles)
        return Puzzle(tiles.to(x.dtype), self.labels.repeat(len(x)))

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Put in every cell the same cell's tile of another image: where in a photo tiles lie is all that is left."""
        tiles = puzzle.question.unflatten(0, (-1, GRID**2))
        return puzzle._replace(question=swap_places(tiles, rng).flatten(0, 1))

    def pixels(self, height: int, width: int) -> tuple[int, int, int]:
        """Say gap, jitter and a tile's side in whole pixels, for images of this size.

        Raises:
            ValueError: the size is too small.

        """
        cell, gap = whole_gap(self, height, width, GRID, self.gap)
        room = max(0, gap - least_gap(self.extent)) // 2
        return gap, min(int(self.jitter * cell + 1e-6), room), cell - gap  # 7 / 144 * 144 may be 6.999... in floats

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits (N * pairs, 8) from the features of all tiles."""
        first, second = self.roles(features.pooled).unflatten(0, (-1, GRID**2)).chunk(2, -1)  # (N, 9, hidden) each
        # A product with 0 and 1 instead of an index, whose backward pass adds up row by row.
        chosen = self.pairs[..., None] == torch.arange(GRID**2, device=self.pairs.device)  # (pairs, 2, 9)
        starts, ends = chosen.to(first.dtype).unbind(1)  # (pairs, 9) each
        logits: Tensor = self.head((starts @ first + ends @ second).flatten(0, 1))
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        weight = 1 / self.counts.float()  # rarer directions count as much as others
        right = (prediction.detach().argmax(1) == answer).float()
        each = weight[answer]
        loss = functional.cross_entropy(prediction.float(), answer, weight)
        return Grade(loss, {"accuracy": (right * each).sum() / each.sum()})

    def choice_scores(self, prediction: Tensor) -> Tensor:
        return prediction

    def chance(self) -> Grade:
        return blind_guess(PLACES)

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the centre and a neighbour of it, twice per image: the question, the true place, the predicted one."""
        tiles = drawable(puzzle.question)
        tiles = tiles.view(-1, GRID**2, *tiles.shape[1:])
        from_centre = (self.pairs[:, 0] == CENTRE).nonzero().flatten()
        item = torch.arange(2 * len(tiles)) // 2
        pair = from_centre.cpu()[
            (3 * item + torch.tensor([0, 4]).repeat(len(tiles))) % PLACES
        ]  # another two every time
        cells, labels = self.pairs[:, 1].cpu()[pair], self.labels.cpu()[pair]

        def placed(who: str, places: Tensor, right: Tensor | None = None) -> list[Panel]:
            images = [
                _placed(tiles[i], *two) for i, *two in zip(item.tolist(), cells.tolist(), places.tolist(), strict=True)
            ]
            return panels(images, [f"{who}: {NAMES[place]}" for place in places.tolist()], right)

        columns = [
            panels(tiles[item, CENTRE], "from here,"),
            panels(tiles[item, cells], "where is this?"),
            placed("answer", labels),
        ]
        if prediction is not None:
            guesses = prediction.argmax(1).view(len(tiles), -1).cpu()[item, pair]
            columns.append(placed("prediction", guesses, guesses == labels))
        return rows(*columns)

    def extra_repr(self) -> str:
        return (
            f"gap={self.gap:.4g}, jitter={self.jitter:.4g}, pairs={self.asked!r}, colour={self.colour!r}, "
            f"normalise={self.normalise}, pixelate={self.pixelate:.4g}, extent={self.extent}"
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


def _placed(tiles: Tensor, cell: int, place: int) -> Tensor:
    """Mount the tiles (9, 3, t, t), all but the centre faded, with the tile of `cell` in direction `place` from it."""
    shown = 1 - FADED + FADED * tiles
    shown[CENTRE] = tiles[CENTRE]
    shown[place + (place >= CENTRE)] = tiles[cell]
    return mount_tiles(shown[None], GRID, max(1, tiles.shape[-1] // 8))[0]
