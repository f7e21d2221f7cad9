"""Any torchvision classification model as a backbone: the same numbers as torchvision's own, stage by stage."""

from functools import cache
from itertools import pairwise

import pytest
import torch
import torchvision
from tolerance import NETWORK, assert_rounded
from torch import fx, nn

from pretext.backbones import TorchVision
from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD

# One of each family: name -> channels of its stages, from the papers' tables.
FAMILIES = {
    "alexnet": [64, 192, 256, 256],
    "convnext_tiny": [96, 192, 384, 768],
    "densenet121": [64, 256, 512, 1024, 1024],
    "efficientnet_b0": [16, 24, 40, 112, 1280],
    "efficientnet_v2_s": [24, 48, 64, 160, 1280],
    "googlenet": [64, 192, 480, 832, 1024],
    "inception_v3": [64, 192, 288, 768, 2048],
    "maxvit_t": [64, 64, 128, 256, 512],
    "mnasnet0_5": [8, 16, 24, 48, 1280],
    "mobilenet_v2": [16, 24, 32, 96, 1280],
    "mobilenet_v3_small": [16, 16, 24, 48, 576],
    "regnet_y_400mf": [32, 48, 104, 208, 440],
    "resnet18": [64, 64, 128, 256, 512],
    "resnext50_32x4d": [64, 256, 512, 1024, 2048],
    "shufflenet_v2_x0_5": [24, 48, 96, 1024],
    "squeezenet1_1": [64, 128, 256, 512],
    "swin_t": [96, 192, 384, 768],
    "swin_v2_t": [96, 192, 384, 768],
    "vgg11": [64, 128, 256, 512, 512, 512],
    "vgg11_bn": [64, 128, 256, 512, 512, 512],
    "vit_b_32": [768, 768, 768, 768],
    "wide_resnet50_2": [64, 256, 512, 1024, 2048],
}
BIG = ("alexnet", "convnext", "efficientnet_v2", "inception", "maxvit", "resnext", "swin_v2", "vgg", "vit", "wide")
TWINS = ("resnext", "wide", "vgg11_bn")  # the same class as another of the list


def slow(name, prefixes):
    return [pytest.mark.slow] if name.startswith(prefixes) else []


STRUCTURES = [pytest.param(name, channels, marks=slow(name, TWINS)) for name, channels in FAMILIES.items()]
NUMBERS = [pytest.param(name, marks=slow(name, BIG)) for name in FAMILIES]
CLASSIFIER = {"classifier", "fc", "head", "heads", "aux1", "aux2", "AuxLogits"}


def side(name):
    """Small, but enough to leave more than one pixel at the end."""
    return 224 if name.startswith("maxvit") else 128 if name.startswith("inception") else 64


@cache
def real(name):
    torch.manual_seed(0)
    return TorchVision(name, image_size=64 if name.startswith("vit") else None)


def ghost(name):
    """Build a backbone without memory or arithmetic."""
    with torch.device("meta"):
        return TorchVision(name, image_size=64 if name.startswith("vit") else None)


def images(name, n=2):
    return torch.rand(n, 3, side(name), side(name), generator=torch.Generator().manual_seed(1))


def normalised(x):
    return torchvision.transforms.functional.normalize(x, IMAGENET_MEAN, IMAGENET_STD)


def reference(backbone):
    """Torchvision's own model with the backbone's weights."""
    with next(backbone.parameters()).device:
        model = torchvision.models.get_model(backbone.name, weights=None, **backbone.options)
    missing, unexpected = model.load_state_dict(backbone.weights(), strict=False)
    assert not unexpected
    assert {key.split(".")[0] for key in missing} <= CLASSIFIER
    return model


def overhear(model, path, x):
    """Return what goes into the module at `path` and what comes out of it while `model` looks at `x`."""
    heard, module = [], model.get_submodule(path)
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0].clone())),  # MNASNet overwrites it
        module.register_forward_hook(lambda _, inputs, output: heard.append(output.clone())),
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return heard


