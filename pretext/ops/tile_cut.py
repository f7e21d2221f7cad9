"""How tiles are cut out of an image so that nothing but their content tells where they lay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor

from pretext.core.errors import require
from pretext.ops.constants import constant
from pretext.ops.geometric import MEAN, SPREAD, grey
from pretext.ops.tiles import cell_side, cut_tiles, sample_tiles, standardise

EXTENT = (0.5, 0.75)  # so that a grid has room for at least a cell's side, as in Doersch et al.


@dataclass(frozen=True)
class TileCut:
    """One tile of each cell of a grid, against edges, colours and contrasts that continue from tile to tile.

    Lengths are shares of the cell's side, so that one setting serves 32 px (cells of 10: tiles of 7, wandering by 0 to
    2) and photos (255 px, cells of 85: tiles of 64, wandering by 0 to 17, channels by 0 to 2 more). In whole pixels,
    `gap` is rounded, `jitter` and `channel_jitter` are cut down. A tile is a cell less the gap, and its room to wander
    lies in the middle of its cell: between neighbours there are `gap` pixels on average, at least
    gap - jitter - channel_jitter and at most gap + jitter + channel_jitter. Without them edges that continue from
    tile to tile would give the answer away. So would a border that `Augment(pad=...)` mirrors, which only the outer
    tiles can have: crop without padding.

    The grid lies anywhere in the image and has any size within `extent`, drawn for each image; its tiles are enlarged
    to the size that they would have in the largest grid. With a grid that never moves, a tile's place in the photo (sky
    is above, the middle is sharp) is its place in the grid, and most answers need no other tile: `Task.destroyed`
    measures that.

    Args:
        gap: mean distance between neighbouring tiles.
        jitter: how far each tile wanders, at random per axis.
        channel_jitter: how much further each of its colour channels does, against chromatic aberration.
        standardise: give each tile the same mean and deviation, against brightness and contrast that continue, over
            its channels together; "per_channel" gives each channel of it the same, so that it loses its hue as well
            (Noroozi and Favaro normalise patches independently, and do not say over what).
        grey: share of the images whose tiles lose their colour.
        extent: smallest and largest side of the grid, shares of the image's shorter side. None: always the largest
            grid, in the middle.

    Raises:
        ValueError: a number is out of its range.

    """

    gap: float = 0.25
    jitter: float = 0.2
    channel_jitter: float = 0.03
    standardise: bool | Literal["per_channel"] = True
    grey: float = 0.3
    extent: tuple[float, float] | None = EXTENT

    def __post_init__(self) -> None:
        gap, jitter, channel_jitter, grey = self.gap, self.jitter, self.channel_jitter, self.grey
        require(
            0 <= gap < 1 and min(jitter, channel_jitter) >= 0 and 0 <= grey <= 1,
            self,
            f"{gap=}, {jitter=}, {channel_jitter=}, {grey=}",
            "the first three are shares of a cell's side in [0, 1), grey a share of the images in [0, 1]",
        )
        require(
            jitter + channel_jitter <= gap + 1e-9,  # 0.1 + 0.2 > 0.3 in floats
            self,
            f"jitter={jitter} + channel_jitter={channel_jitter} exceed gap={gap}",
            "a tile could leave its cell and overlap its neighbour: raise gap or lower the other two",
        )
        got, wanted = f"standardise={self.standardise!r}", 'choose true, false or "per_channel"'
        require(self.standardise in (True, False, "per_channel"), self, got, wanted)
        check_extent(self, self.extent)

    def pixels(self, height: int, width: int, grid: int) -> tuple[int, int, int, int]:
        """Say gap, jitter, channel jitter and a tile's side in whole pixels, for images of this size.

        Raises:
            ValueError: the size is too small for the grid.

        """
        cell, gap = whole_gap("Jigsaw", height, width, grid, self.gap)
        # A little is added because 0.29 * 100 is 28.999... in floats.
        jitter, channel_jitter = (int(share * cell + 1e-6) for share in (self.jitter, self.channel_jitter))
        room = gap - channel_jitter - least_gap(self.extent)
        return gap, max(0, min(jitter, room)), channel_jitter, cell - gap

    def tiles(self, x: Tensor, grid: int, rng: Generator) -> Tensor:
        """Cut a tile out of every cell, each with its own jitter, each channel with its own on top.

        Args:
            x: (N, 3, H, W).
            grid: P = grid * grid cells.
            rng: draws where the tiles lie.

        Returns:
            (N, P, 3, t, t)

        Raises:
            ValueError: the images are too small for the grid.

        """
        gap, jitter, channel_jitter, tile = self.pixels(x.shape[-2], x.shape[-1], grid)
        start = (gap - jitter - channel_jitter) // 2
        cells = torch.arange(grid**2, device=x.device).expand(len(x), -1)
        places = (2, *cells.shape)
        wander = torch.randint(jitter + 1, (*places, 1), generator=rng, device=x.device)
        if channel_jitter:
            wander = wander + torch.randint(channel_jitter + 1, (*places, 3), generator=rng, device=x.device)
        return placed_tiles(x, grid, cells, tile, start + wander, self.extent, rng)

    def without_clues(self, tiles: Tensor, rng: Generator) -> Tensor:
        """Take the colour from some images' tiles (N, P, 3, t, t), and from all tiles their mean and contrast."""
        colourless = torch.rand(len(tiles), 1, 1, 1, 1, generator=rng, device=tiles.device) < self.grey
        tiles = torch.where(colourless, grey(tiles), tiles)
        return MEAN + SPREAD * standardise(tiles, self.standardise == "per_channel") if self.standardise else tiles


