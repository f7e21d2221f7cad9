"""Jigsaw: tiles stay in their cells, the answer undoes the shuffle, and nothing else gives it away."""

import math
from collections.abc import Callable
from dataclasses import fields
from functools import partial

import leaks
import pytest
import torch
from descent import descend
from jsonargparse import ArgumentParser
from nets import TinyNet
from torch import nn

from pretext.backbones import TorchVision
from pretext.core.rng import rng
from pretext.core.types import Backbone, Features
from pretext.ops.drawing import numbers
from pretext.ops.geometric import MEAN, SPREAD
from pretext.ops.tile_cut import EXTENT, TileCut
from pretext.ops.tiles import hamming, mount_tiles, restore_order
from pretext.tasks.image.jigsaw import Jigsaw
from pretext.testing import check_task


def jigsaw(backbone, **options):
    """A `Jigsaw` whose options of the cut are given beside the others; its grid is still unless it has an extent."""
    options.setdefault("extent", None)
    cut = {field.name: options.pop(field.name) for field in fields(TileCut) if field.name in options}
    return Jigsaw(backbone, cut=TileCut(**cut), **options)


SMALL = partial(jigsaw, permutations=20, width=32, hidden=64)
PLAIN = partial(SMALL, standardise=False, grey=0.0)
MOVING = partial(PLAIN, extent=EXTENT)
WHOLE = partial(PLAIN, gap=0.0, jitter=0.0, channel_jitter=0.0)


def images(n=6, side=32):
    return torch.rand(n, 3, side, side, generator=rng("cpu", "jigsaw", "images"))


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "jigsaw", *parts))


def tiles_of(task, puzzle):
    """The tiles of every image, in the order of their cells."""
    return puzzle.question.unflatten(0, (-1, task.grid**2))


def shuffled(task, puzzle):
    """The tiles of every image's first puzzle, as they are asked."""
    return torch.stack([tiles[order[0]] for tiles, order in zip(tiles_of(task, puzzle), puzzle.given, strict=True)])


