"""https://arxiv.org/abs/1603.09246 (Noroozi and Favaro: Jigsaw, ECCV 2016): which shuffle was it?"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.geometric import MEAN, SPREAD, grey, picture
from pretext.ops.tiles import (
    affine_set,
    cell_side,
    cut,
    exchange,
    hamming,
    mount,
    permutation_set,
    restore,
    standardise,
)


class Jigsaw(Task):
    """Tell by which of K known permutations the tiles of an image were shuffled.

    The largest centred square is divided into `grid` x `grid` cells and one tile is cut from each: tile s of a puzzle
    comes from cell `table[label][s]`. The backbone sees the tiles one by one, the head all of them. Shuffling what the
    backbone made of the tiles therefore is the same as shuffling the tiles, and one look answers many puzzles
    (Kolesnikov et al., https://arxiv.org/abs/1901.09005). The head is given the permutation to shuffle by, and reads
    the shuffled embeddings only.

    `view="mosaic"` is for a ViT, which would have to see tiles as small as a few of its patches: the shuffled tiles,
    mounted without seams, are one image, and the mean of the last stage over a tile is its embedding. The mosaic's
    side, `grid` tiles, must be what the ViT reads, and a tile a whole number of its patches: on 192 px, cells of 64,
    tiles of 48 and `TorchVision("vit_b_16", image_size=144)`, 3 x 3 patches each.

    Lengths are shares of the cell's side, so that one setting serves 32 px (cells of 10: tiles of 7, wandering by 0 to
    2) and photos (255 px, cells of 85: tiles of 64, wandering by 0 to 17, channels by 0 to 2 more). In whole pixels,
    `gap` is rounded, `jitter` and `channel_jitter` are cut down. A tile is a cell less the gap, and its room to wander
    lies in the middle of its cell: between neighbours there are `gap` pixels on average, at least
    gap - jitter - channel_jitter and at most gap + jitter + channel_jitter. Without them edges that continue from
    tile to tile would give the answer away. So would a border that `Augment(pad=...)` mirrors, which only the outer
    tiles can have: crop without padding.

    Tiles should be large beside the network's stride: a stage that makes one pixel of a tile trains the centres of its
    3x3 kernels alone, and on whole images the other weights, random as ever, spoil what it says.

    Args:
        backbone: any that reads images as small as a tile.
        grid: cells per side.
        permutations: how many, K; chosen far apart and always the same (see `pretext.ops.tiles.permutation_set`).
            "affine": the 72 that are 8 apart, for a grid of 3 (see `pretext.ops.tiles.affine_set`).
        gap: mean distance between neighbouring tiles.
        jitter: how far each tile wanders, at random per axis.
        channel_jitter: how much further each of its colour channels does, against chromatic aberration.
        standardise: give each tile the same mean and deviation, against brightness and contrast that continue.
        grey: share of the images whose tiles lose their colour.
        width: of the head's layer that all tiles share.
        hidden: width of the head's layer that sees all tiles.
        puzzles: how many shuffles of each image are asked, drawn independently.
        view: whether the backbone sees single tiles or a mosaic of them, which allows one puzzle per image.
        foreign: up to how many tiles of each image are another image's (Jigsaw++, https://arxiv.org/abs/1805.00385).

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
        permutations: int | Literal["affine"] = 100,
        gap: float = 0.25,
        jitter: float = 0.2,
        channel_jitter: float = 0.03,
        standardise: bool = True,
        grey: float = 0.3,
        width: int = 256,
        hidden: int = 1024,
        puzzles: int = 1,
        view: Literal["tiles", "mosaic"] = "tiles",
        foreign: int = 0,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        _check(grid, permutations, gap, jitter, channel_jitter, grey)
        _check_puzzles(puzzles, view)
        self.grid, self.gap, self.jitter, self.channel_jitter = grid, gap, jitter, channel_jitter
        self.standardise, self.grey = standardise, grey
        self.puzzles, self.view, self.foreign = puzzles, view, foreign
        table = affine_set() if permutations == "affine" else permutation_set(grid**2, permutations)
        self.register_buffer("table", table)
        self.min_distance, self.mean_distance = hamming(table)
        if not 0 <= foreign < self.min_distance:
            raise ValueError(
                f"Jigsaw: foreign={foreign}, but permutations that differ in {self.min_distance} places only can be "
                f"told apart without {self.min_distance - 1} tiles at most; lower foreign, or permutations"
            )
        seen = backbone.dim if view == "tiles" else list(backbone.stages.values())[-1]
        self.each = nn.Sequential(nn.Linear(seen, width), nn.ReLU())
        # Two layers, because one could only let every tile vote for its own place, never compare two tiles.
        last = nn.Linear(hidden, len(table))
        self.together = nn.Sequential(nn.Linear(grid**2 * width, hidden), nn.ReLU(), last)
        nn.init.normal_(last.weight, std=0.01)  # starts at a blind guess, and still passes gradients on
        nn.init.zeros_(last.bias)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut images (N, 3, H, W) to tiles; the answer is the row of `table`, (N * puzzles,) image by image.

        The question is (N * P, 3, t, t), the tiles in the order of their cells, and with it are given the permutations
        (N, puzzles, P). As a mosaic it is (N, 3, grid * t, grid * t), already shuffled, and nothing is given.

        Raises:
            ValueError: `x` is too small for the grid.

        """
        labels = torch.randint(len(self.table), (len(x), self.puzzles), generator=rng, device=x.device)
        tiles = exchange(self._cut(x, rng), self.foreign, rng)
        # Colours are drained after the exchange, or a foreign tile could be told by its colour alone.
        drained = torch.rand(len(x), 1, 1, 1, 1, generator=rng, device=x.device) < self.grey
        tiles = torch.where(drained, grey(tiles), tiles)
        if self.standardise:
            tiles = MEAN + SPREAD * standardise(tiles)
        orders = self.table[labels]
        if self.view == "mosaic":
            return Puzzle(mount(_shuffle(tiles, orders)[:, 0], self.grid), labels.flatten())
        return Puzzle(tiles.flatten(0, 1), labels.flatten(), orders)

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

    def solve(self, features: Features, given: Tensor | None) -> Tensor:
        """Give logits (N * puzzles, K) from the features of all tiles, or of the mosaic."""
        if given is None:
            logits: Tensor = self.together(self.each(self._patches(features)).flatten(1))
            return logits
        each = self.each(features.pooled)
        tiles = each.view(-1, self.grid**2, each.shape[1])  # (N, P, width)
        logits = self.together(_shuffle(tiles, given).flatten(0, 1).flatten(1))
        return logits

    def grade(self, prediction: Tensor, answer: Tensor) -> Grade:
        return cross_entropy(prediction, answer)

    def chance(self) -> Grade:
        return blind_guess(len(self.table))

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the shuffled tiles, the true arrangement, and the one that the prediction would make."""
        table, answers = self.table.cpu(), puzzle.answer.cpu()
        tiles = self._shuffled(puzzle)  # (N * puzzles, P, 3, t, t)
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
            f"channel_jitter={self.channel_jitter}, standardise={self.standardise}, grey={self.grey}, "
            f"puzzles={self.puzzles}, view={self.view!r}, foreign={self.foreign}"
        )

    def _cut(self, x: Tensor, rng: Generator) -> Tensor:
        """Cut a tile out of every cell, each with its own jitter, each channel with its own on top: (N, P, 3, t, t)."""
        gap, jitter, channel_jitter, tile = self.pixels(x.shape[-2], x.shape[-1])
        start = (gap - jitter - channel_jitter) // 2
        cells = torch.arange(self.grid**2, device=x.device).expand(len(x), -1)
        places = (2, *cells.shape)
        wander = torch.randint(jitter + 1, (*places, 1), generator=rng, device=x.device)
        if channel_jitter:
            wander = wander + torch.randint(channel_jitter + 1, (*places, 3), generator=rng, device=x.device)
        return cut(x, self.grid, cells, tile, *(start + wander))

    def _patches(self, features: Features) -> Tensor:
        """Average the last stage over each tile of a mosaic: (N, P, D)."""
        last = list(features.stages.values())[-1]
        if last.shape[-2] % self.grid or last.shape[-1] % self.grid:
            raise ValueError(
                f"Jigsaw: the backbone's last stage has {last.shape[-2]} x {last.shape[-1]} places for a mosaic of "
                f"{self.grid} x {self.grid} tiles, and a place that two tiles share would mix them; choose images or "
                'patches of another size, or view="tiles"'
            )
        return functional.adaptive_avg_pool2d(last, self.grid).flatten(2).transpose(1, 2)

    def _shuffled(self, puzzle: Puzzle) -> Tensor:
        """Show the tiles of every puzzle in the order that is asked, (N * puzzles, P, 3, t, t), for a drawing."""
        seen = picture(puzzle.question)
        if puzzle.given is not None:
            return _shuffle(seen.view(-1, self.grid**2, *seen.shape[1:]), puzzle.given.cpu()).flatten(0, 1)
        cells = torch.arange(self.grid**2).expand(len(seen), -1)
        flush = torch.zeros(*cells.shape, 1, dtype=torch.int64)
        return cut(seen, self.grid, cells, seen.shape[-1] // self.grid, flush, flush)


def _shuffle(tiles: Tensor, orders: Tensor) -> Tensor:
    """Order tiles (N, P, ...) in Q ways, (N, Q, P): (N, Q, P, ...), place s of which holds tile `orders[n, q, s]`."""
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None, None], orders]


def _check(grid: int, permutations: int | str, gap: float, jitter: float, channel_jitter: float, grey: float) -> None:
    """Raise a ValueError that names what is out of its range."""
    if isinstance(permutations, str) and (permutations != "affine" or grid != 3):
        raise ValueError(
            f'Jigsaw: grid={grid}, permutations={permutations!r}; give a number, or "affine" with a grid of 3'
        )
    if grid < 2 or (isinstance(permutations, int) and permutations < 2):
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


def _check_puzzles(puzzles: int, view: str) -> None:
    """Raise a ValueError where one look cannot answer what is asked."""
    if view not in ("tiles", "mosaic"):
        raise ValueError(f'Jigsaw: view is {view!r}; choose "tiles" one by one, or one "mosaic" of them')
    if puzzles < 1 or (view == "mosaic" and puzzles > 1):
        raise ValueError(
            f"Jigsaw: puzzles={puzzles} with view={view!r}; ask at least 1, and exactly 1 of a mosaic, whose shuffle "
            "the backbone sees"
        )
