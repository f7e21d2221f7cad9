"""MultiModal: networks side by side that never meet."""

import copy
import pickle

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from nets import TinyNet, WaveNet
from torch import nn

from pretext.backbones.frames import Frames
from pretext.backbones.multimodal import MultiModal
from pretext.core.rng import rng
from pretext.core.types import Backbone, axis

X = {
    "rgb": torch.rand(3, 3, 2, 16, 16, generator=rng("cpu", "rgb")),
    "audio": torch.rand(3, 1, 400, generator=rng("cpu", "audio")) * 2 - 1,
}


def make():
    torch.manual_seed(0)
    return MultiModal({"rgb": Frames(TinyNet()), "audio": WaveNet()})


def test_it_is_described_by_what_is_in_it():
    net = make()
    assert net.dims == {"rgb": 16, "audio": 8}
    assert net.dim == 24
    assert net.stages == {"rgb.conv1": 8, "rgb.conv2": 16, "audio.conv1": 8}
    assert list(net.backbones) == ["rgb", "audio"]
    features = net(X)
    seen = {f"{name}.{key}": x.shape[1] for name, one in features.items() for key, x in one.stages.items()}
    assert seen == net.stages
    assert {name: one.pooled.shape[1] for name, one in features.items()} == net.dims


def test_every_network_sees_its_own_modality_and_nothing_else():
    net = make().eval()
    together = net(X)
    for name, x in X.items():
        alone = net.backbones[name](x)
        assert torch.equal(together[name].pooled, alone.pooled)
        assert torch.equal(net({name: x})[name].pooled, alone.pooled)


def test_a_gradient_stays_in_its_network():
    net = make()
    net(X)["audio"].pooled.sum().backward()
    assert all(p.grad is None for p in net.backbones["rgb"].parameters())
    assert all(p.grad is not None for p in net.backbones["audio"].parameters())


@pytest.mark.parametrize("names", [["rgb"], ["audio"], ["audio", "rgb"], ["rgb", "audio"], []])
def test_any_subset_is_answered_in_its_order(names):
    assert list(make()({name: X[name] for name in names})) == names


def test_what_is_not_asked_is_not_run():
    net = make()
    before = copy.deepcopy(net.backbones["rgb"].state_dict())
    net({"audio": X["audio"]})
    assert all(torch.equal(before[key], value) for key, value in net.backbones["rgb"].state_dict().items())


def test_a_modality_without_a_network_is_refused():
    with pytest.raises(ValueError, match=r"MultiModal: has no network for 'flow'; there are rgb, audio"):
        make()(X | {"flow": X["rgb"]})


def test_a_tensor_is_refused():
    with pytest.raises(ValueError, match=r"MultiModal: reads a dict by modality \(rgb, audio\), got a Tensor"):
        make()(X["rgb"])


@pytest.mark.parametrize("letter", "thw")
def test_it_has_no_axes_of_its_own(letter):
    with pytest.raises(ValueError, match=f"needs a backbone with an axis '{letter}', but MultiModal"):
        axis(letter, make(), "a task")


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_a_copy_sees_the_same_and_shares_nothing(how):
    net = make().eval()
    twin = how(net)
    assert all(torch.equal(twin(X)[name].pooled, one.pooled) for name, one in net(X).items())
    assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in twin.parameters()}


@pytest.mark.parametrize(
    ("backbones", "message"),
    [
        ({}, "no network; give one for each modality"),
        ({"my sound": WaveNet()}, "'my sound' cannot name a modality"),
        ({"rgb.left": TinyNet()}, "'rgb.left' cannot name a modality"),
        ({"items": TinyNet()}, "'items' cannot name a modality; take a plain word that torch does not use itself"),
        ({"rgb": nn.Linear(3, 3)}, "rgb must be a backbone that reads one modality, got a Linear"),
        ({"both": MultiModal({"audio": WaveNet()})}, "both must be a backbone that reads one modality, got a Multi"),
    ],
)
def test_what_does_not_fit_is_refused(backbones, message):
    with pytest.raises(ValueError, match=f"MultiModal: {message}"):
        MultiModal(backbones)


CONFIG = """
class_path: pretext.backbones.multimodal.MultiModal
init_args:
  backbones:
    rgb:
      class_path: pretext.backbones.r2plus1d.R2Plus1D
      init_args: {layers: [1, 1], bottleneck: false, width: 0.125, stem: small}
    flow:
      class_path: pretext.backbones.r2plus1d.R2Plus1D
      init_args: {layers: [1], bottleneck: false, width: 0.125, stem: small, channels: 2, std: [0.05, 0.05]}
    frames:
      class_path: pretext.backbones.frames.Frames
      init_args:
        backbone: {class_path: pretext.backbones.NIN, init_args: {width: 0.1}}
    audio:
      class_path: pretext.backbones.audio.Sound
      init_args:
        rate: 8000
        bands: 32
        net: {class_path: pretext.backbones.NIN, init_args: {width: 0.1}}
"""


def test_a_config_builds_it_and_is_written_back_the_same():
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
    parser.add_argument("--backbone", type=Backbone)
    once = parser.parse_object({"backbone": yaml.safe_load(CONFIG)})
    again = parser.parse_string(parser.dump(once))
    net = parser.instantiate_classes(again).backbone
    assert net.dims == {"rgb": 16, "flow": 8, "frames": 19, "audio": 19}
    assert net.backbones["rgb"].layers == (1, 1)
    assert net.backbones["flow"].normalise.constants == ((128 / 255, 128 / 255), (0.05, 0.05))
    assert net.backbones["audio"].mel.rate == 8000
