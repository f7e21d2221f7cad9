"""OnFrames: a task for images on frames of clips is that task on those frames."""

from functools import partial

import pytest
import torch
from clips import TinyVideo, moving, tiny_multimodal
from nets import TinyNet
from tolerance import rounding

from pretext import NIN
from pretext.backbones.frames import OneFrame
from pretext.core.rng import rng
from pretext.core.types import Features, Grade, Panel, Puzzle, Task
from pretext.ops.temporal import take_frames
from pretext.tasks.adapters.on import On
from pretext.tasks.adapters.on_frames import OnFrames
from pretext.tasks.image.colorization import Colorization
from pretext.tasks.image.contrast import Contrast
from pretext.tasks.image.inpainting import Inpainting
from pretext.tasks.image.jigsaw import Jigsaw
from pretext.tasks.image.rotation import Rotation
from pretext.testing import check_task

TURN = partial(OnFrames, task=Rotation)
COLOUR = partial(OnFrames, task=Colorization)


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "on frames", *parts))


class Asked(Task):
    """Asks for the images as they are, in a tree; keeps what it follows."""

    def __init__(self, backbone):
        super().__init__()
        self.axes, self.followed = backbone.axes, []

    def pose(self, x, rng):
        return Puzzle({"whole": x, "parts": (x[..., :4], x[..., 4:])}, x)

    def solve(self, features, given):
        return features

    def grade(self, prediction, answer):
        return Grade(torch.tensor(0.0), {})

    def chance(self):
        return Grade(torch.tensor(0.0), {})

    def draw(self, puzzle, prediction):
        return [[Panel(image)] for image in puzzle.question["whole"]]

    def begin(self, epoch):
        self.epoch = epoch

    def follow(self, backbone):
        self.followed.append(backbone)


@pytest.mark.parametrize(
    ("factory", "backbone"),
    [(TURN, TinyVideo()), (COLOUR, TinyVideo()), (partial(TURN, frames=2), TinyNet())],
    ids=["rotation", "colorization", "images"],
)
def test_it_keeps_the_contract(factory, backbone):
    # Nothing without content for Colorization: lightness rightly tells about the colours of noise (see its own test).
    check_task(factory, backbone, moving(8, 4), kinds=() if factory is COLOUR else ("noise", "constant"))


def test_it_keeps_the_contract_on_one_of_several_modalities():
    x = {"rgb": moving(8, 4), "audio": torch.rand(8, 1, 40, generator=rng("cpu", "sound"))}
    check_task(partial(On, modality="rgb", task=TURN), tiny_multimodal(), x, kinds=())


def numbered(n, window, side=8):
    """Clips whose pixels say which clip and which frame they belong to."""
    number = torch.arange(n * window, dtype=torch.float32).view(n, 1, window, 1, 1) / (n * window)
    return number.expand(n, 3, window, side, side).contiguous()


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_frames_come_clip_by_clip_in_order_and_none_twice(frames):
    task, x = OnFrames(TinyNet(), Asked, frames), numbered(6, 5)
    places = []
    for step in range(40):
        images = pose(task, x, step).answer
        assert images.shape == (6 * frames, 3, 8, 8)
        number = (images[:, 0, 0, 0] * 30).round().long().view(6, frames)
        assert torch.equal(number // 5, torch.arange(6)[:, None].expand(6, frames))
        assert (number.diff(dim=1) > 0).all()
        places.append(number % 5)
    assert torch.cat(places).unique().tolist() == [0, 1, 2, 3, 4]


def test_every_frame_is_as_likely_as_another():
    """Chi-square of 4 degrees of freedom in each of 8 slots: 32 in all, beyond 70 once in 8,000 times."""
    task, x = OnFrames(TinyNet(), Asked), numbered(8, 5)
    chosen = torch.stack([(pose(task, x, step).answer[:, 0, 0, 0] * 40).round().long() % 5 for step in range(500)])
    counts = torch.stack([(chosen == k).sum(0) for k in range(5)])
    assert ((counts - 100) ** 2 / 100).sum() < 70


def test_a_network_for_clips_sees_clips_of_one_frame_in_any_tree():
    x = moving(2, 3)
    puzzle = pose(OnFrames(TinyVideo(), Asked, 3), x)
    frames = x.transpose(1, 2).flatten(0, 1)
    assert torch.equal(puzzle.question["whole"], frames.unsqueeze(2))
    assert [part.shape for part in puzzle.question["parts"]] == [(6, 3, 1, 16, 4), (6, 3, 1, 16, 12)]
    assert torch.equal(pose(OnFrames(TinyNet(), Asked, 3), x).question["whole"], frames)


def test_it_is_the_task_itself_on_those_frames():
    x, net = moving(4, 5), TinyVideo().eval()
    torch.manual_seed(1)
    task = OnFrames(net, partial(Inpainting, grid=2, ups=1), frames=2)
    torch.manual_seed(1)
    alone = Inpainting(OneFrame(net), grid=2, ups=1)
    chance = rng("cpu", "same")
    puzzle = task.pose(x, chance)
    chance = rng("cpu", "same")
    order = torch.rand(4, 5, generator=chance).argsort(1)[:, :2].sort(1).values
    frames = take_frames(x, order).transpose(1, 2).flatten(0, 1)
    expected = alone.pose(frames, chance)
    assert torch.equal(puzzle.question.squeeze(2), expected.question)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(puzzle.answer, expected.answer, strict=True))
    prediction = task.eval().solve(net(puzzle.question), puzzle.given)
    answer = alone.eval().solve(OneFrame(net)(expected.question), expected.given)
    torch.testing.assert_close(prediction, answer)
    for mine, theirs in zip(task.draw(puzzle, prediction), alone.draw(expected, answer), strict=True):
        assert all(torch.allclose(a.image, b.image, atol=1e-6) for a, b in zip(mine, theirs, strict=True))
    assert task.chance() == alone.chance()


