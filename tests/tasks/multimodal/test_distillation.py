"""Distillation: the gradient goes only where it should, nothing is gained by shrinking, and it can be learnt."""

import copy
from functools import partial

import pytest
import torch
from clips import TinySound, TinyVideo, av_batch, tiny_multimodal
from descent import descend
from torch.nn import functional

from pretext.backbones.multimodal import MultiModal
from pretext.core.rng import rng
from pretext.nn.teachers import Frozen, Momentum
from pretext.ops.temporal import cut_clips, cut_sounds
from pretext.tasks.multimodal.distillation import Distillation, targets
from pretext.testing import (
    check_alone,
    check_chance_law,
    check_copies,
    check_dtype_and_device,
    check_gradients,
    check_task,
)


def batch(n, key=0):
    x = av_batch(n, key=key)
    return x | {"grey": x["rgb"].mean(1, keepdim=True), "flow": x["rgb"][:, :2].flip(-1)}


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "distillation", *parts))


def distillation(net, kind="joint", momentum=0.999, **options):
    """A `Distillation` of little clips by a teacher of that kind."""
    copies = {"joint": None, "frozen": Frozen, "momentum": partial(Momentum, momentum=momentum)}
    return Distillation(net, **{"frames": 4, "teacher": "grey", "copy": copies[kind]} | options)


def made(seed=0, **options):
    torch.manual_seed(seed)
    net = tiny_multimodal(flow=True)
    return distillation(net, **options), net


def sit(task, net, puzzle):
    return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


@pytest.mark.parametrize("kind", ["joint", "frozen"])
def test_plain_distances_of_raw_maps_keep_the_contract(kind):
    """But for where they begin: the student's maps are no blind guess."""
    factory = partial(distillation, kind=kind, compare="maps", stages=["conv1", "conv2"])
    net, x = tiny_multimodal(True), batch(6)
    for check in (check_chance_law, check_dtype_and_device, check_gradients, check_copies, check_alone):
        check(factory, net, x)


def test_elos_distance_in_closed_form():
    """|L - M| of the whole map of a clip, neither squared nor averaged over places; 0 costs 1, the map itself 0."""
    task, net = made(compare="maps", stages=["conv1", "pooled"])
    features = net(pose(task, batch(6)).question)
    guesses, taught = task.solve(features, None)
    assert guesses[0] is features["rgb"].stages["conv1"]
    assert torch.equal(taught[0], features["grey"].stages["conv1"])
    assert len(task.adapters) == 0
    grade = task.grade((guesses, taught), None)
    for name, guess, part in zip(("conv1", "pooled"), guesses, taught, strict=True):
        distances = [(g - t).square().sum().sqrt() for g, t in zip(guess, part, strict=True)]
        lengths = [t.square().sum().sqrt() for t in part]
        assert grade.scores[name].item() == pytest.approx((sum(distances) / sum(lengths)).item(), rel=1e-5)
    assert grade.loss.item() == pytest.approx(sum(grade.scores.values()).item() / 2)
    assert task.grade((tuple(0 * g for g in guesses), taught), None).loss.item() == pytest.approx(1)
    assert task.grade((taught, taught), None).loss == 0
    one = tuple(guess[:1] for guess in guesses), tuple(part[:1] for part in taught)
    assert task.grade(one, None).loss > 0  # a single clip can be compared


def test_the_gradient_of_elos_distance_is_a_unit_vector():
    """d |L - M| / dL = (L - M) / |L - M|, over N and what 0 costs."""
    task, _ = made(compare="maps", stages=["conv2"])
    guess = torch.randn(4, 8, 2, 3, 3, generator=rng("cpu", "guess")).requires_grad_()
    target = torch.randn(4, 8, 2, 3, 3, generator=rng("cpu", "target"))
    (found,) = torch.autograd.grad(task.grade(((guess,), (target,)), None).loss, guess)
    apart = (guess - target).detach()
    unit = apart / apart.flatten(1).norm(dim=1).view(4, 1, 1, 1, 1)
    torch.testing.assert_close(found, unit / 4 / target.flatten(1).norm(dim=1).mean())


