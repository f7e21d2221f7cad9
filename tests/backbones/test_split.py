"""Split: two networks that never meet."""

import copy
import pickle
from functools import partial

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from nets import TinyNet, WaveNet
from tolerance import LAB
from torch import nn
from torch.nn import functional as F

from pretext.backbones import NIN, Split, TorchVision, split
from pretext.core.rng import rng
from pretext.core.types import Backbone, Features
from pretext.evaluation.embed import embed
from pretext.ops.lab import rgb_to_lab
from pretext.tasks.image.rotation import Rotation
from pretext.testing import check_task
from pretext.training.run import build

HALF = partial(TorchVision, "resnet18", stem="small", width=0.25)
NETS = {"tiny": TinyNet, "resnet18": HALF, "nin": partial(NIN, 3, width=0.25)}
X = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
each = pytest.mark.parametrize("name", NETS)


def make(half=TinyNet):
    torch.manual_seed(0)
    return Split(half)


def halves(features, second):
    """What one half contributed, to every stage and at the end."""
    return [x.chunk(2, 1)[second] for x in (*features.stages.values(), features.pooled)]


@each
def test_widths_add_up(name):
    net, one = make(NETS[name]), NETS[name]()
    assert net.stages == {key: 2 * channels for key, channels in one.stages.items()}
    assert net.dim == 2 * one.dim
    stages, pooled = net(X)
    assert {key: stage.shape[1] for key, stage in stages.items()} == net.stages
    assert pooled.shape == (4, net.dim)
    assert net.axes == "hw"


def test_two_half_resnets_are_as_wide_as_one_whole():
    with torch.device("meta"):
        two, whole = Split(partial(TorchVision, "resnet18", width=0.5)), TorchVision("resnet18")
    assert (two.stages, two.dim) == (whole.stages, whole.dim)
    weights = [sum(p.numel() for p in net.parameters()) for net in (two, whole)]
    assert weights[0] == pytest.approx(weights[1] / 2, rel=0.01), "what a convolution of two groups saves"


@each
@pytest.mark.parametrize("training", [True, False])
def test_neither_half_depends_on_what_the_other_sees(name, training, monkeypatch):
    net = make(NETS[name]).train(training)
    lab = rgb_to_lab(X).requires_grad_()
    monkeypatch.setattr(split, "rgb_to_lab", lambda _: lab)
    features = net(X)
    for second, own, foreign in ((0, slice(0, 1), slice(1, 3)), (1, slice(1, 3), slice(0, 1))):
        for stage in halves(features, second):
            weights = torch.randn(stage.shape, generator=rng("cpu", "weights"))
            (gradient,) = torch.autograd.grad((stage * weights).sum(), lab, retain_graph=True)
            assert not gradient[:, foreign].any()
            assert gradient[:, own].any()


@each
@pytest.mark.parametrize("second", [0, 1])
def test_swapping_what_the_other_sees_leaves_a_half_bit_identical(name, second, monkeypatch):
    net, lab = make(NETS[name]), rgb_to_lab(X)
    swapped = lab.clone()
    other = slice(1, 3) if second == 0 else slice(0, 1)
    swapped[:, other] = lab[:, other].roll(1, 0)
    seen = []
    for colours in (lab, swapped):
        monkeypatch.setattr(split, "rgb_to_lab", lambda _, colours=colours: colours)
        seen.append(net(X))
    mine = [halves(features, second) for features in seen]
    assert all(torch.equal(a, b) for a, b in zip(*mine, strict=True))
    theirs = [halves(features, 1 - second) for features in seen]
    assert not any(torch.equal(a, b) for a, b in zip(*theirs, strict=True))


@each
def test_grey_images_are_all_the_same_to_the_colour_half(name):
    net = make(NETS[name]).eval()
    grey = X[:, :1].expand(-1, 3, -1, -1)
    with torch.no_grad():
        features = net(grey)
    for colour, light in zip(halves(features, 1), halves(features, 0), strict=True):
        scale = light.abs().max()  # features begin at any size
        assert (colour - colour[:1]).abs().max() < 1e-2 * scale  # not 0: sRGB's constants have six digits
        assert (light - light[:1]).abs().max() > 5e-2 * scale


def test_halves_see_lightness_and_colour_in_0_to_1():
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).view(8, 3, 1, 1)
    lab = rgb_to_lab(corners)
    light, colour = split.lightness_of(lab), split.colour_of(lab)
    torch.testing.assert_close(light, lab[:, :1].expand(-1, 3, -1, -1) / 100, rtol=0, atol=LAB / 100)
    torch.testing.assert_close(colour[:, :2] * 200 - 100, lab[:, 1:], rtol=0, atol=LAB)
    assert (colour[:, 2] == 0.5).all()
    for seen in (light, colour):
        assert seen.min() > -0.04
        assert seen.max() < 1.001


def test_batch_norms_are_separate():
    net = make()
    net(X)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len({m.running_mean.data_ptr() for m in norms}) == len(norms) == 4
    assert not torch.allclose(net.light.conv1[1].running_mean, net.colour.conv1[1].running_mean)


