"""Weights from other projects' files: in any wrapping, whole or refused, and never by running what they hold."""

import argparse
import copy
import io
import json
import os
import re
from collections import OrderedDict

import pytest
import torch
import torchvision
from nets import TinyNet
from safetensors.torch import save_file
from tolerance import NETWORK, assert_rounded
from torch import nn

from pretext.backbones import TorchVision
from pretext.backbones.export import export
from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD
from pretext.backbones.pretrained.match import load_weights

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
NORMALISED = torchvision.transforms.functional.normalize(X, IMAGENET_MEAN, IMAGENET_STD)


def trained(make=torchvision.models.resnet18, seed=0, **options):
    """A model of torchvision's whose batch norms, too, differ from any fresh one's."""
    torch.manual_seed(seed)
    model = make(**options)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.num_batches_tracked.fill_(7)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def expected(model):
    """What torchvision's own modules say, and what goes into its classifier."""
    said = {}
    stages = {"relu": "stem", "layer1": "layer1", "layer2": "layer2", "layer3": "layer3", "layer4": "layer4"}
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda _, __, y, name=name: said.setdefault(name, y.clone()))
        for path, name in stages.items()
    ]
    hooks.append(model.avgpool.register_forward_hook(lambda _, __, y: said.setdefault("pooled", y.flatten(1))))
    with torch.no_grad():
        model(NORMALISED)
    for hook in hooks:
        hook.remove()
    return said


def under(weights, prefix):
    """Rename as a module around the model does, with torch's notes on versions, as a real state dict has them."""
    renamed = OrderedDict((prefix + key, value) for key, value in weights.items())
    renamed._metadata = {f"{prefix}{key}".rstrip("."): note for key, note in weights._metadata.items()}
    return renamed


def without(weights, *starts):
    kept = copy.copy(weights)
    for key in [key for key in weights if key.startswith(starts)]:
        del kept[key]
    return kept


def other(weights):
    zeros = copy.copy(weights)  # with torch's notes
    for key in zeros:
        zeros[key] = torch.zeros_like(zeros[key])
    return zeros


def heads(name, width):
    return {f"{name}.0.weight": torch.zeros(width, 512), f"{name}.0.bias": torch.zeros(width)}


def numbered(model):
    """As lightly's tutorials: nn.Sequential(*list(resnet.children())[:-1])."""
    return under(nn.Sequential(*list(model.children())[:-1]).state_dict(), "backbone.")


def dino(w):
    body = without(w, "fc.")
    teacher = {**under(body, "backbone."), **heads("head.mlp", 8)}
    student = {**under(other(body), "module.backbone."), **heads("module.head.mlp", 8)}
    return {"student": student, "teacher": teacher, "args": argparse.Namespace(arch="resnet18"), "epoch": 3}