def test_maps_of_two_shapes_are_refused():
    task, net = made(compare="maps", stages={"conv1": "conv2"})
    with pytest.raises(ValueError, match=r"Distillation: maps \(6, 4, .* and \(6, 8, .* of the teacher; choose stages"):
        sit(task, net, pose(task, batch(6)))


@pytest.mark.parametrize(
    "options",
    [
        {"detach": False, "stages": ["conv1", "conv2"]},
        {"kind": "momentum", "stages": {"conv1": "pooled"}, "teacher": "audio"},
    ],
)
def test_it_keeps_the_contract(options):
    check_task(partial(distillation, **options), tiny_multimodal(True), batch(6))


def test_whole_windows_take_no_chance():
    check_task(Distillation, tiny_multimodal(True), batch(6), random=False, kinds=())


@pytest.mark.parametrize("kind", ["joint", "frozen", "momentum"])
@pytest.mark.parametrize("teacher", ["flow", "audio"])
def test_both_networks_see_the_same_moment(teacher, kind):
    """The teacher's clip is in the question, or what its copy sees of it is the answer."""
    x = batch(30)
    task, net = made(teacher=teacher, kind=kind)
    puzzle = pose(task, x)
    places = torch.stack([cut_clips(x["rgb"], torch.full((30,), start), 4) for start in range(9)])
    found = (places == puzzle.question["rgb"]).flatten(2).all(2).int().argmax(0)
    assert torch.equal(puzzle.question["rgb"], cut_clips(x["rgb"], found, 4))
    assert len(found.unique()) > 4
    theirs = cut_sounds(x["audio"], found, 4, 12) if teacher == "audio" else cut_clips(x["flow"], found, 4)
    if kind == "joint":
        assert puzzle.question.keys() == {"rgb", teacher}
        assert torch.equal(puzzle.question[teacher], theirs)
        assert puzzle.answer is None
    else:
        assert puzzle.question.keys() == {"rgb"}
        torch.testing.assert_close(puzzle.answer, (net.eval()({teacher: theirs})[teacher].pooled,))


GRADIENTS = [
    ({"detach": True}, {"rgb"}),
    ({"detach": False}, {"rgb", "grey"}),
    ({"kind": "frozen"}, {"rgb"}),
    ({"kind": "momentum"}, {"rgb"}),
]


@pytest.mark.parametrize(("options", "wanted"), GRADIENTS)
@pytest.mark.parametrize("stages", [None, ["conv1"], {"pooled": "conv1"}])
def test_the_gradient_goes_only_where_it_should(options, wanted, stages):
    task, net = made(stages=stages, **options)
    sit(task, net, pose(task, batch(6))).loss.backward()
    reached = {name.split(".")[1] for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    touched = {name.split(".")[1] for name, p in net.named_parameters() if p.grad is not None}
    assert reached == wanted == touched  # not even a gradient of 0, which would decay weights all the same
    assert all(p.grad is not None and p.grad.any() for p in task.adapters.parameters())
    assert all(
        p.grad is None and not p.requires_grad for p in task.parameters() if p not in {*task.adapters.parameters()}
    )


def test_a_stage_gets_its_gradient_from_its_own_target_alone():
    """Layers behind the deepest chosen stage of the student get none."""
    task, net = made(stages=["conv1"])
    sit(task, net, pose(task, batch(6))).loss.backward()
    assert {name.split(".")[2] for name, p in net.named_parameters() if p.grad is not None} == {"conv1"}


@pytest.mark.parametrize("kind", ["frozen", "momentum"])
def test_a_copy_is_its_own_and_its_backbone_network_is_not_run(kind):
    task, net = made(kind=kind)
    before = copy.deepcopy(task.copy.state_dict())
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in task.copy.state_dict().items())
    net.backbones["grey"].register_forward_hook(lambda *_: pytest.fail("the backbone's own network was run"))
    sit(task.train(), net.train(), pose(task, batch(6)))
    assert all(torch.equal(value, before[name]) for name, value in task.copy.state_dict().items())
    assert not task.copy.network.training


