"""Arrow of time: exact reversal of frames, sound and flow, and nothing to tell where time has no direction."""

import math
from functools import partial

import pytest
import torch
from clips import TinySound, TinyVideo, moving
from leaks import learnt, sit
from nets import TinyNet

from pretext.backbones.frames import Frames
from pretext.core.rng import rng
from pretext.ops.temporal import reverse, without_ends
from pretext.tasks.video.arrow_of_time import ArrowOfTime
from pretext.testing import check_task

ONE = partial(ArrowOfTime, directions="one")


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "arrow", *parts))


def waves(n=8, samples=40):
    return 2 * torch.rand(n, 1, samples, generator=rng("cpu", "waves")) - 1


def flows(n=8, frames=4, side=6):
    """Noise that keeps the law of flow: bytes from 1 to 255."""
    return torch.randint(1, 256, (n, 2, frames, side, side), generator=rng("cpu", "flows")) / 255


def numbered(n, window):
    return (torch.arange(window) / 64).view(1, 1, -1, 1, 1).expand(n, 3, window, 2, 2)


@pytest.mark.parametrize(
    ("factory", "backbone", "x", "kinds"),
    [
        (ArrowOfTime, TinyVideo(), moving(8, 4, 6), ("noise", "constant")),
        (partial(ONE, frames=4), TinyVideo(1), moving(8, 5, 6).mean(1, keepdim=True), ("noise", "constant")),
        (partial(ArrowOfTime, frames=30), TinySound(), waves(), ("noise", "constant")),
        # The contract's noise goes down to 0, which no flow does and which would turn round to more than 1.
        (ONE, TinyVideo(2), flows(), ("constant",)),
    ],
)
def test_it_keeps_the_contract(factory, backbone, x, kinds):
    drawn = factory is not ArrowOfTime
    check_task(factory, backbone, x, random=drawn, kinds=kinds)


@pytest.mark.parametrize("x", [moving(4, 6, 8), waves(4)])
def test_both_directions_are_the_clip_and_its_exact_reverse(x):
    backbone = TinyVideo() if x.ndim == 5 else TinySound()
    question, answer, given = pose(ArrowOfTime(backbone, trim=0), x)
    assert given is None
    assert answer.tolist() == [0, 1] * 4
    assert torch.equal(question[0::2], x)
    assert torch.equal(question[1::2], x.flip(2))
    assert torch.equal(reverse(question[1::2]), x)


def test_a_reversed_window_asks_the_same_with_the_answers_exchanged():
    x, task = moving(4, 6, 8), ArrowOfTime(TinyVideo())
    one, other = pose(task, x), pose(task, reverse(x))
    swap = torch.arange(8) ^ 1
    assert torch.equal(one.question[swap], other.question)
    assert torch.equal(one.answer[swap], 1 - other.answer)


def test_one_direction_is_that_of_its_label_and_both_are_as_likely_in_every_slot():
    task = ONE(TinyVideo())
    x = numbered(8, 4)
    labels = []
    for step in range(400):
        question, answer, _ = pose(task, x, step)
        assert torch.equal(question, torch.where(answer.view(-1, 1, 1, 1, 1) == 1, x.flip(2), x))
        labels.append(answer)
    assert (torch.stack(labels).float().mean(0) - 0.5).abs().max() < 4 * 0.5 / 20


def test_the_clip_is_drawn_anywhere_in_the_window():
    question, *_ = pose(ArrowOfTime(TinyVideo(), frames=4), numbered(2000, 8))
    numbers = (question[:, 0, :, 0, 0] * 64).long()
    assert torch.equal(numbers[0::2], numbers[1::2].flip(1))
    assert (numbers[0::2].diff(dim=1) == 1).all()
    starts = numbers[0::2, 0].bincount()
    assert len(starts) == 5
    assert ((starts - 400) ** 2 / 400).sum() < 20  # chi-square of 4 degrees: once in 2,000 times


def palindromes():
    half = moving(4, 4, 8)
    wave = waves(4)
    flow = flows(4, 3)
    return [
        (TinyVideo(), torch.cat((half, half.flip(2)), 2)),
        (TinyVideo(), torch.cat((half, half.flip(2)[:, :, 1:]), 2)),
        (TinySound(), torch.cat((wave, wave.flip(2)), 2)),
        (TinyVideo(2), torch.cat((flow, reverse(flow)), 2)),
    ]


