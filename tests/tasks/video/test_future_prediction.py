"""FuturePrediction: nothing of the future is seen, a blind guess costs 1, copying scores 1, and motion is learnt."""

from functools import partial

import pytest
import torch
from clips import TinyVideo, moving
from descent import descend
from nets import TinyNet

from pretext.core.rng import rng
from pretext.ops.drawing import film_strip
from pretext.ops.temporal import STILL
from pretext.tasks.video.future_prediction import Future, FuturePrediction
from pretext.testing import check_task

SMALL = partial(FuturePrediction, frames=3, future=2, width=8)


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "future", *parts))


@pytest.mark.parametrize("channels", [3, 2, 1], ids=["rgb", "flow", "grey"])
def test_it_keeps_the_contract(channels):
    # Not one colour each: what stays the same can rightly be foretold.
    kinds = ("noise",) if channels == 3 else ()
    check_task(partial(SMALL, channels=channels), TinyVideo(channels), moving(8, 7)[:, :channels], kinds=kinds)


def test_the_question_never_holds_a_frame_of_the_future():
    x, task = moving(4, 5), SMALL(TinyVideo())
    other = x.clone()
    other[:, :, 3:] = torch.rand(other[:, :, 3:].shape, generator=rng("cpu", "other"))
    one, two = pose(task, x), pose(task, other)
    assert torch.equal(one.question, x[:, :, :3])
    assert torch.equal(two.question, x[:, :, :3])
    assert torch.equal(one.answer.last, two.answer.last)
    assert not torch.equal(one.answer.frames, two.answer.frames)


def test_what_is_asked_follows_at_once_on_what_is_seen_anywhere_in_the_window():
    x = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(6, 3, 8, 4, 4)
    firsts = []
    for step in range(30):
        question, (future, last), _ = pose(SMALL(TinyVideo()), x, step)
        first = question[:, 0, :1, 0, 0]
        assert torch.equal(question[:, 0, :, 0, 0], first + torch.arange(3))
        assert torch.equal(future[:, 0, :, 0, 0], first + 3 + torch.arange(2))
        assert torch.equal(last[:, 0, :, 0, 0], first + 2)
        firsts.append(first)
    assert torch.cat(firsts).unique().tolist() == [0, 1, 2, 3]


def central_flow(n, frames, key):
    """Flow (n, 2, frames, 4, 4) of a random walk, as the data module computes it: half of the steps around it."""
    steps = torch.randn(n, 2, frames + 1, generator=rng("cpu", "walk", key)) / 20
    central = (steps[..., :-1] + steps[..., 1:]) / 2
    return (STILL + central)[..., None, None].expand(-1, -1, -1, 4, 4)


def correlation(one, other):
    return torch.corrcoef(torch.stack((one.flatten(), other.flatten())))[0, 1].item()


@pytest.mark.parametrize("future", [1, 3])
def test_of_a_random_walk_the_last_flow_that_is_seen_tells_nothing_of_the_first_that_is_asked_for(future):
    """Steps are independent, so flow one frame apart shares one of two of them: 1/2. Two frames apart: none, 0."""
    x = central_flow(4000, 8, future)
    deviation = 8000**-0.5  # of the correlation of as many independent pairs
    for skip, wanted in ((None, 0), (1, 0), (0, 0.5)):
        task = FuturePrediction(TinyVideo(2), frames=2, future=future, channels=2, width=8, shrink=1, skip=skip)
        question, (asked, last), _ = pose(task, x, skip)
        assert asked.shape[2] == future
        assert torch.equal(last, question[:, :, -1:])
        found = correlation(last[:, :, 0, 0, 0], asked[:, :, 0, 0, 0])
        assert found == pytest.approx(wanted, abs=4 * deviation)


def test_a_frame_is_left_out_for_flow_alone():
    x = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(6, 3, 8, 4, 4)
    for channels, skip, wanted in ((3, None, 0), (1, None, 0), (2, None, 1), (3, 2, 2), (2, 0, 0)):
        question, (asked, _), _ = pose(
            SMALL(TinyVideo(channels), channels=channels, skip=skip), x[:, :channels], wanted
        )
        assert torch.equal(asked[:, 0, 0, 0, 0], question[:, 0, -1, 0, 0] + 1 + wanted)


def test_answers_are_averaged_down():
    x = moving(2, 5)
    future = pose(SMALL(TinyVideo(), shrink=4), x).answer.frames
    torch.testing.assert_close(future, x[:, :, 3:].unflatten(4, (4, 4)).unflatten(3, (4, 4)).mean((4, 6)))


def test_the_newest_slice_alone_is_read():
    net, x = TinyVideo().eval(), moving(2, 5)
    task = SMALL(net)
    puzzle = pose(task, x)
    features = net(puzzle.question)
    said = task.solve(features, puzzle.given)
    features.stages["conv2"][:, :, :-1] = 0
    assert torch.equal(task.solve(features, puzzle.given), said)
    features.stages["conv2"][:, :, -1] += 1
    assert not torch.equal(task.solve(features, puzzle.given), said)


