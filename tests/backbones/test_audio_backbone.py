"""Sound: waveforms as pictures, and a network for images that sees nothing else."""

import copy
import pickle
from functools import partial

import pytest
import torch
from nets import TinyNet, WaveNet
from tolerance import DECIBELS, NETWORK, assert_rounded
from torch import nn

from pretext.backbones import NIN, TorchVision
from pretext.backbones.audio import Sound
from pretext.core.rng import rng
from pretext.ops.mel import LogMel

NETS = {
    "tiny": TinyNet,
    "nin": partial(NIN, 3, width=0.25),
    "resnet18": partial(TorchVision, "resnet18", stem="small", width=0.25),
}
X = 0.1 * torch.randn(3, 1, 8000, generator=rng("cpu", "sound")).clamp(-3, 3)  # half a second
each = pytest.mark.parametrize("name", NETS)


def make(name="tiny", **options):
    torch.manual_seed(0)
    return Sound(NETS[name](), **options)


@each
def test_it_is_the_network_on_the_picture(name):
    net = make(name).eval()
    assert (net.axes, net.dim, net.stages) == ("t", net.net.dim, net.net.stages)
    stages, pooled = net(X)
    expected = net.net(net.picture(X))
    assert torch.equal(pooled, expected.pooled)
    assert {key: tuple(stage.shape) for key, stage in stages.items()} == {
        key: tuple(stage.shape) for key, stage in expected.stages.items()
    }
    assert pooled.shape == (3, net.dim)


def test_height_is_pitch_and_width_is_time():
    stages, _ = make()(X)
    assert tuple(stages["conv1"].shape) == (3, 8, 32, 24)  # 64 bands and 1 + (8000 - 400) // 160 = 48 frames, halved


def test_the_picture_is_log_mel_between_silence_and_a_full_scale_sine():
    net = make()
    picture = net.picture(X)
    assert picture.shape == (3, 3, 64, 48)
    assert torch.equal(picture[:, :1].expand(-1, 3, -1, -1), picture)
    torch.testing.assert_close(picture[:, :1] * 80 - 80, LogMel(mean=0, spread=1)(X), rtol=0, atol=DECIBELS)
    assert not net.picture(torch.zeros_like(X)).abs().gt(1e-6).any()
    sine = torch.sin(torch.arange(8000) * 0.4)[None, None]
    assert net.picture(sine).max().item() == pytest.approx(1, abs=0.03)


@each
def test_an_item_is_heard_alone(name):
    net = make(name).eval()
    assert_rounded(net(X).pooled[1:2], net(X[1:2]).pooled, NETWORK)
    assert not torch.allclose(net(X).pooled[0], net(X).pooled[1])


def test_loudness_is_seen():
    """Nothing is normalised away: a quieter sound is another picture."""
    net = make().eval()
    assert not torch.allclose(net(X).pooled, net(0.1 * X).pooled, rtol=1e-2)


@pytest.mark.parametrize("samples", [400, 401, 560, 5000])
def test_any_waveform_of_a_window_will_do(samples):
    assert make().eval()(X[:, :, :samples]).pooled.isfinite().all()


def test_a_shorter_one_is_refused():
    with pytest.raises(ValueError, match="at least 400 samples"):
        make()(X[:, :, :399])


@each
def test_pooled_uses_every_weight_and_nothing_but_the_networks_is_saved(name):
    net = make(name)
    net(X).pooled.square().mean().backward()
    assert [key for key, weight in net.named_parameters() if weight.grad is None] == []
    assert list(net.state_dict()) == [f"net.{key}" for key in net.net.state_dict()]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
@each
def test_a_copy_hears_the_same(name, how):
    net = make(name, rate=8000, bands=32).eval()
    assert torch.equal(how(net)(X).pooled, net(X).pooled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_dtype_is_kept(dtype):
    stages, pooled = make("resnet18").to(dtype)(X.to(dtype))
    assert {x.dtype for x in (*stages.values(), pooled)} == {dtype}


def test_bfloat16_autocast_hears_the_same_picture_and_learns():
    net = make("resnet18")
    with torch.autocast("cpu", torch.bfloat16):
        picture = net.picture(X)
        net(X).pooled.float().square().mean().backward()
    assert torch.equal(picture, net.picture(X))
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize(
    ("net", "message"),
    [(WaveNet(), "WaveNet reads 't'"), (TinyNet(axes="thw"), "reads 'thw'"), (nn.Linear(1, 1), "is no backbone")],
)
def test_a_network_that_reads_no_images_is_refused(net, message):
    with pytest.raises(ValueError, match=f"Sound: net must be a backbone that reads images .*{message}"):
        Sound(net)
