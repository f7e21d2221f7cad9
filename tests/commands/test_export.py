"""Exported files are read by torchvision and safetensors themselves, by the very lines that the message prints."""

import json
import textwrap

import pytest
import torch
import torchvision
from safetensors import safe_open
from torch import nn

import pretext
from pretext.backbones import NIN, AlexNet, TorchVision
from pretext.commands.export import export

X = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def trained(**options):
    """A backbone whose batch norms have seen something, so that a lost buffer would show."""
    torch.manual_seed(0)
    backbone = TorchVision(**options)
    with torch.no_grad():
        backbone(X)
    return backbone.eval()


def normalised(x, backbone):
    return torchvision.transforms.functional.normalize(x, *backbone.normalise.constants)


def code(message):
    """The lines of Python in a message: those that are indented."""
    return textwrap.dedent("\n".join(line for line in message.splitlines() if line.startswith("    ")))


def before_the_classifier(model, x):
    """What the classifier of torchvision's own model gets to see, as a mean where it would pool."""
    heard = []
    head = next(module for name, module in model.named_children() if name in ("avgpool", "classifier", "fc"))
    head.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    model(x)
    return heard[0].mean((-2, -1)) if heard[0].ndim == 4 else heard[0]


def test_torchvision_loads_it_by_name_and_sees_the_same(tmp_path):
    backbone, file = trained(), tmp_path / "resnet18.pth"
    export(backbone, file, "torchvision")
    model = torchvision.models.resnet18()
    missing, unexpected = model.load_state_dict(torch.load(file, weights_only=True), strict=False)
    assert (set(missing), unexpected) == ({"fc.weight", "fc.bias"}, [])
    model.fc = nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(normalised(X, backbone)), backbone(X).pooled)


@pytest.mark.parametrize(
    ("to", "options"),
    [
        ("torchvision", {"stem": "small"}),
        ("torchvision", {"stem": "small", "stem_stride": 2}),
        ("torchvision", {"name": "squeezenet1_1", "stem": "small"}),  # a nested first convolution
        ("torchvision", {"name": "mobilenet_v3_small", "stem": "small"}),  # no pooling
        ("torchvision", {"name": "googlenet"}),  # without auxiliary classifiers
        ("torchvision", {"name": "mnasnet0_5"}),  # two layouts of weights, told apart by a version
        ("safetensors", {}),
        ("safetensors", {"stem": "small", "stem_stride": 2}),
        ("safetensors", {"name": "mnasnet0_5"}),
    ],
    ids=str,
)
def test_the_printed_lines_load_the_file(tmp_path, to, options):
    backbone, space = trained(**options), {}
    exec(code(export(backbone, tmp_path / "a b.file", to)), space)
    model = space["model"].eval()
    theirs, mine = model.state_dict(), backbone.net.state_dict()
    assert all(torch.equal(theirs[key], value) for key, value in mine.items())
    assert {key.split(".")[0] for key in theirs.keys() - mine.keys()} <= {"fc", "classifier"}
    with torch.no_grad():
        torch.testing.assert_close(before_the_classifier(model, normalised(X, backbone)), backbone(X).pooled)


def test_two_lines_give_torchvisions_resnet_the_small_stem(tmp_path):
    message = export(trained(stem="small", stem_stride=2), tmp_path / "small.pth", "torchvision")
    assert code(message).splitlines()[3:5] == [
        "model.conv1 = torch.nn.Conv2d(3, 64, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)",
        "model.maxpool = torch.nn.Identity()",
    ]
    weights = torch.load(tmp_path / "small.pth", weights_only=True)
    with pytest.raises(RuntimeError, match=r"size mismatch for conv1\.weight"):
        torchvision.models.resnet18().load_state_dict(weights, strict=False)  # loud, not silent, without them


def test_safetensors_holds_the_same_tensors_and_says_what_they_are(tmp_path):
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    backbone = trained(stem="small", mean=mean, std=std)
    message = export(backbone, tmp_path / "x.safetensors", "safetensors")
    assert "mean (0.1, 0.2, 0.3) and std (0.4, 0.5, 0.6)" in message
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a dict)
    mine = backbone.net.state_dict()
    assert tensors.keys() == mine.keys()
    assert all(torch.equal(tensors[key], value) for key, value in mine.items())
    assert (metadata["name"], metadata["stem"], metadata["stem_stride"]) == ("resnet18", "small", "1")
    assert (tuple(json.loads(metadata["mean"])), tuple(json.loads(metadata["std"]))) == (mean, std)
    assert metadata["pretext"] == pretext.__version__


def test_a_network_of_ours_goes_to_safetensors_and_comes_back(tmp_path):
    backbone, space = NIN(), {}
    message = export(backbone, tmp_path / "nin.safetensors", "safetensors")
    exec(code(message), space)
    twin = NIN()
    twin.load_state_dict(space["weights"])
    with torch.no_grad():
        assert torch.equal(twin.eval()(X).pooled, backbone.eval()(X).pooled)
    assert "mean (0.491373, 0.482353, 0.446667)" in message


def test_a_thin_network_goes_to_safetensors_and_comes_back_by_the_printed_lines(tmp_path):
    backbone, space = trained(stem="small", width=0.25, mean=[0.1, 0.2, 0.3]), {}
    message = export(backbone, tmp_path / "thin.safetensors", "safetensors")
    exec(code(message), space)
    with torch.no_grad():
        assert torch.equal(space["backbone"].eval()(X).pooled, backbone(X).pooled)
    with safe_open(tmp_path / "thin.safetensors", "pt") as file:
        assert file.metadata()["width"] == "0.25"


def test_torchvision_has_no_thin_network(tmp_path):
    with pytest.raises(ValueError, match=r"resnet18 in full width only, not with width=0\.25; use safetensors"):
        export(TorchVision(width=0.25), tmp_path / "x.pth", "torchvision")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("network", [NIN, AlexNet])
def test_torchvision_has_no_such_network_and_no_file_is_left(tmp_path, network):
    with torch.device("meta"), pytest.raises(ValueError, match=f"like {network.__name__}.*use safetensors"):
        export(network(), tmp_path / "x.pth", "torchvision")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'torchvision' or 'safetensors', got 'onnx'"):
        export(NIN(), tmp_path / "x.onnx", "onnx")


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    backbone, file = trained(), tmp_path / "x.pth"
    file.write_bytes(b"old")

    def fill_the_disk(_, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fill_the_disk)
    with pytest.raises(OSError, match="No space"):
        export(backbone, file, "torchvision")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.pth", b"old")]


def test_the_file_is_plain_whatever_the_training_used(tmp_path):
    backbone = trained().to(memory_format=torch.channels_last)
    assert not backbone.net.conv1.weight.is_contiguous()
    export(backbone, tmp_path / "new" / "x.pth", "torchvision")
    tensors = torch.load(tmp_path / "new" / "x.pth", weights_only=True)
    assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in tensors.values())