def test_a_shallower_stage_can_be_read_and_what_lies_deeper_learns_nothing():
    net = TinyVideo()
    task = SMALL(net, stage="conv1")
    puzzle = pose(task, moving(4, 5))
    task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss.backward()
    assert all(p.grad is not None for p in net.conv1.parameters())
    assert all(p.grad is None for p in net.conv2.parameters())


def test_scores_in_closed_form():
    last = torch.rand(4, 3, 1, 6, 6, generator=rng("cpu", "last"))
    future = torch.cat((last + 0.1, last + 0.3), 2)
    answer, task = Future(future, last), SMALL(TinyVideo())
    copied = last.expand_as(future)
    assert task.grade(copied, answer).scores["copy"].item() == pytest.approx(1, rel=1e-5)
    assert task.grade(future, answer).scores["copy"] == 0 == task.grade(future, answer).loss
    blind = future.mean((0, 2, 3, 4), keepdim=True).expand_as(future)
    assert task.grade(blind, answer).loss.item() == pytest.approx(1, rel=1e-5)
    off = task.grade(copied + 0.1, answer)  # 0 and 0.2 off, where a copy is 0.1 and 0.3 off
    assert off.scores["copy"].item() == pytest.approx(0.04 / (0.01 + 0.09), rel=1e-4)
    assert task.chance().loss == 1 == task.chance().scores["copy"]


def test_where_nothing_moves_a_grey_level_off_scores_1():
    still = torch.rand(2, 3, 1, 4, 4, generator=rng("cpu", "still"))
    answer = Future(still.expand(-1, -1, 2, -1, -1), still)
    grade = SMALL(TinyVideo()).grade(answer.frames + 1 / 255, answer)
    assert grade.scores["copy"].item() == pytest.approx(1, rel=1e-3)


def sliding(n, window, side, key):
    """Stripes that move by a pixel a frame, left or right: (n, 3, window, side, side)."""
    phase, way = torch.rand(2, n, 1, 1, generator=rng("cpu", "sliding", key))
    way = (way > 0.5) * 2 - 1
    place = torch.arange(side) + way * torch.arange(window).view(-1, 1) + 8 * phase
    return (0.5 + 0.4 * torch.sin(2 * torch.pi * place / 8)).view(n, 1, window, 1, side).expand(-1, 3, -1, side, -1)


def test_motion_is_learnt_beyond_copying():
    torch.manual_seed(0)
    net = TinyVideo()
    task = FuturePrediction(net, frames=4, future=2, width=16)

    def sit(n, key):
        puzzle = pose(task, sliding(n, 6, 16, key))
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)

    descend((net, task), lambda step: sit(16, step).loss, 160, 0.015)
    net.eval()
    grade = sit(64, "never seen")
    assert grade.loss < 0.2
    assert grade.scores["copy"] < 0.2


@pytest.mark.parametrize(("axes", "letter"), [("hw", "t"), ("t", "h")])
def test_networks_that_do_not_read_clips_are_refused(axes, letter):
    with pytest.raises(ValueError, match=f"FuturePrediction needs a backbone with an axis '{letter}'"):
        SMALL(TinyNet(axes=axes))


@pytest.mark.parametrize("options", [{"frames": 0}, {"future": 0}, {"channels": 0}, {"shrink": 0}, {"skip": -1}])
def test_options_out_of_range_are_errors(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"FuturePrediction: .*{name}={value}"):
        FuturePrediction(TinyVideo(), **options)


def test_clips_that_do_not_fit_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"wants clips \(N, 3, W, H, W\), got \(2, 2, 5, 8, 8\); set channels"):
        pose(SMALL(TinyVideo()), torch.rand(2, 2, 5, 8, 8))
    with pytest.raises(ValueError, match=r"windows of 5 frames, got 4; raise window in the data module, or lower"):
        pose(SMALL(TinyVideo()), torch.rand(2, 3, 4, 8, 8))


@pytest.mark.parametrize("channels", [3, 2, 1])
def test_the_drawing_shows_clip_future_and_prediction(channels):
    x, task = moving(2, 6)[:, :channels], SMALL(TinyVideo(channels), channels=channels)
    puzzle = pose(task, x)
    blind = puzzle.given.picture.expand_as(puzzle.answer.frames)
    for i, (asked, answer, predicted) in enumerate(task.draw(puzzle, blind)):
        assert torch.equal(asked.image, film_strip(puzzle.question[i]))
        assert torch.equal(answer.image, film_strip(puzzle.answer.frames[i]))
        assert torch.equal(predicted.image, film_strip(blind[i], scale=puzzle.answer.frames[i]))
        assert predicted.caption.startswith("prediction: ")
    assert [len(row) for row in task.draw(puzzle, None)] == [2, 2]
