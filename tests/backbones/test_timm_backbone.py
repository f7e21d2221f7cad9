"""Timm's models as backbones: the same numbers as timm's own, stage by stage."""

import copy
import pickle

import pytest
import torch
import torchvision
from tolerance import NETWORK, assert_rounded
from torch import nn

from pretext.backbones.pretrained.build import pretrained
from pretext.backbones.timm import Timm

timm = pytest.importorskip("timm", reason="timm is not installed: pip install 'pretext-tasks[timm]'")

VIT = "vit_tiny_patch16_224"
# name -> image size, options, channels of the stages
MODELS = {
    "resnet18": (None, {}, [64, 64, 128, 256, 512]),
    "convnext_atto": (None, {}, [40, 80, 160, 320]),
    "mobilenetv3_small_050": (None, {}, [16, 8, 16, 24, 288]),
    VIT: (64, {"depth": 4}, [192] * 4),
    "deit_tiny_distilled_patch16_224": (64, {"depth": 4}, [192] * 4),  # two classifiers, two tokens
    "vit_tiny_patch16_224.augreg_in21k": (64, {"depth": 4, "global_pool": "avg"}, [192] * 4),  # norm after pooling
}


def build(name, weights=None):
    size, options, _ = MODELS[name]
    torch.manual_seed(0)
    return Timm(name, weights, image_size=size, options=options).eval()


def images(side=64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def normalised(x, model):
    return torchvision.transforms.functional.normalize(x, model.pretrained_cfg["mean"], model.pretrained_cfg["std"])


def reference(name):
    size, options, _ = MODELS[name]
    torch.manual_seed(5)
    model = timm.create_model(name, **({"img_size": size} if size else {}), **options)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
        elif isinstance(part, nn.LayerNorm):
            part.weight.data.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
def test_features_are_timms_own(name, tmp_path):
    model, x = reference(name), images()
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}, tmp_path / "w.pth"
    )
    backbone = build(name, str(tmp_path / "w.pth"))
    with torch.no_grad():
        stages, pooled = backbone(x)
        final = model.forward_features(normalised(x, model))
        expected = model.forward_head(final, pre_logits=True)
        maps = model.forward_intermediates(normalised(x, model), intermediates_only=True)
    assert_rounded(pooled, expected, NETWORK)
    assert list(backbone.stages.values()) == MODELS[name][2]
    assert {key: stage.shape[1] for key, stage in stages.items()} == backbone.stages
    assert pooled.shape == (2, backbone.dim)
    for stage, theirs in list(zip(stages.values(), maps, strict=True))[: -1 if final.ndim == 3 else None]:
        assert_rounded(stage, theirs, NETWORK)
    assert not any(key.startswith(("head.fc", "fc.", "classifier.")) for key in backbone.net.state_dict())


@pytest.mark.parametrize(("name", "prefix"), [(VIT, 1), ("deit_tiny_distilled_patch16_224", 2)])
def test_a_vits_last_stage_is_after_the_norm_and_lies_as_the_patches_do(name, prefix):
    backbone, x = build(name), images()
    with torch.no_grad():
        tokens = backbone.net.forward_features(normalised(x, backbone.net))
        stages, _ = backbone(x)
    assert tokens.shape == (2, prefix + 4 * 4, 192)
    torch.testing.assert_close(stages["blocks_3"][:, :, 1, 2], tokens[:, prefix + 1 * 4 + 2])
    assert stages["blocks_3"].shape == (2, 192, 4, 4)


def test_a_resnet_has_its_familiar_stages_and_reads_any_size():
    backbone = build("resnet18")
    assert list(backbone.stages) == ["act1", "layer1", "layer2", "layer3", "layer4"]
    with torch.no_grad():
        stages, pooled = backbone(images(96))
    assert [stage.shape[-1] for stage in stages.values()] == [48, 24, 12, 6, 3]
    torch.testing.assert_close(pooled, stages["layer4"].mean((-2, -1)))


def test_torchvisions_weights_of_a_resnet_fit_timms(tmp_path):
    theirs = torchvision.models.resnet18().eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    backbone, x = build("resnet18", str(tmp_path / "w.pth")), images()
    theirs.fc = nn.Identity()
    with torch.no_grad():
        assert_rounded(backbone(x).pooled, theirs(normalised(x, backbone.net)), NETWORK)


def test_normalisation_is_the_recipes():
    assert build(VIT).normalise.constants == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert Timm("resnet18").normalise.constants[0] == (0.485, 0.456, 0.406)
    assert Timm("resnet18", mean=(0.1, 0.2, 0.3)).normalise.constants[0] == (0.1, 0.2, 0.3)
    assert Timm("vit_small_patch16_224.dino", options={"depth": 1}).normalise.constants[0] == (0.485, 0.456, 0.406)


def test_a_copy_and_a_pickle_say_the_same():
    backbone, x = build(VIT), images()
    for twin in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone))):
        assert torch.equal(twin(x).pooled, backbone(x).pooled)


def test_it_trains_all_its_weights():
    backbone = build(VIT).train()
    backbone(images()).pooled.sum().backward()
    unused = [key for key, weight in backbone.named_parameters() if weight.grad is None]
    assert unused == []


def test_a_network_for_one_size_says_which():
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224 was built for 64 x 64 px, got 96 x 96"):
        build(VIT)(images(96))
    with pytest.raises(ValueError, match="resnet18 reads any image size; leave image_size=64 out"):
        Timm("resnet18", image_size=64)
    assert Timm(VIT, options={"depth": 1}).image_size == 224


def test_positions_of_another_size_are_refused(tmp_path):
    torch.save(reference(VIT).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"pos_embed is \(1, 17, 192\), not \(1, 37, 192\); build .*image_size"):
        Timm(VIT, str(tmp_path / "w.pth"), image_size=96, options={"depth": 4})
    with pytest.raises(ValueError, match=r"it has 12 tensors that the model lacks: blocks\.3\.norm1\.weight"):
        Timm(VIT, str(tmp_path / "w.pth"), image_size=64, options={"depth": 3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet81"}, r"timm has no model 'resnet81'; did you mean .*resnet18"),
        ({"name": "hf_hub:somebody/model"}, "timm has no model 'hf_hub:somebody/model'"),
        ({"name": "resnet18.mine"}, r"Invalid pretrained tag.*timm has .*resnet18\.a1_in1k"),
        ({"options": {"nonsense": 1}}, "timm cannot build resnet18 with .*nonsense"),
        ({"options": {"checkpoint_path": "x"}}, "options cannot set checkpoint_path"),
        ({"name": "crossvit_tiny_240"}, "crossvit_tiny_240 .*not show its stages"),
    ],
)
def test_what_timm_cannot_do_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        Timm(**arguments)


def test_a_network_of_timm_gets_the_size_that_it_will_be_shown():
    assert pretrained(f"timm:{VIT},image_size=32", image_size=64).fresh().image_size == 32
    assert pretrained(f"timm:{VIT}", image_size=64).fresh().image_size == 64
    assert pretrained("timm:resnet18", image_size=64).fresh().image_size is None