def check_structure(name, backbone, channels=None):
    device = next(backbone.parameters()).device
    x = torch.rand(2, 3, side(name), side(name), device=device)
    stages, pooled = backbone(x)
    shapes = [stage.shape for stage in stages.values()]
    assert {key: stage.shape[1] for key, stage in stages.items()} == backbone.stages
    assert pooled.shape == (2, backbone.dim)
    assert backbone.dim == shapes[-1][1]
    assert all(len(shape) == 4 and shape[2] == shape[3] for shape in shapes)
    assert all(shallow[2] >= deep[2] for shallow, deep in pairwise(shapes))
    assert not any("." in key for key in stages), "stage names become keys of modules"
    assert reference(backbone), "torchvision knows the weights by name"
    assert channels is None or list(backbone.stages.values()) == channels
    backbone.zero_grad()
    pooled.sum().backward()
    assert [key for key, weight in backbone.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(("name", "channels"), STRUCTURES)
def test_every_family_has_stages_from_shallow_to_deep_and_no_weight_without_use(name, channels):
    check_structure(name, ghost(name) if name.startswith(BIG) else real(name).train(), channels)


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_so_has_every_single_model(name):
    if name in ("regnet_y_128gf", "vit_h_14"):
        pytest.skip("gigabytes, and the same code as its smaller siblings")
    # torchvision computes RegNet's widths with tensors, so it cannot be built as a ghost.
    check_structure(name, TorchVision(name) if name.startswith("regnet") else ghost(name))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NUMBERS)
def test_pooled_is_what_torchvisions_own_classifier_would_get(name, training):
    # The same weights and the same draws: stochastic depth must fall alike in training mode.
    backbone, x = real(name).train(training), images(name)
    model = reference(backbone).train(training)
    head = next(key for key, _ in model.named_children() if key in CLASSIFIER | {"avgpool"})
    torch.manual_seed(2)
    expected, _ = overhear(model, head, normalised(x))
    torch.manual_seed(2)
    pooled = backbone(x).pooled
    torch.testing.assert_close(pooled, expected.mean((-2, -1)) if expected.ndim == 4 else expected)
    assert pooled.std() > 0


class Witness(fx.Interpreter):
    """Copy every tensor at the moment it is computed."""

    def run_node(self, n):
        result = super().run_node(n)
        self.env.setdefault("copies", {})[n] = result.clone() if isinstance(result, torch.Tensor) else None
        return result


@pytest.mark.parametrize("name", NUMBERS)
def test_no_stage_is_overwritten_by_what_follows(name):
    net = real(name).eval().net
    witness = Witness(net, garbage_collect_values=False)
    seen = witness.run(normalised(images(name)))
    taps = next(node for node in net.graph.nodes if node.op == "output").args[0]
    for key, node in taps.items():
        assert torch.equal(seen[key], witness.env["copies"][node]), key


def test_resnet_has_its_familiar_stages():
    backbone, x = real("resnet18").eval(), images("resnet18")
    stages = backbone(x).stages
    assert list(stages) == ["stem", "layer1", "layer2", "layer3", "layer4"]
    model = reference(backbone).eval()
    for key in list(stages)[1:]:
        assert torch.equal(stages[key], overhear(model, key, normalised(x))[1])
    assert torch.equal(stages["stem"], overhear(model, "maxpool", normalised(x))[0]), "before the pooling"


def test_resnet_pools_like_torchvisions_average_pooling():
    backbone, x = real("resnet18").eval(), images("resnet18")
    _, expected = overhear(reference(backbone).eval(), "avgpool", normalised(x))
    torch.testing.assert_close(backbone(x).pooled, expected.flatten(1))


def test_resnet_keeps_torchvisions_names_without_the_classifiers():
    theirs = torchvision.models.resnet18().state_dict().keys()
    assert list(real("resnet18").net.state_dict()) == [key for key in theirs if not key.startswith("fc.")]


def test_swins_channels_come_second():
    backbone, x = real("swin_t").eval(), images("swin_t")
    _, grid = overhear(reference(backbone).eval(), "features.3", normalised(x))  # (N, h, w, D)
    assert torch.equal(backbone(x).stages["features_3"][:, :, 1, 0], grid[:, 1, 0])


@pytest.mark.slow
def test_vits_tokens_lie_in_the_grid_as_the_patches_do():
    backbone = TorchVision("vit_b_32", image_size=96).eval()
    x = torch.rand(2, 3, 96, 96)
    model = reference(backbone).eval()
    stages, pooled = backbone(x)
    _, tokens = overhear(model, "encoder.layers.encoder_layer_5", normalised(x))  # (N, 1 + 3 * 3, D)
    _, final = overhear(model, "encoder.ln", normalised(x))
    assert list(stages) == ["encoder_layer_2", "encoder_layer_5", "encoder_layer_8", "encoder_layer_11"]
    torch.testing.assert_close(stages["encoder_layer_5"][:, :, 1, 2], tokens[:, 1 + 3 * 1 + 2])
    torch.testing.assert_close(stages["encoder_layer_11"][:, :, 2, 0], final[:, 1 + 3 * 2])
    torch.testing.assert_close(pooled, final[:, 0])


