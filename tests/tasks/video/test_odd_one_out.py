"""Odd one out: one clip alone is out of order, its slot is any, and slots are alike to the head."""

import math
from functools import partial
from itertools import permutations

import pytest
import torch
from clips import TinySound, TinyVideo, moving
from leaks import learnt
from nets import TinyNet

from pretext.backbones.frames import Frames
from pretext.core.rng import rng
from pretext.core.types import Features
from pretext.ops.temporal import shuffled_orders
from pretext.tasks.video.odd_one_out import OddOneOut
from pretext.testing import check_task

SMALL = partial(OddOneOut, clips=4, frames=5, width=32)  # windows of 8 and more
DIFFERENCES = partial(SMALL, encoding="differences")


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "odd one out", *parts))


def numbered(n, window=12):
    """Windows that say which frame is which: all of frame i is i / 64."""
    return (torch.arange(window) / 64).view(1, 1, -1, 1, 1).expand(n, 3, window, 2, 2)


def numbers(task, puzzle):
    """Which frame of the window each is, (N, clips, frames)."""
    return (puzzle.question[:, 0, :, 0, 0] * 64).long().unflatten(0, (-1, task.clips))


# Of noise, the busiest of four clips is the odd one in 0.30 of the questions (others share neighbours), and a net
# may find that: it answered 0.25 to 0.29 in seven trials. Equalised clips do not tell.
@pytest.mark.parametrize(
    ("factory", "kinds"), [(SMALL, ("constant",)), (partial(DIFFERENCES, equalise=True), ("noise", "constant"))]
)
def test_it_keeps_the_contract(factory, kinds):
    check_task(factory, TinyVideo(), moving(8, 9, 6), kinds=kinds)


def test_the_clip_of_the_answer_alone_is_out_of_order_and_has_the_same_frames_as_if_it_were_not():
    task = SMALL(TinyVideo())
    puzzle = pose(task, numbered(500))
    seen = numbers(task, puzzle)
    assert puzzle.given is None
    steps = seen.diff(dim=2)
    in_order = (steps == 1).all(2)
    assert torch.equal(~in_order, torch.nn.functional.one_hot(puzzle.answer.slot, 4).bool())
    assert not (steps == -1).all(2).any()
    assert (seen.sort(2).values.diff(dim=2) == 1).all()
    assert seen.min() == 0
    assert seen.max() == 11


@pytest.mark.parametrize("window", [8, 12])
def test_no_two_clips_begin_at_the_same_frame(window):
    task = SMALL(TinyVideo())
    starts = numbers(task, pose(task, numbered(200, window))).amin(2)
    assert (starts.sort(1).values.diff(dim=1) > 0).all()


def test_the_odd_slot_is_uniform_and_begins_where_others_do():
    """Chi-squares of 3 degrees (slots) and of 7 (starts, the odd one's against all)."""
    task = SMALL(TinyVideo())
    puzzle = pose(task, numbered(4000))
    counts = puzzle.answer.slot.bincount(minlength=4)
    assert ((counts - 1000) ** 2 / 1000).sum() < 18
    starts = numbers(task, puzzle).amin(2)
    odd = starts[torch.arange(4000), puzzle.answer.slot].bincount(minlength=8)
    assert ((odd - 500) ** 2 / 500).sum() < 26
    slots = torch.stack([pose(task, numbered(8), step).answer.slot for step in range(400)])
    counts = torch.stack([(slots == k).sum(0) for k in range(4)])
    assert ((counts - 100) ** 2 / 100).sum() < 56  # 8 items x 3 degrees of freedom: once in 4,000 times


@pytest.mark.parametrize("frames", [3, 4, 5])
def test_every_order_is_drawn_but_the_sorted_and_the_reversed_one(frames):
    drawn = {tuple(p) for p in shuffled_orders(4000, frames, rng("cpu", "shuffles"), torch.device("cpu")).tolist()}
    straight = tuple(range(frames))
    assert drawn == set(permutations(range(frames))) - {straight, straight[::-1]}


def test_the_question_shows_frames_of_its_own_window():
    x, task = moving(4, 12, 8), SMALL(TinyVideo())
    where = numbers(task, pose(task, numbered(4)))
    question = pose(task, x).question.unflatten(0, (4, 4))
    for window, clips, frames in zip(x, question, where, strict=True):
        assert torch.equal(clips, torch.stack([window[:, f] for f in frames]))


