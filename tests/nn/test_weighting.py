"""Weightings against their closed forms."""

import math

import pytest
import torch

from pretext.nn.weighting import Fixed, Uncertainty


def test_fixed_is_a_weighted_sum_linear_in_each_weight():
    losses = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert Fixed(["a", "b"])(losses) == 5
    assert Fixed(["a", "b"], {"a": 0.5})(losses) == 4
    assert Fixed(["a", "b"], {"a": 0.0, "b": 2.0})(losses) == 6


def test_a_single_task_is_weighed_as_several_are():
    loss = torch.tensor(1.7, requires_grad=True)
    for weights in ({}, {"a": 0.3}):
        alone = Fixed(["a"], weights)({"a": loss})
        beside = Fixed(["a", "b"], weights)({"a": loss, "b": torch.zeros(())})
        assert alone.shape == ()
        assert torch.equal(alone, beside)
        assert torch.equal(*(torch.autograd.grad(total, loss)[0] for total in (alone, beside)))


def test_weight_zero_removes_the_gradient_exactly():
    a, b = torch.ones((), requires_grad=True), torch.ones((), requires_grad=True)
    Fixed(["a", "b"], {"a": 0.0})({"a": a * 7, "b": b * 7}).backward()
    assert a.grad == 0
    assert b.grad == 7


def test_fixed_refuses_an_unknown_name_and_a_negative_weight():
    with pytest.raises(ValueError, match=r"unknown tasks \['c'\]; the tasks are \['a', 'b'\]"):
        Fixed(["a", "b"], {"c": 1.0})
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="negative or infinite"):
            Fixed(["a", "b"], {"a": wrong})


def test_weight_zero_switches_a_task_off_and_one_must_stay_on():
    assert Fixed(["a", "b", "c"], {"a": 0, "b": 0.5}).off == {"a"}
    assert Uncertainty(["a", "b"]).off == set()
    with pytest.raises(ValueError, match="every weight is 0"):
        Fixed(["a", "b"], {"a": 0, "b": 0})


def test_uncertainty_finds_the_closed_form_optimum():
    weighting = Uncertainty(["a", "b"])
    losses = {"a": torch.tensor(0.25), "b": torch.tensor(4.0)}
    assert weighting(losses) == 4.25  # all log-variances are 0 at first
    optimizer = torch.optim.LBFGS(weighting.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = weighting(losses)
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = torch.tensor([math.log(0.5), math.log(8.0)])  # s = ln 2L
    assert torch.allclose(weighting.log_variances.detach(), expected, atol=1e-3)


def test_uncertainty_matches_losses_by_name_not_by_order():
    weighting = Uncertainty(["a", "b"])
    with torch.no_grad():
        weighting.log_variances.copy_(torch.tensor([0.0, 10.0]))
    one = weighting({"a": torch.tensor(1.0), "b": torch.tensor(2.0)})
    assert torch.equal(one, weighting({"b": torch.tensor(2.0), "a": torch.tensor(1.0)}))
