"""On: a task on one modality is that task on that network, and touches no other."""

from functools import partial

import pytest
import torch
import yaml
from clips import TinySound, TinyVideo, av_batch, tiny_multimodal
from nets import TinyNet
from torch import nn

from pretext.backbones.multimodal import MultiModal
from pretext.core.rng import rng
from pretext.core.types import Features, Grade, Panel, Puzzle, Task
from pretext.ops.geometric import MEAN
from pretext.tasks.adapters.on import On
from pretext.tasks.image.rotation import Rotation
from pretext.testing import check_task
from pretext.training.run import build


class Loudness(Task):
    """A task for one modality with everything a task may have: is an item brighter, or louder, than the middle one?"""

    def __init__(self, backbone, hidden=3):
        super().__init__()
        self.axes, self.channels = backbone.axes, next(backbone.parameters()).shape[1]
        self.each = nn.Linear(backbone.dim, hidden)
        self.head = nn.Linear(hidden, 2)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.epochs, self.followed = [], []

    def pose(self, x, rng):
        gain = 0.5 + 0.5 * torch.rand(len(x), generator=rng, device=x.device, dtype=x.dtype)
        asked = x * gain.view(-1, *(1 for _ in x.shape[1:]))
        level = asked.abs().flatten(1).float().mean(1)
        return Puzzle(asked, (level > level.median()).long())

    def solve(self, features, given):
        return self.head(self.each(features.pooled))

    def grade(self, prediction, answer):
        right = (prediction.detach().argmax(1) == answer).float().mean()
        return Grade(nn.functional.cross_entropy(prediction.float(), answer), {"share": right})

    def chance(self):
        return Grade(torch.tensor(2.0).log(), {"share": torch.tensor(0.5)})

    def draw(self, puzzle, prediction):
        shown = torch.full((3, 4, 4), MEAN)
        return [[Panel(shown, f"{tuple(item.shape)}")] for item in puzzle.question]

    def begin(self, epoch):
        self.epochs.append(epoch)

    def follow(self, backbone):
        self.followed.append(backbone)


SOUND = partial(On, modality="audio", task=Loudness)


@pytest.mark.parametrize("modality", ["rgb", "audio"])
def test_it_keeps_the_contract(modality):
    # No content-free kinds: this tiny task asks for brightness, which noise and single colours have as well.
    check_task(partial(On, modality=modality, task=Loudness), tiny_multimodal(), av_batch(8), kinds=())


@pytest.mark.parametrize("modality", ["rgb", "audio"])
def test_it_is_the_task_itself_on_that_network(modality):
    net, x = tiny_multimodal(), av_batch(4)
    torch.manual_seed(1)
    task = On(net, modality, partial(Loudness, hidden=5))
    torch.manual_seed(1)
    alone = Loudness(net.backbones[modality], hidden=5)
    puzzle, expected = (t.pose(x if t is task else x[modality], rng("cpu", "on")) for t in (task, alone))
    assert list(puzzle.question) == [modality]
    assert torch.equal(puzzle.question[modality], expected.question)
    assert torch.equal(puzzle.answer, expected.answer)
    prediction = task.solve(net(puzzle.question), puzzle.given)
    assert torch.equal(prediction, alone.solve(net.backbones[modality](expected.question), None))
    grade, theirs = task.grade(prediction, puzzle.answer), alone.grade(prediction, puzzle.answer)
    assert torch.equal(grade.loss, theirs.loss)
    assert grade.scores == theirs.scores
    assert task.chance() == alone.chance()
    assert [row[0].caption for row in task.draw(puzzle, None)] == [f"{tuple(x[modality].shape[1:])}"] * 4


