"""Exported files are read by torchvision and safetensors themselves, by the very lines that the message prints."""

import json
import re
import textwrap

import pytest
import torch
import torchvision
from nets import TinyNet
from safetensors import safe_open
from torch import nn
from torchaudios import needs_torchaudio

import pretext
from pretext.backbones import NIN, AlexNet, TorchVision
from pretext.backbones.audio import Sound
from pretext.backbones.cells import Cells
from pretext.backbones.export import export
from pretext.backbones.frames import Frames
from pretext.backbones.multimodal import MultiModal
from pretext.backbones.r2plus1d import R2Plus1D
from pretext.backbones.video import TorchVideo

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


# Networks for clips and sound, and several modalities.

CLIPS = torch.rand(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))
WAVES = torch.rand(2, 1, 4000, generator=torch.Generator().manual_seed(1)) - 0.5
THIN = {"layers": (1, 1), "bottleneck": False, "width": 0.125, "stem": "small"}


def seen(backbone, x):
    """The backbone in evaluation mode, its batch norms having seen something."""
    with torch.no_grad():
        backbone(x)
    return backbone.eval()


@pytest.mark.parametrize("to", ["torchvision", "safetensors"])
@pytest.mark.parametrize(
    ("name", "channels"), [pytest.param("r3d_18", 3, marks=pytest.mark.slow), ("s3d", 3), ("s3d", 2)]
)
def test_the_printed_lines_load_a_video_model_into_torchvisions(tmp_path, name, channels, to):
    x, space = CLIPS[:, :channels], {}
    backbone = seen(TorchVideo(name, channels=channels), x)
    exec(code(export(backbone, tmp_path / "clips.file", to)), space)
    model = space["model"].eval()
    theirs, mine = model.state_dict(), backbone.net.state_dict()
    assert all(torch.equal(theirs[key], value) for key, value in mine.items())
    assert {key.split(".")[0] for key in theirs.keys() - mine.keys()} <= {"fc", "classifier"}
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in backbone.normalise.constants)
    heard = []
    model.avgpool = nn.AdaptiveAvgPool3d(1)  # S3D's own wants 224 px
    model.avgpool.register_forward_hook(lambda _, __, y: heard.append(y.flatten(1)))
    with torch.no_grad():
        model((x - mean) / std)
        torch.testing.assert_close(heard[0], backbone(x).pooled, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("channels", "what"),
    [(1, "std of grey in"), (2, r"std of flow \(128/255 where nothing moves\) in"), (3, "of RGB in")],
)
def test_what_the_network_reads_is_told(tmp_path, channels, what):
    message = export(TorchVideo("s3d", channels=channels), tmp_path / "x.pth", "torchvision")
    assert re.search(what, message)
    assert "torchvision.models.video.s3d()" in message
    assert ("model.features[0][0][0] = torch.nn.Conv3d" in message) == (channels != 3)


def test_a_network_of_2_plus_1_dimensions_comes_back_by_the_printed_lines(tmp_path):
    backbone, space = seen(R2Plus1D(**THIN, channels=2, std=(0.05, 0.05)), CLIPS[:, :2]), {}
    exec(code(export(backbone, tmp_path / "x.safetensors", "safetensors")), space)
    with torch.no_grad():
        assert torch.equal(space["backbone"].eval()(CLIPS[:, :2]).pooled, backbone(CLIPS[:, :2]).pooled)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        metadata = file.metadata()
    options = {key: metadata[key] for key in ("layers", "bottleneck", "width", "channels", "std")}
    assert {key: json.loads(value) for key, value in options.items()} == {
        "layers": [1, 1],
        "bottleneck": False,
        "width": 0.125,
        "channels": 2,
        "std": [0.05, 0.05],
    }
    assert (metadata["name"], metadata["stem"]) == ("R2Plus1D", "small")


