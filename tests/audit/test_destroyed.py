"""The tasks' own controls: parts of other items stand in the right places, and the relation is gone."""

from functools import partial

import pytest
import torch
from clips import TinySound, TinyVideo, tiny_multimodal
from nets import TinyNet

import pretext
from pretext.core.rng import rng
from pretext.ops.temporal import reverse, swap_moments
from pretext.tasks.video.odd_one_out import changes

N, W = 7, 20


def marked(n=N, window=W, side=2, channels=3):
    """Windows that say whose frame each is (channel 0, item / 16) and which one (channel 1, number / 64)."""
    x = torch.zeros(n, channels, window, side, side)
    x[:, 0] = (torch.arange(n) / 16).view(-1, 1, 1, 1)
    if channels > 1:
        x[:, 1] = (torch.arange(window) / 64).view(1, -1, 1, 1)
    return x


def sounds(n=N, samples=160):
    """Sounds that say whose they are and which sample: item + sample / 1024, over 16."""
    return ((torch.arange(n)[:, None] + torch.arange(samples) / 1024) / 16).unsqueeze(1)


def whose(frames):
    """Whose frames (..., C, h, w) these are, and which ones."""
    return (16 * frames[..., 0, 0, 0]).round().long(), (64 * frames[..., 1, 0, 0]).round().long()


def both(task, x):
    puzzle = task.pose(x, rng("cpu", "destroyed", "pose"))
    return puzzle, task.destroyed(puzzle, rng("cpu", "destroyed"))


def test_moments_are_swapped_in_their_places():
    swapped = swap_moments(marked(), rng("cpu", "swap"))
    item, moment = whose(swapped.transpose(1, 2))
    assert torch.equal(moment, torch.arange(W).expand(N, -1))
    assert (item != torch.arange(N)[:, None]).all()
    assert all(sorted(column.tolist()) == list(range(N)) for column in item.T)  # each frame is used once
    assert (item[:, 1:] != item[:, :-1]).all()  # neighbours are of different items


def test_sixteenths_of_sounds_are_swapped_in_their_places():
    swapped = 16 * swap_moments(sounds(), rng("cpu", "swap"))[:, 0]
    assert torch.equal((1024 * (swapped % 1)).round().long(), torch.arange(160).expand(N, -1))
    item = swapped.long()
    assert (item != torch.arange(N)[:, None]).all()
    assert torch.equal(item, item[:, ::10].repeat_interleave(10, 1))


@pytest.mark.parametrize("directions", ["both", "one"])
@pytest.mark.parametrize("sound", [False, True])
def test_the_arrow_of_time_keeps_the_direction_and_the_places(directions, sound):
    net, x = (TinySound(), sounds()) if sound else (TinyVideo(), marked())
    _, other = both(pretext.ArrowOfTime(net, directions=directions, trim=0.0), x)
    forward = [
        clip if answer == 0 else reverse(clip[None])[0]
        for clip, answer in zip(other.question, other.answer, strict=True)
    ]
    own = torch.arange(N).repeat_interleave(2) if directions == "both" else torch.arange(N)
    if sound:
        values = 16 * torch.stack(forward)[:, 0]
        item, moment, times = values.long(), (1024 * (values % 1)).round().long(), 160
    else:
        item, moment = whose(torch.stack(forward).transpose(1, 2))
        times = W
    assert torch.equal(moment, torch.arange(times).expand(len(own), -1))
    assert (item != own[:, None]).all()
    if directions == "both":
        assert torch.equal(other.question[1::2], reverse(other.question[::2]))


def test_pieces_are_of_other_windows_and_in_the_same_order():
    task = pretext.ClipOrder(TinyVideo(), pieces=3, frames=3, gap=2, width=8)
    puzzle, other = both(task, marked())
    item, moment = whose(other.question.unflatten(0, (-1, 3)).transpose(2, 3))
    assert (item != torch.arange(N)[:, None, None]).all()
    assert torch.equal(item, item[..., :1].expand_as(item))  # a piece stays whole
    assert torch.equal(moment[..., 0].argsort(1).argsort(1), task.table[puzzle.answer])


def test_where_two_orders_count_as_one_there_is_no_control():
    task = pretext.ClipOrder(TinyNet(), pieces=4, frames=1, gap=1, width=8)
    assert both(task, marked())[1] is None