def test_a_momentum_copy_follows_and_a_frozen_one_does_not():
    for kind, share in (("frozen", 0.0), ("momentum", 0.25), ("joint", None)):
        task, net = made(kind=kind, momentum=0.75)
        old = [p.clone() for p in net.backbones["grey"].parameters()]
        with torch.no_grad():
            for parameter in net.backbones["grey"].parameters():
                parameter.add_(1)
            net.backbones["grey"].conv1[1].running_mean.fill_(3)
        task.follow(net)
        if share is None:
            assert task.copy is None
            continue
        for mine, was in zip(task.copy.network.parameters(), old, strict=True):
            torch.testing.assert_close(mine, was + share)
        assert (task.copy.network.conv1[1].running_mean == 3).all() == (kind == "momentum")


def test_a_copy_travels_in_the_checkpoint():
    task, _ = made(0, kind="momentum")
    other, _ = made(1, kind="momentum")
    x = batch(6)
    assert not torch.equal(pose(task, x).answer[0], pose(other, x).answer[0])
    other.load_state_dict(task.state_dict())
    assert torch.equal(pose(task, x).answer[0], pose(other, x).answer[0])


def test_what_a_copy_sees_in_a_clip_does_not_depend_on_its_batch():
    task, _ = made(kind="frozen", frames=None)
    x = batch(6)
    alone = pose(task, {name: part[2:3] for name, part in x.items()}).answer[0]
    torch.testing.assert_close(alone, pose(task, x).answer[0][2:3])


def test_bfloat16_weights_teach_float32_clips():
    """Under "bf16-true" the host casts questions to the weights' type; a copy in `pose` gets them as they are."""
    task, _ = made(kind="frozen")
    seen = pose(task.bfloat16(), batch(6)).answer[0]
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen, pose(made(kind="frozen")[0], batch(6)).answer[0], atol=0.05, rtol=0.05)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("items", [2, 6, 100])
def test_guessing_zero_costs_exactly_1(items, scale):
    task, _ = made(stages=["conv1", "conv2"])
    draw = partial(torch.randn, generator=rng("cpu", "zero"))
    seen = (scale * draw(items, 4), 3 * scale + scale * draw(items, 8))
    guesses = (torch.zeros(items, 4), torch.zeros(items, 8))
    grade, blind = task.grade((guesses, seen), None), task.chance()
    assert grade.loss == 1 == blind.loss
    assert grade.scores == {"conv1": 1, "conv2": 1} == blind.scores


def test_no_constant_guess_is_better_than_zero():
    """Off by c everywhere costs c^2 more: the mean of what all clips share is no part of the target."""
    task, _ = made()
    seen = torch.randn(50, 8, generator=rng("cpu", "constant")) + 5 * torch.randn(8, generator=rng("cpu", "shared"))
    for constant in (-0.5, 0.1, 2.0):
        grade = task.grade(((torch.full((50, 8), constant),), (seen,)), None)
        assert grade.loss.item() == pytest.approx(1 + constant**2, abs=1e-4)


def test_targets_are_each_vector_standardised_less_the_mean_of_all():
    seen = torch.randn(20, 6, generator=rng("cpu", "targets")) * torch.logspace(-2, 3, 20)[:, None] + 7
    by_hand = (seen - seen.mean(1, keepdim=True)) / seen.std(1, correction=0, keepdim=True)
    by_hand = by_hand - by_hand.mean(0)
    wanted = targets(seen)
    torch.testing.assert_close(wanted, by_hand / by_hand.square().mean().sqrt(), atol=0.05, rtol=0.05)
    assert wanted.square().mean().item() == pytest.approx(1, abs=1e-5)
    assert wanted.mean(0).abs().max() < 1e-6
    torch.testing.assert_close(targets(seen * 40), targets(seen * 4000), atol=1e-4, rtol=1e-3)


