"""What lenses leave, and what statistics measure, in closed form."""

import math

import pytest
import torch
from shortcuts import smooth, textures

from pretext.audit import lenses, statistics
from pretext.core.rng import rng
from pretext.core.types import Puzzle


def draw(*key):
    return rng("cpu", "lenses", *key)


def test_noise_and_constants_keep_shapes_and_types_and_nothing_else():
    x = {"rgb": textures(4).unsqueeze(2).repeat(1, 1, 5, 1, 1), "audio": torch.ones(4, 1, 90, dtype=torch.int16)}
    for lens in (lenses.noise, lenses.constant):
        made = lens(x, draw())
        for name, leaf in x.items():
            assert made[name].shape == leaf.shape
            assert made[name].dtype == leaf.dtype
            assert not torch.equal(made[name], leaf)
            assert torch.equal(lens(x, draw())[name], made[name])
    flat = lenses.constant(x, draw())
    assert (flat["rgb"] == flat["rgb"][:, :, :1, :1, :1]).all()
    assert (flat["audio"] == flat["audio"][:, :, :1]).all()
    noise = lenses.noise(x, draw())["rgb"].float()
    assert abs(noise.mean() - 127.5) < 4 * 255 / 12**0.5 / noise.numel() ** 0.5


@pytest.mark.parametrize("lens", [lenses.noise, lenses.constant, lenses.aberration])
def test_what_is_scored_is_the_same_for_all_items_and_drawn_anew(lens):
    x = {"rgb": textures(4), "audio": torch.ones(4, 1, 90, dtype=torch.int16)}
    first, second = (lenses.same(x, draw(turn), lens=lens) for turn in (1, 2))
    for name, leaf in x.items():
        assert first[name].shape == leaf.shape
        assert torch.equal(first[name], first[name][:1].expand(leaf.shape))
        assert not torch.equal(first[name], second[name])
        assert not torch.equal(lens(x, draw(1))[name][0], lens(x, draw(1))[name][1])


def test_borders_keep_the_frame_of_pictures_and_the_ends_of_sounds():
    picture, sound = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 160) + 1
    question = lenses.borders(None, Puzzle({"a": picture, "b": sound}, 0), draw()).question
    inside = question["a"][..., 2:-2, 2:-2]
    assert (inside == inside[:1, :, :1, :1]).all()  # one colour
    changed = question["a"] != picture
    changed[..., 2:-2, 2:-2] = False
    assert not changed.any()
    assert torch.equal(
        question["b"] == 0, (torch.arange(160) >= 10).logical_and(torch.arange(160) < 150).expand(2, 1, -1)
    )


def test_borders_from_within_are_mirrored_at_an_eighth_of_the_side():
    """Of 32 px the rows 0 and 1 show the rows 7 and 6, and so on all round; of 160 samples the first shows the 40th."""
    picture, sound = torch.rand(2, 3, 32, 32), torch.rand(2, 1, 160) + 1
    question = lenses.borders_from_within(None, Puzzle({"a": picture, "b": sound}, 0), draw()).question
    rows = torch.tensor([7, 6, 5, 4, *range(4, 28), 27, 26, 25, 24])
    mirrored = picture[..., rows, :][..., rows]
    edge = torch.ones(32, 32, dtype=torch.bool)
    edge[2:-2, 2:-2] = False
    assert torch.equal(question["a"][..., edge], mirrored[..., edge])
    rest = question["a"][..., ~edge]
    assert (rest == rest[:1, :, :1]).all()  # one colour
    assert torch.equal(question["b"][..., :10], sound[..., 30:40].flip(-1))
    assert torch.equal(question["b"][..., -10:], sound[..., 120:130].flip(-1))
    assert not question["b"][..., 10:-10].any()


@pytest.mark.parametrize(
    "shape", [(2, 3, 7, 7), (2, 3, 4, 32, 32), (2, 3, 2, 2), (2, 3, 1, 1), (2, 1, 3), (2, 1, 8, 64)]
)
def test_borders_from_within_have_the_shape_of_whatever_is_shown(shape):
    x = torch.rand(shape)
    assert lenses.borders_from_within(None, Puzzle(x, 0), draw()).question.shape == shape


def test_a_trace_as_wide_as_an_eighth_is_not_in_borders_from_within():
    """A wider one is: it looks like content."""
    picture = torch.full((2, 3, 32, 32), 0.5)
    for width, there in ((4, False), (5, True)):
        traced = torch.ones_like(picture)
        traced[..., width:-width, width:-width] = picture[..., width:-width, width:-width]
        shown = lenses.borders_from_within(None, Puzzle(traced, 0), draw()).question
        assert (shown == 1).any() == there


def test_how_much_borders_keep_depends_on_the_size():
    """A pixel all round is 24 of the 49 of a tile of 7 px; two are 240 of the 1,024 of a picture of 32 px."""
    tile, picture, sound = torch.rand(2, 3, 7, 7), torch.rand(2, 3, 32, 32), torch.rand(2, 1, 160)
    assert lenses.kept_by_borders(tile) == pytest.approx(24 / 49)
    assert lenses.kept_by_borders({"a": picture, "b": sound}) == pytest.approx(240 / 1024)
    assert lenses.kept_by_borders(sound) == pytest.approx(20 / 160)