def moco(w):
    body = without(w, "fc.")
    momentum = under(other(body), "module.encoder_k.")
    queue = {"module.queue": torch.rand(8, 4), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
    query = {**under(body, "module.encoder_q."), **heads("module.encoder_q.fc", 8)}
    return {
        "arch": "resnet18",
        "state_dict": {**momentum, **query, **queue},
        "optimizer": {"state": {0: {"m": w["fc.bias"]}}},
    }


def vissl(w):
    trunk = under(without(w, "fc."), "_feature_blocks.")
    return {
        "classy_state_dict": {"base_model": {"model": {"trunk": trunk, "heads": heads("0.clf", 8)}}, "losses": [0.5]}
    }


def lightning(w):
    net = {**under(without(w, "fc."), "backbone."), **under(other(without(w, "fc.")), "backbone_momentum.")}
    return {"state_dict": {**net, **heads("projection_head", 8)}, "pytorch-lightning_version": "2", "callbacks": {}}


def ours(w):
    return {"state_dict": {**under(without(w, "fc."), "backbone.net."), **under(other(w), "tasks.x.teacher.net.")}}


WRAPPINGS = {  # what is saved, and what must be stripped
    "plain": (lambda w: w, ""),
    "data parallel": (lambda w: {"model": under(w, "module.")}, "model.module."),
    "other classes": (lambda w: {"net": {**without(w, "fc."), **heads("fc", 3)}}, "net."),
    "no classifier, no counters": (lambda w: {k: v for k, v in w.items() if "fc" not in k and "num" not in k}, ""),
    "dino": (dino, "teacher.backbone."),
    "moco": (moco, "state_dict.module.encoder_q."),
    "vissl": (vissl, "classy_state_dict.base_model.model.trunk._feature_blocks."),
    "lightning": (lightning, "state_dict.backbone."),
    "ours": (ours, "state_dict.backbone.net."),
}


def check(backbone, expected):
    with torch.no_grad():
        stages, pooled = backbone.eval()(X)
    assert expected.keys() == stages.keys() | {"pooled"}
    assert_rounded({**stages, "pooled": pooled}, expected, NETWORK)


@pytest.mark.parametrize("name", WRAPPINGS)
def test_every_wrapping_gives_torchvisions_own_features(name, model, expected, tmp_path):
    wrap, stripped = WRAPPINGS[name]
    torch.save(wrap(model.state_dict()), tmp_path / "weights.pth")
    backbone = TorchVision("resnet18", weights=str(tmp_path / "weights.pth"))
    check(backbone, expected)
    assert backbone.loaded.stripped == stripped
    trunk = {key for key in model.state_dict() if not key.startswith("fc.")}
    counters = {key for key in backbone.loaded.missing if key.endswith("num_batches_tracked")}
    assert {*backbone.loaded.matched} | counters >= trunk


def test_a_sequential_of_the_children_is_understood(model, expected, tmp_path):
    torch.save({"state_dict": numbered(model)}, tmp_path / "lightly.ckpt")
    backbone = TorchVision("resnet18", weights=str(tmp_path / "lightly.ckpt"))
    check(backbone, expected)
    assert backbone.loaded.unexpected == ()


def test_safetensors_and_the_old_format_and_half_precision(model, expected, tmp_path):
    save_file({f"model.{key}": value for key, value in model.state_dict().items()}, tmp_path / "w.safetensors")
    check(TorchVision("resnet18", weights=str(tmp_path / "w.safetensors")), expected)
    torch.save(model.state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    check(TorchVision("resnet18", weights=str(tmp_path / "w.pt")), expected)
    torch.save(copy.deepcopy(model).half().state_dict(), tmp_path / "half.pt")
    backbone = TorchVision("resnet18", weights=str(tmp_path / "half.pt"))
    assert torch.equal(backbone.net.conv1.weight, model.conv1.weight.half().float())


def test_of_two_networks_that_fit_one_can_be_asked_for(model, tmp_path):
    torch.save(dino(model.state_dict()), tmp_path / "dino.pth")
    fresh = torchvision.models.resnet18()
    loaded = load_weights(fresh, tmp_path / "dino.pth")
    assert loaded.others == ("student.module.backbone.",)
    assert torch.equal(fresh.conv1.weight, model.conv1.weight)
    assert load_weights(fresh, tmp_path / "dino.pth", prefixes=("student.",)).stripped == "student.module.backbone."
    assert not fresh.conv1.weight.any()


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        ("resnet18", "resnet34", r"it has \d+ tensors that the model lacks: layer1.2.conv1.weight, "),
        ("resnet34", "resnet18", r"it lacks \d+ of 218 tensors: layer1.2.conv1.weight, "),
        ("resnet18", "resnet50", r"shapes differ: layer1.0.conv1.weight is \(64, 64, 1, 1\), not \(64, 64, 3, 3\); "),
        (
            "resnet18",
            "mobilenet_v3_small",
            r"only \d+ of 120 tensors of ResNet are named so in .*: it has features.0.0.weight, .*model conv1",
        ),
    ],
)
def test_another_architecture_is_refused_with_its_differences(name, other, message, tmp_path):
    torch.save(torchvision.models.get_model(other).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message) as refusal:
        TorchVision(name, weights=str(tmp_path / "w.pth"))
    assert str(refusal.value).count(".weight") <= 10, "some names, not all"


