"""CrossModalPrediction: one modality is seen, the same moments of another asked for, and one network learns."""

from functools import partial

import pytest
import torch
from clips import TinySound, TinyVideo, moving, tiny_multimodal
from descent import descend
from nets import TinyNet

from pretext.backbones.multimodal import MultiModal
from pretext.core.rng import rng
from pretext.ops.drawing import film_strip
from pretext.ops.temporal import STILL
from pretext.tasks.multimodal.cross_modal_prediction import CrossModalPrediction
from pretext.testing import check_task

GREY = partial(CrossModalPrediction, source="rgb", target="grey", frames=3, width=8)
FLOW = partial(CrossModalPrediction, source="rgb", target="flow", frames=3, width=8)
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1, 1)


def batch(n=8, window=5, side=16, key=0):
    """Blobs, their luma, and a flow that says how much brighter every place becomes."""
    rgb = moving(n, window + 1, side, key)
    grey = (rgb * LUMA).sum(1, keepdim=True)
    change = grey.diff(dim=2)
    flow = torch.cat((STILL + change / 4, STILL - change / 8), 1)
    return {"rgb": rgb[:, :, :-1].contiguous(), "grey": grey[:, :, :-1].contiguous(), "flow": flow}


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "cross", *parts))


def test_it_keeps_the_contract():
    # Modalities of noise, or of one colour each, are drawn apart, so nothing can be told from one about another.
    check_task(FLOW, tiny_multimodal(flow=True), batch())


@pytest.mark.parametrize(("source", "target"), [("flow", "rgb"), ("grey", "rgb"), ("rgb", "grey")])
def test_it_keeps_the_contract_whatever_is_seen_and_asked_for(source, target):
    factory = partial(CrossModalPrediction, source=source, target=target, width=8)
    check_task(factory, tiny_multimodal(flow=True), batch(window=3), kinds=(), random=False)


def test_the_question_holds_the_source_alone():
    task, x = GREY(tiny_multimodal()), batch()
    one, two = pose(task, x), pose(task, x | {"grey": 1 - x["grey"]})
    assert list(one.question) == ["rgb"]
    assert torch.equal(one.question["rgb"], two.question["rgb"])
    torch.testing.assert_close(one.answer, 1 - two.answer)


def test_both_modalities_are_of_the_same_moments_anywhere_in_the_window():
    x = torch.arange(7.0).view(1, 1, 7, 1, 1).expand(5, 3, 7, 4, 4)
    x = {"rgb": x, "flow": 100 + x[:, :2]}
    firsts = []
    for step in range(30):
        question, answer, given = pose(FLOW(tiny_multimodal()), x, step)
        number = question["rgb"][:, 0, :, 0, 0]
        assert torch.equal(number, number[:, :1] + torch.arange(3))
        torch.testing.assert_close(answer[:, :, :, 0, 0], 100 + number.unsqueeze(1).expand(-1, 2, -1))
        assert given.picture.shape == (1, 2, 3, 2, 2)
        firsts.append(number[:, 0])
    assert torch.cat(firsts).unique().tolist() == [0, 1, 2, 3, 4]


def test_the_gradient_reaches_the_sources_network_alone():
    net = tiny_multimodal(flow=True)
    task = FLOW(net)
    puzzle = pose(task, batch())
    task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss.backward()
    reached = {name: any(p.grad is not None for p in part.parameters()) for name, part in net.backbones.items()}
    assert reached == {"rgb": True, "audio": False, "flow": False, "grey": False}


def test_the_stage_is_one_of_the_sources_network():
    task = FLOW(MultiModal({"rgb": TinyVideo(width=3), "flow": TinyVideo(2, width=5)}), stage="conv1")
    assert task.decoder.layers[0].in_channels == 3
    with pytest.raises(
        ValueError, match=r"CrossModalPrediction reads stage 'rgb.conv1', but TinyVideo has conv1, conv2"
    ):
        FLOW(tiny_multimodal(), stage="rgb.conv1")


