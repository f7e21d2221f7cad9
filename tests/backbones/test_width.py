"""Width: the same network with other channels, torchvision's own variance, and nothing changed at width 1."""

import hashlib
import math

import pytest
import torch
import torchvision
from torch import nn

from pretext.backbones import NIN, AlexNet, TorchVision

HALVED = [
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "mnasnet1_0",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "vgg11",
    "wide_resnet50_2",
]
TWINS = ("efficientnet", "inception", "mobilenet_v3", "resnet50", "wide")  # the same layers as another of the list


def ghost(name, **options):
    """Build a backbone without memory; torchvision computes RegNet's widths with tensors, so those are real."""
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        return TorchVision(name, **options)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n.startswith(TWINS) else []) for n in HALVED]
)
def test_half_the_width_is_half_of_every_stage(name):
    full, half = ghost(name), ghost(name, width=0.5)
    assert list(half.stages) == list(full.stages)
    assert list(half.stages.values()) == [max(1, round(channels / 2)) for channels in full.stages.values()]
    assert half.dim == round(full.dim / 2)
    x = torch.rand(2, 3, 128, 128, device=next(half.parameters()).device)
    stages, pooled = half.eval()(x)
    assert {key: stage.shape[1] for key, stage in stages.items()} == half.stages
    assert [stage.shape[2:] for stage in stages.values()] == [
        stage.shape[2:] for stage in full.eval()(x).stages.values()
    ]
    assert pooled.shape == (2, half.dim)
    assert half.net.state_dict().keys() == full.net.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "width", "first"),
    [("resnet18", 0.3, 19), ("resnet18", 1.5, 96), ("resnet18", 0.001, 1), ("mobilenet_v2", 0.3, 5)],
)
def test_any_width_is_rounded_by_the_number_of_channels(name, width, first):
    full, other = ghost(name), ghost(name, width=width)
    assert list(other.stages.values()) == [max(1, round(width * channels)) for channels in full.stages.values()]
    assert next(iter(other.stages.values())) == first
    assert other(torch.rand(1, 3, 64, 64, device="meta")).pooled.shape == (1, other.dim)


def test_width_1_draws_the_very_weights_of_torchvision():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18()
    after = torch.rand(1)
    torch.manual_seed(0)
    mine = TorchVision("resnet18", width=1.0)
    assert torch.equal(torch.rand(1), after)
    assert all(torch.equal(theirs.state_dict()[key], value) for key, value in mine.net.state_dict().items())


def fingerprint(net):
    text = ",".join(f"{key}:{float(value.double().sum()):.4f}" for key, value in net.state_dict().items())
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@pytest.mark.parametrize("network", [NIN, AlexNet])
def test_width_1_is_what_no_width_is(network):
    seen = []
    for options in ({}, {"width": 1.0}, {"width": 1}):
        torch.manual_seed(0)
        seen.append(fingerprint(network(**options) if network is NIN else network(64, **options)))
    assert len(set(seen)) == 1


def test_a_thin_resnet_starts_with_hes_variance_like_a_whole_one():
    torch.manual_seed(0)
    for net in (TorchVision("resnet18"), TorchVision("resnet18", width=0.5)):
        for key, module in net.net.named_modules():
            if isinstance(module, nn.Conv2d):
                expected = math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size)))
                assert module.weight.std().item() == pytest.approx(expected, rel=0.05), key


def test_groups_and_settings_of_norms_survive():
    full, half = ghost("mobilenet_v2"), ghost("mobilenet_v2", width=0.5)
    for (key, a), b in zip(full.net.named_modules(), half.net.modules(), strict=True):
        if isinstance(a, nn.Conv2d):
            assert (a.groups == a.in_channels) == (b.groups == b.in_channels), key  # depth-wise stays that
            assert (a.stride, a.padding, a.kernel_size, a.bias is None) == (
                b.stride,
                b.padding,
                b.kernel_size,
                b.bias is None,
            )
    plain, thin = ghost("resnext50_32x4d"), ghost("resnext50_32x4d", width=0.5)
    assert [m.groups for m in plain.modules() if isinstance(m, nn.Conv2d)] == [
        m.groups for m in thin.modules() if isinstance(m, nn.Conv2d)
    ]
    thin, whole = (ghost("mnasnet0_5", width=w).modules() for w in (0.5, 1))  # has other constants than torch
    norms, theirs = ([(m.eps, m.momentum) for m in ms if isinstance(m, nn.BatchNorm2d)] for ms in (thin, whole))
    assert norms == theirs
    assert norms[0] != (1e-5, 0.1)


def test_a_small_stem_has_the_width_too():
    net = TorchVision("resnet18", stem="small", width=0.5)
    assert net.net.conv1.weight.shape == (32, 3, 3, 3)
    assert net(torch.rand(2, 3, 16, 16)).pooled.shape == (2, 256)


def test_every_weight_of_a_thin_network_learns():
    net = TorchVision("resnet18", stem="small", width=0.25)
    net(torch.rand(4, 3, 16, 16)).pooled.square().sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_half_a_nin():
    net = NIN(width=0.5)
    assert net.stages == {"conv1": 48, "conv2": 96, "conv3": 96, "conv4": 96}
    stages, pooled = net(torch.rand(2, 3, 32, 32))
    assert {key: stage.shape[1] for key, stage in stages.items()} == net.stages
    assert pooled.shape == (2, net.dim) == (2, 96)


def test_half_an_alexnet_is_one_half_of_the_split_brain():
    with torch.device("meta"):
        net = AlexNet(width=0.5)
        stages, pooled = net(torch.rand(2, 3, 224, 224))
    assert list(net.stages.values()) == [32, 96, 192, 128, 128]
    assert {key: stage.shape[1] for key, stage in stages.items()} == net.stages
    assert pooled.shape == (2, net.dim) == (2, 2048)


@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "convnext_tiny", "maxvit_t"])
def test_transformers_have_no_width(name):
    with pytest.raises(ValueError, match=f"TorchVision: {name} has no width option.*resnet18"):
        ghost(name, width=0.5)


@pytest.mark.parametrize("name", ["densenet121", "googlenet", "shufflenet_v2_x0_5"])
def test_rounding_that_parts_joined_maps_is_refused(name):
    with pytest.raises(ValueError, match=rf"channels of {name} with width=0.3 do not fit together.*such as 0\.5"):
        ghost(name, width=0.3)


def test_groups_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="38 to 38 channels in 32 groups"):
        ghost("resnext50_32x4d", width=0.3)


@pytest.mark.parametrize("width", [0, -0.5, math.inf, math.nan])
@pytest.mark.parametrize("network", [NIN, AlexNet, TorchVision])
def test_a_width_that_is_no_positive_number_is_refused(network, width):
    with pytest.raises(ValueError, match=f"{network.__name__}: width multiplies all channels and must be above 0, got"):
        network(width=width)