def test_the_halves_start_differently_and_share_nothing():
    net = make()
    for one, two in zip(net.light.parameters(), net.colour.parameters(), strict=True):
        assert one.data_ptr() != two.data_ptr()
    assert not torch.equal(net.light.conv1[0].weight, net.colour.conv1[0].weight)


class Grouped(nn.Module):
    """TinyNet twice as one network: every convolution has two groups, and batch norm is by channel anyway."""

    def __init__(self, net):
        super().__init__()
        self.pairs = list(zip((net.light.conv1, net.light.conv2), (net.colour.conv1, net.colour.conv2), strict=True))

    def forward(self, x):
        for (convolution, norm, _), (other, another, _) in self.pairs:
            x = F.conv2d(x, torch.cat((convolution.weight, other.weight)), stride=2, padding=1, groups=2)
            terms = [torch.cat([getattr(n, k) for n in (norm, another)]) for k in ("weight", "bias")]
            x = F.batch_norm(x, None, None, *terms, training=True).relu()
            yield x


def test_it_equals_one_network_of_two_groups():
    net = make()
    lab = rgb_to_lab(X)
    both = torch.cat((split.lightness_of(lab), split.colour_of(lab)), 1)
    merged = Grouped(net)((both - 0.45) / 0.225)
    for stage, other in zip(net(X).stages.values(), merged, strict=True):
        torch.testing.assert_close(stage, other)


def test_bfloat16_is_kept_and_colour_is_computed_in_float32():
    seen = []

    class Witness(TinyNet):
        def forward(self, x):
            seen.append(x)
            return super().forward(x)

    x = X.bfloat16()
    assert make(Witness).bfloat16()(x).pooled.dtype == torch.bfloat16
    expected = split.colour_of(rgb_to_lab(x.float())).bfloat16()
    assert torch.equal(seen[1], expected)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
@pytest.mark.parametrize("half", [lambda: TinyNet(4), HALF], ids=["lambda", "partial"])
def test_a_copy_sees_the_same(how, half):
    net = make(half).eval()
    assert torch.equal(how(net)(X).pooled, net(X).pooled)


def test_other_tasks_train_on_it():
    check_task(partial(Rotation, turns="one"), make(), X, kinds=())


def test_evaluation_reads_all_its_stages():
    net = make()
    batches = [{"x": (X * 255).byte(), "index": torch.arange(4), "y": torch.arange(4)}]
    seen = embed(net, batches, lambda x: x.float() / 255)
    assert {name: rows.shape[1] for name, rows in seen.mean.items()} == net.stages


CONFIG = """
model:
  backbone:
    class_path: pretext.backbones.Split
    init_args:
      half:
        class_path: pretext.TorchVision
        init_args: {name: resnet18, stem: small, width: 0.25}
  tasks:
    turn: {class_path: pretext.Rotation}
"""


def test_a_run_is_built_from_its_config_and_can_be_copied():
    module, _ = build(yaml.safe_load(CONFIG))
    assert isinstance(module.backbone, Split)
    assert list(module.backbone.stages.values()) == [32, 32, 64, 128, 256]
    twin = pickle.loads(pickle.dumps(module.backbone.eval()))
    assert torch.equal(twin(X).pooled, module.backbone(X).pooled)


def test_a_config_is_parsed_and_written_back_the_same():
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
    parser.add_argument("--backbone", type=Backbone)
    asked = yaml.safe_load(CONFIG)["model"]["backbone"]
    once = parser.parse_object({"backbone": asked})
    again = parser.parse_string(parser.dump(once))
    net = parser.instantiate_classes(again).backbone
    assert net.dim == 256
    assert again.backbone.init_args.half.init_args.width == 0.25


class Moody(TinyNet):
    """Another width each time."""

    made = 0

    def __init__(self):
        Moody.made += 1
        super().__init__(4 * Moody.made)


@pytest.mark.parametrize(
    ("half", "message"),
    [
        (WaveNet, "reads images .'hw'., but WaveNet reads 't'"),
        (partial(TinyNet, axes="thw"), "but TinyNet reads 'thw'"),
        (partial(nn.Linear, 3, 4), "but Linear is no backbone"),
        (Moody, r"the same stages, got \{'conv1': 4, 'conv2': 8\} and \{'conv1': 8"),
    ],
)
def test_halves_that_do_not_fit_are_refused(half, message):
    with pytest.raises(ValueError, match=f"Split: .*{message}"):
        Split(half)


def test_a_network_that_is_already_built_is_refused():
    with pytest.raises(ValueError, match=r"Split: half must build a backbone.*got a TinyNet already built"):
        Split(TinyNet())


def test_features_are_lightness_first():
    net = make().eval()
    lab = rgb_to_lab(X)
    features: Features = net(X)
    alone = net.light(split.lightness_of(lab)), net.colour(split.colour_of(lab))
    for second in (0, 1):
        torch.testing.assert_close(halves(features, second)[-1], alone[second].pooled)
