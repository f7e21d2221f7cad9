"""https://arxiv.org/abs/1603.09246 (Noroozi and Favaro: Jigsaw, ECCV 2016): which shuffle was it?"""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor, nn

from pretext.losses import blind_guess, cross_entropy
from pretext.moves import grey, picture
from pretext.tiles import cell_side, cut, hamming, mount, permutation_set, restore, standardise
from pretext.types import Backbone, Features, Grade, Panel, Puzzle, Task, axis

MEAN, SPREAD = 0.45, 0.225  # of natural images in [0, 1]: a standardised tile is still what backbones expect to see


class Jigsaw(Task):
    """Tell by which of K known permutations the tiles of an image were shuffled.

    The largest centred square is divided into `grid` x `grid` cells and one tile is cut from each: tile s that the
    backbone sees comes from cell `table[label][s]`. The backbone sees the tiles one by one, the head all of them.

    Lengths are shares of the cell's side, so that one setting serves 32 px (cells of 10: tiles of 7, wandering by 0 to
    2) and photos (255 px, cells of 85: tiles of 64, wandering by 0 to 17, channels by 0 to 2 more). In whole pixels,
    `gap` is rounded, `jitter` and `channel_jitter` are cut down. A tile is a cell less the gap, and its room to wander
    lies in the middle of its cell: between neighbours there are `gap` pixels on average, at least
    gap - jitter - channel_jitter and at most gap + jitter + channel_jitter. Without them edges that continue from
    tile to tile would give the answer away.

    Args:
        backbone: any that reads images as small as a tile.
        grid: cells per side.
        permutations: how many, K; they are chosen far apart and always the same (see `pretext.tiles.permutation_set`).
        gap: mean distance between neighbouring tiles.
        jitter: how far each tile wanders, at random per axis.
        channel_jitter: how much further each of its colour channels does, against chromatic aberration.
        standardise: give each tile the same mean and deviation, against brightness and contrast that continue.
        grey: share of the images whose tiles lose their colour.
        width: of the head's layer that all tiles share.
        hidden: width of the head's layer that sees all tiles.

    Attributes:
        table: (K, grid * grid) int64, a buffer.
        min_distance: the smallest Hamming distance between two rows of `table`: to leave m tiles out, it must exceed m.
        mean_distance: the mean one.

    Raises:
        ValueError: the backbone does not read images, or an argument is out of its range.

    """

    table: Tensor

    def __init__(
        self,
        backbone: Backbone,
        grid: int = 3,
        permutations: int = 100,
        gap: float = 0.25,
        jitter: float = 0.2,
        channel_jitter: float = 0.03,
        standardise: bool = True,
        grey: float = 0.3,
        width: int = 256,
        hidden: int = 1024,
    ) -> None:
        super().__init__()
        for letter in "hw":
            axis(letter, backbone, self)
        _check(grid, permutations, gap, jitter, channel_jitter, grey)
        self.grid, self.gap, self.jitter, self.channel_jitter = grid, gap, jitter, channel_jitter
        self.standardise, self.grey = standardise, grey
        table = permutation_set(grid**2, permutations)
        self.register_buffer("table", table)
        self.min_distance, self.mean_distance = hamming(table)
        self.each = nn.Sequential(nn.Linear(backbone.dim, width), nn.ReLU())
        # Two layers, because one could only let every tile vote for its own place, never compare two tiles.
        last = nn.Linear(hidden, permutations)
        self.together = nn.Sequential(nn.Linear(grid**2 * width, hidden), nn.ReLU(), last)
        nn.init.normal_(last.weight, std=0.01)  # starts at a blind guess, and still passes gradients on
        nn.init.zeros_(last.bias)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut images (N, 3, H, W) to shuffled tiles, (N * P, 3, t, t) image by image; the answer is the row of `table`.

        Raises:
            ValueError: `x` is too small for the grid.

        """
        labels = torch.randint(len(self.table), (len(x),), generator=rng, device=x.device)
        tiles = self._cut(x, self.table[labels], rng)
        drained = torch.rand(len(x), 1, 1, 1, 1, generator=rng, device=x.device) < self.grey
        tiles = torch.where(drained, grey(tiles), tiles)
        if self.standardise:
            tiles = MEAN + SPREAD * standardise(tiles)
        return Puzzle(tiles.flatten(0, 1), labels)

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Say gap, jitter, channel jitter and a tile's side in whole pixels, for images of this size.

        Raises:
            ValueError: the size is too small for the grid.

        """
        cell = cell_side(height, width, self.grid)
        gap = math.floor(self.gap * cell + 0.5)
        if cell - gap < 1:
            raise ValueError(
                f"Jigsaw: images of {height} x {width} leave cells of {cell} pixels in a grid of {self.grid} and, with "
                f"gap={self.gap}, tiles of {cell - gap}; use larger images, a smaller grid or a smaller gap"
            )
        # A little is added because 0.29 * 100 is 28.999... in floats.
        jitter, channel_jitter = (int(share * cell + 1e-6) for share in (self.jitter, self.channel_jitter))
        return gap, min(jitter, gap - channel_jitter), channel_jitter, cell - gap

    def solve(self, features: Features, given: None) -> Tensor:
        """Give logits (N, K) from the features of all tiles."""
        tiles = features.pooled.view(-1, self.grid**2, features.pooled.shape[1])  # (N, P, D)
        logits: Tensor = self.together(self.each(tiles).flatten(1))
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return cross_entropy(prediction, answer)

    def chance(self) -> Grade:
        return blind_guess(len(self.table))

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the shuffled tiles, the true arrangement, and the one that the prediction would make."""
        tiles = picture(puzzle.question)
        tiles = tiles.view(-1, self.grid**2, *tiles.shape[1:])  # (N, P, 3, t, t)
        table, answers = self.table.cpu(), puzzle.answer.cpu()
        seam = max(1, tiles.shape[-1] // 8)
        shuffled = mount(tiles, self.grid, seam)
        solved = mount(restore(tiles, table[answers]), self.grid, seam)
        rows = [
            [Panel(asked, "which shuffle?"), Panel(whole, f"answer: permutation {label}")]
            for asked, whole, label in zip(shuffled, solved, answers.tolist(), strict=True)
        ]
        if prediction is not None:
            guesses = prediction.argmax(1).cpu()
            placed = mount(restore(tiles, table[guesses]), self.grid, seam)
            matches = (table[guesses] == table[answers]).sum(1)
            for row, image, guess, answer, match in zip(rows, placed, guesses, answers, matches, strict=True):
                caption = f"prediction: permutation {guess}, {match} of {self.grid**2} in place"
                row.append(Panel(image, caption, bool(guess == answer)))
        return rows

    def extra_repr(self) -> str:
        return (
            f"grid={self.grid}, permutations={len(self.table)}, min_distance={self.min_distance}, "
            f"mean_distance={self.mean_distance:.3f}, gap={self.gap}, jitter={self.jitter}, "
            f"channel_jitter={self.channel_jitter}, standardise={self.standardise}, grey={self.grey}"
        )

    def _cut(self, x: Tensor, cells: Tensor, rng: Generator) -> Tensor:
        """Cut a tile out of each of `cells` (N, P), each with its own jitter, each channel with its own on top."""
        gap, jitter, channel_jitter, tile = self.pixels(x.shape[-2], x.shape[-1])
        start = (gap - jitter - channel_jitter) // 2
        places = (2, *cells.shape)
        wander = torch.randint(jitter + 1, (*places, 1), generator=rng, device=x.device)
        if channel_jitter:
            wander = wander + torch.randint(channel_jitter + 1, (*places, 3), generator=rng, device=x.device)
        return cut(x, self.grid, cells, tile, *(start + wander))


def _check(grid: int, permutations: int, gap: float, jitter: float, channel_jitter: float, grey: float) -> None:
    """Raise a ValueError that names what is out of its range."""
    if grid < 2 or permutations < 2:
        raise ValueError(f"Jigsaw: grid={grid}, permutations={permutations}; a puzzle takes at least 2 of each")
    if not 0 <= gap < 1 or min(jitter, channel_jitter) < 0 or not 0 <= grey <= 1:
        raise ValueError(
            f"Jigsaw: gap={gap}, jitter={jitter}, channel_jitter={channel_jitter}, grey={grey}; "
            "the first three are shares of a cell's side in [0, 1), grey a share of the images in [0, 1]"
        )
    if jitter + channel_jitter > gap + 1e-9:  # 0.1 + 0.2 > 0.3 in floats
        raise ValueError(
            f"Jigsaw: jitter={jitter} + channel_jitter={channel_jitter} exceed gap={gap}, so a tile could leave its "
            "cell and overlap its neighbour; raise gap or lower the other two"
        )