@pytest.mark.parametrize(("net", "x"), palindromes())
def test_where_time_has_no_direction_the_score_is_exactly_chance(net, x):
    """Both questions are one, so half the answers are right and, by Jensen's inequality, the loss is ln 2 or more."""
    net.eval()
    task = ArrowOfTime(net)
    torch.nn.init.normal_(task.head.weight, std=1.0)
    question, answer, _ = pose(task, x)
    torch.testing.assert_close(question[0::2], question[1::2], rtol=0, atol=1e-6)
    grade = task.grade(task.solve(net(question), None), answer)
    assert grade.scores["accuracy"] == 0.5
    assert grade.loss.item() >= math.log(2) - 1e-6


def test_a_net_that_averages_over_frames_is_at_chance():
    net = Frames(TinyNet()).eval()
    task = ArrowOfTime(net)
    torch.nn.init.normal_(task.head.weight, std=1.0)
    puzzle = pose(task, moving(8, 6, 8))
    logits = task.solve(net(puzzle.question), None)
    torch.testing.assert_close(logits[0::2], logits[1::2])
    assert task.grade(logits, puzzle.answer).loss.item() >= math.log(2) - 1e-6


def test_the_flow_of_reversed_frames_is_what_the_question_shows_bit_for_bit():
    pytest.importorskip("cv2", reason="flow needs OpenCV: pip install 'pretext-tasks[flow]'")
    from datamodules.videos.flow import central

    grey = (255 * moving(3, 8, 32).mean(1)).round().byte().numpy()
    forward, again = (torch.stack([torch.from_numpy(central(g)) for g in x]) for x in (grey, grey[:, ::-1].copy()))
    assert (forward != 128).float().mean() > 0.05  # something moves
    question, *_ = pose(ArrowOfTime(TinyVideo(2)), forward / 255)
    shown = (255 * question).round().byte()
    assert torch.equal(shown[0::2], forward)
    assert torch.equal(shown[1::2], again)
    assert not torch.equal(forward.flip(2), again)  # nor is it only put in reverse order
    assert not torch.equal(256 - forward.int(), again.int())  # nor only negated


def test_flow_turned_round_is_flow_of_the_same_bytes():
    """Or a byte that only one direction can have would give it away."""
    every = torch.arange(1, 256) / 255
    x = every.view(1, 1, -1, 1, 1).expand(1, 2, -1, 1, 1)
    assert (255 * reverse(x)[0, 0, :, 0, 0]).round().sort().values.tolist() == list(range(1, 256))
    torch.testing.assert_close(reverse(reverse(x)), x, rtol=0, atol=1e-6)


def test_sounds_lose_three_tenths_at_either_end_and_rise_and_fall_alike():
    """Of 100 samples within 140: 30 are silenced at either end, 5 rise in equal steps, and as many fall."""
    x = torch.zeros(2, 1, 140)
    x[0, :, 30:130] = 0.5
    x[1] = 0.5  # as long as the window
    left = without_ends(x, 0.3)
    wanted = torch.zeros(140)
    wanted[60:100] = 0.5
    steps = 0.5 * torch.arange(1, 6) / 5
    wanted[60:65], wanted[95:100] = steps, steps.flip(0)
    torch.testing.assert_close(left[0, 0], wanted)
    assert left[1, 0].nonzero().flatten().tolist() == list(range(42, 98))
    question, *_ = pose(ArrowOfTime(TinySound()), x)
    assert torch.equal(question[0::2], left)
    assert torch.equal(question[1::2], left.flip(2))
    assert torch.equal(pose(ArrowOfTime(TinyVideo()), moving(2, 4, 6)).question[0::2], moving(2, 4, 6))


def test_the_trimmed_reverse_is_the_reversed_trim_bit_for_bit_and_silence_stays():
    x = waves(40, 90)
    for i in range(40):
        x[i, :, : i % 7] = 0
        x[i, :, 90 - i % 11 :] = 0
    assert torch.equal(without_ends(x.flip(2), 0.2), without_ends(x, 0.2).flip(2))
    assert not without_ends(torch.zeros(2, 1, 50), 0.2).any()
    assert without_ends(x[:, :, :1], 0.2).shape == (40, 1, 1)