def test_the_right_guess_costs_nothing_and_another_clips_costs_more_than_none():
    task, _ = made()
    seen = torch.randn(40, 8, generator=rng("cpu", "right"))
    assert task.grade(((targets(seen),), (seen,)), None).loss.item() == pytest.approx(0, abs=1e-6)
    assert task.grade(((targets(seen).roll(1, 0),), (seen,)), None).loss.item() == pytest.approx(2, abs=0.3)


def test_a_joint_teacher_gains_nothing_by_shrinking_or_by_seeing_the_same_everywhere():
    """The loss's gradient with respect to the teacher's vectors has no share along shifts and scalings of them."""
    task, _ = made(detach=False)
    chance = rng("cpu", "collapse")
    seen = torch.randn(30, 8, generator=chance).double().requires_grad_()
    guess = torch.randn(30, 8, generator=chance)
    loss = task.grade(((guess,), (seen,)), None).loss
    (gradient,) = torch.autograd.grad(loss, seen)
    assert gradient.norm() > 1e-3
    own = functional.normalize(seen.detach() - seen.detach().mean(1, keepdim=True), dim=1)
    assert (gradient * own).sum(1).abs().max() < 1e-5  # towards its own mean
    assert gradient.sum(1).abs().max() < 1e-5  # all numbers of a vector alike


def test_vectors_that_are_all_alike_are_not_magnified():
    task, _ = made()
    alike = torch.tensor([1.0, 2, 4, 8, 1, 2, 4, 8]).expand(6, -1).clone().requires_grad_()
    guess = torch.full((6, 8), 0.1, requires_grad=True)
    loss = task.grade(((guess,), (alike,)), None).loss
    loss.backward()
    assert loss.item() == pytest.approx(1.01, abs=1e-5)
    assert alike.grad.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"kind": "frozen"}])
def test_a_single_clip_costs_a_blind_guess_and_teaches_nothing(options):
    task, net = made(**options)
    grade = sit(task, net, pose(task, batch(1)))
    grade.loss.backward()
    assert grade.loss.item() == 1
    assert grade.scores == task.chance().scores
    assert not any(p.grad.any() for p in task.adapters.parameters())


def test_stages_are_averaged_over_their_grids_and_adapted_where_sizes_differ():
    task, net = made(stages={"conv1": "conv2", "pooled": "conv1"})
    assert [(a.in_features, a.out_features) for a in task.adapters] == [(4, 8), (8, 4)]
    features = net(pose(task, batch(6)).question)
    guesses, seen = task.solve(features, None)
    assert [part.shape for part in guesses] == [part.shape for part in seen] == [(6, 8), (6, 4)]
    torch.testing.assert_close(seen[1], features["grey"].stages["conv1"].mean((2, 3, 4)))
    torch.testing.assert_close(guesses[0], task.adapters[0](features["rgb"].stages["conv1"].mean((2, 3, 4))))
    sounds, net = made(teacher="audio", stages=["conv2"])
    features = net(pose(sounds, batch(6)).question)
    torch.testing.assert_close(sounds.solve(features, None)[1][0], features["audio"].stages["conv2"].mean(2))


@pytest.mark.parametrize("options", [{}, {"kind": "momentum", "momentum": 0.9}])
def test_it_learns_what_the_other_network_sees(options):
    """Of clips never seen; the loudness of the sound follows the blob's height."""
    task, net = made(teacher="audio", **options)

    def loss(step):
        return sit(task, net, pose(task, batch(32, key=step), step)).loss

    descend((net, task), loss, 120, 0.005, after=lambda: task.follow(net))
    assert sit(task, net, pose(task, batch(128, key=10_000))).loss < 0.6


