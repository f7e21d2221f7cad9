"""Edges and corners: ramps, squares and turns have known answers."""

import math

import pytest
import torch
from tolerance import rounding

from pretext.core.rng import rng
from pretext.ops.geometric import quarter_turn
from pretext.ops.structure import LUMA, blur, corner_strength, edge_strength

TERMS = 64  # of the longest sum on the way


def square(side=32, low=8, high=24):
    x = torch.zeros(1, 3, side, side)
    x[..., low:high, low:high] = 1
    return x


def test_a_ramp_has_its_slope_everywhere_within():
    across = torch.arange(24.0).expand(1, 3, 24, 24) / 48
    down, both = across.mT, (across + across.mT) / 2
    for ramp, slope in ((across, 1), (down, 1), (both, math.sqrt(2) / 2)):
        within = edge_strength(ramp, 1.0)[..., 6:-6, 6:-6]
        known = torch.full_like(within, slope * sum(LUMA) / 48)
        torch.testing.assert_close(within, known, rtol=0, atol=rounding(1, TERMS))
        # One direction has no slope at all. The root magnifies what is left of it: sqrt(eps of the squares).
        assert corner_strength(ramp)[..., 12, 12].item() < math.sqrt(rounding(1 / 48**2, TERMS))


def test_what_is_flat_has_neither():
    flat = torch.full((2, 3, 16, 16), 0.3)
    assert edge_strength(flat).max() < rounding(0.3, TERMS)
    assert corner_strength(flat).max() < rounding(0.3, TERMS)


def test_edges_lie_on_the_sides_of_a_square_and_corners_at_its_corners():
    edges, corners = edge_strength(square())[0, 0], corner_strength(square())[0, 0]
    assert edges[16, 8] > 20 * edges[16, 16]
    assert edges[16, 8] == pytest.approx(float(edges[8, 16]), abs=rounding(1, TERMS))
    assert corners[8:10, 8:10].min() > 5 * corners[16, 8]
    peak = divmod(int(corners[:16, :16].argmax()), 16)
    assert max(abs(place - 8) for place in peak) <= 1


def test_both_turn_with_the_picture_and_grow_with_contrast():
    x = torch.rand(2, 3, 20, 20, generator=rng("cpu", "structure"))
    for measure in (edge_strength, corner_strength):
        turned = measure(quarter_turn(x, 1))
        torch.testing.assert_close(turned, quarter_turn(measure(x), 1), rtol=0, atol=1e-4)
        torch.testing.assert_close(measure(x / 2), measure(x) / 2, rtol=0, atol=1e-4)


def test_a_blur_keeps_the_mean_and_what_is_flat():
    point = torch.zeros(1, 1, 21, 21)
    point[..., 10, 10] = 1
    spread = blur(point, 2.0)[0, 0]
    assert float(spread.sum()) == pytest.approx(1, abs=rounding(1, TERMS))
    places = torch.arange(21.0) - 10
    # A sampled Gaussian cut off at 3 deviations loses 3 % of its variance.
    assert float((spread.sum(0) * places**2).sum()) == pytest.approx(4, rel=0.05)
    assert blur(point, 0) is point
