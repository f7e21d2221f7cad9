"""Grids of tiles: cut, exchange, standardise and mount them; and sets of permutations that are far apart."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Generator, Tensor
from torch.nn import functional

from pretext.ops.geometric import gather_pixels

EXHAUSTIVE = 9  # items up to which all n! permutations (362,880) are candidates
POOL = 2**17  # candidates drawn for more items
FLAT = 1 / 255  # a tile with less spread than one grey level is called constant, and not blown up


def cell_side(height: int, width: int, grid: int) -> int:
    """Find the side in pixels of the largest cells of which `grid` x `grid` fit."""
    return min(height, width) // grid


def cut_tiles(x: Tensor, grid: int, cells: Tensor, side: int, top: Tensor, left: Tensor) -> Tensor:
    """Cut tiles out of the cells of a centred grid, in one gather.

    Args:
        x: (N, C, H, W).
        grid: cells per side.
        cells: (N, P) int64, the cell of each tile, counted row by row from the top left.
        side: of a tile, in pixels.
        top: (N, P, C) or (N, P, 1) int64, rows from the top of its cell to the tile, per channel or shared.
        left: as `top`, for columns.

    Returns:
        (N, P, C, side, side).

    """
    height, width = x.shape[-2:]
    cell = cell_side(height, width, grid)
    steps = torch.arange(side, device=x.device)
    first_row = (height - grid * cell) // 2 + cells.div(grid, rounding_mode="floor") * cell
    first_column = (width - grid * cell) // 2 + cells.remainder(grid) * cell
    rows = (first_row[..., None] + top)[..., None] + steps  # (N, P, C, side)
    columns = (first_column[..., None] + left)[..., None] + steps
    return gather_pixels(x.unsqueeze(1), rows, columns)


def sample_tiles(
    x: Tensor, grid: int, cells: Tensor, side: int, top: Tensor, left: Tensor, reach: Tensor, origin: Tensor
) -> Tensor:
    """Cut tiles out of the cells of a grid that has its own size and place in each image, by bilinear interpolation.

    Lengths within the grid are counted as if it were the largest one in the image, as in `cut_tiles`, so that tiles of
    all images have one shape.

    Args:
        x: (N, C, H, W).
        grid: cells per side.
        cells: as in `cut_tiles`, as are `side`, `top` and `left`.
        side: as in `cut_tiles`.
        top: as in `cut_tiles`.
        left: as in `cut_tiles`.
        reach: (N,), sides of the grids, pixels of the image.
        origin: (N, 2), their top left corners: pixels from the top and from the left.

    Returns:
        (N, P, C, side, side), in the dtype of `x`.

    """
    (n, channels, height, width), places = x.shape, cells.shape[1]
    cell = cell_side(height, width, grid)
    step = (reach / (grid * cell)).view(n, 1, 1, 1)
    along = torch.arange(side, device=x.device) + 0.5  # middles of pixels
    corner = torch.stack((cells.div(grid, rounding_mode="floor"), cells % grid), -1) * cell  # (N, P, 2)
    lines = []
    for axis, (offset, size) in enumerate(((top, height), (left, width))):
        inside = (corner[..., axis, None] + offset)[..., None] + along  # (N, P, C or 1, side)
        lines.append(2 * (origin[:, axis].view(n, 1, 1, 1) + step * inside) / size - 1)  # as grid_sample counts
    rows, columns = lines
    apart = rows.shape[2]  # how many channels have places of their own: all, or 1 for all together
    shape = (n, places, apart, side, side)
    where = torch.stack((columns.unsqueeze(-2).expand(shape), rows.unsqueeze(-1).expand(shape)), -1)
    where = where.transpose(1, 2).reshape(n * apart, places * side, side, 2)
    seen = functional.grid_sample(
        x.float().reshape(n * apart, channels // apart, height, width),
        where.float(),
        padding_mode="border",
        align_corners=False,
    )
    return seen.view(n, channels, places, side, side).transpose(1, 2).to(x.dtype)


def swap_places(tiles: Tensor, rng: Generator) -> Tensor:
    """Put in each place of every item the same place's tile of another item: what is left tells of places alone.

    Different places are filled by different items, if there are as many others.

    Args:
        tiles: (N, P, ...), N >= 2.
        rng: draws which items.

    Returns:
        (N, P, ...)

    """
    items, places = tiles.shape[:2]
    return tiles[other_items(items, places, rng), torch.arange(places, device=tiles.device)]


def other_items(items: int, places: int, rng: Generator) -> Tensor:
    """Draw for each place of each of N >= 2 items another item, (N, P) int64; for different places different ones.

    (If there are as many others.)
    """
    device = rng.device
    order = torch.rand(items - 1, generator=rng, device=device).argsort() + 1
    shift = order[torch.arange(places, device=device) % (items - 1)]
    return (torch.arange(items, device=device)[:, None] + shift) % items


def quadrants(x: Tensor) -> Tensor:
    """Cut images (N, C, S, S) into their quadrants, row by row: (N, 4, C, S/2, S/2). `mount_tiles` undoes it."""
    half = x.shape[-1] // 2
    return x.reshape(*x.shape[:2], 2, half, 2, half).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def mount_tiles(tiles: Tensor, grid: int, gap: int = 0, fill: float = 1.0) -> Tensor:
    """Mount tiles (N, grid * grid, C, t, t), row by row, with `gap` pixels of `fill` between them: (N, C, S, S).

    With no gap it undoes the `cut_tiles` of whole cells.
    """
    tiles = functional.pad(tiles, (0, gap, 0, gap), value=fill)
    items, _, channels, side, _ = tiles.shape
    rows = tiles.view(items, grid, grid, channels, side, side).permute(0, 3, 1, 4, 2, 5)  # (N, C, grid, t, grid, t)
    whole = rows.reshape(items, channels, grid * side, grid * side)
    return whole[..., : grid * side - gap, : grid * side - gap]


def restore_order(tiles: Tensor, order: Tensor) -> Tensor:
    """Put tiles (N, P, ...) back in the order of the cells, where tile s of item n came from cell `order[n, s]`."""
    back = order.argsort(1)
    return tiles[torch.arange(len(tiles), device=tiles.device)[:, None], back]


def standardise(tiles: Tensor, per_channel: bool = False) -> Tensor:
    """Give every tile (..., C, t, t) mean 0 and standard deviation 1 over its pixels and channels together.

    The population's deviation, in float32 whatever comes in. Channels share it, as in Kolesnikov et al. 2019, so a
    tile keeps its hues; `per_channel` gives each channel of a tile its own. What is constant becomes 0.
    """
    exact = tiles.float()
    over = (-2, -1) if per_channel else (-3, -2, -1)
    variance, mean = torch.var_mean(exact, over, correction=0, keepdim=True)
    return ((exact - mean) / variance.sqrt().clamp(min=FLAT)).to(tiles.dtype)


def exchange(tiles: Tensor, most: int, rng: Generator) -> Tensor:
    """Put tiles of another item in place of 0 to `most` tiles of every item, (N, P, C, t, t): Jigsaw++'s clutter.

    How many is drawn uniformly for each item, their places at random. The other item is the same number of steps on
    in the batch for all, and its tiles come from distinct places drawn independently. A lone item keeps its own tiles.
    """
    items, places = tiles.shape[:2]
    if items == 1 or most == 0:
        return tiles
    device = tiles.device
    count = torch.randint(most + 1, (items, 1), generator=rng, device=device)
    rank, source = torch.rand(2, items, places, generator=rng, device=device).argsort(-1)
    shift = torch.randint(1, items, (), generator=rng, device=device)
    other = (torch.arange(items, device=device) + shift) % items
    return torch.where((rank < count)[..., None, None, None], tiles[other[:, None], source], tiles)


def affine_set() -> Tensor:
    """List the 72 maps x -> a x + b, a != 0, over the field of nine elements: (72, 9) int64, the identity first.

    Two of them agree in at most one place, so they are 8 apart, and no set of more than 72 is. The field is Z_3[i] with
    i * i = -1; its element p + q i has the number p + 3 q.
    """
    numbers = torch.arange(9)
    a, b, x = numbers[1:].view(8, 1, 1), numbers.view(1, 9, 1), numbers
    real = (a % 3) * (x % 3) - (a // 3) * (x // 3) + b % 3
    imaginary = (a % 3) * (x // 3) + (a // 3) * (x % 3) + b // 3
    return (real % 3 + 3 * (imaginary % 3)).view(72, 9)


def permutation_set(items: int, count: int) -> Tensor:
    """Choose permutations that are pairwise far apart in Hamming distance: (count, items) int64, always the same ones.

    Greedy: start at the identity, then add the candidate whose distance to the nearest chosen one is largest; ties go
    to the larger summed distance, then to the first in lexicographic order. Candidates are all permutations of up to
    9 items, beyond that a fixed pseudo-random pool of 2**17. The minimum is what matters, not the mean: the mean of any
    set of N is at most (items - 1) N / (N - 1), and a random set almost reaches that.

    Raises:
        ValueError: `count` is not between 1 and the number of candidates.

    """
    return _greedy(items, count).clone()  # the cache keeps its own


def hamming(table: Tensor) -> tuple[int, float]:
    """Measure the smallest and the mean pairwise Hamming distance of the rows of (K, P), K >= 2."""
    low, total, count = table.shape[1], 0, len(table)
    for i in range(count - 1):
        distances = (table[i + 1 :] != table[i]).sum(1)
        low, total = min(low, int(distances.min())), total + int(distances.sum())
    return low, total / (count * (count - 1) / 2)


@lru_cache(maxsize=16)
def _greedy(items: int, count: int) -> Tensor:
    """Choose as `permutation_set` says."""
    pool = _every(items) if items <= EXHAUSTIVE else _some(items)
    if not 1 <= count <= len(pool):
        raise ValueError(
            f"permutation_set: {count} permutations of {items} items asked for, but there are {len(pool)} to choose "
            "from; ask for at least 1 and at most that many"
        )
    # differs[j, v]: which candidates do not have v at j. A distance to all of them is then a sum of rows, ten times as
    # fast as comparing.
    differs = torch.stack([pool.T.ne(value) for value in range(items)], 1).view(torch.uint8)
    nearest = torch.full((len(pool),), items, dtype=torch.uint8)
    summed = torch.zeros(len(pool), dtype=torch.int32)
    chosen = [0]
    while len(chosen) < count:
        distances = torch.zeros_like(nearest)
        for place, value in enumerate(pool[chosen[-1]].tolist()):
            distances += differs[place, value]
        nearest = torch.minimum(nearest, distances)
        summed += distances
        # One number orders by nearest, then by sum (at most items * count); argmax returns the first of equals. A
        # chosen candidate has nearest 0 and is never best while another is left.
        chosen.append(int((nearest.int() * (items * count + 1) + summed).argmax()))
    return pool[chosen].long()


def _every(items: int) -> Tensor:
    """List all permutations in lexicographic order: (items!, items) uint8."""
    table = torch.zeros(1, 0, dtype=torch.uint8)
    for n in range(1, items + 1):
        # Each first item in turn, then all orders of the rest, whose names skip it.
        firsts = torch.arange(n, dtype=torch.uint8).repeat_interleave(len(table))[:, None]
        rests = table.repeat(n, 1)
        table = torch.cat((firsts, rests + (rests >= firsts)), 1)
    return table


def _some(items: int) -> Tensor:
    """Draw a fixed pool of distinct permutations, the identity first, then lexicographic: (M, items) uint8."""
    uniform = torch.rand(POOL, items, generator=Generator().manual_seed(0), dtype=torch.float64)
    distinct = {tuple(range(items)), *map(tuple, uniform.argsort(1).tolist())}
    return torch.tensor(sorted(distinct), dtype=torch.uint8)