def test_differences_are_halved_around_mid_grey_and_give_the_frames_back():
    x = moving(4, 12, 8)
    frames, differences = pose(SMALL(TinyVideo()), x), pose(DIFFERENCES(TinyVideo()), x)
    assert torch.equal(frames.answer.slot, differences.answer.slot)
    assert differences.question.shape == (16, 3, 4, 8, 8)
    assert 0 <= differences.question.min() <= differences.question.max() <= 1
    first = frames.question[:, :, :1]
    again = torch.cat((first, first + (2 * differences.question - 1).cumsum(2)), 2)
    torch.testing.assert_close(again, frames.question)
    still = pose(DIFFERENCES(TinyVideo()), x[:, :, :1].expand(-1, -1, 12, -1, -1)).question
    assert torch.equal(still, torch.full_like(still, 0.5))


def test_exchanging_slots_exchanges_their_logits():
    net = TinyVideo().eval()
    task = SMALL(net)
    torch.nn.init.normal_(task.head[-1].weight)
    clips = pose(task, moving(3, 12, 8)).question.unflatten(0, (3, 4))
    logits = task.solve(net(clips.flatten(0, 1)), None)
    assert logits.std(1).min() > 1e-3
    for order in permutations(range(4)):
        moved = task.solve(net(clips[:, list(order)].flatten(0, 1)), None)
        torch.testing.assert_close(moved, logits[:, list(order)])


def test_the_score_of_a_clip_depends_on_the_others():
    """By their mean, which is all that a slot sees of them."""
    task = SMALL(TinyVideo())
    torch.nn.init.normal_(task.head[-1].weight)
    f = torch.randn(1, 4, 8, generator=rng("cpu", "features"))
    others = f.clone()
    others[:, 1:] += torch.tensor([1.0, -2, 1]).view(1, 3, 1)  # another three of the same mean
    apart = f.clone()
    apart[:, 1:] += 1
    one, same, other = (task.solve(Features({}, x.flatten(0, 1)), None)[0, 0] for x in (f, others, apart))
    torch.testing.assert_close(one, same)
    assert (one - other).abs() > 1e-3


@pytest.mark.parametrize("factory", [SMALL, DIFFERENCES])
def test_where_nothing_moves_all_clips_are_alike_and_the_loss_is_ln_n(factory):
    net = TinyVideo().eval()
    task = factory(net)
    torch.nn.init.normal_(task.head[-1].weight)
    still = moving(8, 1, 8).expand(-1, -1, 12, -1, -1)
    puzzle, other = pose(task, still), pose(task, still, 1)
    assert torch.equal(puzzle.question, other.question)
    assert not torch.equal(puzzle.answer.slot, other.answer.slot)
    loss = task.grade(task.solve(net(puzzle.question), None), puzzle.answer).loss
    assert loss.item() == pytest.approx(math.log(4), abs=1e-4) == task.chance().loss.item()


def windows(step):
    return moving(16, 12, 8, step)


def by_rule(answer, blind=0.25):
    """How often the busiest clip is the odd one, and four of its deviations were it a blind guess."""
    share = (answer.busiest == answer.slot).float().mean().item()
    return share, 4 * math.sqrt(blind * (1 - blind) / len(answer.slot))


def shaken(n):
    """Windows that go forward by a step of their own size in each frame: (n, 3, 12, 2, 2)."""
    steps = 0.5 + torch.rand(n, 1, 12, 1, 1, generator=rng("cpu", "shaken"))
    return (steps.cumsum(2) / 20).expand(-1, 3, -1, 2, 2)


def test_the_rule_that_names_the_busiest_clip_is_scored_beside_the_task():
    """Where all goes forward evenly, any shuffle changes more from frame to frame: the rule is always right."""
    task = SMALL(TinyVideo())
    even = pose(task, numbered(200)).answer
    assert torch.equal(even.busiest, even.slot)
    puzzle = pose(task, moving(200, 12, 8))
    clips = puzzle.question.unflatten(0, (200, 4))
    change = torch.stack([(clips[:, k, :, 1:] - clips[:, k, :, :-1]).abs().mean((1, 2, 3, 4)) for k in range(4)], 1)
    assert torch.equal(puzzle.answer.busiest, change.argmax(1))
    share, _ = by_rule(puzzle.answer)
    assert share > 0.7
    for said in (puzzle.answer.slot, puzzle.answer.busiest):
        grade = task.grade(torch.nn.functional.one_hot(said, 4).float(), puzzle.answer)
        assert grade.scores["by_motion"].item() == pytest.approx(share)
    assert grade.scores["accuracy"] == grade.scores["by_motion"]
    assert task.chance().scores["by_motion"] == 0.25


