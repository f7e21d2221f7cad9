"""Rotation: exact turns, even labels, and nothing but content to go by."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from nets import TinyNet

from pretext.moves import quarter_turn
from pretext.rng import rng
from pretext.tasks.rotation import Rotation
from pretext.testing import check_task
from pretext.types import Features

ONE = partial(Rotation, turns="one")


def images(n=6, side=12):
    return torch.rand(n, 3, side, side, generator=rng("cpu", "rotation", "images"))


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "rotation", *parts))


@pytest.mark.parametrize(("factory", "random"), [(Rotation, False), (ONE, True)])
def test_it_keeps_the_contract(factory, random):
    check_task(factory, TinyNet(), images(8), random=random)


def test_all_four_turns_of_every_image_are_asked_once():
    x = images()
    question, answer, given = pose(Rotation(TinyNet()), x)
    assert given is None
    assert answer.bincount().tolist() == [6, 6, 6, 6]
    for i, (turned, label) in enumerate(zip(question, answer.tolist(), strict=True)):
        assert np.array_equal(turned.numpy(), np.rot90(x[i // 4].numpy(), label, axes=(1, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_turn_per_image_is_the_turn_of_its_label(dtype):
    x = images(40).to(dtype).to(memory_format=torch.channels_last)
    question, answer, _ = pose(Rotation(TinyNet(), turns="one"), x)
    assert question.shape == x.shape
    assert answer.unique().tolist() == [0, 1, 2, 3]
    for turned, image, label in zip(question, x, answer.tolist(), strict=True):
        assert torch.equal(turned, torch.rot90(image, label, (1, 2)))


@pytest.mark.parametrize("factory", [Rotation, ONE])
def test_the_answer_is_enough_to_undo_the_question(factory):
    x = images()
    question, answer, _ = pose(factory(TinyNet()), x)
    undone = torch.stack([quarter_turn(q, -int(k)) for q, k in zip(question, answer, strict=True)])
    assert torch.equal(undone, x.repeat_interleave(len(question) // len(x), 0))


def test_the_four_copies_of_an_image_hold_the_same_pixels():
    question = pose(Rotation(TinyNet()), images()).question.unflatten(0, (-1, 4)).flatten(3)
    ordered = question.sort(-1).values  # (N, 4, 3, S * S)
    assert torch.equal(ordered, ordered[:, :1].expand_as(ordered))


def test_single_turns_are_uniform_in_every_slot():
    """Chi-square of label against slot: 8 slots x 3 degrees of freedom; beyond 56 once in 4,000 times."""
    task, x = Rotation(TinyNet(), turns="one"), images(8, 2)
    labels = torch.stack([pose(task, x, step).answer for step in range(1000)])
    counts = torch.stack([(labels == k).sum(0) for k in range(4)])
    assert ((counts - 250) ** 2 / 250).sum() < 56


class Invariant(TinyNet):
    """Sees an image and its turns alike: the mean of what TinyNet sees of all four."""

    def forward(self, x):
        every = [super(Invariant, self).forward(quarter_turn(x, k)).pooled for k in range(4)]
        return Features({}, torch.stack(every).mean(0))


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_a_net_that_cannot_see_turns_has_a_loss_of_at_least_ln_4(scale):
    torch.manual_seed(0)
    net = Invariant(norm=False)
    task = Rotation(net)
    task.head.weight.data = torch.randn_like(task.head.weight) * scale
    question, answer, given = pose(task, images())
    grade = task.grade(task.solve(net(question), given), answer)
    assert grade.loss.item() >= math.log(4) - 1e-6
    assert grade.scores["accuracy"] == 0.25
    if scale == 0:
        assert grade.loss.item() == pytest.approx(math.log(4), abs=1e-6)


def trained_loss(net, x):
    """Train head and net on all turns of `x`."""
    task = Rotation(net)
    question, answer, given = pose(task, x)
    optimiser = torch.optim.Adam([*net.parameters(), *task.parameters()], lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        loss = task.grade(task.solve(net(question), given), answer).loss
        loss.backward()
        optimiser.step()
    return loss.item()


def test_training_takes_it_to_exactly_ln_4_and_a_seeing_net_far_below():
    torch.manual_seed(0)
    sky = images(16) * 0.5 + torch.linspace(0.5, 0, 12)[:, None]  # brighter at the top
    assert trained_loss(Invariant(), sky) == pytest.approx(math.log(4), abs=2e-3)
    assert trained_loss(TinyNet(), sky) < 0.3


@pytest.mark.parametrize("factory", [Rotation, ONE])
def test_images_that_are_not_square_are_refused(factory):
    with pytest.raises(ValueError, match=r"Rotation wants square images .*got \(2, 3, 8, 9\)"):
        pose(factory(TinyNet()), torch.rand(2, 3, 8, 9))


@pytest.mark.parametrize("axes", ["t", "w"])
def test_backbones_that_do_not_read_images_are_refused(axes):
    with pytest.raises(ValueError, match=f"Rotation needs a backbone with an axis 'h'.*reads '{axes}'"):
        Rotation(TinyNet(axes=axes))


def test_other_turns_are_refused():
    with pytest.raises(ValueError, match="turns is 'two'"):
        Rotation(TinyNet(), turns="two")


def test_the_drawing_marks_right_and_wrong_and_undoes_the_turn():
    x, task = images(2), Rotation(TinyNet())
    puzzle = pose(task, x)
    prediction = torch.eye(4)[[0, 1, 2, 3, 0, 1, 2, 2]]  # the last is wrong
    rows = task.draw(puzzle, prediction)
    assert [row[2].right for row in rows] == [True] * 7 + [False]
    for i, (asked, answer, predicted) in enumerate(rows):
        assert torch.equal(asked.image, puzzle.question[i])
        assert torch.equal(answer.image, x[i // 4])
        assert torch.equal(predicted.image, x[i // 4]) == predicted.right
    assert [row[1].caption for row in rows[:4]] == [f"answer: turned {d}°" for d in (0, 90, 180, 270)]
    assert rows[7][2].caption == "prediction: turned 180°"
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 8