def test_a_lens_leaves_the_middle_and_moves_red_and_blue_apart():
    """Red is green enlarged by 1.03: in the middle both are alike, at the edges of 64 px a pixel apart."""
    x = lenses.aberration(textures(8, 64), draw()).float()
    red, green, blue = x.unbind(1)
    for other in (red, blue):
        apart = (other - green).square()
        assert apart[:, 30:34, 30:34].mean() < 0.3 * apart[:, :4, :4].mean()
    assert torch.equal(lenses.aberration(textures(8, 64), draw()), x.to(torch.uint8))


def test_grain_does_not_go_on_from_pixel_to_pixel():
    green = lenses.aberration(textures(8, 64), draw())[:, 1].float()
    green = green - green.mean()
    alike = (green[:, :, 1:] * green[:, :, :-1]).mean() / green.square().mean()
    assert abs(alike) < 4 / (8 * 64 * 63) ** 0.5 + 0.01  # a fraction of a line is shared, as `off` says


def test_blocks_of_jpeg_are_where_they_were_put():
    """Errors of neighbouring columns differ most where a block of 8 ends."""
    x = smooth(32, 48)
    for shift in (0, 4):
        off = lenses.reencoded(x, draw(), shift=shift).float() - x
        step = off.diff(dim=-1).abs().mean((0, 1, 2))[:40].view(-1, 8).mean(0)
        assert int(step.argmax()) == 7 - shift


def test_kernels_differ_and_flow_and_sound_are_left_alone():
    x = {"rgb": textures(2, 32), "flow": textures(2, 32)[:, :2], "audio": torch.ones(2, 1, 9, dtype=torch.int16)}
    one, other = (lenses.resized(x, draw(), kernel=kernel) for kernel in ("lanczos", "bilinear"))
    assert not torch.equal(one["rgb"], other["rgb"])
    for name in ("flow", "audio"):
        assert torch.equal(one[name], x[name])


def test_moments_are_means_and_deviations():
    x = torch.stack((torch.full((2, 4, 4), 0.5), torch.tensor([0.0, 1.0]).repeat(2, 4, 2)), 1)
    torch.testing.assert_close(statistics.moments(x), torch.tensor([[0.5, 0.5, 0.0, 0.5]] * 2))


def test_energy_is_the_logarithm_of_what_changes():
    clip = torch.zeros(1, 3, 3, 2, 2)
    clip[:, :, 1], clip[:, :, 2] = 0.5, 0.75
    torch.testing.assert_close(statistics.energy(clip).exp(), torch.tensor([[0.5] * 4 + [0.25] * 4]), rtol=1e-4, atol=0)
    sound = torch.cat((torch.full((1, 1, 80), 0.1), torch.full((1, 1, 80), -0.4)), 2)
    loud = statistics.energy(sound)[0]
    torch.testing.assert_close(loud, torch.tensor([0.1] * 8 + [0.4] * 8).log(), rtol=0, atol=1e-4)
    assert statistics.energy(torch.rand(2, 3, 8, 8)) is None


def test_stillness_and_fades():
    sound = torch.cat((torch.zeros(1, 1, 40), torch.full((1, 1, 120), 0.5)), 2)
    assert statistics.stillness(sound)[0].tolist() == [1.0] * 4 + [0.0] * 12
    clip = torch.linspace(0, 1, 5).view(1, 1, 5, 1, 1).expand(1, 3, 5, 2, 2)
    torch.testing.assert_close(statistics.fade(clip), torch.tensor([[-0.5, 0.5]]))
    assert statistics.stillness(clip)[0].tolist() == [0.0] * 8
    assert statistics.fade(clip[:, :, :2]) is None


def test_block_phase_finds_a_step_of_eight_and_the_spectrum_a_blur():
    x = torch.rand(2, 3, 33, 33, generator=draw("steps"))
    stepped = x + (torch.arange(33) // 8 * 2.0)
    assert statistics.blocks(stepped)[:, 8:].argmax(1).tolist() == [7, 7]
    assert abs(float(statistics.blocks(x).mean())) < 1e-6  # beside their mean
    small = torch.nn.functional.interpolate(x, (16, 16), mode="bilinear", antialias=True)
    blurred = torch.nn.functional.interpolate(small, (33, 33), mode="bilinear")
    assert (statistics.spectrum(blurred) < statistics.spectrum(x) - 1)[:, 4:].all()
    assert statistics.blocks(torch.rand(1, 3, 16, 16)) is None
    assert statistics.spectrum(torch.rand(1, 2, 4, 32, 32)) is None  # flow


def test_white_noise_has_as_much_of_every_frequency():
    found = statistics.spectrum(torch.rand(64, 1, 32, 32, generator=draw("white")))
    # Of each ring the mean of some 40 exponential variables, over 64 pictures: four standard errors.
    assert found.exp().mean(0).sub(1).abs().max() < 4 / math.sqrt(40 * 64) * 2


@pytest.mark.parametrize("measure", [statistics.moments, statistics.blocks, statistics.spectrum])
def test_measures_of_clips_are_means_over_frames(measure):
    frames = torch.rand(2, 3, 1, 33, 33, generator=draw("clip"))
    torch.testing.assert_close(measure(frames.expand(-1, -1, 4, -1, -1)), measure(frames), rtol=1e-4, atol=1e-5)
