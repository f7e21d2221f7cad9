"""Clip order: the answer undoes the question, and neither gaps, borders nor colours tell."""

import math
from functools import partial
from itertools import pairwise, permutations

import pytest
import torch
from clips import TinySound, TinyVideo, moving
from leaks import learnt
from nets import TinyNet

from pretext.core.rng import rng
from pretext.core.types import Features
from pretext.ops.tiles import restore_order
from pretext.tasks.video.clip_order import ClipOrder, orders, twin
from pretext.testing import check_task

OPN = partial(ClipOrder, pieces=4, frames=1, gap=2, width=16)  # windows of 10
TURNED = partial(OPN, grouping="time")
VCOP = partial(ClipOrder, pieces=3, frames=3, gap=2, width=16)  # windows of 13
SOUND = partial(ClipOrder, pieces=3, frames=12, gap=4, width=16)  # 44 samples


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "clip order", *parts))


def numbered(n, window, side=2):
    """Windows that say which frame is which: all of frame i is i / 64."""
    return (torch.arange(window) / 64).view(1, 1, -1, 1, 1).expand(n, 3, window, side, side)


def waves(n=8, samples=50):
    return 2 * torch.rand(n, 1, samples, generator=rng("cpu", "waves")) - 1


def pieces_of(task, puzzle):
    return puzzle.question.unflatten(0, (-1, task.pieces))


def solved(task, puzzle):
    """The pieces as the answer would order them."""
    return restore_order(pieces_of(task, puzzle), task.table[puzzle.answer])


@pytest.mark.parametrize(
    ("factory", "backbone", "x"),
    [
        (partial(OPN, channel_splitting=True, jitter=1), TinyNet(), moving(8, 10, 8)),
        (partial(VCOP, dropout=0.5), TinyVideo(), moving(8, 13, 6)),
        (SOUND, TinySound(), waves()),
    ],
)
def test_it_keeps_the_contract(factory, backbone, x):
    check_task(factory, backbone, x)


# The twelve classes of OPN's released code, pieces counted from 1; it joins each with its slots read backward.
RELEASED = ["1234", "1324", "1342", "1243", "1423", "1432", "2134", "2143", "2314", "3124", "3142", "3214"]


def released():
    """The class of each of the 24 orders."""
    named = {tuple(int(digit) - 1 for digit in order): k for k, order in enumerate(RELEASED)}
    return named | {order[::-1]: k for order, k in named.items()}


def classes(task):
    """The class of each order, by the task's table."""
    named = {tuple(order): k for k, order in enumerate(task.table.tolist())}
    others = twin(task.table, task.grouping).tolist()
    return named | {tuple(order): k for k, order in enumerate(others)}


def same_class(classes):
    """Which pairs of orders are one class, whatever its number."""
    return {(one, other) for one in classes for other in classes if classes[one] == classes[other]}


def test_the_map_of_24_orders_is_that_of_opns_released_code():
    ours, theirs = classes(OPN(TinyNet())), released()
    assert len(ours) == len(theirs) == 24
    assert same_class(ours) == same_class(theirs)


def test_turning_time_round_gives_8_of_the_24_orders_another_class():
    slots, named = released(), {tuple(int(digit) - 1 for digit in order): k for k, order in enumerate(RELEASED)}
    time = named | {tuple(3 - k for k in order): number for order, number in named.items()}
    assert same_class(classes(TURNED(TinyNet()))) == same_class(time)
    assert sum(slots[order] != time[order] for order in permutations(range(4))) == 8


@pytest.mark.parametrize("grouping", ["slots", "time"])
@pytest.mark.parametrize("pieces", [2, 3, 4, 5])
def test_every_order_is_a_class_or_its_twin_is_but_never_both(pieces, grouping):
    every = {tuple(p) for p in permutations(range(pieces))}
    listed = [tuple(p) for p in orders(pieces, None).tolist()]
    assert len(listed) == math.factorial(pieces)
    assert set(listed) == every
    halved = [tuple(p) for p in orders(pieces, grouping).tolist()]
    assert len(halved) == math.factorial(pieces) / 2
    turned = {"slots": lambda p: p[::-1], "time": lambda p: tuple(pieces - 1 - k for k in p)}[grouping]
    assert set(halved) | set(map(turned, halved)) == every
    assert listed[0] == halved[0] == tuple(range(pieces))


@pytest.mark.parametrize(
    ("factory", "backbone", "classes"), [(OPN, TinyNet(), 12), (VCOP, TinyVideo(), 6), (SOUND, TinySound(), 6)]
)
def test_papers_numbers_of_classes(factory, backbone, classes):
    task = factory(backbone)
    assert task.table.shape == (classes, task.pieces)
    assert task.chance().loss.item() == pytest.approx(math.log(classes))
    assert task.reversible == (classes == 12)


