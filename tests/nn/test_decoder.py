"""The decoder: frames that do not see one another, of exactly the size asked for; and errors in closed form."""

import pytest
import torch
from clips import TinyVideo
from nets import TinyNet
from torch import nn

from pretext.core.rng import rng
from pretext.core.types import Panel
from pretext.nn.decoder import (
    DULL,
    Decoder,
    _sizes,
    _slices,
    blind_picture,
    clip_rows,
    decode,
    relative_errors,
    shrink,
    stage_of,
)


def noise(*shape):
    return torch.randn(shape, generator=rng("cpu", "decoder", *shape))


def decoder(**options):
    torch.manual_seed(0)
    return Decoder(5, 3, width=8, **options)


def test_it_is_six_convolutions_over_pictures_and_nothing_over_time():
    layers = [m for m in decoder().modules() if not list(m.children())]
    assert [type(m) for m in layers] == [nn.Conv2d] * 6
    assert [m.kernel_size for m in layers] == [(3, 3)] * 6
    assert [m.in_channels for m in layers] == [5, 8, 8, 8, 4, 2]


@pytest.mark.parametrize(
    ("t", "frames", "expected"),
    [
        (4, 4, [0, 1, 2, 3]),
        (1, 3, [0, 0, 0]),
        (2, 6, [0, 0, 0, 1, 1, 1]),
        (2, 3, [0, 1, 1]),
        (8, 2, [2, 6]),
        (3, 1, [1]),
    ],
)
def test_a_frames_slice_is_the_one_its_middle_lies_in(t, frames, expected):
    assert _slices(t, frames, torch.device("cpu")).tolist() == expected


@pytest.mark.parametrize(("t", "frames"), [(4, 4), (2, 6), (3, 7), (1, 2)])
def test_a_frame_depends_on_its_own_slice_alone(t, frames):
    net, seen = decoder().train(), noise(2, 5, t, 3, 3)
    before = net(seen, frames, 12, 12)
    for j in range(t):
        other = seen.clone()
        other[:, :, j] += 1
        changed = (net(other, frames, 12, 12) != before).flatten(3).any(3).any(0).any(0)
        assert torch.equal(changed, _slices(t, frames, seen.device) == j)


def test_without_places_slices_in_another_order_are_frames_in_another_order():
    net, seen, order = decoder(), noise(2, 5, 4, 3, 3), torch.tensor([2, 0, 3, 1])
    nn.init.zeros_(net.places)
    torch.testing.assert_close(net(seen[:, :, order], 4, 6, 6), net(seen, 4, 6, 6)[:, :, order])


def test_frames_of_one_slice_are_told_apart_by_their_places_alone():
    net, seen = decoder(places=4), noise(1, 5, 1, 3, 3)
    drawing = net(seen, 4, 6, 6)
    assert len({frame.sum().item() for frame in drawing[0].unbind(1)}) == 4
    torch.testing.assert_close(net(seen, 1, 6, 6), drawing[:, :, :1])  # a single frame has the first place
    ends = net(seen, 9, 6, 6)[:, :, [0, -1]]
    torch.testing.assert_close(ends, drawing[:, :, [0, -1]])
    nn.init.zeros_(net.places)
    assert net(seen, 4, 6, 6).diff(dim=2).abs().max() < 1e-6


@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (4, 4), (20, 2)])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (32, 32), (6, 49)])
def test_frames_have_exactly_the_size_asked_for(grid, size):
    net = decoder()
    assert net(noise(2, 5, 2, *grid), 3, *size).shape == (2, 3, 3, *size)
    assert net(noise(2, 5, *grid), 3, *size).shape == (2, 3, 3, *size)  # a map of images is one slice


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (4, 32, [4, 4, 4, 8, 16, 32]),
        (1, 64, [2, 4, 8, 16, 32, 64]),
        (3, 49, [3, 4, 7, 13, 25, 49]),
        (28, 7, [7, 7, 7, 7, 7, 7]),
        (8, 8, [8, 8, 8, 8, 8, 8]),
    ],
)
def test_sizes_double_as_late_as_they_can(start, end, expected):
    assert _sizes(start, end) == expected


@pytest.mark.parametrize("frames", [2, 6])
def test_the_gradient_reaches_every_weight_place_and_slice(frames):
    net, seen = decoder(places=2), noise(2, 5, 2, 3, 3).requires_grad_()
    net(seen, frames, 12, 12).square().sum().backward()
    assert all(p.grad.flatten(1).any(1).all() for p in net.parameters() if p.ndim > 1)
    assert seen.grad.flatten(3).any(3).all()