def cut_hard(step, n=32):
    """Noise that is the same all the time, but was cut off hard where it begins and fades where it ends."""
    chance = rng("cpu", "cut hard", step)
    sounds = 0.3 + 0.6 * torch.rand(n, 1, 60, generator=chance)
    sounds[..., -10:] *= torch.linspace(1, 0.1, 10)
    return torch.nn.functional.pad(sounds, (10, 10))


def test_what_a_cut_tells_is_learnt_unless_the_ends_are_trimmed():
    scores = []
    for trim in (0, None):
        torch.manual_seed(0)
        net = TinySound()
        scores.append(learnt(ArrowOfTime(net, trim=trim), net, cut_hard, steps=150))
    assert scores[0] > 0.9
    assert abs(scores[1] - 0.5) < 4 * 0.5 / 640**0.5


def fading(step, n=16):
    """Pictures that grow dark: a direction that anyone sees."""
    chance = rng("cpu", "fading", step)
    ground = 0.5 + 0.5 * torch.rand(n, 3, 1, 8, 8, generator=chance)
    return ground * torch.linspace(1, 0.6, 6).view(1, 1, -1, 1, 1)


def test_it_learns_the_direction_where_there_is_one_and_not_where_there_is_none():
    torch.manual_seed(0)
    net = TinyVideo()
    task = ArrowOfTime(net)
    assert learnt(task, net, fading, steps=100) > 0.95
    for step in range(3):
        x = fading(step)
        assert sit(task, net, torch.cat((x, x.flip(2)), 2), step).scores["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("backbone", "shape", "kind"),
    [
        (TinyVideo(), (2, 3, 5, 8, 8), "windows"),
        (TinyVideo(), (2, 1, 80), "windows"),
        (TinySound(), (2, 1, 5), "waveforms"),
        (TinySound(), (2, 3, 6, 8, 8), "waveforms"),
    ],
)
def test_windows_that_are_too_short_or_of_another_kind_are_refused(backbone, shape, kind):
    with pytest.raises(ValueError, match=rf"ArrowOfTime wants {kind} .* at least 6, got .*raise window in the data"):
        pose(ArrowOfTime(backbone, frames=6), torch.rand(shape))


def test_backbones_for_images_are_refused():
    with pytest.raises(ValueError, match=r"ArrowOfTime needs a backbone with an axis 't'.*reads 'hw'"):
        ArrowOfTime(TinyNet())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": "back"}, "directions='back'"),
        ({"frames": 1}, "frames=1"),
        ({"trim": 0.1}, "trim=0.1"),
        ({"trim": -0.1}, "trim=-0.1"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"ArrowOfTime: {message}"):
        ArrowOfTime(TinyVideo(), **options)
    with pytest.raises(ValueError, match=r"ArrowOfTime: trim=0\.5"):
        ArrowOfTime(TinySound(), trim=0.5)


@pytest.mark.parametrize(("backbone", "x"), [(TinyVideo(), moving(2, 3, 8)), (TinySound(), waves(2, 200))])
def test_the_drawing_undoes_the_reversal_and_marks_right_and_wrong(backbone, x):
    task = ArrowOfTime(backbone)
    puzzle = pose(task, x)
    rows = task.draw(puzzle, torch.eye(2)[[0, 1, 0, 0]])  # the last is wrong
    assert [row[2].right for row in rows] == [True, True, True, False]
    for asked, answer, predicted in rows:
        assert torch.equal(predicted.image, answer.image) == predicted.right
        assert torch.equal(asked.image, answer.image) == answer.caption.startswith("answer: forward")
    assert torch.equal(rows[0][1].image, rows[1][1].image)
    assert rows[3][2].caption == "prediction: forward"
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 4
    if x.ndim == 5:
        assert torch.equal(rows[1][0].image[..., :8], x[0, :, -1])


def test_it_tells_its_settings():
    assert ArrowOfTime(TinyVideo(), frames=4).extra_repr() == "frames=4, directions='both', trim=0"
    assert ArrowOfTime(TinySound()).extra_repr().endswith("trim=0.3")