@pytest.mark.parametrize(
    ("factory", "backbone", "x"),
    [
        (TURNED, TinyNet(), moving(20, 14, 4)),
        (VCOP, TinyVideo(), moving(20, 16, 4)),
        (partial(VCOP, reversible=True, grouping="time"), TinyVideo(), moving(20, 16, 4)),
        (SOUND, TinySound(), waves(20)),
    ],
)
def test_the_answer_is_enough_to_undo_the_question(factory, backbone, x):
    """Up to reversal, where an order counts as its reverse."""
    task = factory(backbone)
    ordered = solved(task, pose(task, x))
    backward = 0
    for window, pieces in zip(x, ordered, strict=True):
        if pieces.ndim == 4 and "t" not in task.axes:
            pieces = pieces.unsqueeze(2)
        starts = [
            next(i for i in range(window.shape[1]) if torch.equal(window[:, i : i + task.frames], piece))
            for piece in pieces
        ]
        back = starts[0] > starts[-1]
        backward += back
        starts = starts[::-1] if back else starts
        assert all(b - a >= task.frames + task.gap / 2 for a, b in pairwise(starts))
    assert (0 < backward < 20) if task.reversible else backward == 0


@pytest.mark.parametrize(("gap", "least"), [(0, None), (1, None), (4, None), (5, None), (4, 4), (5, 0)])
def test_pieces_are_whole_begin_anywhere_and_are_as_far_apart_as_documented(gap, least):
    task, window = VCOP(TinyVideo(), gap=gap, least_gap=least), 9 + 2 * gap + 3
    frames = (solved(task, pose(task, numbered(3000, window)))[:, :, 0, :, 0, 0] * 64).long()  # (N, pieces, T)
    assert (frames.diff(dim=2) == 1).all()
    gaps = frames[:, 1:, 0] - frames[:, :-1, -1] - 1
    assert gaps.unique().tolist() == list(range(math.ceil(gap / 2) if least is None else least, gap + 1))
    assert frames.min() == 0
    assert frames.max() == window - 1
    assert abs(frames.float().mean() - (window - 1) / 2) < 4 * window / 12**0.5 / 3000**0.5


def test_the_smallest_window_is_wide_enough():
    task = VCOP(TinyVideo())
    frames = (solved(task, pose(task, numbered(200, 13)))[:, :, 0, :, 0, 0] * 64).long()
    assert frames.max() == 12


@pytest.mark.parametrize(
    ("factory", "backbone", "x"),
    [(OPN, TinyNet(), moving(16, 1, 4)), (VCOP, TinyVideo(), moving(16, 1, 4)), (SOUND, TinySound(), waves(16, 1))],
)
def test_where_nothing_changes_the_question_is_the_same_whatever_the_answer(factory, backbone, x):
    task, still = factory(backbone), x.repeat(1, 1, 50, 1, 1) if x.ndim == 5 else x.repeat(1, 1, 50)
    one, other = pose(task, still, 1), pose(task, still, 2)
    assert torch.equal(one.question, other.question)
    assert not torch.equal(one.answer, other.answer)


@pytest.mark.parametrize("factory", [OPN, TURNED])
def test_an_order_and_its_twin_are_one_class_and_shown_alike_often(factory):
    task = factory(TinyNet())
    puzzle = pose(task, numbered(4800, 10))
    order = pieces_of(task, puzzle)[:, :, 0, 0, 0].argsort(1).argsort(1)  # which piece a slot shows
    named = task.table[puzzle.answer]
    straight, back = (order == named).all(1), (order == twin(named, task.grouping)).all(1)
    assert (straight ^ back).all()
    counts = torch.stack([puzzle.answer[way].bincount(minlength=12) for way in (straight, back)])
    assert ((counts - 200) ** 2 / 200).sum() < 55  # chi-square of 23 degrees: once in 5,000 times


def test_who_cannot_tell_the_direction_of_time_can_still_tell_the_answer():
    """Which it could not with OPN's own classes: they are not closed under reversal of time."""
    task = TURNED(TinyNet(), gap=0)
    x = numbered(64, 4)  # exactly the pieces
    for window in (x, x.flip(2)):
        puzzle = pose(task, window)
        ranks = pieces_of(task, puzzle)[:, :, 0, 0, 0].argsort(1).argsort(1)
        both = torch.stack((ranks, 3 - ranks), 1)  # (N, 2, 4)
        named = (both[:, None] == task.table[:, None]).all(3).any(2)  # (N, 12): whichever way time runs
        assert (named.sum(1) == 1).all()
        assert torch.equal(named.int().argmax(1), puzzle.answer)


