"""Rotation: exact turns, even labels, and nothing but content to go by."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from clips import TinyVideo, moving
from descent import descend
from nets import TinyNet

from pretext.core.rng import rng
from pretext.core.types import Features
from pretext.ops.drawing import film_strip
from pretext.ops.geometric import quarter_turn
from pretext.ops.temporal import STILL
from pretext.tasks.image.rotation import Rotation
from pretext.testing import check_task

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

    def loss(_):
        return task.grade(task.solve(net(question), given), answer).loss

    descend((net, task), loss, 60, 0.015)
    return loss(None).item()


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
    with pytest.raises(ValueError, match="turns='two'"):
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


# Clips


def flows(n=4, window=3, side=8):
    """Fields of whole grey levels, such as travel: (n, 2, window, side, side)."""
    return torch.randint(1, 256, (n, 2, window, side, side), generator=rng("cpu", "rotation", "flows")) / 255


def undo(clip, turn):
    """Turn one clip back, frame by frame, in numpy; of flow the arrows too, by the matrix of the turn."""
    turned = np.rot90(clip.numpy(), -turn, axes=(-2, -1))
    if clip.shape[0] != 2:
        return torch.from_numpy(turned.copy())
    u, v = turned - STILL  # v points down; a turn back is clockwise: right becomes down, down becomes left
    for _ in range(turn):
        u, v = -v, u
    return torch.from_numpy(np.stack((u, v)) + STILL)


@pytest.mark.parametrize(("factory", "random"), [(Rotation, False), (partial(ONE, frames=3), True)])
def test_it_keeps_the_contract_on_clips(factory, random):
    check_task(factory, TinyVideo(), moving(8, 4, side=12), random=random)


def test_it_keeps_the_contract_on_flow():
    check_task(ONE, TinyVideo(2), flows(8), kinds=("noise",))  # a single flow has a direction, which turns


@pytest.mark.parametrize("factory", [Rotation, ONE])
@pytest.mark.parametrize("x", [moving(4, 3, side=8), moving(4, 3, side=8)[:, :1], flows()], ids=["rgb", "grey", "flow"])
def test_all_frames_of_a_clip_are_turned_alike_and_arrows_with_them(factory, x):
    question, answer, _ = pose(factory(TinyVideo(x.shape[1])), x)
    each = len(question) // 4
    assert question.shape == (4 * each, *x.shape[1:])
    for i, (turned, label) in enumerate(zip(question, answer.tolist(), strict=True)):
        torch.testing.assert_close(undo(turned, label), x[i // each], rtol=0, atol=1e-6)


def test_what_flows_right_flows_up_after_a_quarter_turn_and_stillness_stays():
    still = torch.full((1, 2, 1, 4, 4), STILL)
    right = still + torch.tensor([0.25, 0]).view(2, 1, 1, 1)
    for x, expected in ((still, [[0, 0]] * 4), (right, [[1, 0], [0, -1], [-1, 0], [0, 1]])):
        arrows = (pose(Rotation(TinyVideo(2)), x).question[:, :, 0, 0, 0] - STILL) / 0.25
        torch.testing.assert_close(arrows, torch.tensor(expected).float(), rtol=0, atol=1e-6)


def test_both_ways_of_turning_are_the_same():
    for x in (moving(4, 3, side=8), flows()):
        net = TinyVideo(x.shape[1])
        every = pose(Rotation(net), x).question.unflatten(0, (4, 4))
        one = pose(Rotation(net, turns="one"), x)
        assert torch.equal(one.question, every[torch.arange(4), one.answer])


def test_a_clip_is_cut_from_anywhere_in_its_window():
    x = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(5, 3, 7, 4, 4)
    firsts = []
    for step in range(30):
        question = pose(Rotation(TinyVideo(), turns="one", frames=3), x, step).question[:, 0, :, 0, 0]
        assert torch.equal(question, question[:, :1] + torch.arange(3))
        firsts.append(question[:, 0])
    assert torch.cat(firsts).unique().tolist() == [0, 1, 2, 3, 4]


def test_what_is_no_clip_long_enough_is_refused():
    with pytest.raises(ValueError, match=r"Rotation wants square clips .*got \(2, 3, 8, 8\)"):
        pose(Rotation(TinyVideo()), torch.rand(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"Rotation wants square images .*got \(2, 3, 4, 8, 8\)"):
        pose(Rotation(TinyNet()), torch.rand(2, 3, 4, 8, 8))
    with pytest.raises(ValueError, match="Rotation: frames=5, but the windows have 4; lower it, or raise window"):
        pose(Rotation(TinyVideo(), frames=5), torch.rand(2, 3, 4, 8, 8))
    with pytest.raises(ValueError, match="Rotation: frames=0; give at least 1"):
        Rotation(TinyVideo(), frames=0)
    with pytest.raises(ValueError, match=r"Rotation: frames=2; .*images have none"):
        Rotation(TinyNet(), frames=2)


@pytest.mark.parametrize("x", [moving(2, 5, side=8), flows(2, 5)], ids=["rgb", "flow"])
def test_the_drawing_of_a_clip_is_a_strip_of_frames(x):
    task = Rotation(TinyVideo(x.shape[1]))
    puzzle = pose(task, x)
    rows = task.draw(puzzle, torch.eye(4)[[0, 1, 2, 3, 0, 1, 2, 2]])
    for i, (asked, answer, predicted) in enumerate(rows):
        assert torch.equal(asked.image, film_strip(puzzle.question[i]))
        torch.testing.assert_close(answer.image, film_strip(x[i // 4]), rtol=0, atol=1e-5)
        assert torch.equal(predicted.image, answer.image) == predicted.right == (i < 7)