@pytest.mark.parametrize(("stride", "sides"), [(1, [32, 32, 16, 8, 4]), (2, [16, 16, 8, 4, 2])])
def test_small_stem_of_a_resnet_keeps_the_resolution(stride, sides):
    backbone = TorchVision("resnet18", stem="small", stem_stride=stride)
    stages = backbone(torch.rand(2, 3, 32, 32)).stages
    assert list(stages) == list(real("resnet18").stages)
    assert [stage.shape[-1] for stage in stages.values()] == sides
    shapes = {key: weight.shape for key, weight in backbone.net.state_dict().items()}
    plain = {key: weight.shape for key, weight in real("resnet18").net.state_dict().items()}
    assert {key for key in plain if shapes[key] != plain[key]} == {"conv1.weight"}
    assert shapes["conv1.weight"] == (64, 3, 3, 3)


@pytest.mark.parametrize(
    ("name", "side"),
    [("densenet121", 4), ("googlenet", 4), ("mobilenet_v2", 2), ("shufflenet_v2_x0_5", 4), ("squeezenet1_1", 8)],
)
def test_small_stem_of_other_families_saves_a_halving_for_each_convolution_and_pooling(name, side):
    # At 32 px these end at 1 px; without the stem's stride and, where there is one, its pooling, at 2 or 4. SqueezeNet
    # has no fifth halving.
    with torch.device("meta"):
        backbone = TorchVision(name, stem="small")
        assert next(reversed(backbone(torch.rand(2, 3, 32, 32)).stages.values())).shape[-1] == side


@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "convnext_tiny", "maxvit_t"])
def test_patches_have_no_small_stem(name):
    with torch.device("meta"), pytest.raises(ValueError, match=rf"TorchVision: {name} has no small stem.*resnet18"):
        TorchVision(name, stem="small")


def test_an_unknown_name_lists_the_close_ones():
    with pytest.raises(ValueError, match=r"no classification model 'resnet19'; did you mean .*resnet18"):
        TorchVision("resnet19")
    with pytest.raises(ValueError, match="no classification model 'fcn_resnet50'"):
        TorchVision("fcn_resnet50")  # torchvision's, but for segmentation
    with pytest.raises(ValueError, match=r"'xyzzy'; choose one of alexnet, "):
        TorchVision("xyzzy")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem_stride": 2}, "stem='imagenet', stem_stride=2"),
        ({"stem": "small", "stem_stride": 3}, "stem_stride, 1 or 2"),
        ({"stem": "tiny"}, "stem is 'imagenet' or 'small'"),
        ({"image_size": 64}, "resnet18 reads any image size; leave image_size=64 out"),
        ({"name": "vit_b_32", "image_size": 33}, "cannot build vit_b_32 .*indivisible"),
        ({"name": "maxvit_t", "image_size": 96}, "cannot build maxvit_t .*not divisible"),
    ],
)
def test_an_option_that_would_mean_nothing_is_refused(options, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        TorchVision(**options)


def test_a_network_for_one_size_says_which():
    with torch.device("meta"), pytest.raises(ValueError, match="vit_b_32 was built for 64 x 64 px, got 64 x 96"):
        ghost("vit_b_32")(torch.rand(1, 3, 64, 96))


def test_it_compiles_into_one_graph():
    backbone, x = TorchVision("resnet18", stem="small").eval(), torch.rand(2, 3, 32, 32)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)  # fullgraph: an error where Python is needed
    assert_rounded(compiled(x).pooled, backbone(x).pooled, NETWORK)
    torch._dynamo.reset()


def test_channels_last_changes_the_memory_order_alone():
    backbone, x = real("resnet18").eval(), images("resnet18")
    other = TorchVision("resnet18").eval()
    other.load_state_dict(backbone.state_dict())
    other.to(memory_format=torch.channels_last)
    stages, pooled = other(x.contiguous(memory_format=torch.channels_last))
    assert all(stage.is_contiguous(memory_format=torch.channels_last) for stage in stages.values())
    assert_rounded(pooled, backbone(x).pooled, NETWORK)


def test_half_precision_runs_throughout():
    backbone = TorchVision("resnet18", stem="small").to(torch.bfloat16).eval()
    stages, pooled = backbone(torch.rand(2, 3, 32, 32, dtype=torch.bfloat16))
    assert {stage.dtype for stage in [*stages.values(), pooled]} == {torch.bfloat16}


def test_it_holds_only_modules_that_it_runs():
    assert not any(isinstance(module, nn.Linear) for module in real("resnet18").modules())