class TinyViT(Backbone):
    """Patches of 4 px, places that are learnt, one layer of attention: for images of one side only."""

    axes = "hw"

    def __init__(self, side=24, width=16):
        super().__init__()
        self.dim, self.stages, self.side = width, {"patches": width, "last": width}, side
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.places = nn.Parameter(torch.randn(1, width, side // 4, side // 4) * 0.1)
        self.layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.0, batch_first=True)

    def forward(self, x):
        assert x.shape[-2:] == (self.side, self.side)
        patches = self.patches((x - 0.45) / 0.225) + self.places
        last = self.layer(patches.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(patches)
        return Features({"patches": patches, "last": last}, last.mean((-2, -1)))


MOSAIC = partial(SMALL, view="mosaic", gap=0.2, jitter=0.2, channel_jitter=0.0)  # cells of 10, tiles of 8, mosaic of 24


def coordinates(n, height, width):
    """Images that say where a pixel came from: its number, row by row, in all channels."""
    where = torch.arange(height * width, dtype=torch.float32).view(height, width)
    return where.expand(n, 3, height, width).contiguous()


@pytest.mark.parametrize(
    ("factory", "backbone", "side"),
    [
        (partial(SMALL, extent=EXTENT), TinyNet(), 32),
        pytest.param(partial(PLAIN, grid=4), TinyNet(), 24, marks=pytest.mark.slow),
        pytest.param(
            partial(SMALL, permutations="affine", puzzles=4, foreign=2), TinyNet(), 24, marks=pytest.mark.slow
        ),
        (MOSAIC, TinyViT(), 30),
    ],
)
def test_it_keeps_the_contract(factory, backbone, side):
    check_task(factory, backbone, images(8, side))


def test_tile_s_comes_from_the_cell_that_the_answers_permutation_names():
    task = PLAIN(TinyNet())
    cells = torch.arange(9.0).view(3, 3).repeat_interleave(10, 0).repeat_interleave(10, 1)
    puzzle = pose(task, cells.expand(30, 3, 30, 30))
    named = task.table[puzzle.answer][..., None, None, None]
    assert torch.equal(shuffled(task, puzzle), named.expand(30, 9, 3, 7, 7).float())
    assert len(puzzle.answer.unique()) > 5


def test_the_answer_is_enough_to_undo_the_question():
    x, task = images(6, 33), WHOLE(TinyNet())
    puzzle = pose(task, x)
    assert torch.equal(mount_tiles(restore_order(shuffled(task, puzzle), task.table[puzzle.answer]), 3), x)
    assert not torch.equal(mount_tiles(shuffled(task, puzzle), 3), x)


def corners(task, size, steps=20):
    """Pose often and read (rows, columns) of each tile's first pixel per channel, in cell order: (n, P, 3) each."""
    tops, lefts = [], []
    for step in range(steps):
        puzzle = pose(task, coordinates(20, size, size), step)
        first = tiles_of(task, puzzle)[..., 0, 0].long()
        tops.append(first // size), lefts.append(first % size)
    return torch.cat(tops), torch.cat(lefts)


@pytest.mark.parametrize("size", [32, 64, 96, 225, 255])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gap": 0.3, "jitter": 0.2, "channel_jitter": 0.1},
        {"grid": 2, "gap": 0.1, "jitter": 0.1, "channel_jitter": 0.0},
    ],
)
def test_no_tile_ever_leaves_its_cell(size, options):
    task = PLAIN(TinyNet(), **options)
    grid, cell = task.grid, size // task.grid
    *_, tile = task.pixels(size, size)
    start = (size - grid * cell) // 2 + cell * torch.arange(grid)
    for read, firsts in zip(corners(task, size, 4), (start.repeat_interleave(grid), start.repeat(grid)), strict=True):
        inside = read - firsts[:, None]
        assert inside.min() >= 0
        assert inside.max() + tile <= cell


@pytest.mark.parametrize("size", [32, 96, 255])
def test_neighbours_are_as_far_apart_as_documented(size):
    task = PLAIN(TinyNet())
    gap, jitter, channel_jitter, tile = task.pixels(size, size)
    tops, lefts = corners(task, size)
    between = torch.cat(
        (
            (lefts.unflatten(1, (3, 3)).diff(dim=2) - tile).flatten(),
            (tops.unflatten(1, (3, 3)).diff(dim=1) - tile).flatten(),
        )
    ).float()
    assert between.min() >= gap - jitter - channel_jitter >= 1
    assert between.max() <= gap + jitter + channel_jitter
    assert between.mean().item() == pytest.approx(gap, abs=5 * between.std().item() / len(between) ** 0.5)


def test_every_offset_is_drawn():
    task = PLAIN(TinyNet(), channel_jitter=0.0, gap=0.3, jitter=0.3)
    tops, lefts = corners(task, 30)
    assert (tops % 10).unique().tolist() == (lefts % 10).unique().tolist() == [0, 1, 2, 3]


def test_channels_wander_a_little_and_apart():
    task = PLAIN(TinyNet(), gap=0.25, jitter=0.2, channel_jitter=0.03)
    tops, _ = corners(task, 255, 4)
    apart = tops[..., 0] - tops[..., 1]
    assert apart.unique().tolist() == [-2, -1, 0, 1, 2]
    steady, _ = corners(PLAIN(TinyNet(), channel_jitter=0.0), 255, 1)
    assert torch.equal(steady[..., 0], steady[..., 1])


@pytest.mark.parametrize(
    ("size", "options", "pixels"),
    [
        (32, {}, (3, 2, 0, 7)),
        (96, {}, (8, 6, 0, 24)),
        (255, {}, (21, 17, 2, 64)),  # the authors' code: cells of 85, tiles of 64
        (225, {"gap": 11 / 75, "jitter": 9 / 75, "channel_jitter": 2 / 75}, (11, 9, 2, 64)),  # the paper's cells of 75
    ],
)
def test_known_geometries(size, options, pixels):
    assert jigsaw(TinyNet(), permutations=2, **options).pixels(size, size) == pixels


def test_tiles_are_standardised_to_what_backbones_expect():
    task = SMALL(TinyNet(), grey=0.0)
    tiles = pose(task, images(4, 96) * 0.2 + 0.7).question
    torch.testing.assert_close(tiles.mean((1, 2, 3)), torch.full((36,), MEAN))
    torch.testing.assert_close(tiles.std((1, 2, 3), correction=0), torch.full((36,), SPREAD))
    flat = pose(task, torch.full((2, 3, 32, 32), 0.3)).question
    torch.testing.assert_close(flat, torch.full_like(flat, MEAN))


def test_a_tile_keeps_its_hue_unless_each_channel_is_standardised_by_itself():
    """A tile whose channels are stretched and moved apart is another tile, or the very same."""
    tiles = torch.rand(2, 9, 3, 7, 7, generator=rng("cpu", "hue"))
    tinted = tiles * torch.tensor([0.3, 0.5, 0.2]).view(3, 1, 1) + torch.tensor([0.6, 0.1, 0.3]).view(3, 1, 1)
    for standardise, same in (("per_channel", True), (True, False)):
        cut = TileCut(standardise=standardise, grey=0.0)
        one, other = (cut.without_clues(x, rng("cpu", "clues")) for x in (tiles, tinted))
        assert torch.allclose(one, other, atol=1e-5) == same
    one = TileCut(standardise="per_channel", grey=0.0).without_clues(tinted, rng("cpu", "clues"))
    torch.testing.assert_close(one.mean((3, 4)), torch.full((2, 9, 3), MEAN))
    torch.testing.assert_close(one.std((3, 4), correction=0), torch.full((2, 9, 3), SPREAD))
    with pytest.raises(ValueError, match="standardise='channels'; choose true, false"):
        TileCut(standardise="channels")


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_grey_images_is_as_asked_and_all_their_tiles_are_grey(share):
    task, n = PLAIN(TinyNet(), grey=share), 2000
    tiles = tiles_of(task, pose(task, images(20, 9).repeat(n // 20, 1, 1, 1)))
    drained = (tiles == tiles[:, :, :1]).all(dim=4).all(dim=3).all(dim=2)  # (N, P)
    assert torch.equal(drained, drained[:, :1].expand_as(drained))
    assert abs(drained[:, 0].float().mean() - share) <= 4 * math.sqrt(share * (1 - share) / n)


def test_an_image_of_nine_identical_cells_asks_the_same_whatever_the_answer():
    """So its accuracy is 1/K, exactly, over all answers."""
    task = SMALL(TinyNet(), jitter=0.0, channel_jitter=0.0, grey=0.0)
    x = images(4, 10).repeat(1, 1, 3, 3)
    first, second = pose(task, x, 1), pose(task, x, 2)
    assert torch.equal(first.question, second.question)
    assert not torch.equal(first.answer, second.answer)


def ramps(n, height, width):
    """Images whose first channel tells the row and whose others the column, of a pixel's middle; (n, 3, H, W)."""
    row, column = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    rows, columns = row[:, None].expand(height, width), column.expand(height, width)
    return torch.stack((rows, columns, columns)).expand(n, -1, -1, -1)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (64, 100)])
def test_grids_have_any_size_and_place_and_tiles_lie_in_them_as_in_the_largest(height, width):
    """Interpolated ramps are exact, so every pixel of a tile says where in the image it lies."""
    task, still = MOVING(TinyNet(), channel_jitter=0.0), PLAIN(TinyNet(), channel_jitter=0.0)
    where = torch.cat([tiles_of(task, pose(task, ramps(40, height, width), step)) for step in range(10)])[:, :, :2]
    tile, short = where.shape[-1], min(height, width)
    lines = torch.stack((where[:, :, 0].mean(-1), where[:, :, 1].mean(-2)), 2)  # (N, P, 2, t): rows, columns
    step = lines.diff(dim=-1).mean((1, 2, 3))  # pixels of the image per pixel of a tile
    torch.testing.assert_close(lines.diff(dim=-1), step.view(-1, 1, 1, 1).expand(-1, 9, 2, tile - 1), atol=1e-3, rtol=0)
    share = step * (short // 3 * 3) / short
    assert EXTENT[0] <= share.min() < 0.52 < 0.73 < share.max() <= EXTENT[1]
    assert lines.min() - step.min() / 2 >= 0
    assert (lines.amax((1, 3)) <= torch.tensor([height, width])).all()
    pitch, (_, jitter, _, side) = short // 3, task.pixels(height, width)
    assert side == still.pixels(height, width)[3] == tile
    corner = lines[..., 0].unflatten(1, (3, 3)) / step.view(-1, 1, 1, 1)
    apart = torch.cat((corner[..., 0].diff(dim=1).flatten(), corner[..., 1].diff(dim=2).flatten()))
    assert apart.min() >= pitch - jitter - 1e-2
    assert apart.max() <= pitch + jitter + 1e-2
    middle = lines[:, 4].mean(-1) / torch.tensor([height, width])  # of the middle tile: anywhere around the centre
    assert (middle.mean(0) - 0.5).abs().max() < 4 * middle.std(0).max() / len(middle) ** 0.5
    assert (middle.std(0) > 0.05).all()
    assert torch.corrcoef(middle.T)[0, 1].abs() < 4 / len(middle) ** 0.5


def test_pixels_of_neighbouring_tiles_have_none_of_the_image_in_common():
    """One bright pixel at a time is seen in one tile at most, whatever the grid."""
    task = MOVING(TinyNet(), channel_jitter=0.0)
    x = torch.zeros(1024, 3, 32, 32)
    x[torch.arange(1024), :, torch.arange(1024) // 32, torch.arange(1024) % 32] = 1
    seen = tiles_of(task, pose(task, x)).flatten(2).sum(2) > 0
    assert seen.sum(1).max() == 1
    assert 0.2 < seen.any(1).float().mean() < 0.9


def test_a_grid_that_never_moves_is_the_same_as_one_of_the_whole_image():
    x, options = images(4, 30), {"jitter": 0.0, "channel_jitter": 0.0}
    still, whole = (pose(PLAIN(TinyNet(), extent=extent, **options), x) for extent in (None, (1.0, 1.0)))
    torch.testing.assert_close(whole.question, still.question, rtol=0, atol=1e-5)


def test_a_destroyed_puzzle_shows_in_every_cell_that_cell_of_another_image():
    x = (
        torch.arange(12.0).view(12, 1, 1, 1)
        + torch.arange(9.0).view(3, 3).repeat_interleave(10, 0).repeat_interleave(10, 1) / 16
    )
    for factory in (PLAIN, partial(PLAIN, view="mosaic")):
        task = factory(TinyNet())
        puzzle = pose(task, x.expand(-1, 3, -1, -1))
        other = task.destroyed(puzzle, rng("cpu", "destroyed"))
        assert other.question.shape == puzzle.question.shape
        assert torch.equal(other.answer, puzzle.answer)
        whose, cell = [], []
        for one in (puzzle, other):
            shown = tiles_of(task, one) if one.given is not None else task._mounted(one.question)
            value = shown[:, :, 0, 0, 0]
            whose.append(value.floor()), cell.append(value.frac())
        assert torch.equal(cell[0], cell[1])
        assert (whose[0] == torch.arange(12.0)[:, None]).all()
        assert (whose[1] != torch.arange(12.0)[:, None]).all()
        assert all(len(row.unique()) == 9 for row in whose[1])  # nine images make one puzzle
        assert all(len(column.unique()) == 12 for column in whose[1].T) or factory is not PLAIN


def test_labels_are_uniform():
    task = SMALL(TinyNet())
    labels = torch.cat([pose(task, images(100, 9), step).answer for step in range(50)])
    counts = labels.bincount(minlength=20)
    assert ((counts - 250) ** 2 / 250).sum() < 50  # chi-square of 19 degrees: once in 8,000 times


def asked(task, net, puzzle):
    return task.solve(net(puzzle.question), puzzle.given)


def test_all_tiles_share_their_weights():
    """Permuting the tiles permutes what the head's shared layer makes of them, and changes its verdict."""
    net = TinyNet(norm=False).eval()
    task = SMALL(net)
    puzzle = pose(task, images(2))
    tiles, order = tiles_of(task, puzzle), torch.randperm(9, generator=rng("cpu", "order"))
    straight, moved = net(tiles.flatten(0, 1)), net(tiles[:, order].flatten(0, 1))
    embedded, permuted = (task.each(f.pooled).unflatten(0, (2, 9)) for f in (straight, moved))
    torch.testing.assert_close(embedded[:, order], permuted)
    logits = [task.solve(features, puzzle.given) for features in (straight, moved)]
    assert not torch.allclose(*logits, rtol=1e-3)


def test_shuffling_embeddings_is_shuffling_tiles():
    net = TinyNet().eval()  # in train mode too, but for the order in which a batch's statistics are summed
    task = SMALL(net, puzzles=3)
    puzzle = pose(task, images(4))
    assert puzzle.question.shape[0] == 4 * 9
    assert torch.equal(puzzle.given.flatten(0, 1), task.table[puzzle.answer])
    straight = torch.arange(9).expand(4, 1, -1)
    for q in range(3):
        tiles = torch.stack([t[o[q]] for t, o in zip(tiles_of(task, puzzle), puzzle.given, strict=True)])
        logits = task.solve(net(tiles.flatten(0, 1)), straight)
        torch.testing.assert_close(logits, asked(task, net, puzzle)[q::3])


@pytest.mark.parametrize("puzzles", [1, 3])
def test_renaming_the_cells_in_tiles_and_permutations_alike_leaves_the_logits(puzzles):
    net = TinyNet().eval()
    task = SMALL(net, puzzles=puzzles)
    puzzle = pose(task, images(4))
    name = torch.randperm(9, generator=rng("cpu", "names"))  # cell c is called name[c]
    renamed = puzzle._replace(
        question=tiles_of(task, puzzle)[:, name.argsort()].flatten(0, 1), given=name[puzzle.given]
    )
    torch.testing.assert_close(asked(task, net, renamed), asked(task, net, puzzle))
    half = puzzle._replace(given=renamed.given)
    assert not torch.allclose(asked(task, net, half), asked(task, net, puzzle), rtol=1e-3)


def test_relabelling_the_permutations_relabels_the_logits():
    net = TinyNet().eval()
    task, again = SMALL(net), SMALL(net)
    again.load_state_dict(task.state_dict())
    names = torch.randperm(20, generator=rng("cpu", "labels"))
    again.table, last = task.table[names], again.together[-1]
    last.weight.data, last.bias.data = last.weight[names], last.bias[names]
    puzzle = pose(task, images(4))
    same = puzzle._replace(answer=names.argsort()[puzzle.answer])
    assert torch.equal(again.table[same.answer], task.table[puzzle.answer])
    torch.testing.assert_close(asked(again, net, same), asked(task, net, puzzle)[:, names])
    losses = [t.grade(asked(t, net, p), p.answer).loss for t, p in ((task, puzzle), (again, same))]
    torch.testing.assert_close(*losses)


def test_several_puzzles_of_one_image_are_drawn_independently():
    task = SMALL(TinyNet(), permutations=4, puzzles=2)
    pairs = torch.cat([pose(task, images(100, 9), step).answer.view(-1, 2) for step in range(20)])
    counts = (pairs[:, 0] * 4 + pairs[:, 1]).bincount(minlength=16)
    assert ((counts - 125) ** 2 / 125).sum() < 48  # chi-square of 15 degrees: once in 40,000 times


def test_a_mosaic_is_the_shuffled_tiles_and_its_embeddings_are_theirs():
    """A net that only cuts patches sees each tile of the mosaic as it would see it alone."""
    x, options = images(4, 30), {"view": "mosaic", "jitter": 0.0, "grey": 0.0}
    task = MOSAIC(TinyViT(), standardise=False, **options)
    question, answer, given = pose(task, x)
    assert question.shape == (4, 3, 24, 24)
    assert given is None
    cells = x.unfold(2, 10, 10).unfold(3, 10, 10)[..., 1:9, 1:9].permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    expected = torch.stack([tiles[order] for tiles, order in zip(cells, task.table[answer], strict=True)])
    assert torch.equal(question, mount_tiles(expected, 3))
    patches = nn.functional.avg_pool2d(question, 4)
    seen = task._patches(Features({"early": question, "last": patches}, patches.mean((2, 3))))
    torch.testing.assert_close(seen, expected.mean((-2, -1)))


def test_a_net_that_attends_to_all_of_a_mosaic_learns_its_shuffle():
    assert learnt(TinyViT(), MOSAIC, bars(10), steps=200) > 0.9


@pytest.mark.slow
def test_a_real_vit_sees_whole_patches_of_tiles():
    net = TorchVision("vit_b_16", image_size=144)
    task = SMALL(net, view="mosaic")
    question, answer, given = pose(task, images(2, 192))
    assert question.shape == (2, 3, 144, 144)
    features = net(question)
    assert list(features.stages.values())[-1].shape == (2, 768, 9, 9)  # 3 x 3 patches of 16 px for each of 9 tiles
    grade = task.grade(task.solve(features, given), answer)
    assert grade.loss.item() == pytest.approx(task.chance().loss.item(), rel=0.2)
    grade.loss.backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_a_last_stage_coarser_than_the_grid_is_refused():
    net = TinyNet()
    task = SMALL(net, view="mosaic", grid=4, gap=0.25)
    puzzle = pose(task, images(2, 16))  # tiles of 3, a mosaic of 12, a last stage of 3
    with pytest.raises(ValueError, match="last stage has 3 x 3 places for a mosaic of 4 x 4 tiles"):
        asked(task, net, puzzle)


def test_foreign_tiles_come_from_another_image_and_leave_the_answer():
    """Images of one colour each: their cells tell whose they are. Two of nine at most are another's."""
    task = partial(PLAIN, foreign=2)(TinyNet())
    x = (torch.arange(8.0) / 8).view(8, 1, 1, 1).expand(8, 3, 30, 30)
    shares = []
    for step in range(50):
        puzzle = pose(task, x, step)
        whose = (tiles_of(task, puzzle)[:, :, 0, 0, 0] * 8).round().long()
        foreign = whose != torch.arange(8)[:, None]
        assert foreign.sum(1).max() <= 2
        assert torch.equal(task.table[puzzle.answer], puzzle.given[:, 0])
        shares.append(foreign.sum(1))
    assert torch.cat(shares).bincount().shape == (3,)


def test_all_tiles_of_a_drained_image_are_grey_the_foreign_ones_too():
    task = partial(SMALL, foreign=3, grey=0.5)(TinyNet())
    tiles = tiles_of(task, pose(task, images(64, 30)))
    drained = (tiles == tiles[:, :, :1]).flatten(2).all(2)
    assert torch.equal(drained, drained[:, :1].expand_as(drained))
    assert 0 < drained.float().mean() < 1


def test_the_affine_set_has_72_permutations_8_apart():
    task = jigsaw(TinyNet(), permutations="affine", foreign=7)
    assert hamming(task.table) == (task.min_distance, task.mean_distance) == (8, pytest.approx(8 * 72 / 71))
    assert task.chance().loss.item() == pytest.approx(math.log(72))
    assert "permutations=72, min_distance=8" in repr(task)


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_it_starts_at_ln_k(count):
    task, net = jigsaw(TinyNet(), permutations=count), TinyNet()
    question, answer, given = pose(task, images(64))
    grade = task.grade(task.solve(net(question), given), answer)
    assert grade.loss.item() == pytest.approx(math.log(count), rel=0.02)
    assert task.chance().loss.item() == pytest.approx(math.log(count))


def bars(side):
    """Bars whose direction and width differ from cell to cell: a net that sees tiles one by one can sort them."""
    line = torch.arange(float(side))
    waves = [(line[:, None] * a + line * b).sin() * 0.5 + 0.5 for a in (0.0, 0.8, 2.2) for b in (0.0, 0.8, 2.2)]
    return mount_tiles(torch.stack(waves)[None, :, None].expand(16, 9, 3, side, side), 3)


def learnt(net, factory, x, steps=150):
    torch.manual_seed(0)
    task = factory(net)

    def sit(step):
        puzzle = pose(task, x, step)
        return task.grade(asked(task, net, puzzle), puzzle.answer)

    descend((net, task), lambda step: sit(step).loss, steps, 5e-3)
    return sit(steps).scores["accuracy"]


@pytest.mark.parametrize("options", [{}, {"puzzles": 4, "permutations": "affine"}])
def test_it_learns_where_every_cell_shows_its_place(options):
    assert learnt(TinyNet(16), partial(SMALL, **options), bars(12)) > 0.9


@pytest.mark.parametrize(("gap", "tells"), [(0.0, True), (1 / 3, False)])
def test_edges_that_continue_tell_the_shuffle_unless_there_is_a_gap(gap, tells):
    """Border-only input: nothing but what crosses the borders of tiles could help, and across the gap nothing does."""
    torch.manual_seed(0)
    options = {"grid": 2, "permutations": 8, "gap": gap, "jitter": 0.0, "channel_jitter": 0.0, "grey": 0.0}
    net = leaks.Look(jigsaw(TinyNet(), **options).pixels(24, 24)[3])
    task = jigsaw(net, **options, standardise=False, puzzles=8, width=64, hidden=256)
    accuracy = leaks.learnt(task, net, leaks.smooth_noise, 200)
    # 640 images in 20 batches; the puzzles of one are not independent and count as one, as in the contract.
    assert accuracy > 0.2 if tells else accuracy < 1 / 8 + 4 * math.sqrt(1 / 8 * 7 / 8 / 640)


def test_the_permutations_are_always_the_same_and_their_distances_told():
    one, other = jigsaw(TinyNet()), jigsaw(TinyNet())
    assert torch.equal(one.table, other.table)
    assert "table" in one.state_dict()
    assert one.min_distance == 6  # of greedy max-min sets of 100
    assert 8.07 < one.mean_distance <= 8 * 100 / 99
    assert "permutations=100, min_distance=6, mean_distance=8.080" in repr(one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap": 0.2, "jitter": 0.2, "channel_jitter": 0.05}, r"jitter=0.2 \+ channel_jitter=0.05 exceed gap=0.2"),
        ({"gap": 1.0}, "gap=1.0"),
        ({"jitter": -0.1}, "jitter=-0.1"),
        ({"grey": 1.5}, "grey=1.5"),
        ({"extent": (0.8, 0.5)}, r"extent=\(0.8, 0.5\)"),
        ({"extent": (0.0, 0.5)}, r"extent=\(0.0, 0.5\)"),
        ({"extent": (0.5, 1.1)}, r"TileCut: extent=\(0.5, 1.1\)"),
        ({"grid": 1}, "grid=1"),
        ({"permutations": 1}, "permutations=1"),
        ({"grid": 2, "permutations": 25}, "25 permutations of 4 items"),
        ({"grid": 4, "permutations": "affine"}, "grid=4, permutations='affine'"),
        ({"permutations": "far"}, "permutations='far'"),
        ({"puzzles": 0}, "puzzles=0"),
        ({"puzzles": 2, "view": "mosaic"}, "puzzles=2 with view='mosaic'"),
        ({"view": "whole"}, "view='whole'"),
        ({"foreign": -1}, "foreign=-1"),
        ({"foreign": 6}, "foreign=6, but permutations that differ in 6 places .* lower foreign"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        jigsaw(TinyNet(), **options)


def test_jitter_may_fill_the_gap_whatever_floats_say():
    assert jigsaw(TinyNet(), permutations=2, gap=0.3, jitter=0.2, channel_jitter=0.1).pixels(300, 300) == (
        30,
        20,
        10,
        70,
    )


def test_images_too_small_are_refused():
    with pytest.raises(ValueError, match="Jigsaw: images of 2 x 8 leave cells of 0 pixels in a grid of 3"):
        pose(SMALL(TinyNet()), torch.rand(1, 3, 2, 8))


def test_backbones_that_do_not_read_images_are_refused():
    with pytest.raises(ValueError, match="Jigsaw needs a backbone with an axis 'h'"):
        jigsaw(TinyNet(axes="t"))


def test_the_drawing_shows_the_shuffle_the_answer_and_what_the_head_would_make_of_it():
    task, x = WHOLE(TinyNet()), images(2, 33)
    puzzle = pose(task, x)
    wrong = (puzzle.answer[1] + 1) % 20
    prediction = torch.eye(20)[torch.stack((puzzle.answer[0], wrong))]
    rows = task.draw(puzzle, prediction)
    assert [row[3].right for row in rows] == [True, False]
    seams = [i for i in range(35) if i % 12 != 11]  # tiles of 11, seams of 1
    for i, (question, order, answer, predicted) in enumerate(rows):
        assert torch.equal(order.image, numbers(task.table[puzzle.answer[i]], 3))
        assert torch.equal(question.image[:, seams][:, :, seams], mount_tiles(shuffled(task, puzzle), 3)[i])
        assert torch.equal(answer.image[:, seams][:, :, seams], x[i])
        assert not torch.equal(question.image, answer.image)
        assert torch.equal(predicted.image, answer.image) == predicted.right
    same = int((task.table[wrong] == task.table[puzzle.answer[1]]).sum())
    assert rows[0][3].caption.endswith("9 of 9 in place")
    assert rows[1][3].caption.endswith(f"{same} of 9 in place")
    assert [len(row) for row in task.draw(puzzle, None)] == [3, 3]


def test_every_puzzle_and_a_mosaic_are_drawn_alike():
    x, net = images(2, 33), TinyNet()
    several, mosaic = WHOLE(net, puzzles=3), WHOLE(net, view="mosaic")
    puzzle = pose(several, x)
    rows = several.draw(puzzle, None)
    assert all(torch.equal(row[2].image, rows[i // 3 * 3][2].image) for i, row in enumerate(rows))  # of one image
    puzzle = pose(mosaic, x)
    seams = [i for i in range(35) if i % 12 != 11]
    rows = mosaic.draw(puzzle._replace(question=puzzle.question.bfloat16()), torch.eye(20)[puzzle.answer].bfloat16())
    for i, (question, _, answer, predicted) in enumerate(rows):
        assert torch.equal(question.image[:, seams][:, :, seams], puzzle.question[i].bfloat16().float())
        assert torch.equal(answer.image[:, seams][:, :, seams], x[i].bfloat16().float())
        assert torch.equal(predicted.image, answer.image)


@pytest.mark.parametrize(("permutations", "count"), [('"affine"', 72), ("20", 20)])
def test_a_config_can_name_the_new_options(permutations, count):
    parser = ArgumentParser()
    parser.add_argument("--task", type=Callable[[Backbone], Jigsaw])
    init = f'"permutations": {permutations}, "view": "mosaic", "puzzles": 1, "foreign": 2'
    text = f'{{"class_path": "{Jigsaw.__module__}.Jigsaw", "init_args": {{{init}}}}}'
    task = parser.instantiate(parser.parse_args(["--task", text])).task(TinyNet())
    assert f"permutations={count}, " in repr(task)
    assert "puzzles=1, view='mosaic', foreign=2" in repr(task)