@pytest.mark.parametrize("clips", [False, True])
def test_tuples_are_of_other_windows_at_about_the_same_moments(clips):
    task = pretext.ShuffleAndLearn(TinyVideo() if clips else TinyNet(), span=(2, 6), unlike=0.0, tuples=3)
    puzzle, other = both(task, marked(24))
    frames = other.question.transpose(1, 2) if clips else other.question.unflatten(0, (-1, 3))
    item, moment = whose(frames)
    assert (item != torch.arange(24).repeat_interleave(3)[:, None]).all()
    assert all(len(set(three)) == 3 for three in item.tolist())
    # 24 windows x 9 frames over 20 moments, a third of them at hand: 3.6 of each moment at the mean.
    assert (moment - puzzle.answer).abs().float().mean() < 0.5


@pytest.mark.parametrize("encoding", ["frames", "differences"])
def test_all_clips_are_shuffled_and_keep_their_frames(encoding):
    task = pretext.OddOneOut(TinyVideo(), clips=3, frames=4, encoding=encoding)
    puzzle, other = both(task, marked())
    if encoding == "frames":
        before, after = (whose(p.question.transpose(1, 2))[1] for p in (puzzle, other))
    else:  # from what differs, frames but for a constant
        steps = [(64 * (2 * p.question - 1)[:, 1, :, 0, 0]).round().long() for p in (puzzle, other)]
        before, after = (torch.cat((torch.zeros(len(step), 1, dtype=step.dtype), step.cumsum(1)), 1) for step in steps)
        before, after = (clips - clips.amin(1, keepdim=True) for clips in (before, after))
    assert torch.equal(before.sort(1).values, after.sort(1).values)
    straight, still = ((moments.diff(dim=1).abs() == 1).all(1) for moments in (before, after))
    assert int(straight.sum()) == 2 * N  # all but the odd ones
    assert not (straight & still).any()


@pytest.mark.parametrize("frames", [3, 4, 6])
def test_no_clip_is_in_order_once_all_are_shuffled_neither_the_odd_one(frames):
    """Of three frames shuffled twice every second odd one came back in order, and none of the others."""
    task = pretext.OddOneOut(TinyVideo(), clips=3, frames=frames)
    _, other = both(task, marked(400, side=1))
    moment = whose(other.question.transpose(1, 2))[1]
    steps = moment.diff(dim=1)
    assert not ((steps == 1).all(1) | (steps == -1).all(1)).any()


def test_equalised_clips_change_alike_once_all_are_shuffled():
    """Up to the factor of 1/4 to 1 by which each is fainter: the busiest clip is the odd one as often as any other."""
    task = pretext.OddOneOut(TinyVideo(), clips=3, frames=6, equalise=True)
    x = torch.rand(400, 3, 1, 2, 2, generator=rng("cpu", "walk")) + 0.03 * torch.randn(
        400, 3, 20, 2, 2, generator=rng("cpu", "steps")
    ).cumsum(2)
    puzzle, other = both(task, x)
    busiest = changes(other.question.unflatten(0, (-1, 3))).argmax(1)
    share = (busiest == puzzle.answer.slot).float().mean()
    assert abs(share - 1 / 3) < 4 * (2 / 9 / 400) ** 0.5  # four standard errors


@pytest.mark.parametrize(
    ("factory", "changed", "pairs"),
    [
        (partial(pretext.Alignment, frames=4), "audio", 2),
        (partial(pretext.Embed, frames=4, outputs=8), "audio", 1),
        (partial(pretext.Distillation, frames=4), "rgb", 1),
        (partial(pretext.CrossModalPrediction, source="rgb", target="grey", frames=3, width=8), "rgb", 1),
    ],
)
def test_across_modalities_one_of_them_is_another_items(factory, changed, pairs):
    x = {"rgb": marked(), "flow": marked(channels=2), "grey": marked(channels=1), "audio": sounds()}
    puzzle, other = both(factory(tiny_multimodal(flow=True)), x)
    for name, before in puzzle.question.items():
        after = other.question[name]
        if name != changed:
            assert torch.equal(before, after)
            continue
        before, after = (part.unflatten(0, (-1, pairs)).transpose(0, 1) for part in (before, after))
        for mine, theirs in zip(before, after, strict=True):  # aligned for aligned, misaligned for misaligned
            rows = [next(j for j in range(N) if torch.equal(theirs[i], mine[j])) for i in range(N)]
            assert sorted(rows) == list(range(N))
            assert all(i != j for i, j in enumerate(rows))


def test_the_frames_before_the_future_are_other_items():
    _, other = both(pretext.FuturePrediction(TinyVideo(), frames=4, future=2, width=8), marked())
    item, moment = whose(other.question.transpose(1, 2))
    assert (item != torch.arange(N)[:, None]).all()
    assert item.shape == moment.shape == (N, 4)