def test_every_piece_is_split_into_a_channel_of_its_own():
    x = moving(400, 13, 4) / 4 + torch.tensor([0.0, 0.25, 0.5]).view(1, 3, 1, 1, 1)  # channels in ranges of their own
    plain, split = VCOP(TinyVideo()), VCOP(TinyVideo(), channel_splitting=True)
    whole, grey = pose(plain, x), pose(split, x)
    assert torch.equal(whole.answer, grey.answer)
    assert torch.equal(grey.question, grey.question[:, :1].expand_as(grey.question))
    channel = (whole.question == grey.question).flatten(2).all(2)
    assert (channel.sum(1) == 1).all()
    pairs = channel.int().argmax(1).view(-1, 3)[:, :2]
    counts = (3 * pairs[:, 0] + pairs[:, 1]).bincount(minlength=9)
    assert ((counts - 400 / 9) ** 2 / (400 / 9)).sum() < 29  # chi-square of 8 degrees: once in 3,000 times


def test_every_piece_wanders_by_itself_and_is_never_padded():
    row, column = torch.arange(9.0).view(9, 1), torch.arange(9.0)
    x = torch.stack(((row + 0 * column) / 16, (0 * row + column) / 16, 0 * row + 0 * column))
    task = VCOP(TinyVideo(), jitter=2)
    question = pose(task, x.view(1, 3, 1, 9, 9).expand(300, -1, 13, -1, -1)).question
    assert question.shape == (900, 3, 3, 5, 5)
    assert torch.equal(question, question[:, :, :1].expand_as(question))  # all frames of a piece together
    corners = (question[:, :2, 0, 0, 0] * 16).long()
    steps = torch.arange(5) / 16
    for axis, along in ((0, (-1, 1)), (1, (1, -1))):
        seen = question[:, axis, 0] - question[:, axis, 0, :1, :1]
        assert torch.equal(seen, steps.view(along).expand_as(seen))
        assert corners[:, axis].unique().tolist() == [0, 1, 2, 3, 4]
    pairs = corners.view(300, 3, 2)
    for one, other in ((pairs[:, 0, 0], pairs[:, 0, 1]), (pairs[:, 0, 0], pairs[:, 1, 0])):
        assert torch.corrcoef(torch.stack((one, other)).float())[0, 1].abs() < 4 / 300**0.5


def test_the_head_reads_every_pair_by_one_layer():
    task = OPN(TinyNet())
    f = torch.randn(5, 4, 16, generator=rng("cpu", "features"))
    couples = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    each = [task.each(torch.cat((f[:, i], f[:, j]), 1)) for i, j in couples]
    logits = task.solve(Features({}, f.flatten(0, 1)), None)
    torch.testing.assert_close(logits, task.together(torch.cat(each, 1)))
    assert len(list(task.each.parameters())) == 2


def test_what_the_last_layer_reads_is_dropped_in_training_alone():
    task, f = VCOP(TinyVideo(), dropout=0.5), torch.rand(3 * 400, 8, generator=rng("cpu", "features"))
    read = []
    task.together.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    for mode in (True, False):
        torch.manual_seed(0)
        task.train(mode).solve(Features({}, f), None)
    dropped, whole = read
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * whole[kept])
    share = (kept.sum() / (whole != 0).sum()).item()
    assert share == pytest.approx(0.5, abs=4 * 0.5 / (whole != 0).sum().item() ** 0.5)


def ramps(step, window=13, n=32):
    """Textures that grow steadily darker, each from a brightness of its own."""
    chance = rng("cpu", "ramps", step)
    ground = 0.2 * torch.rand(n, 3, 1, 6, 6, generator=chance)
    first = 0.5 + 0.3 * torch.rand(n, 1, 1, 1, 1, generator=chance)
    return ground + first * torch.linspace(1, 0.2, window).view(1, 1, -1, 1, 1)


@pytest.mark.parametrize(("factory", "net"), [(OPN, TinyNet), (VCOP, TinyVideo)])
def test_it_learns_an_order_that_can_be_seen(factory, net):
    torch.manual_seed(0)
    net = net()
    task = factory(net)
    assert learnt(task, net, ramps, steps=80) > 3 * task.chance().scores["accuracy"]


def drifting(step, n=32):
    """Frames of any brightness whose red fades and whose blue grows: nothing but the colours tells their order."""
    light = 0.1 + 0.5 * torch.rand(n, 1, 10, 1, 1, generator=rng("cpu", "drifting", step))
    drift = torch.linspace(-0.4, 0.4, 10).view(1, 1, -1, 1, 1) * torch.tensor([-1.0, 0, 1]).view(1, 3, 1, 1, 1)
    return (light * (1 + drift)).expand(-1, -1, -1, 4, 4)


