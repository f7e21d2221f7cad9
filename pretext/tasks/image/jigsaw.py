"""https://arxiv.org/abs/1603.09246 (Noroozi and Favaro: Jigsaw, ECCV 2016): which shuffle was it?"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from pretext.core.errors import require
from pretext.core.types import Backbone, Features, Grade, Panel, Puzzle, Task, reads_images
from pretext.nn.heads import small
from pretext.nn.losses import blind_guess, cross_entropy
from pretext.ops.drawing import numbers, panels, rows
from pretext.ops.geometric import drawable
from pretext.ops.tile_cut import TileCut
from pretext.ops.tiles import (
    affine_set,
    cut_tiles,
    exchange,
    hamming,
    mount_tiles,
    permutation_set,
    restore_order,
    swap_places,
)

PHOTOS = TileCut()  # the paper's lengths


class Jigsaw(Task):
    """Tell by which of K known permutations the tiles of an image were shuffled.

    A square somewhere in the image is divided into `grid` x `grid` cells and one tile is cut from each: tile s of a
    puzzle comes from cell `table[label][s]`. The backbone sees the tiles one by one, the head all of them. Shuffling
    what the backbone made of the tiles therefore is the same as shuffling the tiles, and one look answers many puzzles
    (Kolesnikov et al., https://arxiv.org/abs/1901.09005). The head is given the permutation to shuffle by, and reads
    the shuffled embeddings only.

    `view="mosaic"` is for a ViT, which would have to see tiles as small as a few of its patches: the shuffled tiles,
    mounted without seams, are one image, and the mean of the last stage over a tile is its embedding. The mosaic's
    side, `grid` tiles, must be what the ViT reads, and a tile a whole number of its patches: on 192 px, cells of 64,
    tiles of 48 and `TorchVision("vit_b_16", image_size=144)`, 3 x 3 patches each.

    Tiles should be large beside the network's stride: a stage that makes one pixel of a tile trains the centres of its
    3x3 kernels alone, and on whole images the other weights, random as ever, spoil what it says.

    Args:
        backbone: any that reads images as small as a tile.
        grid: cells per side.
        permutations: how many, K; chosen far apart and always the same (see `pretext.ops.tiles.permutation_set`).
            "affine": the 72 that are 8 apart, for a grid of 3 (see `pretext.ops.tiles.affine_set`).
        cut: how the tiles are cut, and what is taken from them that would give the answer away.
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
        cut: TileCut = PHOTOS,
        width: int = 256,
        hidden: int = 1024,
        puzzles: int = 1,
        view: Literal["tiles", "mosaic"] = "tiles",
        foreign: int = 0,
    ) -> None:
        super().__init__()
        reads_images(backbone, self)
        fits = permutations == "affine" and grid == 3 if isinstance(permutations, str) else min(grid, permutations) >= 2
        wanted = 'a puzzle takes at least 2 of each; "affine" permutations go with a grid of 3'
        require(fits, self, f"{grid=}, {permutations=}", wanted)
        require(view in ("tiles", "mosaic"), self, f"{view=}", 'choose "tiles" one by one, or one "mosaic" of them')
        got, wanted = (
            f"{puzzles=} with {view=}",
            "at least 1, and exactly 1 of a mosaic, whose shuffle the backbone sees",
        )
        require(puzzles == 1 or (view == "tiles" and puzzles > 1), self, got, f"ask {wanted}")
        self.grid, self.cut, self.puzzles, self.view, self.foreign = grid, cut, puzzles, view, foreign
        table = affine_set() if permutations == "affine" else permutation_set(grid**2, permutations)
        self.register_buffer("table", table)
        self.min_distance, self.mean_distance = hamming(table)
        got = f"{foreign=}, but permutations that differ in {self.min_distance} places only can be told apart without "
        most = f"{self.min_distance - 1} tiles at most"
        require(0 <= foreign < self.min_distance, self, got + most, "lower foreign, or permutations")
        inputs = backbone.dim if view == "tiles" else list(backbone.stages.values())[-1]
        self.each = nn.Sequential(nn.Linear(inputs, width), nn.ReLU())
        # Two layers, because one could only let every tile vote for its own place, never compare two tiles.
        last = nn.Linear(hidden, len(table))
        self.together = nn.Sequential(nn.Linear(grid**2 * width, hidden), nn.ReLU(), last)
        small(last)

    def pose(self, x: Tensor, rng: Generator) -> Puzzle:
        """Cut images (N, 3, H, W) to tiles; the answer is the row of `table`, (N * puzzles,) image by image.

        The question is (N * P, 3, t, t), the tiles in the order of their cells, and with it are given the permutations
        (N, puzzles, P). As a mosaic it is (N, 3, grid * t, grid * t), already shuffled, and nothing is given.

        Raises:
            ValueError: `x` is too small for the grid.

        """
        labels = torch.randint(len(self.table), (len(x), self.puzzles), generator=rng, device=x.device)
        tiles = exchange(self.cut.tiles(x, self.grid, rng), self.foreign, rng)
        # Colours are taken after the exchange, or a foreign tile could be told by its colour alone.
        tiles = self.cut.without_clues(tiles, rng)
        orders = self.table[labels]
        if self.view == "mosaic":
            return Puzzle(mount_tiles(_shuffle(tiles, orders)[:, 0], self.grid), labels.flatten())
        return Puzzle(tiles.flatten(0, 1), labels.flatten(), orders)

    def destroyed(self, puzzle: Puzzle, rng: Generator) -> Puzzle:
        """Put in every cell the same cell's tile of another image: where in a photo tiles lie is all that is left."""
        if self.view == "tiles":
            tiles = puzzle.question.unflatten(0, (-1, self.grid**2))
            return puzzle._replace(question=swap_places(tiles, rng).flatten(0, 1))
        orders = self.table[puzzle.answer]
        tiles = swap_places(restore_order(self._mounted(puzzle.question), orders), rng)
        return puzzle._replace(question=mount_tiles(_shuffle(tiles, orders[:, None])[:, 0], self.grid))

    def pixels(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Say gap, jitter, channel jitter and a tile's side in whole pixels, for images of this size.

        Raises:
            ValueError: the size is too small for the grid.

        """
        return self.cut.pixels(height, width, self.grid)

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

    def choice_scores(self, prediction: Tensor) -> Tensor:
        return prediction

    def chance(self) -> Grade:
        return blind_guess(len(self.table))

    def draw(self, puzzle: Puzzle, prediction: Tensor | None) -> list[list[Panel]]:
        """Draw the shuffled tiles, their true places, the true arrangement, and the one that the prediction makes."""
        table, answers = self.table.cpu(), puzzle.answer.cpu()
        tiles = self._shuffled(puzzle)  # (N * puzzles, P, 3, t, t)
        seam = max(1, tiles.shape[-1] // 8)
        solved = mount_tiles(restore_order(tiles, table[answers]), self.grid, seam)
        columns = [
            panels(mount_tiles(tiles, self.grid, seam), "which shuffle?"),
            panels([numbers(order, self.grid) for order in table[answers]], "answer: where each belongs"),
            panels(solved, "answer"),
        ]
        if prediction is not None:
            guesses = prediction.argmax(1).cpu()
            matches = (table[guesses] == table[answers]).sum(1).tolist()
            captions = [f"prediction: {match} of {self.grid**2} in place" for match in matches]
            columns.append(
                panels(mount_tiles(restore_order(tiles, table[guesses]), self.grid, seam), captions, guesses == answers)
            )
        return rows(*columns)

    def extra_repr(self) -> str:
        return (
            f"grid={self.grid}, permutations={len(self.table)}, min_distance={self.min_distance}, "
            f"mean_distance={self.mean_distance:.3f}, {self.cut}, puzzles={self.puzzles}, view={self.view!r}, "
            f"foreign={self.foreign}"
        )

    def _patches(self, features: Features) -> Tensor:
        """Average the last stage over each tile of a mosaic: (N, P, D)."""
        last = list(features.stages.values())[-1]
        require(
            last.shape[-2] % self.grid == last.shape[-1] % self.grid == 0,
            self,
            f"the backbone's last stage has {last.shape[-2]} x {last.shape[-1]} places for a mosaic of {self.grid} x "
            f"{self.grid} tiles, and a place that two tiles share would mix them",
            'choose images or patches of another size, or view="tiles"',
        )
        return functional.adaptive_avg_pool2d(last, self.grid).flatten(2).transpose(1, 2)

    def _shuffled(self, puzzle: Puzzle) -> Tensor:
        """Show the tiles of every puzzle in the order that is asked, (N * puzzles, P, 3, t, t), for a drawing."""
        shown = drawable(puzzle.question)
        if puzzle.given is not None:
            return _shuffle(shown.view(-1, self.grid**2, *shown.shape[1:]), puzzle.given.cpu()).flatten(0, 1)
        return self._mounted(shown)

    def _mounted(self, mosaic: Tensor) -> Tensor:
        """Take a mosaic (N, 3, S, S) apart: (N, P, 3, t, t)."""
        cells = torch.arange(self.grid**2, device=mosaic.device).expand(len(mosaic), -1)
        flush = torch.zeros(*cells.shape, 1, dtype=torch.int64, device=mosaic.device)
        return cut_tiles(mosaic, self.grid, cells, mosaic.shape[-1] // self.grid, flush, flush)


def _shuffle(tiles: Tensor, orders: Tensor) -> Tensor:
    """Order tiles (N, P, ...) in Q ways, (N, Q, P): (N, Q, P, ...), place s of which holds tile `orders[n, q, s]`."""
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None, None], orders]
