"""Torchvision's video models as backbones, the same numbers as its own; and what all networks for clips share."""

import copy
import pickle
from functools import cache
from itertools import pairwise

import pytest
import torch
import torchvision
from tolerance import NETWORK, assert_rounded, rounding
from torch import nn

from pretext.backbones.clips import Conv3d, NormaliseClips, guard
from pretext.backbones.video import MODELS, TorchVideo
from pretext.core.rng import rng

BIG = ("mc3_18", "swin3d_s", "swin3d_b")  # the same code as another
CHANNELS = {
    "r2plus1d_18": [64, 64, 128, 256, 512],
    "r3d_18": [64, 64, 128, 256, 512],
    "mc3_18": [64, 64, 128, 256, 512],
    "s3d": [64, 192, 480, 832, 1024],
    "swin3d_t": [96, 192, 384, 768],
    "swin3d_s": [96, 192, 384, 768],
    "swin3d_b": [128, 256, 512, 1024],
}
FIRST = {"r2plus1d_18": "stem.0", "r3d_18": "stem.0", "s3d": "features.0.0.0", "swin3d_t": "patch_embed.proj"}
HEADS = {"fc", "classifier", "head"}
every = pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in BIG else []) for n in MODELS])
NUMBERS = [pytest.param(n, marks=[pytest.mark.slow] if n in (*BIG, "r3d_18") else []) for n in MODELS]


@cache
def real(name):
    torch.manual_seed(0)
    return TorchVideo(name)


def clips(n=2, channels=3, frames=8, side=32):
    return torch.rand(n, channels, frames, side, side, generator=rng("cpu", "clips"))


def normalised(x, backbone):
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in backbone.normalise.constants)
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last_3d)  # the layout decides the order of sums


def reference(backbone):
    """Torchvision's own model with the backbone's weights."""
    model = torchvision.models.get_model(backbone.name, weights=None)
    missing, unexpected = model.load_state_dict(backbone.weights(), strict=False)
    assert not unexpected
    assert {key.split(".")[0] for key in missing} <= HEADS
    return model


def overhear(model, x, *paths):
    """Return what comes out of some modules while `model` looks at `x`, copied at once."""
    heard = {}
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda _, __, y, path=path: heard.update({path: y.clone()}))
        for path in paths
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return heard


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("training", [False, True])
def test_stages_and_pooled_are_torchvisions_own(name, training):
    backbone, x = real(name).train(training), clips(frames=8 if name == "s3d" else 4)
    model = reference(backbone).train(training)
    if name == "s3d":
        model.avgpool = nn.AdaptiveAvgPool3d(1)  # its own wants 16 frames of 224 px, which its features do not need
    ends = {stage: path for path, stage in backbone.net.parts.items() if stage}
    torch.manual_seed(1)  # stochastic depth must fall alike
    heard = overhear(model, normalised(x, backbone), *ends.values(), "avgpool")
    torch.manual_seed(1)
    stages, pooled = backbone(x)
    assert list(stages) == list(ends)
    for stage, path in ends.items():
        theirs = heard[path].permute(0, 4, 1, 2, 3) if name.startswith("swin") else heard[path]
        assert torch.equal(stages[stage], theirs), stage
    torch.testing.assert_close(pooled, heard["avgpool"].flatten(1))
    assert pooled.std() > 0


@every
def test_it_describes_what_it_returns_and_uses_every_weight(name):
    with torch.device("meta"):
        backbone, x = TorchVideo(name), torch.rand(2, 3, 16, 64, 64)
        stages, pooled = backbone(x)
    assert {key: stage.shape[1] for key, stage in stages.items()} == backbone.stages
    assert list(backbone.stages.values()) == CHANNELS[name]
    assert pooled.shape == (2, backbone.dim) == (2, CHANNELS[name][-1])
    sides = [tuple(stage.shape[2:]) for stage in stages.values()]
    assert all(a[1] >= b[1] and a[0] >= b[0] for a, b in pairwise(sides))
    pooled.sum().backward()
    assert [key for key, weight in backbone.named_parameters() if weight.grad is None] == []
    assert not any("." in key for key in stages), "stage names become keys of modules"


@pytest.mark.parametrize("name", FIRST)
def test_it_keeps_torchvisions_names_without_the_classifiers(name):
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, weights=None).state_dict().keys()
        mine = TorchVideo(name).net.state_dict()
    assert list(mine) == [key for key in theirs if key.split(".")[0] not in HEADS]


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize(("frames", "side"), [(1, 16), (1, 1), (2, 9), (3, 16)])
def test_any_clip_will_do_even_one_frame(name, frames, side):
    stages, pooled = real(name).eval()(clips(1, frames=frames, side=side))
    assert all(stage.numel() for stage in stages.values())
    assert pooled.isfinite().all()


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("channels", [1, 2])
def test_grey_and_flow_change_the_first_convolution_alone(name, channels):
    with torch.device("meta"):
        rgb, other = TorchVideo(name).net.state_dict(), TorchVideo(name, channels=channels).net.state_dict()
    differ = [key for key in rgb if rgb[key].shape != other[key].shape]
    assert differ == [f"{FIRST[name]}.weight"]
    assert other[differ[0]].shape[1] == channels


def test_the_usual_constants_follow_the_channels():
    assert real("s3d").normalise.constants == ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
    assert NormaliseClips(1, None, None, "Net").constants == ((0.45,), (0.225,))
    assert NormaliseClips(2, None, None, "Net").constants == ((128 / 255,) * 2, (0.1,) * 2)
    assert NormaliseClips(2, (0.5, 0.4), None, "Net").constants[0] == (0.5, 0.4)


