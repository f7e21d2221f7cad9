from functools import partial

import pytest
import torch
from nets import TinyNet
from torch import nn

from pretext.backbones.alexnet import AlexNet
from pretext.backbones.audio import Sound
from pretext.backbones.image import TorchVision
from pretext.backbones.nin import NIN
from pretext.backbones.split import Split
from pretext.core.types import Backbone, Features
from pretext.supervised.depth import places


def by_stage(names):
    stages = {}
    for name, stage in names.items():
        stages.setdefault(stage, []).append(name)
    return stages


class Plain(Backbone):
    """Names that tell nothing, a shared layer, modules without parameters, one that no stage depends on."""

    axes = "hw"

    def __init__(self):
        super().__init__()
        self.dim, self.stages = 6, {"one": 4, "two": 4}
        self.z = nn.Conv2d(3, 4, 1)
        self.y = nn.BatchNorm2d(4, affine=False)
        self.x = nn.Conv2d(4, 4, 1)
        self.w = nn.Dropout()
        self.v = nn.Linear(4, 6)
        self.u = nn.Linear(1, 1)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        one = self.y(self.z(x)).relu_()
        two = self.w(self.x(self.x(one))) * self.scale
        return Features({"one": one, "two": two}, self.v(two.mean((2, 3))))


def test_parameters_and_modules_are_found_by_what_depends_on_them():
    found = places(Plain(), torch.rand(1, 3, 4, 4))
    assert by_stage(found.parameters) == {
        "one": ["z.weight", "z.bias"],
        "two": ["scale", "x.weight", "x.bias"],
        "pooled": ["v.weight", "v.bias", "u.weight", "u.bias"],
    }
    assert found.modules == {"z": "one", "y": "one", "x": "two", "w": "two", "v": "pooled"}  # u is never called


def test_a_resnet_falls_into_torchvisions_own_layers():
    found = places(TorchVision("resnet18", width=0.125), torch.rand(1, 3, 32, 32))
    for name, stage in (found.parameters | found.modules).items():
        path = name.split(".")
        if len(path) > 1 and path[0] == "net":
            assert stage == (path[1] if path[1].startswith("layer") else {"maxpool": "layer1"}.get(path[1], "stem")), (
                name
            )
    assert set(found.parameters.values()) == {"stem", "layer1", "layer2", "layer3", "layer4"}
    norms = [name for name in found.modules if ".bn" in name]
    assert (
        len(norms) == 17
    )  # stem, and two in each of eight blocks; those of the three shortcuts are called downsample.1


@pytest.mark.parametrize(
    ("build", "x", "behind"),
    [
        (partial(AlexNet, fc=8, width=0.1), (3, 64, 64), {"fc.0.weight", "fc.3.weight"}),
        (partial(NIN, blocks=2, width=0.1), (3, 16, 16), set()),
        (lambda: Sound(TorchVision("resnet18", width=0.125)), (1, 8000), set()),
        (partial(Split, TinyNet), (3, 16, 16), set()),
    ],
    ids=["alexnet", "nin", "sound", "split"],
)
def test_every_stage_of_other_networks_has_its_share(build, x, behind):
    backbone = build()
    found = places(backbone, torch.rand(1, *x) - 0.5)
    stages = by_stage(found.parameters)
    assert len(found.parameters) == len(list(backbone.parameters()))
    assert set(backbone.stages) <= set(stages)
    assert {name for name in stages.get("pooled", []) if "fc.0.w" in name or "fc.3.w" in name} == behind


def test_a_vits_attention_is_placed_though_it_returns_a_tuple():
    found = places(TorchVision("vit_b_16", image_size=32), torch.rand(1, 3, 32, 32))
    assert found.parameters["net.class_token"] == next(iter(by_stage(found.parameters)))
    attentions = {name: stage for name, stage in found.modules.items() if name.endswith("self_attention")}
    assert len(attentions) == 12
    assert len(set(attentions.values())) == 4
    for name, stage in attentions.items():
        assert found.parameters[f"{name}.in_proj_weight"] == stage


def test_the_backbone_is_left_as_it_was():
    backbone = TinyNet(dropout=0.5)
    backbone.conv1.requires_grad_(False)
    backbone.conv2.eval()
    modes = [module.training for module in backbone.modules()]
    asks = [p.requires_grad for p in backbone.parameters()]
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    chance = torch.get_rng_state()
    with torch.no_grad():
        places(backbone, torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert [module.training for module in backbone.modules()] == modes
    assert [p.requires_grad for p in backbone.parameters()] == asks
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())
    assert torch.equal(torch.get_rng_state(), chance)
    assert not any(module._forward_hooks for module in backbone.modules())
    assert all(p.grad is None for p in backbone.parameters())
