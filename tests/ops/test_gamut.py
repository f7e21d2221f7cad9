"""The 313 bins, computed; soft encoding and its inverse."""

import hashlib

import numpy as np
import pytest
import torch

from pretext.core.rng import rng
from pretext.ops.gamut import BINS, annealed_mean, bins, soft_encode
from pretext.ops.lab import rgb_to_lab

# Of the authors' list of points, as little-endian int64, row by row.
AUTHORS = "2a39983ed60d5b52b717842d56d5f766982289e6d5a609582155f437cecc1045"


def test_the_bins_are_the_authors_points_in_their_order():
    table = bins()
    assert table.shape == (BINS, 2) == (313, 2)
    assert table[0].tolist() == [-90, 50]
    assert table[-1].tolist() == [100, 0]
    assert hashlib.sha256(table.numpy().astype("<i8").tobytes()).hexdigest() == AUTHORS


def test_who_changes_his_bins_does_not_change_ours():
    bins().zero_()
    assert bins()[0].tolist() == [-90, 50]


def test_known_weights():
    weights, near = soft_encode(torch.tensor([[0.0, 0.0], [5.0, 5.0]]), neighbours=5)
    np.testing.assert_allclose(weights[0], [0.6488, 0.0878, 0.0878, 0.0878, 0.0878], atol=5e-5)
    np.testing.assert_allclose(weights[1], [0.2489, 0.2489, 0.2489, 0.2489, 0.0046], atol=1e-4)
    assert bins()[near[0, 0]].tolist() == [0, 0]
    ten, _ = soft_encode(torch.zeros(1, 2), neighbours=10)
    np.testing.assert_allclose(ten[0], [0.6192, *[0.0838] * 4, *[0.01134] * 4, 0.00021], atol=5e-5)


def test_the_nearest_bins_are_found_and_weights_sum_to_one():
    ab = torch.randn(50, 7, 2, generator=rng("cpu", "gamut")) * 40
    weights, near = soft_encode(ab, neighbours=6)
    assert weights.shape == near.shape == (50, 7, 6)
    torch.testing.assert_close(weights.sum(-1), torch.ones(50, 7))
    assert (weights.diff(dim=-1) <= 0).all()
    distance = (ab[..., None, :] - bins()).norm(dim=-1)  # the slow way
    torch.testing.assert_close(distance.gather(-1, near), distance.sort(-1).values[..., :6])


def test_a_bin_comes_back_as_itself_when_the_temperature_goes_to_zero():
    table = bins()
    weights, near = soft_encode(table)
    dense = torch.zeros(BINS, BINS).scatter(1, near, weights)
    decoded = annealed_mean(dense.log()[:, :, None, None], temperature=0.05).flatten(1)
    torch.testing.assert_close(decoded, table, rtol=0, atol=0.05)


def test_the_nearest_bin_is_within_half_a_cell_diagonal_inside_the_gamut():
    rgb = torch.rand(3, 1, 5000, generator=rng("cpu", "inside"))
    ab = rgb_to_lab(rgb)[1:].flatten(1).T
    _, near = soft_encode(ab, neighbours=1)
    assert (bins()[near[:, 0]] - ab).norm(dim=1).max() <= 5 * 2**0.5 + 1e-3


def test_annealing_sharpens_as_printed():
    """f_T(z) = z^(1/T) / sum: at T = 0.38 (0.7, 0.3) becomes (0.9029, 0.0971); at 1 it is the mean."""
    logits = torch.full((1, BINS, 1, 1), -1e4)
    logits[0, 0], logits[0, 312] = np.log(0.7), np.log(0.3)
    first, last = bins()[0], bins()[312]
    torch.testing.assert_close(annealed_mean(logits).flatten(), 0.9029 * first + 0.0971 * last, rtol=0, atol=2e-2)
    torch.testing.assert_close(annealed_mean(logits, 1.0).flatten(), 0.7 * first + 0.3 * last)


@pytest.mark.parametrize(("channels", "temperature"), [(312, 0.38), (313, 0.0)])
def test_wrong_logits_and_temperatures_are_refused(channels, temperature):
    with pytest.raises(ValueError, match=r"annealed_mean: wants logits \(N, 313, h, w\)"):
        annealed_mean(torch.zeros(1, channels, 2, 2), temperature)
