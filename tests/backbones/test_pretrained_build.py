"""Networks that were not made here: overheard wherever they are tapped, and built by a short name."""

import copy
import sys

import pytest
import torch
import torchvision
from tolerance import NETWORK, assert_rounded
from torch import nn

from pretext.backbones import NIN
from pretext.backbones.export import export
from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD
from pretext.backbones.pretrained.build import pretrained
from pretext.backbones.timm import _indices
from pretext.backbones.wrapped import Wrapped

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NORMALISED = torchvision.transforms.functional.normalize(X, IMAGENET_MEAN, IMAGENET_STD)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.fixture(scope="module")
def expected(model):
    """Stages and pooled vector, step by step."""
    with torch.no_grad():
        said = {"stem": model.relu(model.bn1(model.conv1(NORMALISED)))}
        x = model.maxpool(said["stem"])
        for layer in ("layer1", "layer2", "layer3", "layer4"):
            said[layer] = x = model.get_submodule(layer)(x)
    return {**said, "pooled": x.mean((-2, -1))}


def check(backbone, expected):
    with torch.no_grad():
        stages, pooled = backbone.eval()(X)
    assert expected.keys() == stages.keys() | {"pooled"}
    assert_rounded({**stages, "pooled": pooled}, expected, NETWORK)


def test_a_wrapped_module_says_what_its_parts_say(model, expected):
    backbone = Wrapped(model, {"stem": "relu", **{f"layer{i}": f"layer{i}" for i in range(1, 5)}}, "avgpool", 64)
    assert backbone.stages == {"stem": 64, "layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
    assert backbone.dim == 512
    check(backbone, expected)
    found = Wrapped(model, image_size=64)
    assert list(found.paths.values()) == ["relu", "layer1", "layer2", "layer3", "layer4"], "at each resolution the last"
    twin = copy.deepcopy(found)
    with torch.no_grad():
        assert_rounded(twin(X).pooled, expected["pooled"], NETWORK)
        twin.net.conv1.weight.zero_()
        assert not torch.allclose(twin(X).pooled, found(X).pooled), "a copy overhears itself"
    assert not any(part._forward_hooks for part in model.modules()), "no hook stays"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stages": {"a": "layer9"}}, "ResNet has no module at layer9; its parts are conv1, bn1, "),
        ({"stages": {"a": "bn1"}}, "a is 'bn1', whose output a later module overwrites in place; name that one"),
        ({"stages": {"a": "fc"}}, r"a is 'fc', whose output is \(2, 1000\), not \(N, D, h, w\)"),
        ({"pooled": "layer4"}, "pooled='layer4' is a map, not one vector"),
    ],
)
def test_wrapped_refuses_what_cannot_be_a_stage(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        Wrapped(model, image_size=64, **arguments)


def test_wrapped_finds_no_stages_in_a_transformer():
    with pytest.raises(ValueError, match=r"cannot find stages in VisionTransformer, .*stages=\{"):
        Wrapped(torchvision.models.VisionTransformer(64, 32, 1, 2, 64, 128), image_size=64)


def test_a_network_is_built_with_and_without_its_weights(model, expected, tmp_path):
    torch.save({"net": model.state_dict()}, tmp_path / "w.pth")
    for spec in ("torchvision:resnet18", "pretext.TorchVision,name=resnet18"):
        one = pretrained(spec, str(tmp_path / "w.pth"), image_size=64)
        check(one.trained(), expected)
        torch.manual_seed(3)
        fresh = one.fresh().eval()
        assert not torch.allclose(fresh(X).pooled, expected["pooled"]), "random"
        torch.manual_seed(3)
        torch.testing.assert_close(one.fresh().eval()(X).pooled, fresh(X).pooled)  # by torch's seed
    wrapped = pretrained("torchvision.models.resnet18", str(tmp_path / "w.pth"), image_size=64).trained()
    assert isinstance(wrapped, Wrapped)
    with torch.no_grad():
        assert_rounded(wrapped.eval()(X).pooled, expected["pooled"], NETWORK)
    assert pretrained("torchvision:resnet18").trained is None
    assert pretrained("torchvision:resnet18,stem=small,width=0.25").fresh().dim == 128


def test_a_network_of_any_class_loads_its_own_names(tmp_path):
    torch.manual_seed(0)
    net = NIN(blocks=3).eval()
    export(net, tmp_path / "w.safetensors", "safetensors")
    back = pretrained("pretext.NIN,blocks=3", str(tmp_path / "w.safetensors")).trained().eval()
    assert torch.equal(back(X).pooled, net(X).pooled)


def test_a_network_for_clips_loads_torchvisions_names(tmp_path):
    theirs = torchvision.models.video.s3d()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    back = pretrained("torchvision:s3d", str(tmp_path / "w.pth")).trained()
    assert all(torch.equal(theirs.state_dict()[key], value) for key, value in back.net.state_dict().items())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet18", "'resnet18' names no network; the forms are torchvision:NAME, timm:NAME"),
        ("torchvison:resnet18", "did you mean torchvision:resnet18?"),
        ("torchvision:resnet81", r"did you mean .*resnet18"),
        ("torchvision:resnet18,small", "cannot read 'small'"),
        ("nowhere.Net", "cannot import 'nowhere' for nowhere.Net"),
        ("pretext.TorchVison", "pretext has no class 'TorchVison'; did you mean TorchVision"),
        ("builtins.dict,size=3", r"builtins\.dict makes a dict, not a torch\.nn\.Module"),
    ],
)
def test_an_unknown_network_is_told_what_is_near(spec, message):
    with pytest.raises(ValueError, match=message):
        pretrained(spec).fresh()


def test_without_timm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"Timm: needs the package timm; pip install 'pretext-tasks\[timm\]'"):
        pretrained("timm:resnet18").fresh()


def test_of_timms_stages_the_last_at_each_resolution_is_chosen():
    assert _indices([2, 4, 4, 8]) == [0, 2, 3]
    assert _indices([16] * 12) == [2, 5, 8, 11]
    assert _indices([16] * 3) == [0, 1, 2]