def test_the_axis_of_time_is_averaged_out_of_maps():
    maps = {"conv1": torch.rand(2, 4, 3, 5, 5), "flat": torch.rand(2, 8)}
    seen = OnFrames(TinyVideo(), Asked).solve(Features(maps, torch.zeros(2, 8)), None)
    torch.testing.assert_close(seen.stages["conv1"], maps["conv1"].mean(2))
    assert seen.stages["flat"] is maps["flat"]
    images = Features({"conv1": torch.rand(2, 4, 5, 5)}, torch.zeros(2, 8))
    assert OnFrames(TinyNet(), Asked).solve(images, None) is images


@pytest.mark.parametrize("factory", [Rotation, partial(Jigsaw, grid=2, permutations=24), Contrast])
def test_grey_frames_are_three_equal_channels_to_the_task_and_one_to_the_network(factory):
    x = moving(4, 3).mean(1, keepdim=True)
    task, net = OnFrames(TinyVideo(1), factory), TinyVideo(1)
    puzzle = pose(task, x)
    assert puzzle.question.shape[1:3] == (1, 1)
    prediction = task.solve(net(puzzle.question), puzzle.given)
    assert task.grade(prediction, puzzle.answer).loss.isfinite()
    assert all(panel.image.shape[0] == 3 for row in task.draw(puzzle, prediction) for panel in row)


def test_a_grey_question_is_the_grey_frame_itself():
    x = moving(4, 3).mean(1, keepdim=True)
    question = pose(OnFrames(TinyVideo(1), Asked, 3), x).question["whole"]
    torch.testing.assert_close(question, x.transpose(1, 2).flatten(0, 1).unsqueeze(2), rtol=0, atol=rounding(1, 3))


def test_the_task_follows_a_network_for_images():
    clips, images = TinyVideo(), TinyNet()
    one, other = OnFrames(clips, Asked), OnFrames(images, Asked)
    one.follow(clips)
    other.follow(images)
    assert other.task.followed == [images]
    (seen,) = one.task.followed
    assert (one.task.axes, seen.axes, seen.dim, seen.stages) == ("hw", "hw", clips.dim, clips.stages)
    x = moving(2, 1)[:, :, 0]
    features, whole = seen.eval()(x), clips.eval()(x.unsqueeze(2))
    assert torch.equal(features.pooled, whole.pooled)
    assert torch.equal(features.stages["conv2"], whole.stages["conv2"][:, :, 0])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 8, 8), r"wants clips .*got \(2, 3, 8, 8\); images need no OnFrames"),
        ((2, 2, 4, 8, 8), r"wants clips .*got \(2, 2, 4, 8, 8\).*of flow no image"),
        ((2, 3, 1, 8, 8), r"frames=2, but the clips have 1; lower it, or raise window"),
    ],
)
def test_what_is_no_clip_of_enough_frames_is_refused(shape, message):
    with pytest.raises(ValueError, match=f"OnFrames:? {message}"):
        pose(OnFrames(TinyVideo(), Rotation, 2), torch.rand(shape))


def test_networks_without_images_and_no_frames_are_refused():
    with pytest.raises(ValueError, match=r"OnFrames needs a backbone with an axis 'h'.*reads 't'"):
        TURN(TinyNet(axes="t"))
    with pytest.raises(ValueError, match="OnFrames: frames=0; give at least 1"):
        TURN(TinyNet(), frames=0)
    with pytest.raises(ValueError, match=r"MultiModal reads several modalities; name one by wrapping.*On"):
        TURN(tiny_multimodal())


def test_the_epoch_reaches_the_task_inside():
    task = OnFrames(TinyVideo(), Asked)
    task.begin(7)
    assert task.task.epoch == 7


def test_grey_frames_can_be_asked_of_a_real_image_network():
    net = NIN(blocks=3, width=0.1).eval()
    task = OnFrames(net, Rotation)
    puzzle = pose(task, torch.rand(2, 1, 4, 16, 16))
    assert task.solve(net(puzzle.question), puzzle.given).shape == (8, 4)