def test_normalisation_maps_the_mean_to_0_and_one_deviation_above_to_1():
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    x = torch.stack([torch.tensor(mean), torch.tensor(mean) + torch.tensor(std)])[:, :, None, None, None]
    y = NormaliseClips(3, mean, std, "Net")(x.expand(-1, -1, 2, 4, 5))
    torch.testing.assert_close(y, torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1).expand_as(y))


def test_no_motion_is_0_and_opposite_motions_are_opposite():
    values = torch.tensor([1.0, 64, 128, 192, 255]).view(1, 1, 1, 1, 5).expand(-1, 2, -1, -1, -1) / 255
    y = NormaliseClips(2, None, None, "Net")(values)[0, 0, 0, 0]
    assert y[2] == 0
    torch.testing.assert_close(y, -y.flip(0))


def test_bfloat16_is_kept_and_rounded_once():
    net, x = NormaliseClips(3, None, None, "Net"), clips()
    assert torch.equal(net(x.bfloat16()), net(x.bfloat16().float()).bfloat16())


@pytest.mark.parametrize("name", ["r2plus1d_18", "s3d"])
def test_looking_changes_nothing(name):
    backbone, x = real(name).eval(), clips()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone(x)
    assert torch.equal(x, clips())
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert not [key for key in before if key.startswith("normalise")], "constants are arguments, not weights"


@pytest.mark.parametrize("name", ["r2plus1d_18", "s3d", "swin3d_t"])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))], ids=["copy", "pickle"])
def test_a_copy_sees_the_same_and_shares_nothing(name, how):
    backbone, x = real(name).eval(), clips(1, frames=4)
    twin = how(backbone)
    assert torch.equal(twin(x).pooled, backbone(x).pooled)
    assert not {w.data_ptr() for w in backbone.parameters()} & {w.data_ptr() for w in twin.parameters()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["s3d", "swin3d_t"])
def test_the_dtype_is_kept(name, dtype):
    backbone = copy.deepcopy(real(name)).eval().to(dtype)
    stages, pooled = backbone(clips(1, frames=4).to(dtype))
    assert {x.dtype for x in (*stages.values(), pooled)} == {dtype}


@pytest.mark.slow
def test_it_compiles_into_one_graph():
    backbone, x = real("r3d_18").eval(), clips(1)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    assert_rounded(compiled(x).pooled, backbone(x).pooled, NETWORK)
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "r2plus1d_19"}, r"no video model 'r2plus1d_19'; did you mean r2plus1d_18\? There are .*s3d"),
        ({"name": "mvit_v2_s"}, "no video model 'mvit_v2_s'; .*r3d_18"),
        ({"name": "xyzzy"}, "'xyzzy'; choose one of r2plus1d_18, "),
        ({"channels": 5}, "channels=5 needs a mean"),
    ],
)
def test_what_there_is_not_is_refused(options, message):
    with pytest.raises(ValueError, match=f"TorchVideo: .*{message}"):
        TorchVideo(**options)


def test_what_is_no_clip_is_refused():
    with pytest.raises(TypeError, match=r"TorchVideo: reads clips of floats in \[0, 1\], got torch.uint8"):
        real("s3d")((clips() * 255).byte())
    for x in (clips(channels=1), clips()[:, :, 0]):
        with pytest.raises(ValueError, match=r"TorchVideo: reads clips \(N, 3, T, H, W\), got"):
            real("s3d")(x)


# Convolutions on maps shorter than their kernel, for which bfloat16 on AVX-512 reads and writes where it should not.


def weight_gradient(layer, x, dtype):
    layer.zero_grad()
    spoilt = [torch.full((layer.weight.numel(),), float("nan")) for _ in range(3)]
    del spoilt  # what the allocator hands out next is not zero by luck
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        layer(x).float().sum().backward()
    return layer.weight.grad.clone()


@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)], ids=str)
@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 3, 3), (1, 7, 7), (3, 3, 3)], ids=str)
def test_bfloat16_gradients_are_the_exact_ones_rounded(kernel, stride):
    torch.manual_seed(0)
    plain = nn.Conv3d(64, 128, kernel, stride, tuple(k // 2 for k in kernel), bias=False)
    for frames, side in ((1, 1), (2, 1), (3, 1), (2, 4), (1, 4), (4, 2), (4, 8)):
        x = torch.randn(16, 64, frames, side, side)
        exact = weight_gradient(plain, x, torch.float32)
        got = weight_gradient(Conv3d.of(plain), x, torch.bfloat16)
        room = rounding(exact.abs().max(), dtype=torch.bfloat16)  # of what comes in; sums are of float32
        assert torch.allclose(got, exact, rtol=0, atol=room), (frames, side)


def test_a_guarded_convolution_shares_weights_and_gives_the_same_answer():
    torch.manual_seed(0)
    plain = nn.Conv3d(3, 8, 3, stride=2, padding=1)
    layer = Conv3d.of(plain)
    assert layer.weight is plain.weight
    for size in (1, 2, 7):
        x = torch.randn(2, 3, size, size, size)
        assert torch.equal(layer(x), plain(x))
        assert torch.equal(layer.double()(x.double()), plain.double()(x.double()))
        plain.float()


def test_guarding_leaves_no_plain_convolution_and_every_name():
    model = torchvision.models.video.r3d_18()  # whose convolutions are of classes of their own
    names = list(model.state_dict())
    guard(model)
    assert list(model.state_dict()) == names
    assert all(type(m) is Conv3d for m in model.modules() if isinstance(m, nn.Conv3d))


def test_short_clips_in_bfloat16_leave_only_finite_gradients():
    backbone = TorchVideo("s3d").train()
    for _ in range(2):
        backbone.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            backbone(clips(4, frames=2)).pooled.float().square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in backbone.parameters())
