"""The search network: a mixture is what it is made of, and what is kept of its weights is a genotype."""

import pytest
import torch
from torch import Tensor, nn

from pretext.backbones.cells import Cells
from pretext.backbones.genotype import INPUTS, NONE, OPERATIONS
from pretext.backbones.search_cells import MixedOperation, SearchCells, discretised, every_operation
from pretext.core.rng import rng

EDGES = 14


class Scale(nn.Module):
    """Multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("place", range(len(OPERATIONS)), ids=OPERATIONS)
def test_a_mixture_with_all_weight_on_one_operation_is_that_operation(place, stride):
    mixture = every_operation(4, stride).eval()
    x = torch.randn(2, 4, 7, 7, generator=rng("cpu", "mixture"))
    weights = torch.zeros(len(OPERATIONS))
    weights[place] = 1
    assert torch.equal(mixture(x, weights), mixture.operations[place](x))  # times 0 and 1: nothing is rounded
    assert (OPERATIONS[place] == NONE) == (not mixture(x, weights).any())


def test_at_the_limit_of_large_alphas_the_network_is_that_mixture_and_weights_sum_to_1():
    net = SearchCells(2, 3, nodes=2).eval()
    assert torch.allclose(net.weights().sum(-1), torch.ones(2, 5), atol=1e-6)
    assert float(net.weights().max()) < 0.126  # all nearly 1 / 8 at first
    with torch.no_grad():
        net.alphas.zero_()[..., OPERATIONS.index("skip_connect")] = 200
    assert torch.equal(net.weights(), (net.alphas > 0).float())
    cell, states = net.net.cells[0], [torch.rand(2, 6, 8, 8), torch.rand(2, 6, 8, 8)]
    a, b = (entrance(x) for entrance, x in zip(cell.inputs, states, strict=True))
    # Two nodes, each the sum of all that come before.
    assert torch.allclose(cell(*states, net.weights()), torch.cat((a + b, 2 * (a + b)), 1), atol=1e-5)


def test_the_gradient_of_the_architecture_is_the_analytic_one():
    """Operations c x on x = 1: y = sum p_i c_i; the loss (y - t)^2 / 2 has the slope (y - t) p_i (c_i - y)."""
    alphas = torch.tensor([0.3, -0.4], dtype=torch.float64, requires_grad=True)
    target, factors = 1.5, torch.tensor([2.0, 5.0], dtype=torch.float64)
    weights = alphas.softmax(0)
    y = MixedOperation([Scale(2.0), Scale(5.0)])(torch.ones((), dtype=torch.float64), weights)
    (found,) = torch.autograd.grad((y - target).square() / 2, [alphas])
    expected = (y - target) * weights * (factors - y)
    assert torch.allclose(found, expected.detach(), rtol=1e-12)


def test_what_is_kept_is_never_none_and_two_different_inputs_a_node():
    for draw in range(50):
        weights = torch.randn(EDGES, len(OPERATIONS), generator=rng("cpu", "discretised", draw)).softmax(-1)
        weights[:, 0] += 0.5  # `none` weighs most on most edges, as it does after a search
        edges = discretised(weights, 4)
        assert len(edges) == 8
        assert NONE not in {operation for operation, _ in edges}
        first = 0
        for node in range(4):
            (_, one), (_, two) = edges[2 * node : 2 * node + 2]
            assert one != two
            strengths = weights[first : first + INPUTS + node, 1:].max(1).values
            assert set(strengths.topk(2).indices.tolist()) == {one, two}
            assert strengths[one] >= strengths[two]
            first += INPUTS + node


def test_the_strongest_operations_are_kept_where_they_are_put():
    weights = torch.full((5, len(OPERATIONS)), 0.01)
    for edge, operation in ((0, "sep_conv_3x3"), (1, "skip_connect"), (2, "max_pool_3x3"), (4, "dil_conv_5x5")):
        weights[edge, OPERATIONS.index(operation)] = 0.5 + edge / 100
    kept = discretised(weights, 2)
    assert kept == (("skip_connect", 1), ("sep_conv_3x3", 0), ("dil_conv_5x5", 2), ("max_pool_3x3", 0))


def test_what_is_found_has_the_shape_of_the_network_in_which_it_was_searched():
    net = SearchCells(2, 4, nodes=3)
    found = Cells(net.genotype().plain(), 2, 4, "small")
    assert (found.stages, found.dim) == (net.stages, net.dim)
    x = torch.rand(2, 3, 16, 16)
    for name, stage in found(x).stages.items():
        assert stage.shape == net(x).stages[name].shape


@pytest.mark.parametrize("options", [{"nodes": 0}, {"cells": 2}, {"width": 0}, {"stem": "big"}])
def test_what_cannot_be_built_is_refused(options):
    with pytest.raises(ValueError, match=r"SearchCells: "):
        SearchCells(**{"width": 2, "cells": 3, **options})
