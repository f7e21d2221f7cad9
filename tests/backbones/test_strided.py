"""Strided convolutions on maps smaller than their kernel."""

import pytest
import torch
from tolerance import rounding
from torch import nn

from pretext.backbones import TorchVision
from pretext.backbones.strided import Strided


def weight_gradient(layer, x, dtype):
    layer.zero_grad()
    spoilt = [torch.full((layer.weight.numel(),), float("nan")) for _ in range(3)]
    del spoilt  # what the allocator hands out next is not zero by luck
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        layer(x).float().sum().backward()
    return layer.weight.grad.clone()


@pytest.mark.parametrize("side", [1, 2, 3, 8])
def test_bfloat16_gradient_is_the_exact_one_rounded(side):
    torch.manual_seed(0)
    plain = nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False)
    x = torch.randn(64, 64, side, side)
    exact = weight_gradient(plain, x, torch.float32)
    for _ in range(3):
        got = weight_gradient(Strided.of(plain), x, torch.bfloat16)
        room = rounding(exact.abs().max(), dtype=torch.bfloat16)  # of what comes in; sums are of float32
        assert torch.allclose(got, exact, rtol=0, atol=room)


def test_a_weight_that_only_meets_padding_gets_no_gradient():
    layer = Strided.of(nn.Conv2d(64, 128, 3, stride=2, padding=1))
    gradient = weight_gradient(layer, torch.randn(32, 64, 1, 1), torch.bfloat16)
    gradient[:, :, 1, 1] = 0  # the one weight that meets the pixel
    assert not gradient.any()


def test_it_shares_weights_and_gives_the_same_answer():
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    layer = Strided.of(plain)
    assert layer.weight is plain.weight
    for side in (1, 2, 7):
        x = torch.randn(2, 3, side, side)
        assert torch.equal(layer(x), plain(x))


def test_a_network_on_tiny_tiles_never_sees_uninitialised_gradients():
    torch.manual_seed(0)
    backbone = TorchVision("resnet18")
    assert sum(isinstance(m, Strided) for m in backbone.modules()) == 4  # the stem and three stages
    x = torch.rand(16, 3, 14, 14)
    for _ in range(3):
        backbone.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            backbone(x).pooled.float().square().sum().backward()
        gradient = backbone.net.get_parameter("layer4.0.conv1.weight").grad.clone()
        gradient[:, :, 1, 1] = 0
        assert not gradient.any()
        assert all(torch.isfinite(p.grad).all() for p in backbone.parameters() if p.grad is not None)