def test_colours_that_drift_give_frames_away_unless_channels_are_split():
    scores = []
    for split in (False, True):
        torch.manual_seed(0)
        net = TinyNet()
        scores.append(learnt(OPN(net, channel_splitting=split), net, drifting, steps=120))
    assert scores[0] > 0.4
    assert scores[1] < 0.2


@pytest.mark.parametrize(
    ("backbone", "factory", "shape", "message"),
    [
        (
            TinyVideo(),
            VCOP,
            (2, 3, 12, 8, 8),
            r"wants windows .* at least 13 for 3 pieces of 3 and gaps of up to 2, got",
        ),
        (TinyVideo(), VCOP, (2, 1, 80), "wants windows"),
        (TinySound(), SOUND, (2, 1, 43), "wants waveforms .* at least 44 .*raise window in the data module, or lower"),
        (TinyVideo(1), partial(VCOP, channel_splitting=True), (2, 1, 13, 8, 8), ".*three colour channels.* are 1;"),
        (TinyVideo(), partial(VCOP, jitter=4), (2, 3, 13, 8, 8), ".*jitter=4 leaves nothing of pictures of 8 x 8"),
    ],
)
def test_windows_that_do_not_suit_are_refused(backbone, factory, shape, message):
    with pytest.raises(ValueError, match=f"ClipOrder:? {message}"):
        pose(factory(backbone), torch.rand(shape))


def test_backbones_that_read_something_else_are_refused():
    with pytest.raises(ValueError, match=r"ClipOrder needs a backbone with an axis 'h'.*reads 'w'"):
        ClipOrder(TinyNet(axes="w"))


@pytest.mark.parametrize(
    ("backbone", "options", "message"),
    [
        (TinyVideo(), {"pieces": 1}, "pieces=1"),
        (TinyVideo(), {"pieces": 7}, "pieces=7"),
        (TinyVideo(), {"pieces": 2, "reversible": True}, "pieces=2, reversible=True"),
        (TinyVideo(), {"frames": 0}, "frames=0"),
        (TinyVideo(), {"gap": -1}, ".*gap=-1"),
        (TinyVideo(), {"jitter": -1}, ".*jitter=-1"),
        (TinyVideo(), {"width": 0}, ".*width=0"),
        (TinyVideo(), {"least_gap": 5}, "least_gap=5, gap=4"),
        (TinyVideo(), {"dropout": 1.0}, ".*dropout=1.0"),
        (TinyVideo(), {"grouping": "neither"}, "grouping='neither'"),
        (TinyNet(), {"frames": 8}, "frames=8, but the backbone reads images; give frames=1"),
        (TinySound(), {"jitter": 2}, ".*jitter=2, but the backbone reads sound"),
        (TinySound(), {"channel_splitting": True}, "channel_splitting=True"),
    ],
)
def test_options_out_of_range_are_errors(backbone, options, message):
    with pytest.raises(ValueError, match=f"ClipOrder: {message}"):
        ClipOrder(backbone, **options)


@pytest.mark.parametrize(
    ("factory", "backbone", "x"),
    [
        (TURNED, TinyNet(), moving(3, 10, 8)),
        (VCOP, TinyVideo(), moving(3, 13, 8)),
        (SOUND, TinySound(), waves(3, 44)),
    ],
)
def test_the_drawing_orders_the_pieces_and_marks_right_and_wrong(factory, backbone, x):
    task = factory(backbone)
    puzzle = pose(task, x)
    said = torch.eye(len(task.table))[torch.where(torch.arange(3) == 2, (puzzle.answer + 1) % 3, puzzle.answer)]
    rows = task.draw(puzzle, said)
    assert [row[2].right for row in rows] == [True, True, False]
    for asked, answer, predicted in rows:
        assert asked.image.shape == answer.image.shape == predicted.image.shape
        assert torch.equal(predicted.image, answer.image) == predicted.right
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 3
    shown = " ".join(str(k + 1) for k in task.table[puzzle.answer[0]].tolist())
    assert rows[0][1].caption.startswith(f"answer: {shown}")
    if x.ndim == 5:
        first = solved(task, puzzle)[0, 0]
        assert torch.equal(rows[0][1].image[:, :8, :8], first if first.ndim == 3 else first[:, 0])


def test_it_tells_its_settings():
    expected = "pieces=4, frames=1, gap=1 to 2, reversible=True, grouping='slots'"
    assert OPN(TinyNet()).extra_repr() == f"{expected}, channel_splitting=False, jitter=0, orders=12"
