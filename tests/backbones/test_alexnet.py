"""RotNet's AlexNet, held against the paper's arithmetic."""

from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pretext.backbones import AlexNet


@cache
def net():
    torch.manual_seed(0)
    return AlexNet().eval()


@cache
def seen(size=224):
    with torch.no_grad():
        return net()(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)))


def test_it_has_exactly_the_papers_weights():
    convolutions = 11 * 11 * 3 * 64 + 5 * 5 * 64 * 192 + 3 * 3 * (192 * 384 + 384 * 256 + 256 * 256)
    connected = 6 * 6 * 256 * 4096 + 4096 * 4096
    norms = 2 * (64 + 192 + 384 + 256 + 256 + 4096 + 4096)
    assert sum(weight.numel() for weight in net().parameters()) == convolutions + connected + norms


def test_stages_at_224_px():
    shapes = {name: tuple(stage.shape[1:]) for name, stage in seen().stages.items()}
    assert shapes == {
        "conv1": (64, 55, 55),
        "conv2": (192, 27, 27),
        "conv3": (384, 13, 13),
        "conv4": (256, 13, 13),
        "conv5": (256, 13, 13),
    }
    assert net().stages == {name: shape[0] for name, shape in shapes.items()}
    assert seen().pooled.shape == (1, net().dim) == (1, 4096)


def test_rotnets_pooling_gives_its_dimensions():
    stages = seen().stages.values()
    pooled = [F.adaptive_max_pool2d(x, size)[0].numel() for x, size in zip(stages, (12, 7, 5, 6, 6), strict=True)]
    assert pooled == [9216, 9408, 9600, 9216, 9216]


def test_pooled_at_224_px_is_the_papers_without_further_averaging():
    grid = F.max_pool2d(seen().stages["conv5"], 3, stride=2)
    assert grid.shape[-2:] == (6, 6)
    torch.testing.assert_close(seen().pooled, net().fc(grid.flatten(1)))


def test_no_bias_and_a_batch_norm_for_every_layer():
    kinds = [type(module) for module in net().modules()]
    layers = [module for module in net().modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert all(layer.bias is None for layer in layers)
    assert kinds.count(nn.Conv2d) == kinds.count(nn.BatchNorm2d) == 5
    assert kinds.count(nn.Linear) == kinds.count(nn.BatchNorm1d) == 2


@pytest.mark.parametrize("size", [63, 96, 160])
def test_other_sizes_reach_the_same_width(size):
    assert seen(size).pooled.shape == (1, 4096)


def test_too_small_an_image_says_what_would_do():
    with pytest.raises(ValueError, match=r"AlexNet: needs images of at least 63 px, got 62 x 80.*NIN"):
        net()(torch.rand(1, 3, 62, 80))