def test_it_starts_near_a_blind_guess():
    target = torch.rand(4, 3, 6, 12, 12, generator=rng("cpu", "target"))
    said = Decoder(8, 3)(noise(4, 8, 6, 3, 3).relu(), 6, 12, 12)
    assert relative_errors(decode(said, blind_picture(target)), target).mean().item() == pytest.approx(1, abs=0.05)


def test_the_blind_guess_costs_1_and_the_truth_nothing_whatever_the_scale():
    for channels, scale, shift in ((3, 1, 0), (2, 0.1, 0.5), (1, 20, -7)):
        target = scale * noise(4, channels, 3, 5, 5) * torch.arange(1.0, channels + 1).view(-1, 1, 1, 1) + shift
        guess = blind_picture(target)
        assert guess.picture.shape == (1, channels, 3, 5, 5)
        assert relative_errors(guess.picture, target).mean().item() == pytest.approx(1, abs=1e-5)
        assert relative_errors(target, target).tolist() == [0] * 4
        off = decode(torch.full_like(target, 0.5), guess)  # half a deviation off in every place
        assert relative_errors(off, target).mean().item() == pytest.approx(1 + 0.5**2, abs=1e-5)


def test_what_a_decoder_says_are_deviations_from_the_mean_by_channel():
    target = noise(4, 2, 3, 5, 5) * torch.tensor([1.0, 9.0]).view(2, 1, 1, 1)
    mean, deviation = (f(target.transpose(0, 1).flatten(1), dim=1) for f in (torch.mean, torch.std))
    drawn = decode(torch.ones(1, 2, 3, 5, 5), blind_picture(target))
    torch.testing.assert_close(drawn[0, :, 0, 0, 0], mean + deviation, rtol=5e-3, atol=0)


def test_errors_are_each_items_own_by_the_deviation_of_all():
    target = torch.tensor([0.0, 2.0]).view(2, 1, 1, 1, 1).expand(2, 1, 1, 2, 2)  # variance 1
    prediction = target + torch.tensor([3.0, 0.5]).view(2, 1, 1, 1, 1)
    assert relative_errors(prediction, target).tolist() == [9, 0.25]


def test_of_dull_pictures_a_grey_level_counts_as_their_deviation():
    dull = torch.full((2, 3, 2, 4, 4), 0.5)
    assert relative_errors(dull, dull).tolist() == [0, 0]
    assert relative_errors(dull + 1 / 255, dull).tolist() == pytest.approx([1, 1], rel=1e-4)
    assert blind_picture(dull).deviation.flatten().tolist() == pytest.approx([DULL**0.5] * 3)


def test_shrinking_averages_cells_and_what_the_border_leaves_of_them():
    x = noise(2, 3, 4, 6, 6)
    torch.testing.assert_close(shrink(x, 2), x.unflatten(4, (3, 2)).unflatten(3, (3, 2)).mean((4, 6)))
    assert shrink(x, 1).equal(x)
    odd = shrink(x[..., :5, :], 2)
    assert odd.shape == (2, 3, 4, 3, 3)
    torch.testing.assert_close(odd[..., 2, :], x[..., 4, :].unflatten(-1, (3, 2)).mean(-1))


def test_the_deepest_stage_is_read_or_the_one_that_is_named():
    assert stage_of(TinyVideo(width=3), None, None) == ("conv2", 6)
    assert stage_of(TinyVideo(width=3), "conv1", None) == ("conv1", 3)


def test_a_stage_that_is_not_there_is_refused():
    net = TinyNet()
    with pytest.raises(ValueError, match="Decoder reads stage 'conv9', but TinyNet has conv1, conv2; choose one"):
        stage_of(net, "conv9", decoder())
    net.stages = {}
    with pytest.raises(ValueError, match="Decoder reads the deepest stage, but TinyNet has none; choose"):
        stage_of(net, None, decoder())


@pytest.mark.parametrize("options", [{"inputs": 0}, {"outputs": 0}, {"width": 3}, {"places": 0}])
def test_numbers_out_of_range_are_refused(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"Decoder: .*{name}={value}"):
        Decoder(**({"inputs": 5, "outputs": 3} | options))


def test_a_drawing_tells_how_far_each_prediction_is_off():
    answer = torch.tensor([[0.5, -0.5], [-0.5, 0.5]]).expand(2, 3, 1, 2, 2)  # mean 0, variance 1/4
    asked = [Panel(torch.zeros(3, 2, 2), "what?")] * 2
    drawing = clip_rows(asked, answer, answer + torch.tensor([0.25, 0.375**0.5]).view(2, 1, 1, 1, 1))
    assert [[panel.caption for panel in row] for row in drawing] == [
        ["what?", "answer", "prediction: 0.25 of a blind guess's error"],
        ["what?", "answer", "prediction: 1.50 of a blind guess's error"],
    ]
    assert [len(row) for row in clip_rows(asked, answer, None)] == [2, 2]
