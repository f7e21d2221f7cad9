"""Rebalancing: closed forms, counts that nothing rounds, and a uniform start."""

import copy

import pytest
import torch
from tolerance import rounding

from pretext.core.rng import rng
from pretext.nn.rebalance import Rebalance, balance
from pretext.ops.gamut import bins

TWO = torch.tensor([[0.0, 0.0], [10.0, 0.0]])


def observed(share=0.5, sigma=5.0, classes=313, key=0):
    """A rebalancing of 313 bins that has seen 10,000 uneven observations."""
    it = Rebalance(bins()[:classes], share, sigma)
    uneven = torch.rand(classes, generator=rng("cpu", "rebalance", key)) ** 8
    seen = uneven.multinomial(10_000, replacement=True, generator=rng("cpu", "rebalance", key, "seen"))
    it.observe(seen, torch.ones(10_000))
    return it


def test_known_weights():
    torch.testing.assert_close(
        balance(torch.tensor([0.9, 0.1]), 0.5), torch.tensor([0.8824, 2.0588]), rtol=0, atol=5e-5
    )
    torch.testing.assert_close(balance(torch.full((313,), 1 / 313), 0.5), torch.ones(313))
    torch.testing.assert_close(balance(torch.tensor([0.8, 0.2]), 0.0), torch.tensor([0.625, 2.5]))  # 1 / (Q p)


def test_the_weights_of_what_was_counted():
    it = Rebalance(TWO, sigma=0)
    it.observe(torch.tensor([[0] * 9 + [1]] * 10_000), torch.ones(10_000, 10))
    torch.testing.assert_close(it.distribution(), torch.tensor([0.9, 0.1]), rtol=0, atol=2e-5)
    torch.testing.assert_close(it.weights(), torch.tensor([0.8824, 2.0588]), rtol=0, atol=2e-4)


@pytest.mark.parametrize("sigma", [0.0, 5.0])
def test_all_weights_are_one_at_the_start(sigma):
    assert torch.equal(Rebalance(bins(), sigma=sigma).weights().round(decimals=5), torch.ones(313))


def test_a_whole_share_of_the_uniform_makes_all_weights_one_whatever_was_seen():
    torch.testing.assert_close(observed(share=1.0).weights(), torch.ones(313))


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("sigma", [0.0, 5.0])
def test_the_mean_weight_is_one_and_rarer_is_heavier(share, sigma):
    it = observed(share, sigma)
    p, w = it.distribution(), it.weights()
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    assert (p * w).sum().item() == pytest.approx(1, abs=1e-5)
    assert (w[p.argsort()].diff() <= 0).all()
    assert w.max() > 1.05 * w.min()


def test_a_fraction_of_an_observation_counts_as_one():
    it, whole = Rebalance(bins()), Rebalance(bins())
    it.observe(torch.tensor([[3, 7]]), torch.tensor([[0.25, 0.75]]))
    it.observe(torch.tensor([3, 3, 3]), torch.tensor([0.25, 0.25, 0.25]))
    it.observe(torch.tensor([7, 9]), torch.tensor([0.25, 0.0]))
    whole.observe(torch.tensor([3, 7]), torch.ones(2))
    assert torch.equal(it.counts, whole.counts)


def test_the_order_of_observations_does_not_matter():
    weights = torch.rand(5000, generator=rng("cpu", "order"))
    classes = (weights * 313).long()
    one, other = Rebalance(bins()), Rebalance(bins())
    one.observe(classes, weights)
    for part in torch.randperm(5000, generator=rng("cpu", "parts")).split(700):
        other.observe(classes[part], weights[part])
    assert torch.equal(one.counts, other.counts)


def test_smoothing_lends_to_neighbours_by_distance_and_only_moves_mass():
    """A neighbour 10 away at sigma 5 gets e^-2 of what stays, so 1 / (1 + e^-2) = 0.8808 stays."""
    it = Rebalance(TWO)
    it.observe(torch.zeros(1_000_000, dtype=torch.int64), torch.ones(1_000_000))
    torch.testing.assert_close(it.distribution(), torch.tensor([0.8808, 0.1192]), rtol=0, atol=1e-4)
    full = observed()
    centre = int(full.counts.argmax())
    alone = Rebalance(bins())
    alone.observe(torch.full((1_000_000,), centre), torch.ones(1_000_000))
    distance = (bins() - bins()[centre]).norm(dim=1)
    lent = alone.distribution()[distance.argsort()]
    assert (lent.diff() <= rounding(lent.max(), 313)).all()  # bins at one distance are lent the same, but for rounding


def test_counts_keep_growing_where_floats_would_stand_still():
    it = Rebalance(TWO)
    it.counts += 2**50
    before = it.counts.clone()
    it.observe(torch.tensor([1]), torch.ones(1))
    assert (it.counts - before).tolist() == [0, 2**16]


def test_a_cast_leaves_the_counts_and_nearly_the_weights():
    it = observed()
    cast = copy.deepcopy(it).bfloat16()
    assert torch.equal(cast.counts, it.counts)
    torch.testing.assert_close(cast.weights(), it.weights(), rtol=0.01, atol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(it.weights(), observed().weights())


def test_counts_travel_in_a_checkpoint_and_nothing_else_does():
    it, twin = observed(), Rebalance(bins())
    assert list(it.state_dict()) == ["counts"]
    twin.load_state_dict(it.state_dict())
    assert torch.equal(twin.weights(), it.weights())
    assert not torch.equal(twin.weights(), Rebalance(bins()).weights())


def test_no_gradient_passes():
    it = Rebalance(TWO)
    it.observe(torch.tensor([0]), torch.ones(1, requires_grad=True))
    assert not it.counts.requires_grad
    assert not it.weights().requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": -0.1}, "Rebalance: share=-0.1"),
        ({"share": 1.1}, "Rebalance: share=1.1"),
        ({"sigma": -1.0}, "sigma=-1.0"),
        ({"bins": torch.zeros(3)}, r"Rebalance: bins must be a table .* got shape \(3,\)"),
    ],
)
def test_what_is_out_of_range_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Rebalance(**({"bins": TWO} | change))


def test_it_tells_its_settings():
    assert repr(Rebalance(bins(), 0.25)) == "Rebalance(bins=313, share=0.25, sigma=5.0)"
