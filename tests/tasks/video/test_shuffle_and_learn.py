"""Shuffle and Learn: the ends never tell, the middle does, and look-alikes are not asked about."""

import math
from functools import partial

import pytest
import torch
from clips import TinyVideo, moving
from descent import descend
from leaks import sit
from nets import TinyNet, WaveNet

from pretext.core.rng import rng
from pretext.core.types import Features
from pretext.ops.temporal import frame_differences
from pretext.tasks.video.shuffle_and_learn import ShuffleAndLearn, in_order
from pretext.testing import check_task

WINDOW = 13  # what this span takes
SHORT = partial(ShuffleAndLearn, span=(4, 8))
SMALL = partial(SHORT, hidden=32)


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "shuffle and learn", *parts))


def numbered(n, window=WINDOW):
    """Windows that say which frame is which: all of frame i is i / 64."""
    return (torch.arange(window) / 64).view(1, 1, -1, 1, 1).expand(n, 3, window, 2, 2)


def drawn(task, n, *parts, window=WINDOW):
    """The moments of tuples, forward: (first end, middle, last end), and whether they were asked backward."""
    moments = pose(task, numbered(n, window), *parts).answer
    backward = moments[:, 0] > moments[:, 2]
    return torch.where(backward[:, None], moments.flip(1), moments).unbind(1), backward


def chi_square(one, other, kinds):
    """Tell how far two samples of whole numbers are from one distribution."""
    counts = torch.stack([sample.bincount(minlength=kinds) for sample in (one, other)]).float()
    counts = counts[:, counts.sum(0) > 0]
    expected = counts.sum(0) * counts.sum(1, keepdim=True) / counts.sum()
    return ((counts - expected) ** 2 / expected).sum().item(), counts.shape[1] - 1


def surely_alike(one, other, kinds):
    """Allow five deviations, of which a chi-square of k degrees has sqrt(2 k) each."""
    far, degrees = chi_square(one, other, kinds)
    return far < degrees + 5 * math.sqrt(2 * degrees)


@pytest.mark.parametrize(
    ("factory", "backbone"),
    [
        (partial(SMALL, span=(2, 4), apart=1, tuples=2), TinyNet()),
        (partial(SHORT, candidates=2), TinyVideo()),
    ],
)
def test_it_keeps_the_contract(factory, backbone):
    check_task(factory, backbone, moving(8, WINDOW, 6))


def test_by_default_ends_lie_as_far_apart_as_in_the_paper():
    (b, _, d), _ = drawn(ShuffleAndLearn(TinyNet(), unlike=0.0), 4000, window=65)
    assert (d - b).unique().tolist() == list(range(15, 61))


@pytest.mark.parametrize(("span", "apart", "window"), [((4, 8), 2, 13), ((2, 2), 1, 5), ((3, 5), 1, 30)])
def test_moments_keep_the_inequalities(span, apart, window):
    task = SMALL(TinyNet(), span=span, apart=apart, unlike=0.0)
    (b, middle, d), _ = drawn(task, 2000, window=window)
    assert (d - b).unique().tolist() == list(range(span[0], span[1] + 1))
    assert b.min() == apart
    assert d.max() == window - 1 - apart
    inside = (b < middle) & (middle < d)
    before, after = middle <= b - apart, middle >= d + apart
    assert torch.equal(inside.int() + before.int() + after.int(), torch.ones_like(b, dtype=torch.int32))
    assert middle.min() == 0
    assert middle.max() == window - 1


