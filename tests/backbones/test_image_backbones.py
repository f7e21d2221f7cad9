"""What every backbone for images keeps."""

import copy
import pickle
from functools import cache

import pytest
import torch
from tolerance import NETWORK, assert_rounded

from pretext.backbones import NIN, AlexNet, TorchVision
from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD, Normalise

BACKBONES = {
    "resnet18": TorchVision,
    "small stem": lambda: TorchVision("resnet18", stem="small", stem_stride=2),
    "nin": NIN,
    "alexnet": lambda: AlexNet(fc=64),
}
X = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
each = pytest.mark.parametrize("name", BACKBONES)


@cache
def build(name):
    """A backbone whose batch norms have seen something, in evaluation mode. Tests leave it as it is."""
    torch.manual_seed(0)
    backbone = BACKBONES[name]()
    with torch.no_grad():
        backbone(X)
    return backbone.eval()


@each
def test_an_item_is_seen_alone(name):
    with torch.no_grad():
        together, alone = build(name)(X), build(name)(X[1:2])
    assert_rounded(together.pooled[1:2], alone.pooled, NETWORK)
    for key, stage in together.stages.items():
        assert_rounded(stage[1:2], alone.stages[key], NETWORK)
    assert not torch.allclose(together.pooled[0], together.pooled[1]), "different images, different features"


@each
def test_it_describes_what_it_returns(name):
    backbone = build(name)
    with torch.no_grad():
        stages, pooled = backbone(X)
    assert {key: stage.shape[1] for key, stage in stages.items()} == backbone.stages
    assert pooled.shape == (3, backbone.dim)
    assert backbone.axes == "hw"


@each
def test_looking_changes_nothing(name):
    backbone, x = build(name), X.clone()
    before = {key: value.clone() for key, value in [*backbone.named_buffers(), *backbone.named_parameters()]}
    backbone(x)
    assert all(torch.equal(before[key], value) for key, value in backbone.named_buffers())
    assert all(torch.equal(before[key], value) for key, value in backbone.named_parameters())
    assert torch.equal(x, X)


@each
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))], ids=["deepcopy", "pickle"])
def test_a_copy_sees_the_same_and_shares_nothing(name, training, how):
    backbone = build(name)
    try:
        twin = how(backbone.train(training))
    finally:
        backbone.eval()
    assert twin.training == training
    assert not {w.data_ptr() for w in backbone.parameters()} & {w.data_ptr() for w in twin.parameters()}
    with torch.no_grad():
        assert torch.equal(twin.eval()(X).pooled, backbone(X).pooled)
        before = [buffer.clone() for buffer in twin.buffers()]
        twin.train()(X)
    moved = [not torch.equal(old, new) for old, new in zip(before, twin.buffers(), strict=True)]
    assert any(moved), "a copy can still be trained"


@each
def test_pooled_uses_every_weight(name):
    backbone = copy.deepcopy(build(name)).train()
    backbone(X).pooled.square().mean().backward()
    assert [key for key, weight in backbone.named_parameters() if weight.grad is None] == []
    assert next(backbone.parameters()).grad.abs().sum() > 0


@each
def test_the_constants_of_the_normalisation_are_not_saved(name):
    keys = build(name).state_dict().keys()
    assert not [key for key in keys if key.startswith("normalise")]


def test_normalisation_maps_the_mean_to_0_and_one_deviation_above_to_1():
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    x = torch.stack([mean, mean + std])[:, :, None, None].expand(2, 3, 4, 5)
    y = Normalise()(x)
    torch.testing.assert_close(y, torch.stack([torch.zeros(3, 4, 5), torch.ones(3, 4, 5)]))


def test_bfloat16_is_kept_and_rounded_once():
    x = X.to(torch.bfloat16)
    assert torch.equal(Normalise()(x), Normalise()(x.float()).to(torch.bfloat16))


def test_other_constants_can_be_given():
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    y = Normalise((0.5, 0.5, 0.5), (0.5, 0.25, 0.125))(x)
    assert y.flatten().tolist() == [-1.0, 0.0, 4.0]


def test_grey_is_three_equal_channels():
    net = build("nin").eval()
    grey = X[:, :1]
    torch.testing.assert_close(net(grey).pooled, net(grey.expand(-1, 3, -1, -1)).pooled)


def test_bytes_and_other_channels_are_refused():
    with pytest.raises(TypeError, match=r"floats in \[0, 1\], got torch.uint8"):
        build("resnet18")((X * 255).byte())
    with pytest.raises(ValueError, match=r"reads \(N, 3, H, W\) or grey, got \(3, 2, 64, 64\)"):
        build("nin")(X[:, :2])