def test_the_other_modalities_change_nothing_and_learn_nothing():
    net, x = tiny_multimodal(), av_batch(4)
    task = SOUND(net)
    puzzle = task.pose(x, rng("cpu", "on"))
    other = task.pose({"audio": x["audio"], "rgb": 1 - x["rgb"]}, rng("cpu", "on"))
    assert torch.equal(puzzle.question["audio"], other.question["audio"])
    assert torch.equal(task.pose({"audio": x["audio"]}, rng("cpu", "on")).answer, puzzle.answer)
    task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss.backward()
    assert all(p.grad is None for p in net.backbones["rgb"].parameters())
    assert all(p.grad is not None for p in net.backbones["audio"].parameters())


def test_epochs_are_passed_on_and_the_task_follows_its_own_network():
    net = tiny_multimodal()
    task = SOUND(net)
    task.begin(7)
    task.follow(net)
    assert task.task.epochs == [7]
    assert task.task.followed == [net.backbones["audio"]]


def test_a_network_of_one_modality_is_refused():
    with pytest.raises(ValueError, match="On needs a MultiModal, got TinyNet; give the task itself"):
        SOUND(TinyNet())


def test_a_modality_without_a_network_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="On: modality is 'smell', but the backbone has networks for rgb, audio only"):
        On(tiny_multimodal(), "smell", Loudness)


def test_a_batch_without_the_modality_is_refused():
    task, x = SOUND(tiny_multimodal()), av_batch(2)
    with pytest.raises(ValueError, match=r"On: the task wants 'audio', got a batch of rgb; add it to"):
        task.pose({"rgb": x["rgb"]}, rng("cpu", "on"))
    with pytest.raises(ValueError, match="On: the task wants 'audio', got a single modality; name it and another"):
        task.pose(x["audio"], rng("cpu", "on"))


def test_a_task_that_cannot_use_the_network_says_so_itself():
    with pytest.raises(ValueError, match="Rotation needs a backbone with an axis 'h', but TinySound reads 't'"):
        On(tiny_multimodal(), "audio", Rotation)


CONFIG = """
model:
  backbone:
    class_path: pretext.backbones.multimodal.MultiModal
    init_args:
      backbones:
        rgb: {class_path: clips.TinyVideo}
        audio: {class_path: clips.TinySound, init_args: {width: 2}}
  tasks:
    colour:
      class_path: pretext.tasks.adapters.on.On
      init_args:
        modality: rgb
        task:
          class_path: pretext.tasks.adapters.on_frames.OnFrames
          init_args:
            frames: 2
            task: {class_path: pretext.Colorization, init_args: {stride: 8}}
    loud: {class_path: pretext.tasks.adapters.on.On, init_args: {modality: audio, task: {class_path: test_on.Loudness}}}
"""


def test_a_config_nests_tasks():
    module, _ = build(yaml.safe_load(CONFIG))
    colour, loud = module.tasks["colour"], module.tasks["loud"]
    assert (colour.modality, colour.task.frames, colour.task.task.stride) == ("rgb", 2, 8)
    assert (loud.modality, loud.task.axes) == ("audio", "t")
    assert isinstance(module.backbone, MultiModal)
    assert loud.task.each.in_features == module.backbone.dims["audio"] == 4
    x = av_batch(2)
    puzzle = colour.pose(x, rng("cpu", "on"))
    assert puzzle.question["rgb"].shape == (4, 3, 1, 16, 16)
    prediction = colour.solve(module.backbone(puzzle.question), puzzle.given)
    assert prediction.shape == (4, 313, 2, 2)
    assert len(colour.draw(puzzle, prediction)) == 4


def test_networks_of_all_kinds_have_their_tasks():
    net = MultiModal({"rgb": TinyVideo(), "audio": TinySound(), "photo": TinyNet()})
    for modality, axes in (("rgb", "thw"), ("audio", "t"), ("photo", "hw")):
        task = On(net, modality, Loudness)
        assert task.task.axes == axes
        assert task.extra_repr() == f"modality={modality!r}, Loudness()"
        seen = {modality: Features({}, torch.zeros(3, net.dims[modality])), "other": None}
        assert task.solve(seen, None).shape == (3, 2)