def test_a_refusal_changes_nothing(model, tmp_path):
    weights = without(model.state_dict(), "layer4.1.bn2.running_var")
    torch.save(weights, tmp_path / "w.pth")
    fresh = torchvision.models.resnet18()
    before = copy.deepcopy(fresh.state_dict())
    with pytest.raises(ValueError, match=r"it lacks 1 of 122 tensors: layer4\.1\.bn2\.running_var;"):
        load_weights(fresh, tmp_path / "w.pth")
    weights = model.state_dict() | {"layer1.0.conv1.weight": torch.full((64, 64, 3, 3), torch.nan)}
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"values that are no numbers in layer1\.0\.conv1\.weight"):
        load_weights(fresh, tmp_path / "w.pth")
    assert all(torch.equal(before[key], value) for key, value in fresh.state_dict().items())


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "old.pt"])
@pytest.mark.parametrize("harm", ["cut", "noise", "empty"])
def test_a_broken_file_is_refused(name, harm, tmp_path):
    weights, whole = TinyNet().state_dict(), tmp_path / name
    if name.endswith("safetensors"):
        save_file(weights, whole)
    else:
        torch.save(weights, whole, _use_new_zipfile_serialization=name == "w.pth")
    content = whole.read_bytes()
    whole.write_bytes({"cut": content[: len(content) // 2], "noise": bytes(range(256)) * 9, "empty": b""}[harm])
    with pytest.raises(ValueError, match=rf"load_weights: .*{name} cannot be read \(.+\): it is broken, cut short"):
        load_weights(TinyNet(), whole)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"load_weights: there is no file nowhere\.pth"):
        TorchVision("resnet18", weights="nowhere.pth")


class Bomb:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.mark.parametrize("zipped", [True, False])
def test_what_a_pickle_says_is_not_done(zipped, tmp_path):
    content = {"state_dict": TinyNet().state_dict(), "extra": Bomb(tmp_path / "boom")}
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"holds (posix|nt)\.mkdir, and code from a file is never run here; .*alone"):
        load_weights(TinyNet(), tmp_path / "evil.pth")
    assert not (tmp_path / "boom").exists()
    torch.load(io.BytesIO((tmp_path / "evil.pth").read_bytes()), weights_only=False)
    assert (tmp_path / "boom").exists(), "the bomb would have gone off"


def test_a_whole_pickled_model_is_refused_by_name(tmp_path):
    torch.save(TinyNet(), tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"more than tensors and plain data: it holds nets\.TinyNet, .*save model"):
        load_weights(TinyNet(), tmp_path / "model.pt")


@pytest.mark.parametrize("name", ["mnasnet0_5", "mobilenet_v3_small", "googlenet"])
@pytest.mark.filterwarnings("ignore:The default weight initialization")  # torchvision's, of GoogLeNet
def test_other_families_of_torchvision(name, tmp_path):
    theirs = trained(torchvision.models.get_model, name=name)  # GoogLeNet with its auxiliary classifiers
    torch.save({"net": theirs.state_dict()}, tmp_path / "w.pth")
    backbone = TorchVision(name, weights=str(tmp_path / "w.pth")).eval()
    assert all(torch.equal(theirs.state_dict()[key], value) for key, value in backbone.net.state_dict().items())


def test_a_densenet_of_before_its_names_changed(tmp_path):
    # densenet121-a639ec97.pth and its like have dots in the names of a layer's parts: norm.1 for norm1.
    def build(seed):
        torch.manual_seed(seed)
        return torchvision.models.DenseNet(4, (2, 2), 8)

    new, old = build(0).state_dict(), OrderedDict()
    for key, value in new.items():
        old[re.sub(r"(denselayer\d\.(?:norm|conv))", r"\1.", key)] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "w.pth")
    fresh = build(1)
    load_weights(fresh, tmp_path / "w.pth")
    assert all(torch.equal(new[key], value) for key, value in fresh.state_dict().items())


def test_a_vit_of_before_its_layout_changed(tmp_path):
    # vit_b_16-c867db91.pth and its like name the layers of an MLP linear_1 and linear_2.
    torch.manual_seed(0)
    theirs = torchvision.models.VisionTransformer(64, 32, 4, 2, 64, 128)
    new, old = theirs.state_dict(), OrderedDict()
    for key, value in new.items():
        old[key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2.")] = value
    torch.save({"model": old}, tmp_path / "w.pth")
    fresh = torchvision.models.VisionTransformer(64, 32, 4, 2, 64, 128)
    load_weights(fresh, tmp_path / "w.pth")
    assert all(torch.equal(new[key], value) for key, value in fresh.state_dict().items())
    with pytest.raises(ValueError, match=r"pos_embedding is \(1, 5, 64\), not \(1, 17, 64\); build .*image_size"):
        load_weights(torchvision.models.VisionTransformer(128, 32, 4, 2, 64, 128), tmp_path / "w.pth")


@pytest.mark.parametrize("to", ["torchvision", "safetensors"])
@pytest.mark.parametrize("options", [{"stem": "small", "stem_stride": 2}, {"name": "mnasnet0_5"}])
def test_what_we_export_comes_back(to, options, tmp_path):
    torch.manual_seed(0)
    backbone = TorchVision(**options)
    backbone(X)
    export(backbone.eval(), tmp_path / f"w.{to}", to)
    back = TorchVision(**options, weights=str(tmp_path / f"w.{to}")).eval()
    assert torch.equal(back(X).pooled, backbone(X).pooled)


def test_an_export_knows_what_its_shapes_do_not_show(tmp_path):
    export(TorchVision("resnet18", stem="small", stem_stride=2), tmp_path / "w.safetensors", "safetensors")
    with pytest.raises(
        ValueError, match="exported with stem_stride=2, but the backbone has stem_stride=1; build it with"
    ):
        TorchVision("resnet18", stem="small", weights=str(tmp_path / "w.safetensors"))
    with pytest.raises(
        ValueError, match=r"exported with mean=\[0\.485, .*but the backbone has mean=\[0\.5, 0\.5, 0\.5\]"
    ):
        TorchVision("resnet18", "small", 2, mean=(0.5, 0.5, 0.5), weights=str(tmp_path / "w.safetensors"))
    stranger = {key: value.contiguous() for key, value in torchvision.models.resnet18().state_dict().items()}
    save_file(stranger, tmp_path / "theirs.safetensors", {"mean": json.dumps([0.1]), "stem": "their word"})
    TorchVision("resnet18", weights=str(tmp_path / "theirs.safetensors"))  # not ours: its words mean something else