def learnt(factory, wrong=False, steps=200):
    """Train on fresh batches, then give the loss on one never seen; wrong: the targets are those of other items."""
    torch.manual_seed(0)
    net = MultiModal({"rgb": TinyVideo()})
    task = factory(net)

    def loss(step):
        x = batch(32, 4, key=step)
        if wrong:
            x[task.target] = x[task.target].roll(1, 0)
        puzzle = pose(task, x, step)
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss

    descend((net, task), loss, steps, 0.015)
    net.eval()
    return loss(steps).item()


def test_grey_and_motion_are_learnt_from_colours_of_the_same_clip():
    assert learnt(GREY) < 0.3
    assert learnt(FLOW) < 0.8


def test_of_another_clip_nothing_is_learnt_but_what_all_have_in_common():
    assert learnt(FLOW, wrong=True) > 0.95


def test_a_target_needs_no_network():
    net = MultiModal({"rgb": TinyVideo()})
    task = FLOW(net)
    puzzle = pose(task, batch())
    assert task.solve(net(puzzle.question), puzzle.given).shape == (8, 2, 3, 8, 8)
    assert task.grade(puzzle.answer, puzzle.answer).loss == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "smell"}, "source='smell', target='grey'; choose one of the backbone's .rgb, audio, flow, grey."),
        ({"target": "audio"}, "target='audio'; .* and another of rgb, grey, flow to draw"),
        ({"target": "rgb"}, "source='rgb', target='rgb'"),
        ({"frames": 0}, "frames=0, shrink=2"),
        ({"shrink": 0}, "shrink=0"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"CrossModalPrediction: .*{message}"):
        CrossModalPrediction(tiny_multimodal(flow=True), **({"source": "rgb", "target": "grey"} | options))


def test_networks_that_will_not_do_are_refused():
    with pytest.raises(ValueError, match=r"CrossModalPrediction needs a MultiModal, got TinyVideo; configure"):
        GREY(TinyVideo())
    with pytest.raises(ValueError, match="CrossModalPrediction needs a backbone with an axis 'h', but TinySound"):
        GREY(MultiModal({"audio": TinySound()}), source="audio")
    with pytest.raises(ValueError, match="CrossModalPrediction needs a backbone with an axis 't', but TinyNet"):
        GREY(MultiModal({"rgb": TinyNet()}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x["rgb"], "wants a batch of 'rgb' and 'grey', got one modality without a name"),
        (lambda x: {"rgb": x["rgb"]}, "wants a batch of 'rgb' and 'grey', got one of rgb; set modalities"),
        (lambda x: x | {"grey": x["grey"][:, :, 1:]}, r"alike but for the channels .*\(8, 1, 4, 16, 16\); let one"),
        (lambda x: x | {"grey": x["rgb"]}, r"alike but for the channels \(grey: 1\)"),
        (
            lambda x: {name: part[:, :, :2] for name, part in x.items()},
            "clips of 3 frames do not fit windows of 2; raise",
        ),
    ],
)
def test_batches_that_do_not_fit_are_refused_with_what_to_do(change, message):
    with pytest.raises(ValueError, match=f"CrossModalPrediction.*{message}"):
        pose(GREY(tiny_multimodal()), change(batch()))


@pytest.mark.parametrize("factory", [GREY, FLOW])
def test_the_drawing_shows_both_modalities_and_the_prediction(factory):
    task = factory(tiny_multimodal())
    puzzle = pose(task, batch(2))
    for i, (asked, answer, predicted) in enumerate(task.draw(puzzle, puzzle.answer)):
        assert torch.equal(asked.image, film_strip(puzzle.question["rgb"][i]))
        assert asked.caption == f"{task.target} of this rgb?"
        assert torch.equal(answer.image, film_strip(puzzle.answer[i]))
        assert torch.equal(predicted.image, answer.image)
    assert [len(row) for row in task.draw(puzzle, None)] == [2, 2]
