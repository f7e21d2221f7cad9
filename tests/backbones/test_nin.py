"""RotNet's network in network, held against the paper's arithmetic."""

import pytest
import torch
from torch import nn

from pretext.backbones import NIN

X = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("blocks", [3, 4, 5])
def test_it_has_exactly_the_papers_weights(blocks):
    first = 5 * 5 * 3 * 192 + 192 * 160 + 160 * 96
    second = 5 * 5 * 96 * 192 + 2 * 192 * 192
    further = 3 * 3 * 192 * 192 + 2 * 192 * 192
    norms = 2 * (192 + 160 + 96) + 2 * 3 * 192 * (blocks - 1)
    count = sum(weight.numel() for weight in NIN(blocks).parameters())
    assert count == first + second + (blocks - 2) * further + norms


def test_features_of_block_2_are_192_x_8_x_8():
    net = NIN()
    stages, pooled = net(X)
    assert {name: tuple(stage.shape[1:]) for name, stage in stages.items()} == {
        "conv1": (96, 16, 16),
        "conv2": (192, 8, 8),
        "conv3": (192, 8, 8),
        "conv4": (192, 8, 8),
    }
    assert net.stages == {"conv1": 96, "conv2": 192, "conv3": 192, "conv4": 192}
    assert stages["conv2"][0].numel() == 12288
    assert pooled.shape == (2, net.dim) == (2, 192)
    torch.testing.assert_close(pooled, stages["conv4"].mean((2, 3)))


def test_every_convolution_is_followed_by_batch_norm_and_relu_and_has_no_bias():
    kinds = [type(module) for module in NIN().blocks.modules() if not [*module.children()]]
    triple = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [*triple * 3, nn.MaxPool2d, *triple * 3, nn.AvgPool2d, *triple * 6]
    assert all(module.bias is None for module in NIN().modules() if isinstance(module, nn.Conv2d))


def test_convolutions_start_as_torchs_do():
    for module in NIN().modules():  # uniform, as far as 1 / sqrt(inputs)
        if isinstance(module, nn.Conv2d):
            bound = module.weight[0].numel() ** -0.5
            assert float(module.weight.detach().abs().max()) == pytest.approx(bound, rel=0.01)


def test_convolutions_start_with_hes_variance_if_asked():
    torch.manual_seed(0)
    for module in NIN(init="he").modules():
        if isinstance(module, nn.Conv2d):
            (k, _), out = module.kernel_size, module.out_channels
            assert module.weight.std().item() == pytest.approx((2 / (k * k * out)) ** 0.5, rel=0.03)


def test_no_blocks_are_refused():
    with pytest.raises(ValueError, match="NIN: blocks must be at least 1, got 0"):
        NIN(0)
