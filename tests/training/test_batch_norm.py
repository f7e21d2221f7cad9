"""Synchronised batch norm; torch computes it in one process as plain batch norm, so a CPU can compare them."""

import torch
from nets import TinyNet
from torch import nn

from pretext.core.rng import rng
from pretext.training.batch_norm import places, restore, synchronise

X = torch.rand(8, 3, 8, 8, generator=rng("cpu", "batch norm"))


def step(net):
    net.train()
    net(X).pooled.sum().backward()
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_layers_are_replaced_learn_and_come_back_with_what_they_learnt():
    torch.manual_seed(0)
    net, twin = TinyNet(), TinyNet()
    twin.load_state_dict(net.state_dict())
    found = places(net)
    layers, optimised = [place.layer for place in found], list(net.parameters())
    assert layers == [net.conv1[1], net.conv2[1]]
    synchronise(found)
    assert all(isinstance(layer, nn.SyncBatchNorm) for layer in (net.conv1[1], net.conv2[1]))
    assert all(one is other for one, other in zip(net.parameters(), optimised, strict=True))  # an optimiser has these
    learnt, expected = step(net), step(twin)
    restore(found)
    assert [net.conv1[1], net.conv2[1]] == layers
    assert net.state_dict().keys() == expected.keys()
    for name, value in net.state_dict().items():
        assert torch.equal(value, learnt[name])
        assert torch.equal(value, expected[name])
    assert int(net.conv1[1].num_batches_tracked) == 1


def test_what_stays_in_eval_mode_keeps_its_layers():
    """An evaluator knows them by themselves."""
    net = TinyNet()
    net.frozen = list(net.conv1.modules())
    assert [place.layer for place in places(net)] == [net.conv2[1]]
