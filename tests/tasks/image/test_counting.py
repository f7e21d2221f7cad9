"""Counting: five views of an image, sums of counts, and two distances whose values are known."""

from functools import partial

import pytest
import torch
from nets import TinyNet

from pretext.core.rng import rng
from pretext.core.types import Features
from pretext.ops.geometric import grey
from pretext.ops.resample import KERNELS, resample
from pretext.ops.tiles import mount_tiles, quadrants
from pretext.tasks.image.counting import Counting
from pretext.testing import check_initial_loss, check_task

SMALL = partial(Counting, length=20, hidden=32)


def images(n=6, side=16):
    """Smooth random colours with detail on them."""
    chance = rng("cpu", "counting", "images")
    coarse = torch.rand(n, 3, 4, 4, generator=chance)
    return (
        0.8 * resample(coarse, side, side, "bilinear") + 0.2 * torch.rand(n, 3, side, side, generator=chance)
    ).clone()


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "counting", *parts))


def views_of(puzzle):
    """(N, 5, 3, S/2, S/2)"""
    return puzzle.question.unflatten(0, (-1, 5))


def shrunk_by(x, kernel):
    return resample(x, x.shape[-1] // 2, x.shape[-1] // 2, kernel).clamp(0, 1)


# No kinds of content-free input: images of noise, or of one colour each, do differ from one another, and telling them
# apart by counts that add up is all that is asked. That is content for this task, not a leak.
@pytest.mark.parametrize("factory", [SMALL, partial(SMALL, grey=0.0, length=1, margin=1.0)])
def test_it_keeps_the_contract(factory):
    check_task(factory, TinyNet(), images(8), kinds=())


def test_it_starts_at_the_margin_as_large_as_the_paper_has_it():
    check_initial_loss(Counting, TinyNet(), images(8))
    check_initial_loss(partial(Counting, margin=0.1), TinyNet(width=256, norm=False), images(8))


def test_quadrants_mounted_are_the_image_and_all_views_have_half_its_side():
    x = images()
    puzzle = pose(SMALL(TinyNet(), grey=0.0), x)
    assert puzzle.question.shape == (30, 3, 8, 8)
    assert puzzle.given is None
    assert torch.equal(mount_tiles(views_of(puzzle)[:, 1:], 2), x)
    assert torch.equal(quadrants(x)[:, 1], x[..., :8, 8:])


def test_the_first_view_is_the_whole_image_shrunk_by_one_of_all_kernels_for_the_whole_batch():
    x, task, seen = images(), SMALL(TinyNet(), grey=0.0), set()
    candidates = {kernel: shrunk_by(x, kernel) for kernel in KERNELS}
    for step in range(40):
        whole = views_of(pose(task, x, step))[:, 0]
        mine = [kernel for kernel, image in candidates.items() if torch.equal(whole, image)]
        assert len(mine) == 1
        seen.update(mine)
    assert seen == set(KERNELS)


def test_colour_is_dropped_for_a_whole_step_or_not_at_all():
    x, steps = images(), 200
    drained = [grey(views).allclose(views) for views in (pose(SMALL(TinyNet()), x, s).question for s in range(steps))]
    for step in (drained.index(True), drained.index(False)):
        question = pose(SMALL(TinyNet()), x, step).question
        colour = (question - grey(question)).abs().amax((1, 2, 3))  # of each of the 5 N views
        assert (colour < 1e-6).all() or (colour > 1e-3).all()
    share = sum(drained) / steps
    assert abs(share - 0.67) < 4 * (0.67 * 0.33 / steps) ** 0.5
    assert all(grey(v).allclose(v) for v in (pose(SMALL(TinyNet(), grey=1.0), x, s).question for s in range(5)))


@pytest.mark.parametrize("n", [2, 3, 7])
def test_the_other_image_is_never_the_same_and_can_be_any_other(n):
    task, x = SMALL(TinyNet()), images(n)
    partners = torch.stack([pose(task, x, step).answer for step in range(60)])
    assert (partners != torch.arange(n)).all()
    assert partners.dtype == torch.int64
    for i in range(n):
        assert set(partners[:, i].tolist()) == set(range(n)) - {i}
    assert torch.equal(partners.sort(1).values, torch.arange(n).expand(60, n))  # each is another's partner once


@pytest.mark.parametrize("square", [0.0, 0.5, 10 / 9, 1.2, 4.0])
def test_counting_the_same_everywhere_costs_the_margin_or_more(square):
    """phi = c: 9 |c|^2 + max(0, M - 9 |c|^2), which is M up to |c|^2 = M / 9."""
    task = SMALL(TinyNet())
    counts = torch.ones(4, 5, 20) * (square / 20) ** 0.5
    grade = task.grade(counts, torch.tensor([1, 2, 3, 0]))
    assert grade.loss.item() == pytest.approx(max(10.0, 9 * square), rel=1e-5)
    assert grade.scores["same"].item() == pytest.approx(9 * square, rel=1e-5)
    assert grade.scores["other"].item() == pytest.approx(9 * square, rel=1e-5)
    if square == 0:
        assert grade.loss == task.chance().loss


def test_the_loss_is_the_papers_number_worked_by_hand():
    """Two images and two counts: sums (4, 4) and (0, 8), wholes (4, 3) and (1, 7)."""
    counts = torch.tensor([[[4, 3], [1, 1], [1, 1], [1, 1], [1, 1]], [[1, 7], [0, 2], [0, 2], [0, 2], [0, 2]]]).float()
    grade = Counting(TinyNet(), length=2, margin=30.0).grade(counts, torch.tensor([1, 0]))
    assert grade.scores["same"] == (1 + 2) / 2
    assert grade.scores["other"] == (18 + 41) / 2
    assert grade.loss == (1 + (30 - 18) + 2 + 0) / 2  # hinged for the whole vector, item by item


def test_pixel_sums_count_exactly():
    """With area shrinking sum(D x) = sum(x) / 4 and the quadrants partition x, so a sum of pixels fits exactly."""
    x, task = images(), SMALL(TinyNet(), grey=0.0)
    for step in range(20):
        puzzle = pose(task, x, step)
        views = views_of(puzzle)
        if torch.equal(views[:, 0], shrunk_by(x, "area")):
            break
    else:
        raise AssertionError("area was never drawn")
    sums = views.double().sum((-2, -1))  # (N, 5, 3): the three channels are three counts
    sums[:, 1:] /= 4
    same = task.grade(sums, puzzle.answer).scores["same"]
    assert same < 1e-6 * sums[:, 0].square().sum(1).mean()
    other = (sums[puzzle.answer, 0] - sums[:, 0]).square().sum(1).mean()
    assert task.grade(sums, puzzle.answer).scores["other"].item() == pytest.approx(other.item(), rel=1e-3)


def test_the_order_of_the_quadrants_does_not_matter():
    task, counts, partners = SMALL(TinyNet()), torch.rand(4, 5, 20), torch.tensor([2, 3, 0, 1])
    grade = task.grade(counts, partners)
    for order in ([0, 2, 1, 4, 3], [0, 4, 3, 2, 1]):
        torch.testing.assert_close(task.grade(counts[:, order], partners).loss, grade.loss)
    assert not torch.isclose(task.grade(counts[:, [1, 0, 2, 3, 4]], partners).loss, grade.loss)


def test_counts_are_never_negative():
    torch.manual_seed(0)
    counts = SMALL(TinyNet()).solve(Features({}, 100 * torch.randn(20, 16)), None)
    assert counts.shape == (4, 5, 20)
    assert counts.min() == 0
    assert counts.max() > 0


def learn(task, net, x, steps):
    """Train on changing puzzles of `x`, and give the mean loss of the last 20 steps."""
    optimiser = torch.optim.Adam([*net.parameters(), *task.parameters()], lr=3e-3)
    losses = []
    for step in range(steps):
        puzzle = pose(task, x, "learn", step)
        loss = task.grade(task.solve(net(puzzle.question), None), puzzle.answer).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return sum(losses[-20:]) / 20


class Blind(TinyNet):
    """Sees every view alike."""

    def forward(self, x):
        return Features({}, super().forward(x).pooled.mean(0, keepdim=True).expand(len(x), -1))


def test_training_leaves_the_margin_behind_and_a_blind_net_never_gets_below_it():
    torch.manual_seed(0)
    x = images(16) * torch.linspace(0.1, 1, 16).view(-1, 1, 1, 1)
    assert learn(SMALL(TinyNet()), TinyNet(norm=False), x, 200) < 7
    assert learn(SMALL(TinyNet()), Blind(norm=False), x, 60) >= 10 - 1e-4


def test_in_a_batch_of_identical_images_nothing_beats_the_margin():
    """l >= d + max(0, M - d) >= M, as the other image's distance d is the same: there is no other way to win."""
    torch.manual_seed(0)
    x = images(1).expand(6, -1, -1, -1)
    assert learn(SMALL(TinyNet()), TinyNet(), x, 60) >= 10 - 1e-4  # nor do a batch's statistics help


def test_a_single_image_is_its_own_other_and_nothing_beats_chance():
    net = TinyNet(norm=False)
    task = Counting(net)
    puzzle = pose(task, images(1))
    assert puzzle.answer.tolist() == [0]
    for scale in (0.0, 0.1, 1.0):
        counts = scale * torch.rand(1, 5, 1000, generator=rng("cpu", "single"))
        assert task.grade(counts, puzzle.answer).loss >= task.margin - 1e-4


@pytest.mark.parametrize("shape", [(2, 3, 8, 10), (2, 3, 9, 9), (3, 8, 8)])
def test_images_that_are_not_even_squares_are_refused(shape):
    with pytest.raises(ValueError, match=r"Counting wants square images .* of an even side"):
        pose(SMALL(TinyNet()), torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length=0"),
        ({"hidden": 0}, "hidden=0"),
        ({"margin": 0.0}, "margin=0.0"),
        ({"grey": 1.5}, "grey=1.5"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Counting(TinyNet(), **options)
    with pytest.raises(ValueError, match="Counting needs a backbone with an axis 'h'"):
        Counting(TinyNet(axes="t"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_drawing_shows_the_views_and_the_counts(dtype):
    x, task = images(3).to(dtype), SMALL(TinyNet(), grey=0.0)
    puzzle = pose(task, x)
    counts = torch.zeros(3, 5, 20)
    counts[:, 0, 0], counts[:, 1:, 0] = torch.tensor([4.0, 8.0, 0.0]), torch.tensor([1.0, 2.0, 1.0])[:, None]
    rows = task.draw(puzzle, counts.to(dtype))
    views = views_of(puzzle).float()
    for i, row in enumerate(rows):
        assert torch.equal(row[0].image[:, :8, :8], views[i, 1])
        assert torch.equal(row[1].image, views[i, 0])
        assert torch.equal(row[2].image, views[puzzle.answer[i], 0])
        heights = [((panel.image[0, :, 0] < 0.5).float().mean().item()) for panel in row[3:]]
        most = max(counts[i, 0, 0], 4 * counts[i, 1, 0])
        expected = [
            *(counts[i, 1:, 0] / most).tolist(),
            (4 * counts[i, 1, 0] / most).item(),
            (counts[i, 0, 0] / most).item(),
        ]
        assert heights == pytest.approx(expected, abs=1 / 64)
        assert all((panel.image[:, :, 4:] > 0.5).all() for panel in row[3:])  # all other counts are 0
    assert [row[-1].right for row in rows[:2]] == [True, True]
    assert rows[2][-1].right is False  # 4 from its own sum, 0 from either other at best
    assert [len(row) for row in task.draw(puzzle, None)] == [3] * 3