def test_windows_that_are_too_short_are_an_error_that_names_the_option():
    task, _ = made(frames=12)
    pose(task, batch(4))
    with pytest.raises(ValueError, match="clips of 12 frames do not fit windows of 10; raise `window` in the data"):
        pose(task, {"rgb": torch.rand(4, 3, 10, 4, 4), "grey": torch.rand(4, 1, 10, 4, 4)})


@pytest.mark.parametrize("x", [torch.rand(4, 3, 8, 4, 4), {"rgb": torch.rand(4, 3, 8, 4, 4)}])
def test_a_batch_that_lacks_a_modality_is_an_error(x):
    with pytest.raises(ValueError, match=r"wants .*'rgb' and 'grey'.*set modalities: \[rgb, grey\] in the data module"):
        pose(made()[0], x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "frozen", "detach": False}, "detach=False with a copy"),
        ({"frames": 0}, "frames=0"),
        ({"compare": "cosines"}, "compare='cosines'"),
        ({"stages": ["conv9"]}, r"stages \['conv9'\] of a TinyVideo, which has pooled, conv1, conv2"),
        ({"stages": {"conv1": "conv9"}}, r"stages \['conv9'\]"),
        ({"stages": []}, r"stages \[\]"),
        ({"teacher": "rgb"}, "name two different networks of the backbone, which has rgb, audio, flow, grey"),
        ({"student": "smell"}, "'smell'.*name two"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"Distillation: .*{message}"):
        made(**options)


def test_other_backbones_are_refused():
    with pytest.raises(ValueError, match="Distillation needs a MultiModal, got TinyVideo"):
        Distillation(TinyVideo())
    with pytest.raises(ValueError, match="one at least of clips"):
        Distillation(MultiModal({"left": TinySound(), "right": TinySound()}), "left", "right")
    with pytest.raises(ValueError, match="have a single channel"):
        Distillation(MultiModal({"rgb": TinyVideo(), "flow": TinyVideo(2, width=1)}), stages=["conv1"])


def test_the_drawing_of_raw_maps_shows_their_means():
    task, net = made(compare="maps", stages=["conv2"])
    puzzle = pose(task, batch(1))
    rows = task.draw(puzzle, task.solve(net(puzzle.question), None))
    assert rows[0][2].caption.startswith("target above, prediction below: relative error")


@pytest.mark.parametrize("options", [{}, {"kind": "frozen"}, {"teacher": "audio"}])
def test_the_drawing_tells_the_error_of_each_clip(options):
    task, _ = made(**options)
    puzzle = pose(task, batch(3))
    before = 2 if task.copy is None else 1
    assert [len(row) for row in task.draw(puzzle, None)] == [before] * 3
    seen = torch.randn(3, 8, generator=rng("cpu", "draw"))
    right = targets(seen)
    guesses = (torch.stack((right[0], 0 * right[1], -right[2])),)
    if task.copy is None:
        rows = task.draw(puzzle, (guesses, (seen,)))
    else:
        rows = task.draw(puzzle._replace(answer=(seen,)), guesses)
    assert [row[before].right for row in rows] == [True, False, False]
    captions = [row[before].caption.split(": ")[1] for row in rows]
    assert captions == [f"relative error {error}" for error in ("0.00", "1.00", "4.00")]
    image = rows[0][before].image
    assert torch.equal(*image.chunk(2, 1))  # the guess below is the target above
    assert all(panel.image.min() >= 0 and panel.image.max() <= 1 for row in rows for panel in row)


def test_it_tells_its_settings():
    text = "student='rgb', teacher='grey', stages={'pooled': 'pooled'}, copy=None, detach=True, frames=4"
    assert made()[0].extra_repr() == f"{text}, compare='standardised'"