@pytest.mark.parametrize("factory", [SMALL, DIFFERENCES])
@pytest.mark.parametrize("windows", [lambda: shaken(2000), lambda: moving(1000, 12, 6)])
def test_equalised_clips_leave_that_rule_nothing_to_go_by(factory, windows):
    x = windows()
    usual, equal = (pose(factory(TinyVideo(), equalise=equalise), x) for equalise in (False, True))
    assert by_rule(usual.answer)[0] > 0.7
    share, room = by_rule(equal.answer)
    assert share == pytest.approx(0.25, abs=room)
    assert torch.equal(usual.answer.slot, equal.answer.slot)


def test_equalised_clips_keep_their_mean_frame_their_range_and_their_order():
    x = moving(8, 12, 8)
    before, after = (pose(SMALL(TinyVideo(), equalise=equalise), x).question for equalise in (False, True))
    torch.testing.assert_close(after.mean(2), before.mean(2))
    assert 0 <= after.min() <= after.max() <= 1
    away, nearer = before - before.mean(2, keepdim=True), after - after.mean(2, keepdim=True)
    scale = (away * nearer).flatten(1).sum(1) / away.square().flatten(1).sum(1)
    torch.testing.assert_close(nearer, scale.view(-1, 1, 1, 1, 1) * away, rtol=0, atol=1e-5)
    assert 0 < scale.min() <= scale.max() <= 1
    change = after.diff(dim=2).abs().flatten(1).mean(1).view(8, 4)
    assert (change.amax(1) <= 4 * change.amin(1) * (1 + 1e-4)).all()  # two octaves


@pytest.mark.parametrize("factory", [SMALL, DIFFERENCES])
def test_it_learns_what_order_looks_like(factory):
    torch.manual_seed(0)
    net = TinyVideo()
    assert learnt(factory(net), net, windows, steps=120) > 0.7


def test_a_net_that_averages_over_frames_learns_nothing():
    """So nothing but the order tells: not which frames a clip has, nor where it begins."""
    torch.manual_seed(0)
    net = Frames(TinyNet())
    score = learnt(SMALL(net), net, windows, steps=80)
    assert abs(score - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 320)


@pytest.mark.parametrize("shape", [(2, 3, 7, 8, 8), (2, 3, 8, 8)])
def test_windows_that_are_too_short_or_none_are_refused(shape):
    with pytest.raises(ValueError, match=r"OddOneOut wants windows .* at least 8 frames.*raise window in the data"):
        pose(SMALL(TinyVideo()), torch.rand(shape))


@pytest.mark.parametrize(("backbone", "axis"), [(TinyNet(), "t"), (TinySound(), "h")])
def test_backbones_that_do_not_read_clips_are_refused(backbone, axis):
    with pytest.raises(ValueError, match=f"OddOneOut needs a backbone with an axis '{axis}'.*reads '{backbone.axes}'"):
        OddOneOut(backbone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips": 1}, "clips=1"),
        ({"frames": 2}, ".*frames=2"),
        ({"width": 0}, ".*width=0"),
        ({"encoding": "dynamic"}, "encoding='dynamic'"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"OddOneOut: {message}"):
        OddOneOut(TinyVideo(), **options)


def test_the_drawing_shows_all_clips_and_marks_right_and_wrong():
    task, x = SMALL(TinyVideo()), moving(3, 12, 8)
    puzzle = pose(task, x)
    said = torch.eye(4)[torch.where(torch.arange(3) == 2, (puzzle.answer.slot + 1) % 4, puzzle.answer.slot)]
    rows = task.draw(puzzle, said)
    assert [row[2].right for row in rows] == [True, True, False]
    for i, (asked, answer, predicted) in enumerate(rows):
        odd = int(puzzle.answer.slot[i])
        top = 10 * odd  # strips of 8 px, 2 px apart
        assert torch.equal(asked.image[:, top : top + 8], answer.image)
        assert torch.equal(answer.image[..., :8], puzzle.question[4 * i + odd, :, 0])
        assert torch.equal(predicted.image, answer.image) == predicted.right
        assert answer.caption == f"answer: clip {odd + 1}"
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 3


def test_differences_are_drawn_at_full_contrast():
    """Of all clips of a question alike: the strongest is black or white, and what does not change is mid-grey."""
    task = DIFFERENCES(TinyVideo())
    puzzle = pose(task, 0.5 + 0.01 * moving(2, 12, 8))
    for i, (_, answer) in enumerate(task.draw(puzzle, None)):
        signed = puzzle.question[4 * i : 4 * i + 4] - 0.5
        shown = signed[puzzle.answer.slot[i], :, 0] / signed.abs().max()
        torch.testing.assert_close(answer.image[..., :8], 0.5 + shown / 2)


def test_it_tells_its_settings():
    assert OddOneOut(TinyVideo()).extra_repr() == "clips=6, frames=6, encoding='frames', equalise=False"
