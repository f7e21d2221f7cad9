"""Contrast: two views drawn apart, closed-form losses, and nothing to find where all images are the same."""

import math

import pytest
import torch
from descent import descend
from nets import TinyNet
from torch.nn import functional

from pretext.core.rng import rng
from pretext.tasks.image.contrast import Contrast
from pretext.testing import check_task
from pretext.views.augment import Augment

PLAIN = Augment(flip=False)


def images(n=8, side=16):
    coarse = torch.rand(n, 3, 4, 4, generator=rng("cpu", "contrast", "images"))
    return functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "contrast", *parts))


def test_it_keeps_the_contract():
    # No content-free kinds: images of noise, or of one colour each, are different images, and telling them apart is
    # the task. What must teach nothing here is a batch of one image over and over (below).
    check_task(Contrast, TinyNet(), images(), kinds=())


def test_two_views_of_every_image_lie_side_by_side():
    x = images()
    question, answer, given = pose(Contrast(TinyNet(), PLAIN), x)
    assert given is None
    assert torch.equal(question[0::2], x)
    assert torch.equal(question[1::2], x)
    assert answer.tolist() == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14]


def test_partners_are_each_others():
    answer = pose(Contrast(TinyNet()), images(5)).answer
    assert torch.equal(answer[answer], torch.arange(10))
    assert (answer != torch.arange(10)).all()
    assert torch.equal(answer // 2, torch.arange(10) // 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_view_is_like_another_even_of_one_image(dtype):
    x = images(1).expand(6, -1, -1, -1).to(dtype)
    question = pose(Contrast(TinyNet()), x).question
    assert question.dtype == dtype
    assert question.shape == (12, 3, 16, 16)
    assert len(question.flatten(1).unique(dim=0)) == 12
    assert 0 <= question.min() <= question.max() <= 1


def test_the_draws_of_two_views_tell_nothing_of_one_another():
    """A constant image's brightness is its draw; the correlation of n pairs deviates by 1 / sqrt(n)."""
    x = torch.full((4000, 3, 1, 1), 0.5)
    factors = pose(Contrast(TinyNet(), Augment(brightness=0.4)), x).question[:, 0].view(-1, 2)
    assert factors.std(0).min() > 0.1
    assert torch.corrcoef(factors.T)[0, 1].abs() < 4 / 4000**0.5
    assert torch.corrcoef(torch.stack((factors[:-1, 1], factors[1:, 0])))[0, 1].abs() < 4 / 4000**0.5


def test_a_view_shows_its_own_image_alone():
    x, task = images(), Contrast(TinyNet())
    other = x.clone()
    other[3] = 1 - other[3]
    changed = (pose(task, x).question != pose(task, other).question).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist() == [6, 7]


def test_the_standard_views_are_the_papers_for_small_images():
    views = Contrast(TinyNet()).views
    colour = views.colour
    assert (views.crop, views.scale, views.flip, colour.jitter, colour.grey) == (None, (0.08, 1.0), True, 0.8, 0.2)
    assert (colour.brightness, colour.contrast, colour.saturation, colour.hue) == (0.4, 0.4, 0.4, 0.1)
    assert views.aspect == pytest.approx((3 / 4, 4 / 3))


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("items", [2, 4, 100])
def test_a_blind_guess_costs_1_whatever_the_batch(items, temperature):
    task = Contrast(TinyNet(), temperature=temperature)
    same = torch.tensor([3.0, 0, 4]).expand(2 * items, -1)
    grade, blind = task.grade(same, torch.arange(2 * items) ^ 1), task.chance()
    assert grade.loss.item() == pytest.approx(1, rel=1e-6) == blind.loss.item()
    assert grade.scores["ranking"] == 0.5 == blind.scores["ranking"]


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_images_at_right_angles_score_in_closed_form(temperature):
    task, n = Contrast(TinyNet(), temperature=temperature), 6
    z = torch.eye(n).repeat_interleave(2, 0) * torch.arange(1.0, 2 * n + 1)[:, None]  # lengths do not count
    grade = task.grade(z, torch.arange(2 * n) ^ 1)
    nats = math.log(math.exp(1 / temperature) + 2 * n - 2) - 1 / temperature
    assert grade.loss.item() == pytest.approx(nats / math.log(2 * n - 1), abs=1e-6)
    assert grade.scores["ranking"] == 1


def test_the_ranking_counts_the_others_that_are_less_similar():
    """One image's views lie at 0 and 40 degrees, the other's at 33 and 60. From 0, the partner beats 60 alone; from 40,
    none; from 33, 0 alone; from 60, 0 alone."""
    angles = torch.tensor([0.0, 40, 33, 60]).deg2rad()
    z = torch.stack((angles.cos(), angles.sin()), 1)
    assert Contrast(TinyNet()).grade(z, torch.tensor([1, 0, 3, 2])).scores["ranking"] == (1 + 0 + 1 + 1) / 8
    opposite = torch.tensor([[1.0, 0], [-1, 0], [1, 0], [-1, 0]])
    assert Contrast(TinyNet()).grade(opposite, torch.tensor([1, 0, 3, 2])).scores["ranking"] == 0.25


@pytest.mark.parametrize("items", [4, 64])
def test_it_starts_near_chance_in_small_and_large_batches(items):
    torch.manual_seed(0)
    net = TinyNet()
    task = Contrast(net)
    question, answer, given = pose(task, images(items))
    assert task.grade(task.solve(net(question), given), answer).loss.item() == pytest.approx(1, abs=0.2)


def examined(x, views=None, steps=120, exams=20):
    """Train on fresh views of `x`, then give the mean loss and ranking of views never seen."""
    torch.manual_seed(0)
    net = TinyNet()
    task = Contrast(net, views)

    def sit(step):
        question, answer, given = pose(task, x, step)
        return task.grade(task.solve(net(question), given), answer)

    descend((net, task), lambda step: sit(step).loss, steps, 0.02)
    grades = [sit(steps + exam) for exam in range(exams)]
    losses, rankings = [grade.loss for grade in grades], [grade.scores["ranking"] for grade in grades]
    return torch.stack(losses).mean().item(), torch.stack(rankings).mean().item()


def test_it_learns_to_tell_images_apart():
    loss, ranking = examined(images(16), Augment(scale=(0.5, 1.0), brightness=0.2, contrast=0.2))
    assert loss < 0.8
    assert ranking > 0.85


def test_of_one_image_over_and_over_there_is_nothing_to_tell():
    """Views drawn apart are exchangeable, so by Jensen's inequality no network's expected loss is below ln(2 N - 1)."""
    loss, ranking = examined(images(1).expand(16, -1, -1, -1))
    assert loss > 0.99
    assert abs(ranking - 0.5) < 0.04


def test_a_lower_temperature_makes_the_same_similarities_count_more():
    z = torch.randn(12, 4, generator=rng("cpu", "contrast", "z"))
    z[1::2] = z[0::2] + 0.1 * z[1::2]
    losses = [Contrast(TinyNet(), temperature=t).grade(z, torch.arange(12) ^ 1).loss.item() for t in (0.2, 0.5, 1.0)]
    assert losses == sorted(losses)


def test_a_single_image_costs_a_blind_guess_and_teaches_nothing():
    net = TinyNet(norm=False)
    task = Contrast(net)
    puzzle = task.pose(images(1), rng("cpu", "single"))
    grade = task.grade(task.solve(net(puzzle.question), None), puzzle.answer)
    grade.loss.backward()
    assert grade.loss.item() == 1
    assert grade.scores["ranking"].item() == 0.5
    assert not any(parameter.grad.any() for parameter in task.parameters())


@pytest.mark.parametrize("axes", ["t", "w"])
def test_backbones_that_do_not_read_images_are_refused(axes):
    with pytest.raises(ValueError, match=f"Contrast needs a backbone with an axis 'h'.*reads '{axes}'"):
        Contrast(TinyNet(axes=axes))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"temperature": 0.0}, "temperature=0.0"), ({"width": 0}, "width=0"), ({"outputs": 0}, ".*outputs=0")],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"Contrast: {message}"):
        Contrast(TinyNet(), **options)


