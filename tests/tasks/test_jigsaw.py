"""Jigsaw: tiles stay in their cells, the answer undoes the shuffle, and nothing else gives it away."""

import math
from functools import partial

import pytest
import torch
from nets import TinyNet

from pretext.rng import rng
from pretext.tasks.jigsaw import MEAN, SPREAD, Jigsaw
from pretext.testing import check_task
from pretext.tiles import mount, restore

SMALL = partial(Jigsaw, permutations=20, width=32, hidden=64)
PLAIN = partial(SMALL, standardise=False, grey=0.0)
WHOLE = partial(PLAIN, gap=0.0, jitter=0.0, channel_jitter=0.0)


def images(n=6, side=32):
    return torch.rand(n, 3, side, side, generator=rng("cpu", "jigsaw", "images"))


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "jigsaw", *parts))


def tiles_of(task, puzzle):
    return puzzle.question.unflatten(0, (-1, task.grid**2))


def coordinates(n, height, width):
    """Images that say where a pixel came from: its number, row by row, in all channels."""
    where = torch.arange(height * width, dtype=torch.float32).view(height, width)
    return where.expand(n, 3, height, width).contiguous()


@pytest.mark.parametrize("factory", [SMALL, partial(SMALL, grid=2), partial(PLAIN, grid=4)])
def test_it_keeps_the_contract(factory):
    check_task(factory, TinyNet(), images(8, 24))


def test_tile_s_comes_from_the_cell_that_the_answers_permutation_names():
    task = PLAIN(TinyNet())
    cells = torch.arange(9.0).view(3, 3).repeat_interleave(10, 0).repeat_interleave(10, 1)
    puzzle = pose(task, cells.expand(30, 3, 30, 30))
    named = task.table[puzzle.answer][..., None, None, None]
    assert torch.equal(tiles_of(task, puzzle), named.expand(30, 9, 3, 7, 7).float())


def test_the_answer_is_enough_to_undo_the_question():
    x, task = images(6, 33), WHOLE(TinyNet())
    puzzle = pose(task, x)
    assert torch.equal(mount(restore(tiles_of(task, puzzle), task.table[puzzle.answer]), 3), x)


def corners(task, size, steps=20):
    """Pose often and read (rows, columns) of each tile's first pixel per channel, in cell order: (n, P, 3) each."""
    tops, lefts = [], []
    for step in range(steps):
        puzzle = pose(task, coordinates(20, size, size), step)
        first = restore(tiles_of(task, puzzle), task.table[puzzle.answer])[..., 0, 0].long()
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
    assert Jigsaw(TinyNet(), permutations=2, **options).pixels(size, size) == pixels


def test_tiles_are_standardised_to_what_backbones_expect():
    task = SMALL(TinyNet(), grey=0.0)
    tiles = pose(task, images(4, 96) * 0.2 + 0.7).question
    torch.testing.assert_close(tiles.mean((1, 2, 3)), torch.full((36,), MEAN))
    torch.testing.assert_close(tiles.std((1, 2, 3), correction=0), torch.full((36,), SPREAD))
    flat = pose(task, torch.full((2, 3, 32, 32), 0.3)).question
    torch.testing.assert_close(flat, torch.full_like(flat, MEAN))


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


def test_labels_are_uniform():
    task = SMALL(TinyNet())
    labels = torch.cat([pose(task, images(100, 9), step).answer for step in range(50)])
    counts = labels.bincount(minlength=20)
    assert ((counts - 250) ** 2 / 250).sum() < 50  # chi-square of 19 degrees: once in 8,000 times


def test_all_tiles_share_their_weights():
    """Permuting the tiles permutes what the head's shared layer makes of them, and changes its verdict."""
    net = TinyNet(norm=False).eval()
    task = SMALL(net)
    tiles, order = tiles_of(task, pose(task, images(2))), torch.randperm(9, generator=rng("cpu", "order"))
    straight, shuffled = net(tiles.flatten(0, 1)), net(tiles[:, order].flatten(0, 1))
    embedded, moved = (task.each(f.pooled).unflatten(0, (2, 9)) for f in (straight, shuffled))
    torch.testing.assert_close(embedded[:, order], moved)
    assert not torch.allclose(task.solve(straight, None), task.solve(shuffled, None), rtol=1e-3)


@pytest.mark.parametrize("count", [10, 100, 1000])
def test_it_starts_at_ln_k(count):
    task, net = Jigsaw(TinyNet(), permutations=count), TinyNet()
    question, answer, given = pose(task, images(64))
    grade = task.grade(task.solve(net(question), given), answer)
    assert grade.loss.item() == pytest.approx(math.log(count), rel=0.02)
    assert task.chance().loss.item() == pytest.approx(math.log(count))


def test_it_learns_where_every_cell_shows_its_place():
    """Bars whose direction and width differ from cell to cell: a net that sees tiles one by one can sort them."""
    torch.manual_seed(0)
    line = torch.arange(12.0)
    waves = [(line[:, None] * a + line * b).sin() * 0.5 + 0.5 for a in (0.0, 0.8, 2.2) for b in (0.0, 0.8, 2.2)]
    x = mount(torch.stack(waves)[None, :, None].expand(16, 9, 3, 12, 12), 3)
    net = TinyNet(16)
    task = SMALL(net)
    optimiser = torch.optim.Adam([*net.parameters(), *task.parameters()], lr=3e-3)
    for step in range(150):
        question, answer, given = pose(task, x, step)
        grade = task.grade(task.solve(net(question), given), answer)
        optimiser.zero_grad()
        grade.loss.backward()
        optimiser.step()
    assert grade.scores["accuracy"] > 0.9


def test_the_permutations_are_always_the_same_and_their_distances_told():
    one, other = Jigsaw(TinyNet()), Jigsaw(TinyNet())
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
        ({"grid": 1}, "grid=1"),
        ({"permutations": 1}, "permutations=1"),
        ({"grid": 2, "permutations": 25}, "25 permutations of 4 items"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        Jigsaw(TinyNet(), **options)


def test_jitter_may_fill_the_gap_whatever_floats_say():
    assert Jigsaw(TinyNet(), permutations=2, gap=0.3, jitter=0.2, channel_jitter=0.1).pixels(300, 300) == (
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
        Jigsaw(TinyNet(axes="t"))


def test_the_drawing_shows_the_shuffle_the_answer_and_what_the_head_would_make_of_it():
    task, x = WHOLE(TinyNet()), images(2, 33)
    puzzle = pose(task, x)
    wrong = (puzzle.answer[1] + 1) % 20
    prediction = torch.eye(20)[torch.stack((puzzle.answer[0], wrong))]
    rows = task.draw(puzzle, prediction)
    assert [row[2].right for row in rows] == [True, False]
    seams = [i for i in range(35) if i % 12 != 11]  # tiles of 11, seams of 1
    for i, (shuffled, answer, predicted) in enumerate(rows):
        assert torch.equal(answer.image[:, seams][:, :, seams], x[i])
        assert not torch.equal(shuffled.image, answer.image)
        assert torch.equal(predicted.image, answer.image) == predicted.right
    same = int((task.table[wrong] == task.table[puzzle.answer[1]]).sum())
    assert rows[0][2].caption.endswith("9 of 9 in place")
    assert rows[1][2].caption.endswith(f"{same} of 9 in place")
    assert [len(row) for row in task.draw(puzzle, None)] == [2, 2]