def check_extent(asker: object, extent: tuple[float, float] | None) -> None:
    """Refuse sides of a grid that do not fit into an image.

    Raises:
        ValueError: the message names the asker.

    """
    fits = extent is None or 0 < extent[0] <= extent[1] <= 1
    require(fits, asker, f"{extent=}", "give the smallest and the largest side of the grid, shares in (0, 1], or none")


def least_gap(extent: tuple[float, float] | None) -> int:
    """Say how many pixels of a tile's resolution keep neighbours from showing the same pixel of the image.

    Interpolated pixels that lie less than two pixels of the image apart have one in common, and edges would continue.
    """
    return 0 if extent is None else math.ceil(2 / extent[0]) - 1


def placed_tiles(
    x: Tensor, grid: int, cells: Tensor, side: int, offset: Tensor, extent: tuple[float, float] | None, rng: Generator
) -> Tensor:
    """Cut tiles out of the cells of a grid that lies anywhere in each image, or in the middle where `extent` is none.

    Args:
        x: (N, C, H, W).
        grid: cells per side.
        cells: (N, P) int64, as in `pretext.ops.tiles.cut_tiles`.
        side: of a tile, in pixels.
        offset: (2, N, P, C or 1) int64, rows and columns from a cell's top left corner to its tile's.
        extent: smallest and largest side of the grid, shares of the image's shorter side.
        rng: draws sides and places.

    Returns:
        (N, P, C, side, side)

    """
    top, left = offset
    if extent is None:
        return cut_tiles(x, grid, cells, side, top, left)
    size = constant(tuple(x.shape[-2:]), x.device)
    share, *place = torch.rand(3, len(x), generator=rng, device=x.device)
    reach = (extent[0] + (extent[1] - extent[0]) * share) * min(x.shape[-2:])
    origin = torch.stack(place, 1) * (size - reach[:, None])
    return sample_tiles(x, grid, cells, side, top, left, reach, origin)


def whole_gap(asker: object, height: int, width: int, grid: int, gap: float) -> tuple[int, int]:
    """Say a cell's side, and a gap that is a share of it, in whole pixels.

    Raises:
        ValueError: nothing is left of a tile; the message names the asker.

    """
    cell = cell_side(height, width, grid)
    whole = math.floor(gap * cell + 0.5)
    got = f"images of {height} x {width} leave cells of {cell} pixels in a grid of {grid} and, with gap={gap:.3g}, "
    wanted = "use larger images, a smaller gap or, where it can be chosen, a smaller grid"
    require(cell - whole >= 1, asker, f"{got}tiles of {cell - whole}", wanted)
    return cell, whole
