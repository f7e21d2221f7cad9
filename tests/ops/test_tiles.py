"""Tiles and permutation sets: inverses, references, and the facts known of max-min Hamming sets."""

import itertools
import math

import numpy as np
import pytest
import torch

from pretext.core.rng import rng
from pretext.ops.tiles import (
    affine_set,
    cell_side,
    cut_tiles,
    exchange,
    hamming,
    mount_tiles,
    permutation_set,
    restore_order,
    sample_tiles,
    standardise,
    swap_places,
)


def rand(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def straight(n, grid):
    """Every cell in its own place."""
    cells = torch.arange(grid * grid).expand(n, -1)
    return cells, torch.zeros(n, grid * grid, 1, dtype=torch.int64)


@pytest.mark.parametrize(("grid", "side"), [(2, 8), (3, 30), (4, 32), (1, 5)])
def test_mounting_undoes_cutting_bit_for_bit(grid, side):
    x = rand(2, 3, side, side)
    cells, zero = straight(2, grid)
    assert torch.equal(mount_tiles(cut_tiles(x, grid, cells, side // grid, zero, zero), grid), x)


def test_shuffled_tiles_restored_and_mounted_are_the_image():
    x = rand(4, 3, 12, 12)
    order = permutation_set(9, 50)[[3, 0, 49, 17]]
    zero = torch.zeros(4, 9, 1, dtype=torch.int64)
    tiles = cut_tiles(x, 3, order, 4, zero, zero)
    assert torch.equal(mount_tiles(restore_order(tiles, order), 3), x)
    assert not torch.equal(mount_tiles(tiles, 3), x)


def test_every_tile_and_channel_is_cut_at_its_own_offset():
    x, side, grid = rand(2, 3, 20, 23), 5, 2
    gen = torch.Generator().manual_seed(1)
    cells = torch.randint(4, (2, 6), generator=gen)  # more tiles than cells: any number may be cut
    top, left = torch.randint(6, (2, 2, 6, 3), generator=gen)
    tiles = cut_tiles(x, grid, cells, side, top, left)
    for n, p, c in itertools.product(range(2), range(6), range(3)):
        i = int(cells[n, p]) // 2 * 10 + int(top[n, p, c])
        j = (23 - 20) // 2 + int(cells[n, p]) % 2 * 10 + int(left[n, p, c])
        assert torch.equal(tiles[n, p, c], x[n, c, i : i + side, j : j + side])


def test_cells_are_square_and_the_rest_is_left_out():
    assert cell_side(32, 32, 3) == 10
    assert cell_side(30, 100, 3) == 10


def test_mounting_with_gaps_puts_fill_between_tiles_only():
    out = mount_tiles(torch.zeros(1, 9, 1, 2, 2), 3, gap=1, fill=1.0)
    line = [0, 0, 1, 0, 0, 1, 0, 0]
    assert out[0, 0].tolist() == [[max(a, b) for b in line] for a in line]


def test_a_standardised_tile_has_mean_0_and_deviation_1():
    tiles = rand(2, 9, 3, 8, 8) * 0.3 + 0.4
    out = standardise(tiles)
    pixels, each = tiles.numpy(), {"axis": (2, 3, 4), "keepdims": True}
    reference = (pixels - pixels.mean(**each)) / pixels.std(**each)  # numpy's is the population's deviation
    np.testing.assert_allclose(out.numpy(), reference, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.mean((2, 3, 4)), torch.zeros(2, 9), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std((2, 3, 4), correction=0), torch.ones(2, 9))


def test_standardising_forgets_brightness_and_contrast():
    tiles = rand(4, 3, 8, 8)
    torch.testing.assert_close(standardise(0.2 + 0.5 * tiles), standardise(tiles), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_constant_tile_becomes_0(value, dtype):
    out = standardise(torch.full((2, 3, 9, 9), value, dtype=dtype))
    assert out.dtype == dtype
    torch.testing.assert_close(out, torch.zeros_like(out), rtol=0, atol=1e-4)


def test_half_precision_tiles_are_measured_in_full():
    tiles = (0.9 + 0.1 * rand(1, 3, 16, 16)).bfloat16()
    assert standardise(tiles).float().std(correction=0).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("items", "count"), [(4, 24), (9, 100), (12, 50), (16, 100)])
def test_permutations_are_distinct_bijections(items, count):
    table = permutation_set(items, count)
    assert table.shape == (count, items)
    assert torch.equal(table.sort(1).values, torch.arange(items).expand(count, -1))
    assert len(table.unique(dim=0)) == count


@pytest.mark.parametrize(("count", "low"), [(64, 7), (100, 6), (1000, 5)])
def test_minima_of_nine_items_are_the_known_ones(count, low):
    assert hamming(permutation_set(9, count))[0] == low


@pytest.mark.parametrize(("items", "count"), [(4, 24), (9, 64), (9, 100), (9, 1000), (16, 100)])
def test_the_mean_stays_under_its_bound_and_close_to_it(items, count):
    bound = (items - 1) * count / (count - 1)
    mean = hamming(permutation_set(items, count))[1]
    assert 0.999 * bound <= mean <= bound + 1e-9


def test_all_permutations_meet_the_mean_bound_exactly():
    """Every place then sees every item equally often."""
    assert hamming(permutation_set(4, 24)) == (2, pytest.approx(3 * 24 / 23))


def test_the_count_stays_under_the_bound_for_its_minimum():
    """At most n! / (d - 1)! permutations are d apart."""
    for count in (9, 72, 100, 500):
        low, _ = hamming(permutation_set(9, count))
        assert count <= math.factorial(9) // math.factorial(low - 1)


def test_distances_of_the_affine_maps_over_gf9_are_the_known_ones():
    """Two agree in at most one place: the bound 9! / 7! on sets that are 8 apart, and the mean's, are both met."""
    table = affine_set()
    assert table.shape == (72, 9)
    assert torch.equal(table.sort(1).values, torch.arange(9).expand(72, -1))
    assert hamming(table) == (8, pytest.approx(8 * 72 / 71))
    assert table[0].tolist() == list(range(9))


def test_the_affine_maps_are_a_group():
    maps = {tuple(row) for row in affine_set().tolist()}
    assert {tuple(f[y] for y in g) for f in maps for g in maps} == maps
    assert {tuple(f.index(x) for x in range(9)) for f in maps} == maps
    apart = {(f[x], f[y]) for f in maps for x, y in [(0, 1)]}
    assert apart == set(itertools.permutations(range(9), 2))  # any two places go to any two, by exactly one map


def test_the_affine_maps_are_those_of_gf9():
    """Done with complex numbers modulo 3: element p + q i has the number p + 3 q."""
    field = [complex(k % 3, k // 3) for k in range(9)]
    number = {z: k for k, z in enumerate(field)}
    maps = [
        [number[complex((a * x + b).real % 3, (a * x + b).imag % 3)] for x in field] for a in field[1:] for b in field
    ]
    assert affine_set().tolist() == maps


@pytest.mark.parametrize(("items", "count"), [(3, 6), (4, 10), (5, 40)])
def test_the_set_is_what_a_plain_greedy_search_finds(items, count):
    """Max-min distance from the identity on, ties by summed distance, then by lexicographic order."""
    pool = list(itertools.permutations(range(items)))
    chosen = [pool[0]]

    def key(candidate):
        distances = [sum(a != b for a, b in zip(candidate, other, strict=True)) for other in chosen]
        return min(distances), sum(distances)

    while len(chosen) < count:
        chosen.append(max(pool, key=key))  # the first of equals
    assert permutation_set(items, count).tolist() == [list(p) for p in chosen]


def test_a_longer_set_begins_with_the_shorter_and_nobody_can_spoil_the_cache():
    short = permutation_set(9, 20)
    expected = short.clone()
    short.zero_()
    assert torch.equal(permutation_set(9, 20), expected)
    assert torch.equal(permutation_set(9, 40)[:20], expected)


@pytest.mark.parametrize(("items", "count"), [(3, 7), (3, 0), (10, 200_000)])
def test_more_permutations_than_there_are_is_an_error(items, count):
    with pytest.raises(ValueError, match=f"{count} permutations of {items} items"):
        permutation_set(items, count)


def marked(items, places):
    """Tiles of one pixel each that say whose they are and from where."""
    return torch.arange(float(items * places)).view(items, places, 1, 1, 1)


@pytest.mark.parametrize("most", [1, 3, 9])
def test_foreign_tiles_are_one_other_items_distinct_and_as_many_as_drawn(most):
    seen = torch.cat([exchange(marked(5, 9), most, rng("cpu", step)).long() for step in range(300)])[..., 0, 0, 0]
    whose, own = seen // 9, torch.arange(5).repeat(300)[:, None]
    foreign = whose != own
    kept = seen == torch.arange(45).view(5, 9).repeat(300, 1)
    assert torch.equal(kept, ~foreign)  # own tiles stay where they were
    counts = foreign.sum(1).bincount(minlength=most + 1).float()
    assert len(counts) == most + 1
    assert ((counts - 1500 / (most + 1)) ** 2 / (1500 / (most + 1))).sum() < 30 + most  # chi-square
    assert all(len(row[far].unique()) == far.sum() for row, far in zip(seen, foreign, strict=True))
    assert all(len(row[far].unique()) <= 1 for row, far in zip(whose, foreign, strict=True))
    for even in (foreign.sum(0).float(), (seen % 9)[foreign].bincount(minlength=9).float()):  # any place, from any
        assert ((even - even.mean()) ** 2 / even.mean()).sum() < 36  # chi-square of 8 degrees: once in 50,000 times
    assert {int(d) for d in ((whose - own) % 5)[foreign]} == {1, 2, 3, 4}


def test_without_another_item_no_tile_is_foreign():
    assert torch.equal(exchange(marked(1, 9), 4, rng("cpu", "lone")), marked(1, 9))
    assert torch.equal(exchange(marked(5, 9), 0, rng("cpu", "none")), marked(5, 9))


def test_sampled_tiles_of_the_largest_grid_are_those_that_are_cut():
    x, side, grid = rand(2, 3, 20, 20), 5, 2
    gen = torch.Generator().manual_seed(1)
    cells = torch.randint(4, (2, 6), generator=gen)
    for channels in (1, 3):
        top, left = torch.randint(6, (2, 2, 6, channels), generator=gen)
        sampled = sample_tiles(x, grid, cells, side, top, left, torch.full((2,), 20.0), torch.zeros(2, 2))
        torch.testing.assert_close(sampled, cut_tiles(x, grid, cells, side, top, left), rtol=0, atol=1e-5)


def test_sampled_tiles_of_a_smaller_grid_are_the_image_enlarged():
    """A grid of half the side from (3, 4) on: torch's own bilinear enlargement of that part by two."""
    x = rand(1, 3, 24, 24)
    cells, zero = straight(1, 2)
    sampled = sample_tiles(x, 2, cells, 12, zero, zero, torch.tensor([12.0]), torch.tensor([[3.0, 4.0]]))
    wanted = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")[..., 6:30, 8:32]
    torch.testing.assert_close(mount_tiles(sampled, 2), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("items", "places"), [(2, 9), (5, 9), (12, 9), (30, 4)])
def test_swapped_places_keep_their_place_and_lose_their_item(items, places):
    tiles = torch.arange(items)[:, None] * 100 + torch.arange(places)
    swapped = swap_places(tiles, rng("cpu", "swap"))
    assert torch.equal(swapped % 100, tiles % 100)
    whose = swapped // 100
    assert (whose != torch.arange(items)[:, None]).all()
    assert all(len(row.unique()) == min(places, items - 1) for row in whose)
    assert all(torch.equal(column.sort().values, torch.arange(items)) for column in whose.T)  # each is used once