def test_a_network_of_cells_comes_back_by_the_printed_lines(tmp_path):
    x = torch.rand(2, 3, 16, 16)
    backbone, space = seen(Cells("imagenet_col", 4, 3, "small", tap_reductions=True, std=(0.2, 0.3, 0.4)), x), {}
    exec(code(export(backbone, tmp_path / "x.safetensors", "safetensors")), space)
    with torch.no_grad():
        assert torch.equal(space["backbone"].eval()(x).pooled, backbone(x).pooled)
    assert list(space["backbone"].stages) == list(backbone.stages)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert json.loads(file.metadata()["genotype"]) == backbone.genotype


def test_torchvision_has_no_such_network_for_clips(tmp_path):
    with pytest.raises(ValueError, match="like R2Plus1D, only a TorchVision or TorchVideo backbone"):
        export(R2Plus1D(**THIN), tmp_path / "x.pth", "torchvision")


@pytest.mark.parametrize("to", ["torchvision", "safetensors"])
def test_of_frames_the_network_inside_is_written(tmp_path, to):
    backbone, space = Frames(trained()), {}
    message = export(backbone, tmp_path / "frames.file", to)
    assert "a clip's features are the mean over its frames" in message
    exec(code(message), space)
    with torch.no_grad():
        images = [normalised(x, backbone.backbone) for x in CLIPS[:, :, :3].unbind(2)]
        frames = [before_the_classifier(space["model"].eval(), x) for x in images]
        torch.testing.assert_close(torch.stack(frames).mean(0), backbone(CLIPS[:, :, :3]).pooled)


@needs_torchaudio
@pytest.mark.parametrize("to", ["torchvision", "safetensors"])
def test_of_sound_the_network_inside_is_written_and_torchaudio_makes_its_pictures(tmp_path, to):
    backbone, space = seen(Sound(TorchVision(stem="small"), rate=8000, bands=32, low=80), WAVES), {}
    exec(code(export(backbone, tmp_path / "sound.file", to)), space)
    picture = space["picture"](WAVES)
    torch.testing.assert_close(picture, backbone.picture(WAVES))
    with torch.no_grad():
        pooled = before_the_classifier(space["model"].eval(), normalised(picture, backbone.net))
        torch.testing.assert_close(pooled, backbone(WAVES).pooled)


def test_safetensors_keeps_how_sound_is_pictured(tmp_path):
    export(Sound(NIN(3, width=0.1)), tmp_path / "x.safetensors", "safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["name"] == "NIN"
    expected = {"rate": 16000, "n_fft": 400, "hop_length": 160, "n_mels": 64, "f_min": 60, "f_max": 8000}
    assert json.loads(metadata["sound"]) == expected


def test_of_several_modalities_one_network_alone_is_written(tmp_path):
    rgb, flow, space = R2Plus1D(**THIN), R2Plus1D(**THIN, channels=2), {}
    both = MultiModal({"rgb": rgb, "flow": flow})
    exec(code(export(both, tmp_path / "x.safetensors", "safetensors", modality="flow")), space)
    assert space["weights"].keys() == flow.state_dict().keys()
    assert all(torch.equal(space["weights"][key], value) for key, value in flow.state_dict().items())
    assert space["backbone"].channels == 2


@pytest.mark.parametrize(("modality", "message"), [(None, "needs one of its modalities"), ("grey", "modality 'grey'")])
def test_one_of_the_modalities_must_be_named(tmp_path, modality, message):
    both = MultiModal({"rgb": R2Plus1D(**THIN), "audio": Sound(TinyNet())})
    with pytest.raises(ValueError, match=f"export: MultiModal .*{message}; choose one of rgb, audio"):
        export(both, tmp_path / "x.safetensors", "safetensors", modality=modality)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_one_modality_has_none_to_choose(tmp_path):
    with pytest.raises(ValueError, match="export: NIN is one network, which has no modality 'rgb'; leave it out"):
        export(NIN(), tmp_path / "x.safetensors", "safetensors", modality="rgb")
