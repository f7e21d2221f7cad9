"""Frames: a clip is its frames, each seen by itself."""

import copy
import pickle

import pytest
import torch
from nets import TinyNet, WaveNet
from torch import nn

from pretext.backbones.frames import Frames
from pretext.core.rng import rng

X = torch.rand(3, 3, 5, 16, 16, generator=rng("cpu", "frames"))


def make(**options):
    torch.manual_seed(0)
    return Frames(TinyNet(**options))


def test_it_has_the_networks_stages_with_all_frames():
    net = make()
    assert (net.axes, net.dim, net.stages) == ("thw", 16, {"conv1": 8, "conv2": 16})
    stages, pooled = net(X)
    assert {key: tuple(stage.shape) for key, stage in stages.items()} == {
        "conv1": (3, 8, 5, 8, 8),
        "conv2": (3, 16, 5, 4, 4),
    }
    assert pooled.shape == (3, 16)


def test_every_frame_is_what_the_network_sees_and_the_mean_is_theirs():
    net = make().eval()
    with torch.no_grad():
        stages, pooled = net(X)
        frames = [net.backbone(X[:, :, t]) for t in range(5)]
    for t, frame in enumerate(frames):
        for key, stage in stages.items():
            torch.testing.assert_close(stage[:, :, t], frame.stages[key])
    torch.testing.assert_close(pooled, torch.stack([frame.pooled for frame in frames]).mean(0))


@pytest.mark.parametrize("training", [True, False])
def test_a_clip_of_one_frame_is_an_image(training):
    net, twin = make().train(training), make().train(training)
    clip, image = net(X[:, :, :1]), twin.backbone(X[:, :, 0])
    torch.testing.assert_close(clip.pooled, image.pooled)
    for key, stage in clip.stages.items():
        torch.testing.assert_close(stage[:, :, 0], image.stages[key])


def test_the_order_of_frames_moves_stages_and_not_the_mean():
    net, order = make().eval(), torch.tensor([3, 1, 4, 0, 2])
    one, other = net(X), net(X[:, :, order])
    torch.testing.assert_close(one.pooled, other.pooled)
    torch.testing.assert_close(one.stages["conv2"][:, :, order], other.stages["conv2"])


def test_no_frame_sees_another():
    net, x = make().eval(), X.clone()
    x[1, :, 2] = 0
    changed = (net(X).stages["conv2"] != net(x).stages["conv2"]).flatten(3).any(3).any(1)
    assert changed.nonzero().tolist() == [[1, 2]]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_a_copy_sees_the_same(how):
    net = make().eval()
    assert torch.equal(how(net)(X).pooled, net(X).pooled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_dtype_is_kept(dtype):
    stages, pooled = make().to(dtype)(X.to(dtype))
    assert {x.dtype for x in (*stages.values(), pooled)} == {dtype}


@pytest.mark.parametrize(
    ("net", "message"),
    [(WaveNet(), "WaveNet reads 't'"), (TinyNet(axes="thw"), "reads 'thw'"), (nn.Linear(1, 1), "is no backbone")],
)
def test_a_network_that_reads_no_images_is_refused(net, message):
    with pytest.raises(ValueError, match=f"Frames: needs a backbone that reads images .*{message}"):
        Frames(net)


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 3, 0, 16, 16)])
def test_what_is_no_clip_is_refused(shape):
    with pytest.raises(ValueError, match=r"Frames: reads clips \(N, C, T, H, W\) of at least one frame, got \(2, 3, "):
        make()(torch.zeros(shape))