def test_the_head_is_as_wide_as_the_backbone_and_tells_its_settings():
    task = Contrast(TinyNet(), outputs=5)
    assert [tuple(p.shape) for p in task.head.parameters()] == [(16, 16), (16,), (5, 16), (5,)]
    assert "temperature=0.5, width=16, outputs=5, views: crop=None, pad=0, scale=(0.08, 1.0)" in task.extra_repr()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_drawing_shows_what_the_prediction_found(dtype):
    x, task = images(3).to(dtype), Contrast(TinyNet())
    puzzle = pose(task, x)
    z = torch.eye(3)[[0, 0, 1, 2, 2, 2]].to(dtype)  # the second image's views are apart; the second is like the third
    z[2] = z[0] * 0.9
    rows = task.draw(puzzle, z)
    assert [len(row) for row in rows] == [3, 3, 3]
    for i, row in enumerate(rows):
        assert torch.equal(row[0].image, puzzle.question[2 * i].float())
        assert torch.equal(row[1].image, puzzle.question[2 * i + 1].float())
    assert rows[1][2].right is False
    assert rows[1][2].caption == "prediction: a view of image 1"
    assert torch.equal(rows[1][2].image, puzzle.question[0].float())
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 3
    right = task.draw(puzzle, torch.eye(3).repeat_interleave(2, 0).to(dtype))
    assert [row[2].right for row in right] == [True] * 3
    assert all(torch.equal(row[2].image, row[1].image) for row in right)