@pytest.mark.parametrize("tuples", [1, 3])
def test_the_question_shows_the_moments_of_the_answer_to_image_and_clip_backbones_alike(tuples):
    x = moving(4, WINDOW, 8)
    frames, moments, given = pose(SMALL(TinyNet(), tuples=tuples), x)
    assert given is None
    assert moments.shape == (4 * tuples, 3)
    expected = torch.stack([x[i // tuples][:, m] for i, m in enumerate(moments)])
    clips, same, _ = pose(SHORT(TinyVideo(), tuples=tuples), x)
    assert torch.equal(same, moments)
    assert torch.equal(clips, expected)
    assert torch.equal(frames, expected.transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize("x", [numbered(64), moving(64, WINDOW, 8)])
def test_the_answer_changes_the_middle_and_nothing_else(x):
    """The same key chooses the same five moments and the same direction, whatever is asked of them."""
    rare, often = (pose(SMALL(TinyNet(), positives=p), x).answer for p in (0.1, 0.9))
    assert torch.equal(rare[:, ::2], often[:, ::2])
    changed = in_order(rare) != in_order(often)
    assert 40 < changed.sum() < 64
    assert torch.equal((rare != often).any(1), changed)


def test_the_ends_of_both_answers_are_distributed_alike():
    """Also where the choice among candidates depends on what is seen."""
    task, x = SMALL(TinyNet(), positives=0.5), moving(100, WINDOW, 4)
    moments = torch.cat([pose(task, x, step).answer for step in range(40)])
    ends, label = moments[:, 0] * WINDOW + moments[:, 2], in_order(moments)
    assert surely_alike(ends[label], ends[~label], WINDOW**2)


def test_both_answers_are_closed_under_reversal():
    (b, middle, d), backward = drawn(SMALL(TinyNet()), 8000)
    label = in_order(torch.stack((b, middle, d), 1))
    for one in (label, ~label):
        assert abs(backward[one].float().mean() - 0.5) < 4 * 0.5 / one.sum().sqrt()
        last = WINDOW - 1
        assert surely_alike(b[one], last - d[one], WINDOW)
        assert surely_alike(middle[one], last - middle[one], WINDOW)
    before = middle[~label] < b[~label]
    assert abs(before.float().mean() - 0.5) < 4 * 0.5 / len(before) ** 0.5
    some = torch.randint(WINDOW, (100, 3), generator=rng("cpu", "some"))
    assert torch.equal(in_order(some), in_order(some.flip(1)))


@pytest.mark.parametrize("n", [1, 3, 8, 30])
def test_a_quarter_of_every_batch_is_in_order_as_near_as_whole_numbers_allow(n):
    labels = torch.stack([in_order(pose(SMALL(TinyNet()), numbered(n), step).answer) for step in range(400)])
    assert set(labels.sum(1).tolist()) <= {math.floor(n / 4), math.ceil(n / 4)}
    assert (labels.float().mean(0) - 0.25).abs().max() < 4.5 * math.sqrt(0.25 * 0.75 / 400)  # in every slot


def test_frames_that_look_like_the_right_one_are_not_asked_about():
    """Two pictures take turns: a and e must show the other one than c."""
    x = moving(200, 2, 4).repeat(1, 1, 7, 1, 1)[:, :, :WINDOW]
    for unlike, alike in ((0.5, 0.0), (0.0, 0.75)):
        a, _, c, _, e = SMALL(TinyNet(), unlike=unlike, candidates=32)._fives(x, rng("cpu", "fives")).unbind(1)
        seen = ((a - c) % 2 == 0) | ((e - c) % 2 == 0)
        assert abs(seen.float().mean() - alike) < 0.13


@pytest.mark.parametrize("unlike", [0.5, 1e9])
def test_the_first_fine_candidate_is_taken_or_the_one_that_differs_most(unlike):
    x, task = moving(20, WINDOW, 8), SMALL(TinyNet(), unlike=unlike)
    candidates = task._candidates(20, WINDOW, rng("cpu", "fives"), x.device)
    chosen = task._fives(x, rng("cpu", "fives"))
    means = (x[:, :, :, None] - x[:, :, None]).square().mean((1, 4, 5))
    apart = means / means.mean((1, 2), keepdim=True)
    torch.testing.assert_close(frame_differences(x), apart, rtol=1e-4, atol=1e-5)
    for i, five in enumerate(chosen.tolist()):
        least = [min(apart[i, c, a], apart[i, c, e]).item() for a, _, c, _, e in candidates[i].tolist()]
        fine = [k for k, value in enumerate(least) if value >= unlike]
        best = fine[0] if fine else least.index(max(least))
        assert five == candidates[i, best].tolist()


def test_dark_windows_are_compared_like_bright_ones_and_still_ones_not_at_all():
    x = moving(4, WINDOW, 8)
    torch.testing.assert_close(frame_differences(x), frame_differences(0.9 + 0.01 * x), rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(frame_differences(x).mean((1, 2)), torch.ones(4))
    assert frame_differences(x[:, :, :1].expand(-1, -1, WINDOW, -1, -1)).abs().max() < 1e-3


def test_where_nothing_moves_the_question_is_the_same_whatever_the_answer():
    still = moving(16, 1, 8).expand(-1, -1, WINDOW, -1, -1)
    one, other = (pose(SMALL(TinyNet()), still, key) for key in range(2))
    assert torch.equal(one.question, other.question)
    assert not torch.equal(in_order(one.answer), in_order(other.answer))


def test_the_answer_of_a_mirrored_window_is_the_same():
    x, task = moving(16, WINDOW, 8), SMALL(TinyNet())
    one, mirrored = pose(task, x), pose(task, x.flip(-1))
    assert torch.equal(one.answer, mirrored.answer)
    assert torch.equal(one.question.flip(-1), mirrored.question)


def test_who_always_says_no_is_right_half_of_the_time_by_the_score_and_costs_the_entropy_at_best():
    task = SMALL(TinyNet())
    moments = pose(task, numbered(8)).answer
    grade = task.grade(torch.tensor([0.75, 0.25]).log().expand(8, 2), moments)
    assert grade.loss.item() == pytest.approx(0.5623, abs=1e-4) == task.chance().loss.item()
    assert grade.scores["balanced_accuracy"] == 0.5 == task.chance().scores["balanced_accuracy"]
    right = task.grade(torch.eye(2)[in_order(moments).long()], moments)
    assert right.scores["balanced_accuracy"] == 1


def test_the_score_is_the_mean_over_the_answers_and_half_where_one_is_missing():
    task, moments = SMALL(TinyNet()), torch.tensor([[0, 1, 2]] * 2 + [[2, 0, 1]] * 4)  # two in order, four not
    said = torch.eye(2)[[1, 0, 0, 0, 0, 1]]
    assert task.grade(said, moments).scores["balanced_accuracy"] == (1 / 2 + 3 / 4) / 2
    for one in (slice(0, 2), slice(2, 6)):
        assert task.grade(said[one], moments[one]).scores["balanced_accuracy"] == 0.5


@pytest.mark.parametrize("positives", [0.25, 0.5, 0.1])
def test_the_bias_begins_at_the_shares_so_no_features_cost_the_entropy(positives):
    task = SHORT(TinyVideo(), positives=positives)
    logits = task.solve(Features({}, torch.zeros(3, 8)), None)
    torch.testing.assert_close(logits.softmax(1), torch.tensor([[1 - positives, positives]]).expand(3, 2))
    entropy = -positives * math.log(positives) - (1 - positives) * math.log(1 - positives)
    assert task.chance().loss.item() == pytest.approx(entropy)


@pytest.mark.parametrize(("hidden", "additive"), [(0, True), (32, False)])
def test_without_a_hidden_layer_each_frame_votes_by_itself(hidden, additive):
    """What the middle adds to the logits does not depend on the ends: such a head compares no two frames."""
    task = ShuffleAndLearn(TinyNet(), hidden=hidden)
    f = torch.randn(4, 3, 16, generator=rng("cpu", "features"))
    middles = []
    for ends in (f[:, ::2], f[:, ::2].roll(1, 0)):
        tuples = [torch.stack((ends[:, 0], middle, ends[:, 1]), 1) for middle in (f[:, 1], torch.zeros(4, 16))]
        shown, hidden_away = (task.solve(Features({}, x.flatten(0, 1)), None) for x in tuples)
        middles.append(shown - hidden_away)
    assert torch.allclose(*middles, atol=1e-6) == additive


def ramps(step, n=32):
    """Textures that grow steadily brighter or darker."""
    chance = rng("cpu", "ramps", step)
    ground = 0.2 * torch.rand(n, 3, 1, 8, 8, generator=chance)
    start, end = torch.rand(2, n, 1, 1, 1, 1, generator=chance)
    return ground + 0.8 * torch.lerp(start, end, torch.linspace(0, 1, WINDOW).view(1, 1, -1, 1, 1))


@pytest.mark.parametrize("net", [TinyNet, TinyVideo])
def test_it_learns_what_lies_between(net):
    torch.manual_seed(0)
    net = net()
    task = SMALL(net, positives=0.5)
    descend((net, task), lambda step: sit(task, net, ramps(step), step).loss, 200, 5e-3)
    net.eval()
    scores = [sit(task, net, ramps(step), step).scores["balanced_accuracy"] for step in range(1000, 1010)]
    assert torch.stack(scores).mean() > 0.7


@pytest.mark.parametrize("shape", [(2, 3, 12, 8, 8), (2, 3, 8, 8)])
def test_windows_that_are_too_short_or_none_are_refused(shape):
    with pytest.raises(ValueError, match=r"at least 13 frames .*raise window in the data module, or lower span"):
        pose(SMALL(TinyNet()), torch.rand(shape))


def test_backbones_for_sound_are_refused():
    with pytest.raises(ValueError, match=r"ShuffleAndLearn needs a backbone with an axis 'h'.*reads 't'"):
        ShuffleAndLearn(WaveNet())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"span": (1, 4)}, r"span=\(1, 4\), apart=2"),
        ({"span": (5, 4)}, r"span=\(5, 4\)"),
        ({"apart": 0}, ".*apart=0"),
        ({"positives": 0.0}, "positives=0.0"),
        ({"positives": 1.0}, "positives=1.0"),
        ({"unlike": -1.0}, ".*unlike=-1.0"),
        ({"candidates": 0}, "candidates=0"),
        ({"tuples": 0}, ".*tuples=0"),
        ({"hidden": -1}, ".*hidden=-1"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"ShuffleAndLearn: {message}"):
        ShuffleAndLearn(TinyNet(), **options)


@pytest.mark.parametrize("backbone", [TinyNet(), TinyVideo()])
def test_the_drawing_shows_the_frames_as_asked_and_sorted(backbone):
    task, x = SMALL(backbone), moving(8, WINDOW, 8)
    puzzle = pose(task, x)
    labels = in_order(puzzle.answer)
    rows = task.draw(puzzle, torch.eye(2)[torch.zeros(8, dtype=torch.int64)])
    assert [row[2].right for row in rows] == (~labels).tolist()
    for i, (asked, answer, predicted) in enumerate(rows):
        moments = puzzle.answer[i]
        for panel, order in ((asked, moments), (answer, moments.sort().values), (predicted, moments)):
            assert all(
                torch.equal(panel.image[..., 10 * k : 10 * k + 8], x[i, :, m]) for k, m in enumerate(order.tolist())
            )
        names = ", ".join(str(m + 1) for m in moments.tolist())
        assert answer.caption == f"answer: frames {names}, {'in' if labels[i] else 'not in'} order; here sorted"
        assert predicted.caption == "prediction: not in order"
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 8


def test_it_tells_its_settings():
    expected = "span=(4, 8), apart=2, positives=0.25, unlike=0.5, candidates=8, tuples=1"
    assert expected in ShuffleAndLearn(TinyNet(), span=[4, 8]).extra_repr()
