"""(2+1)D residual networks, held against the paper's arithmetic and torchvision's."""

import copy
import pickle
from functools import cache

import pytest
import torch
import torchvision
from tolerance import NETWORK, assert_rounded
from torch import nn

from pretext.backbones.clips import Conv3d
from pretext.backbones.r2plus1d import R2Plus1D, middle
from pretext.core.rng import rng

SMALL = {"layers": (1, 1, 1, 1), "bottleneck": False, "width": 0.25, "stem": "small"}
X = torch.rand(3, 3, 4, 32, 32, generator=rng("cpu", "clips"))


def ghost(**options):
    with torch.device("meta"):
        return R2Plus1D(**options)


@cache
def small():
    """The small network, whose batch norms have seen something, in evaluation mode. Tests leave it as it is."""
    torch.manual_seed(0)
    net = R2Plus1D(**SMALL)
    with torch.no_grad():
        net(X)
    return net.eval()


def convolutions(net):
    return [m for m in net.modules() if isinstance(m, nn.Conv3d)]


def count(net):
    """Weights of the convolutions alone."""
    return sum(m.weight.numel() for m in convolutions(net))


@pytest.mark.parametrize(("inputs", "outputs"), [(64, 64), (64, 128), (128, 128), (512, 512), (16, 32)])
def test_space_and_time_apart_have_the_weights_of_both_together(inputs, outputs):
    both = 27 * inputs * outputs
    each = 9 * inputs + 3 * outputs  # one channel between them costs so many
    assert both - each < each * middle(inputs, outputs) <= both, "the most channels that cost no more"


def test_the_papers_middle_width():
    assert middle(64, 64) == 144
    assert middle(64, 128) == 230


