"""RelativePosition: labels follow from coordinates, neighbours never touch, and neither edges nor colours tell."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from jsonargparse import ArgumentParser
from leaks import Look, learnt, smooth_noise
from nets import TinyNet
from torch.nn import functional

from pretext.core.rng import rng
from pretext.core.types import Backbone, Features
from pretext.ops.lab import project_aberration
from pretext.ops.tile_cut import EXTENT
from pretext.ops.tiles import mount_tiles
from pretext.tasks.image.relative_position import (
    CENTRE,
    COARSE,
    FADED,
    FINE,
    MEAN,
    NAMES,
    SPREAD,
    RelativePosition,
    direction,
    neighbours,
)
from pretext.testing import check_task

STILL = partial(RelativePosition, extent=None)
SMALL = partial(STILL, hidden=64)
PLAIN = partial(SMALL, colour="keep", normalise=False, pixelate=0.0)  # tiles as they were cut
WHOLE = partial(PLAIN, gap=0.0, jitter=0.0)


def images(n=6, side=48):
    """Smooth random images, that differ from place to place."""
    coarse = torch.rand(n, 3, 6, 6, generator=rng("cpu", "position", "images"))
    return functional.interpolate(coarse, (side, side), mode="bilinear")


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "position", *parts))


def tiles_of(puzzle):
    return puzzle.question.unflatten(0, (-1, 9))


def corners(task, side, n, *parts):
    """Read (row, column) of the first pixel of every tile, (n, 9, 2), from images whose pixels say their number."""
    where = torch.arange(float(side * side)).view(side, side).expand(n, 3, side, side)
    first = tiles_of(pose(task, where, *parts))[..., 0, 0, 0].long()
    return torch.stack((first // side, first % side), -1)


@pytest.mark.parametrize(
    "factory",
    [
        SMALL,
        pytest.param(partial(SMALL, pairs="centre", colour="project", extent=EXTENT), marks=pytest.mark.slow),
        pytest.param(partial(PLAIN, jitter=0.1, extent=EXTENT), marks=pytest.mark.slow),
    ],
)
def test_it_keeps_the_contract(factory):
    check_task(factory, TinyNet(), images(8, 36))


def test_the_square_has_any_size_and_place_in_the_image():
    """Ramps say which row and column every pixel is of; interpolated they are exact."""
    line = torch.arange(96) + 0.5
    ramp = torch.stack((line[:, None].expand(96, 96), line.expand(96, 96), line.expand(96, 96)))
    task = PLAIN(TinyNet(), extent=EXTENT)
    where = torch.cat([tiles_of(pose(task, ramp.expand(40, -1, -1, -1), step)) for step in range(10)])
    step = where[:, :, 0].diff(dim=-2).mean((1, 2, 3))
    assert EXTENT[0] <= step.min() < 0.52 < 0.73 < step.max() <= EXTENT[1]
    middle = where[:, 4, :2].mean((2, 3)) / 96
    assert (middle.mean(0) - 0.5).abs().max() < 4 * middle.std(0).max() / 400**0.5
    assert (middle.std(0) > 0.05).all()
    down, right = (where[:, task.pairs[:, 1]] - where[:, task.pairs[:, 0]]).mean((3, 4))[..., :2].unbind(-1)
    third = step[:, None] * 16
    down, right = ((d > third).long() - (d < -third).long() for d in (down, right))
    ring = 3 * (down + 1) + right + 1
    answer = pose(task, images(400, 9)).answer.view(400, 40)
    assert torch.equal(answer, ring - (ring > 4).long())  # labels are what the coordinates say


def test_a_destroyed_puzzle_shows_in_every_cell_that_cell_of_another_image():
    x = (torch.arange(12.0) / 12).view(12, 1, 1, 1).expand(12, 3, 24, 24)
    task = PLAIN(TinyNet())
    puzzle = pose(task, x)
    other = task.destroyed(puzzle, rng("cpu", "destroyed"))
    assert torch.equal(other.answer, puzzle.answer)
    whose = (tiles_of(other)[:, :, 0, 0, 0] * 12).round().long()
    assert (whose != torch.arange(12)[:, None]).all()
    assert all(len(row.unique()) == 9 for row in whose)
    cells = torch.arange(9.0).view(3, 3).repeat_interleave(8, 0).repeat_interleave(8, 1).expand(12, 3, 24, 24)
    puzzle = pose(task, cells)
    assert torch.equal(task.destroyed(puzzle, rng("cpu", "destroyed")).question, puzzle.question)


def test_the_forty_pairs_are_the_authors_and_labels_are_antisymmetric():
    pairs = neighbours()
    labels = direction(*pairs.T)
    assert len({tuple(pair) for pair in pairs.tolist()}) == 40
    assert torch.equal(direction(*pairs.flip(1).T), 7 - labels)
    assert labels.bincount().tolist() == [4, 6, 4, 6, 6, 4, 6, 4]
    offsets = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)]  # to the right, down
    for (a, b), label in zip(pairs.tolist(), labels.tolist(), strict=True):
        assert (b % 3 - a % 3, b // 3 - a // 3) == offsets[label]


def test_pairs_from_the_centre_ask_for_every_direction_once():
    task = SMALL(TinyNet(), pairs="centre")
    assert task.pairs.tolist() == [[4, b] for b in (0, 1, 2, 3, 5, 6, 7, 8)]
    assert pose(task, images(3)).answer.tolist() == list(range(8)) * 3


@pytest.mark.parametrize("side", [32, 96])
def test_labels_are_what_the_coordinates_of_the_tiles_say(side):
    """Over 10,000 pairs."""
    task = PLAIN(TinyNet())
    answer = pose(task, images(250, 9)).answer.view(250, 40)
    corner = corners(task, side, 250)
    down, right = (corner[:, task.pairs[:, 1]] - corner[:, task.pairs[:, 0]]).unbind(-1)
    third = side / 6  # a step to a neighbour is more, wandering is less
    down, right = ((d > third).long() - (d < -third).long() for d in (down, right))
    ring = 3 * (down + 1) + right + 1
    assert torch.equal(answer, ring - (ring > 4).long())


@pytest.mark.parametrize("options", [{}, {"gap": 0.25, "jitter": 0.125}, {"gap": 0.1, "jitter": 0.05}])
@pytest.mark.parametrize("side", [32, 96, 432])
def test_tiles_stay_in_their_cells_and_neighbours_as_far_apart_as_documented(side, options):
    task = PLAIN(TinyNet(), **options)
    gap, jitter, tile = task.pixels(side, side)
    corner = torch.cat([corners(task, side, 10, step) for step in range(20)])
    start = (side - side // 3 * 3) // 2 + side // 3 * torch.arange(3)
    inside = corner - torch.stack((start.repeat_interleave(3), start.repeat(3)), -1)
    assert inside.min() >= 0
    assert inside.max() + tile <= side // 3
    grid = corner.unflatten(1, (3, 3))
    between = torch.cat((grid[..., 0].diff(dim=1).flatten(), grid[..., 1].diff(dim=2).flatten())).float() - tile
    assert gap - 2 * jitter <= between.min()
    assert between.max() <= gap + 2 * jitter
    assert between.mean().item() == pytest.approx(gap, abs=5 * between.std().item() / len(between) ** 0.5 + 1e-6)


def test_the_authors_geometry():
    """Tiles of 96 on a pitch of 144, wandering by 7: 34 to 62 px between neighbours."""
    task = PLAIN(TinyNet())
    assert task.pixels(432, 432) == (48, 7, 96)
    assert task.pixels(96, 120) == (11, 1, 21)
    assert task.pixels(32, 32) == (3, 0, 7)
    corner = torch.cat([corners(task, 432, 20, step) for step in range(10)]).unflatten(1, (3, 3))
    between = torch.cat((corner[..., 0].diff(dim=1).flatten(), corner[..., 1].diff(dim=2).flatten())) - 96
    assert 34 <= between.min() <= 36
    assert 60 <= between.max() <= 62


def rms(x, axes):
    return x.square().mean(axes).sqrt()


def test_a_dropped_tile_keeps_one_channel_and_has_a_spread_of_fifty():
    task = SMALL(TinyNet(), pixelate=0.0)
    tiles = torch.cat([(pose(task, images(20), step).question - MEAN) * 255 for step in range(20)])
    torch.testing.assert_close(rms(tiles, (1, 2, 3)), torch.full((len(tiles),), 50.0), rtol=1e-4, atol=0)
    each = rms(tiles, (2, 3)).sort(1, descending=True)
    assert each.values[:, 0].min() > 85  # 50 * sqrt(3), all of it in one channel
    assert each.values[:, 1].max() < 8
    counts = each.indices[:, 0].bincount(minlength=3).float()
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 21  # chi-square of 2 degrees: once in 36,000 times
    assert len(each.indices[:9, 0].unique()) > 1  # tiles of one image lose different colours
    cut = tiles_of(pose(PLAIN(TinyNet()), images(20), 19)).flatten(0, 1)
    kept = each.indices[-len(cut) :, 0]
    seen, real = (t[torch.arange(len(cut)), kept].flatten(1) for t in (tiles[-len(cut) :], cut))
    centred = real - real.mean(1, keepdim=True)
    torch.testing.assert_close(functional.cosine_similarity(seen, centred), torch.ones(len(cut)), rtol=1e-3, atol=0)


def test_without_normalising_a_dropped_channel_keeps_its_contrast():
    x = images(20)
    task = partial(SMALL, pixelate=0.0, normalise=False)(TinyNet())
    seen, real = pose(task, x).question - MEAN, pose(PLAIN(TinyNet()), x).question
    real = real - real.mean((2, 3), keepdim=True)
    same = (seen - real).abs().amax((2, 3)) < 1e-6
    assert torch.equal(same.sum(1), torch.ones(180, dtype=torch.int64))
    assert seen[~same].abs().max() <= 0.5 / 255 + 1e-6


def test_projected_tiles_do_not_know_green_from_magenta_and_greys_stay():
    x, task, keep = images(8), SMALL(TinyNet(), colour="project"), SMALL(TinyNet(), colour="keep")
    red, green, blue = pose(task, x).question.unbind(1)
    torch.testing.assert_close(2 * green, red + blue, rtol=0, atol=1e-5)
    torch.testing.assert_close(pose(task, project_aberration(x)), pose(task, x), rtol=0, atol=1e-4)
    grey = x[:, :1].expand_as(x)
    torch.testing.assert_close(pose(task, grey), pose(keep, grey), rtol=0, atol=1e-4)


def test_grey_tiles_have_no_colour_and_kept_ones_all_of_it():
    x = images(4)
    tiles = pose(SMALL(TinyNet(), colour="grey"), x).question
    assert torch.equal(tiles, tiles[:, :1].expand_as(tiles))
    tiles, cut = pose(SMALL(TinyNet(), colour="keep", pixelate=0.0), x).question, pose(PLAIN(TinyNet()), x).question
    torch.testing.assert_close(tiles.mean((1, 2, 3)), torch.full((36,), MEAN))
    torch.testing.assert_close(tiles.std((1, 2, 3), correction=0), torch.full((36,), SPREAD))
    slope = (tiles - MEAN).flatten(1).norm(dim=1) / (cut - cut.mean((1, 2, 3), keepdim=True)).flatten(1).norm(dim=1)
    torch.testing.assert_close(tiles.flatten(1).diff(dim=1), cut.flatten(1).diff(dim=1) * slope[:, None])


@pytest.mark.parametrize("colour", ["drop", "project", "grey", "keep"])
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_constant_tile_is_not_blown_up(colour, value):
    question = pose(SMALL(TinyNet(), colour=colour), torch.full((2, 3, 33, 33), value)).question
    assert (question - MEAN).abs().max() <= 0.55 * SPREAD  # noise of half a grey level over FLAT, less its mean


def shrunk(tile, few):
    """What a resize to `few` pixels and back makes of (3, t, t)."""
    small = functional.interpolate(tile[None], (few, few), mode="bilinear", antialias=True)
    return functional.interpolate(small, tile.shape[-2:], mode="bilinear", antialias=True)[0]


def test_pixelated_tiles_were_shrunk_to_a_side_uniform_in_area():
    x = torch.rand(50, 3, 48, 48, generator=rng("cpu", "position", "noise"))
    task, side = PLAIN(TinyNet(), jitter=0.0, pixelate=1.0), 11
    assert task.pixels(48, 48)[2] == side
    cut, coarse = (pose(t, x).question for t in (PLAIN(TinyNet(), jitter=0.0), task))
    ways = torch.stack([torch.stack([shrunk(tile, few) for tile in cut]) for few in range(2, side)])
    errors = (ways - coarse).abs().amax((2, 3, 4))  # (side - 2, tiles)
    assert errors.min(0).values.max() < 1e-5
    counts = errors.argmin(0).bincount(minlength=side - 2).float()
    edges = torch.arange(1.5, side) / side
    edges[0], edges[-1] = math.sqrt(COARSE), math.sqrt(FINE)
    expected = edges.square().diff() / (FINE - COARSE) * len(cut)
    assert ((counts - expected) ** 2 / expected).sum() < 36  # chi-square of 8 degrees: once in 50,000 times


@pytest.mark.parametrize("share", [0.0, 1 / 3, 1.0])
def test_the_share_of_pixelated_tiles_is_as_asked_and_they_are_drawn_one_by_one(share):
    x = torch.rand(200, 3, 24, 24, generator=rng("cpu", "position", "noise"))
    plain, task = PLAIN(TinyNet(), jitter=0.0), PLAIN(TinyNet(), jitter=0.0, pixelate=share)
    changed = (pose(plain, x).question != pose(task, x).question).flatten(1).any(1)
    assert abs(changed.float().mean() - share) <= 4 * math.sqrt(share * (1 - share) / 1800)
    assert share in (0, 1) or changed.view(200, 9).float().mean(1).unique().numel() > 3


def test_tiles_are_embedded_once_and_gathered_in_pairs():
    net = TinyNet().eval()
    task = SMALL(net).eval()
    puzzle = pose(task, images(3))
    assert len(puzzle.question) == 27
    features = net(puzzle.question)
    logits = task.solve(features, puzzle.given).view(3, 40, 8)
    seen = features.pooled.view(3, 9, -1)
    for n, k in ((0, 0), (1, 17), (2, 39)):
        a, b = task.pairs[k]
        # The sum of what the layer makes of each tile is one layer on both, side by side.
        both = torch.cat(task.roles.weight.chunk(2), 1) @ torch.cat((seen[n, a], seen[n, b]))
        torch.testing.assert_close(task.head(both[None])[0], logits[n, k])


def test_the_head_does_not_know_which_cells_a_pair_is_from():
    task = SMALL(TinyNet()).eval()
    logits = task.solve(Features({}, torch.randn(1, 16).expand(9, 16)), None)
    torch.testing.assert_close(logits, logits[:1].expand(40, 8))


def losses(task, features, pairs, labels):
    task.pairs = pairs
    with torch.no_grad():
        return functional.cross_entropy(
            task.solve(features, None), labels.repeat(len(features.pooled) // 9), reduction="none"
        )


@pytest.mark.parametrize("pairs", ["all", "centre"])
def test_swapping_the_tiles_of_an_untrained_heads_pairs_changes_no_distribution(pairs):
    torch.manual_seed(0)
    net = TinyNet()
    task = SMALL(net, pairs=pairs, hidden=2048)
    features = net(pose(task, images(64)).question)
    straight = losses(task, features, task.pairs, task.labels).sort().values
    swapped = losses(task, features, task.pairs.flip(1), 7 - task.labels).sort().values
    if pairs == "all":  # every pair is there both ways: the same losses in another order
        torch.testing.assert_close(straight, swapped)
    assert straight.mean().item() == pytest.approx(swapped.mean().item(), abs=0.1)
    assert straight.std().item() == pytest.approx(swapped.std().item(), rel=0.3)


def test_no_constant_guess_beats_chance_although_diagonals_are_rarer():
    task = SMALL(TinyNet())
    answer, blind = pose(task, images(2)).answer, task.chance()
    assert blind.loss.item() == pytest.approx(math.log(8))
    for label in range(8):
        grade = task.grade(torch.eye(8)[label].expand(80, 8), answer)
        assert grade.scores["accuracy"].item() == pytest.approx(1 / 8)
        assert grade.loss > blind.loss
    assert task.grade(torch.zeros(80, 8), answer).loss.item() == pytest.approx(math.log(8))
    prior = task.counts.float().log().expand(80, 8)
    assert task.grade(prior, answer).loss > blind.loss
    perfect = task.grade(20 * torch.eye(8)[answer], answer)
    assert perfect.scores["accuracy"] == 1
    assert perfect.loss < 1e-4


def test_the_heads_norm_has_nothing_to_turn_down():
    names = [name for name, _ in SMALL(TinyNet()).named_parameters()]
    assert names == ["roles.weight", "head.2.weight", "head.2.bias"]


def test_one_image_is_a_batch():
    net = TinyNet()
    task = SMALL(net)
    puzzle = pose(task, images(1))
    grade = task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)
    assert grade.loss.item() == pytest.approx(math.log(8), rel=0.2)


@pytest.mark.parametrize("pairs", ["all", "centre"])
def test_it_learns_where_every_cell_shows_its_place(pairs):
    torch.manual_seed(0)
    line = torch.arange(16.0)
    waves = [(line[:, None] * a + line * b).sin() * 0.5 + 0.5 for a in (0.0, 0.8, 2.2) for b in (0.0, 0.8, 2.2)]
    x = mount_tiles(torch.stack(waves)[None, :, None].expand(16, 9, 3, 16, 16), 3)
    net = TinyNet(16)
    assert learnt(SMALL(net, pairs=pairs, pixelate=0.0), net, lambda step: x, 100) > 0.9


@pytest.mark.parametrize(("gap", "leaks"), [(0.0, True), (1 / 3, False)])
def test_edges_that_continue_tell_the_place_unless_there_is_a_gap(gap, leaks):
    torch.manual_seed(0)
    side = STILL(TinyNet(), gap=gap, jitter=0.0).pixels(24, 24)[2]
    net = Look(side)
    task = STILL(net, gap=gap, jitter=0.0, colour="keep", pixelate=0.0, hidden=256)
    accuracy = learnt(task, net, smooth_noise, 200)
    # 640 images in 20 batches; the pairs of one are not independent and count as one, as in the contract.
    assert accuracy > 0.3 if leaks else accuracy < 1 / 8 + 4 * math.sqrt(1 / 8 * 7 / 8 / 640)


def fringed(step, zoom):
    """Texture that is the same everywhere, but whose green is magnified less, as a lens does: (32, 3, 72, 72).

    Waves are evaluated where each colour sees them, because resampling would leave traces of its own.
    """
    angle, phase, pitch = torch.rand(3, 32, 24, 1, 1, generator=rng("cpu", "position", "fringed", step))
    line, turn = torch.arange(72) - 35.5, 2 * math.pi
    across = line[:, None] * torch.sin(turn * angle) + line * torch.cos(turn * angle)
    seen = [torch.cos((0.6 + 1.6 * pitch) * scale * across + turn * phase).sum(1) for scale in (1.0, 1 - zoom, 1.0)]
    return (0.5 + 0.04 * torch.stack(seen, 1)).clamp(0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("colour", "zoom", "tells"), [("keep", 0.05, True), ("keep", 0.0, False), ("drop", 0.05, False)]
)
def test_fringes_of_a_lens_tell_the_place_unless_colours_are_dropped(colour, zoom, tells):
    """Chromatic aberration, without anything else to see. (The paper's projection lets half of the answers through.)"""
    torch.manual_seed(0)
    net = TinyNet(16)
    task = STILL(net, colour=colour, pixelate=0.0, hidden=128)
    accuracy = learnt(task, net, lambda step: fringed(step, zoom), 120)
    assert accuracy > 0.9 if tells else accuracy < 1 / 8 + 4 * math.sqrt(1 / 8 * 7 / 8 / 640)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap": 1.0}, "gap=1.0"),
        ({"gap": 0.1, "jitter": 0.06}, "twice jitter=0.06, more than gap=0.1"),
        ({"jitter": -0.1}, "jitter=-0.1"),
        ({"pixelate": 1.5}, "pixelate=1.5"),
        ({"pairs": "some"}, "pairs='some'"),
        ({"colour": "blue"}, "colour='blue'"),
        ({"extent": (0.8, 0.5)}, r"extent=\(0.8, 0.5\)"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"RelativePosition: .*{message}"):
        RelativePosition(TinyNet(), **options)


def test_images_too_small_are_refused():
    with pytest.raises(ValueError, match="RelativePosition: images of 2 x 8 leave cells of 0 pixels"):
        pose(SMALL(TinyNet()), torch.rand(1, 3, 2, 8))


def test_backbones_that_do_not_read_images_are_refused():
    with pytest.raises(ValueError, match="RelativePosition needs a backbone with an axis 'h'"):
        RelativePosition(TinyNet(axes="t"))


def test_a_config_can_name_every_option():
    parser = ArgumentParser()
    parser.add_argument("--task", type=Callable[[Backbone], RelativePosition])
    init = '"pairs": "centre", "colour": "project", "normalise": false, "gap": 0.25, "jitter": 0.1, "pixelate": 0.5'
    init += ', "extent": [0.6, 0.9]'
    text = f'{{"class_path": "{RelativePosition.__module__}.RelativePosition", "init_args": {{{init}}}}}'
    task = parser.instantiate(parser.parse_args(["--task", text])).task(TinyNet())
    expected = (
        "gap=0.25, jitter=0.1, pairs='centre', colour='project', normalise=False, pixelate=0.5, extent=(0.6, 0.9)"
    )
    assert task.extra_repr() == expected


@pytest.mark.parametrize("pairs", ["all", "centre"])
def test_the_drawing_places_the_tile_where_it_is_and_where_it_was_guessed(pairs):
    task, x = WHOLE(TinyNet(), pairs=pairs), images(5, 24)
    puzzle = pose(task, x)
    wrong = (puzzle.answer + 1) % 8
    for guess, right in ((puzzle.answer, True), (wrong, False)):
        rows = task.draw(puzzle, torch.eye(8)[guess].bfloat16())
        assert len(rows) == 10
        for i, (start, asked, answer, predicted) in enumerate(rows):
            label = NAMES.index(answer.caption.removeprefix("answer: "))
            cell = label + (label >= CENTRE)
            tiles = tiles_of(puzzle)[i // 2]
            assert torch.equal(start.image, tiles[CENTRE])
            assert torch.equal(asked.image, tiles[cell])
            shown = 1 - FADED + FADED * tiles
            shown[[CENTRE, cell]] = tiles[[CENTRE, cell]]
            assert torch.equal(answer.image, mount_tiles(shown[None], 3, 1)[0])
            assert torch.equal(predicted.image, answer.image) == predicted.right == right
    assert len({row[2].caption for row in rows}) > 4  # not always the same neighbours
    assert {len(row) for row in task.draw(puzzle._replace(question=puzzle.question.bfloat16()), None)} == {3}
