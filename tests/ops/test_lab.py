"""Colour: known Lab values, the round trip, gradients, greys, and the projection against chromatic aberration."""

import pytest
import torch
from tolerance import LAB, rounding

from pretext.core.rng import rng
from pretext.ops import gamut
from pretext.ops.constants import constant
from pretext.ops.lab import lab_to_rgb, lightness, project_aberration, rgb_to_lab


def cube(n=33):
    """Every colour of sRGB on a grid, as an image: (3, 1, n ** 3)."""
    steps = torch.linspace(0, 1, n)
    return torch.cartesian_prod(steps, steps, steps).T.reshape(3, 1, -1)


def textbook(x):
    """CIE's and sRGB's formulas as they are printed, in double precision."""
    x = x.double()
    linear = torch.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92)
    matrix = [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
    xyz = torch.einsum("rc,chw->rhw", torch.tensor(matrix, dtype=torch.float64), linear)
    t = xyz / torch.tensor([0.95047, 1.0, 1.08883], dtype=torch.float64).view(3, 1, 1)
    f = torch.where(t > 0.008856, t ** (1 / 3), 7.787 * t + 4 / 29)
    return torch.stack((116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])))


def test_it_is_the_textbook_formula():
    torch.testing.assert_close(rgb_to_lab(cube()).double(), textbook(cube()), rtol=0, atol=LAB)


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
    ],
)
def test_known_colours(rgb, lab):
    seen = rgb_to_lab(torch.tensor(rgb, dtype=torch.float32).view(3, 1, 1)).flatten()
    torch.testing.assert_close(seen, torch.tensor(lab, dtype=torch.float32), rtol=0, atol=2e-2)


def test_the_range_of_srgb():
    lab = rgb_to_lab(cube()).flatten(1)
    expected = torch.tensor([[0, -86.18, -107.86], [100, 98.25, 94.48]])
    torch.testing.assert_close(torch.stack((lab.amin(1), lab.amax(1))), expected, rtol=0, atol=0.02)


def test_the_way_back_returns_every_colour():
    assert (lab_to_rgb(rgb_to_lab(cube())) - cube()).abs().max() < 1e-4  # 1/255 is 39 times as much


def test_every_grey_byte_survives():
    values = torch.arange(256).float().div(255)
    greys = values.expand(3, 1, 256)
    back = (lab_to_rgb(rgb_to_lab(greys)) * 255).round()
    assert torch.equal(back, torch.arange(256.0).expand(3, 1, 256))


def test_colours_out_of_the_gamut_are_clamped():
    wild = torch.tensor([50.0, 120.0, -120.0]).view(1, 3, 1, 1)
    rgb = lab_to_rgb(wild)
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_greys_are_neutral():
    greys = torch.linspace(0, 1, 100).expand(3, 1, 100)
    assert rgb_to_lab(greys)[1:].abs().max() < 5e-3


def test_lightness_is_l():
    torch.testing.assert_close(lightness(cube()), rgb_to_lab(cube())[:1], rtol=0, atol=LAB)


@pytest.mark.parametrize("function", [rgb_to_lab, lab_to_rgb, lightness])
def test_gradients_are_those_of_finite_differences(function):
    x = torch.rand(1, 3, 3, 3, generator=rng("cpu", "colour")) * 0.6 + 0.2
    x = rgb_to_lab(x) if function is lab_to_rgb else x
    step = 1e-2 if function is lab_to_rgb else 1e-3
    x.requires_grad_()
    towards = torch.randn(function(x).shape, generator=rng("cpu", "towards"))
    (function(x) * towards).sum().backward()
    for pixel in ((0, 0, 0, 0), (0, 1, 1, 2), (0, 2, 2, 1)):
        moved = torch.zeros_like(x)
        moved[pixel] = step
        with torch.no_grad():
            slope = ((function(x + moved) - function(x - moved)) * towards).sum() / (2 * step)
        torch.testing.assert_close(x.grad[pixel], slope, rtol=2e-2, atol=2e-2)


def test_gradients_are_finite_at_black_and_white():
    x = torch.stack((torch.zeros(3, 2, 2), torch.ones(3, 2, 2))).requires_grad_()
    rgb_to_lab(x).square().sum().backward()
    assert x.grad.isfinite().all()


def test_precision_is_kept_under_autocast_and_for_half_input():
    x = torch.rand(2, 3, 4, 4, generator=rng("cpu", "autocast"))
    expected = rgb_to_lab(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rgb_to_lab(x), expected)
    half = x.bfloat16()
    assert torch.equal(rgb_to_lab(half), rgb_to_lab(half.float()))


def test_the_projection_is_the_one_of_the_paper():
    """B = I - a a^T / (a^T a), a = (-1, 2, -1): idempotent, keeps greys, annihilates a."""
    eye = project_aberration(torch.eye(3).view(3, 3, 1)).view(3, 3)
    expected = torch.tensor([[5 / 6, 1 / 3, -1 / 6], [1 / 3, 1 / 3, 1 / 3], [-1 / 6, 1 / 3, 5 / 6]])
    torch.testing.assert_close(eye, expected)
    x = torch.rand(2, 3, 4, 4, generator=rng("cpu", "project"))
    torch.testing.assert_close(project_aberration(project_aberration(x)), project_aberration(x))
    grey = x[:, :1].expand_as(x)
    torch.testing.assert_close(project_aberration(grey), grey)
    a = torch.tensor([-1.0, 2.0, -1.0]).view(3, 1, 1)
    assert project_aberration(a).abs().max() < 1e-6
    torch.testing.assert_close(project_aberration(x + 0.3 * a), project_aberration(x))


def test_leading_dimensions_are_free():
    x = torch.rand(2, 5, 3, 4, 6, generator=rng("cpu", "lead"))
    torch.testing.assert_close(rgb_to_lab(x)[1, 2], rgb_to_lab(x[1, 2]), rtol=0, atol=LAB)
    torch.testing.assert_close(
        project_aberration(x)[1, 2], project_aberration(x[1, 2]), rtol=0, atol=rounding(1, 3)
    )  # three products


def test_constants_first_made_in_inference_mode_serve_training_too():
    constant.cache_clear()
    gamut._bins.cache_clear()
    with torch.inference_mode():
        rgb_to_lab(torch.rand(3, 2, 2))
        gamut.soft_encode(torch.zeros(1, 2))
    x = torch.rand(3, 2, 2).requires_grad_()
    gamut.annealed_mean(torch.zeros(1, 313, 1, 1).requires_grad_()).sum().backward()
    rgb_to_lab(x).sum().backward()
    assert x.grad.isfinite().all()