def test_resnet_18_is_torchvisions_but_for_the_width_that_it_takes_from_the_block():
    """Torchvision's second convolution of a block has the first one's middle width, where the paper's formula gives it
    its own: 288, 576, 1152 instead of 230, 460, 921 where a layer begins with half as many inputs."""
    with torch.device("meta"):
        theirs = torchvision.models.video.r2plus1d_18()
    mine = ghost(layers=(2, 2, 2, 2), bottleneck=False)
    more = sum((middle(p, p) - middle(p // 2, p)) * (9 * p + 3 * p) for p in (128, 256, 512))
    assert count(mine) - count(theirs) == more
    shapes = [tuple(m.weight.shape) for m in convolutions(mine)]
    others = [tuple(m.weight.shape) for m in convolutions(theirs)]
    moved = {288: 230, 576: 460, 1152: 921}
    assert len(shapes) == len(others)
    differ = [(a, b) for a, b in zip(shapes, others, strict=True) if a != b]
    assert all(tuple(moved.get(size, size) for size in a) == b for a, b in differ)
    assert len(differ) == 6, "two convolutions in each of three blocks"


def test_resnet_18_has_the_weights_of_3d_convolutions():
    with torch.device("meta"):
        whole = torchvision.models.video.r3d_18()
    assert count(ghost(layers=(2, 2, 2, 2), bottleneck=False)) == pytest.approx(count(whole), rel=1e-3)


def test_resnet_50_is_the_default():
    net = ghost()
    assert net.stages == {"stem": 64, "layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048}
    assert net.dim == 2048
    temporal = [m for m in convolutions(net) if m.kernel_size == (3, 1, 1)]
    spatial = [m for m in convolutions(net) if m.kernel_size[1] > 1]
    assert len(temporal) == len(spatial) == 1 + 16
    assert len([m for m in convolutions(net) if m.kernel_size == (1, 1, 1)]) == 2 * 16 + 4
    with torch.device("meta"):
        image = torchvision.models.resnet50()
    flat = sum(m.weight.numel() for m in image.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3))
    assert sum(m.weight.numel() for m in (*temporal[1:], *spatial[1:])) == 3 * flat, "each 3x3 became a 3x3x3's worth"


def test_stages_halve_the_resolution_as_torchvisions_do():
    with torch.device("meta"):
        x = torch.rand(1, 3, 16, 112, 112)
    shapes = {key: tuple(stage.shape[2:]) for key, stage in ghost()(x).stages.items()}
    assert shapes == {
        "stem": (16, 56, 56),
        "layer1": (16, 56, 56),
        "layer2": (8, 28, 28),
        "layer3": (4, 14, 14),
        "layer4": (2, 7, 7),
    }


def test_the_small_network_sees_small_clips_cheaply():
    net = ghost(**SMALL)
    with torch.device("meta"):
        stages, pooled = net(torch.rand(2, 3, 8, 64, 64))
    assert net.stages == {"stem": 16, "layer1": 16, "layer2": 32, "layer3": 64, "layer4": 128}
    assert [tuple(stage.shape[2:]) for stage in stages.values()] == [
        (8, 32, 32),
        (8, 16, 16),
        (4, 8, 8),
        (2, 4, 4),
        (1, 2, 2),
    ]
    assert pooled.shape == (2, net.dim) == (2, 128)
    assert sum(p.numel() for p in net.parameters()) < 1e6


def test_pooled_is_the_mean_of_the_last_stage_and_uses_every_weight():
    net = copy.deepcopy(small()).train()
    stages, pooled = net(X)
    torch.testing.assert_close(pooled, stages["layer4"].mean((2, 3, 4)))
    pooled.square().mean().backward()
    assert [key for key, weight in net.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize("bottleneck", [False, True])
def test_no_convolution_has_a_bias_and_every_one_has_batch_norm(bottleneck):
    net = ghost(layers=(2, 1), bottleneck=bottleneck)
    assert all(m.bias is None for m in convolutions(net))
    norms = [m.num_features for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    assert norms == [m.out_channels for m in convolutions(net)]
    assert all(isinstance(m, Conv3d) for m in convolutions(net)), "safe in bfloat16"


def test_an_item_is_seen_alone():
    with torch.no_grad():
        together, alone = small()(X), small()(X[1:2])
    assert_rounded(together.pooled[1:2], alone.pooled, NETWORK)
    assert not torch.allclose(together.pooled[0], together.pooled[1])


def test_looking_changes_neither_the_clip_nor_a_stage():
    net, x = small(), X.clone()
    heard = {}
    hooks = [
        part.register_forward_hook(lambda _, __, y, key=key: heard.update({key: y.clone()}))
        for key, part in net.net.items()
    ]
    stages = net(x).stages
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(stages[key], value) for key, value in heard.items())
    assert torch.equal(x, X)


def test_the_order_of_frames_matters():
    with torch.no_grad():
        assert not torch.allclose(small()(X).pooled, small()(X.flip(2)).pooled, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize("side", [1, 7, 16])
def test_any_clip_will_do(frames, side):
    stages, pooled = small()(X[:, :, :1, :1, :1].expand(-1, -1, frames, side, side))
    assert all(stage.numel() for stage in stages.values())
    assert pooled.isfinite().all()


def test_bfloat16_never_sees_uninitialised_gradients_on_short_clips():
    net, x = copy.deepcopy(small()).train(), torch.rand(8, 3, 2, 16, 16)
    for _ in range(3):
        net.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            net(x).pooled.float().square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in net.parameters())
        last = net.net["layer4"][0].convolutions[-2].weight.grad  # in time, on a map of one frame
        assert not last[:, :, [0, 2]].any(), "what only meets padding learns nothing"
        assert last[:, :, 1].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_dtype_is_kept(dtype):
    stages, pooled = copy.deepcopy(small()).to(dtype)(X.to(dtype))
    assert {x.dtype for x in (*stages.values(), pooled)} == {dtype}
    torch.testing.assert_close(pooled.float(), small()(X).pooled, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_a_copy_sees_the_same_and_shares_nothing(how):
    twin = how(small())
    assert torch.equal(twin(X).pooled, small()(X).pooled)
    assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in small().parameters()}


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grey_flow_and_other_clips(channels):
    constants = {} if channels < 4 else {"mean": (0.5,) * 4, "std": (0.25,) * 4}
    net = R2Plus1D(**SMALL, channels=channels, **constants)
    assert net(torch.rand(2, channels, 4, 16, 16)).pooled.shape == (2, 128)
    assert net.net["stem"][0].in_channels == channels


def test_it_compiles_into_one_graph():
    torch.manual_seed(0)
    net = R2Plus1D((1, 1), False, 0.125, "small").eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True)  # fullgraph: an error where Python is needed
    torch.testing.assert_close(compiled(X).pooled, net(X).pooled)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ()}, r"layers are the blocks of each, at least 1, got \(\)"),
        ({"layers": (2, 0)}, r".*got \(2, 0\)"),
        ({"stem": "tiny"}, "stem is 'video' or 'small', got 'tiny'"),
        ({"width": 0}, "width multiplies all channels and must be above 0"),
        ({"channels": 4}, "channels=4 needs a mean and a positive std for each"),
        ({"channels": 0}, "channels=0"),
        ({"mean": (0.5,)}, r"channels=3 needs .*got \(0.5,\)"),
        ({"std": (0.5, 0.5, 0.0)}, r".*got .*0.0\)"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=f"R2Plus1D: {message}"):
        R2Plus1D(**options)
