"""SplitBrain: each half says what it cannot see, and nothing crosses over."""

import math
from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet
from tolerance import LAB
from torch.nn import functional as F

from pretext.backbones import Split
from pretext.core.rng import rng
from pretext.core.types import Features
from pretext.nn.split_targets import SplitClasses, SplitValues
from pretext.ops.gamut import bins, soft_encode
from pretext.ops.lab import lab_to_rgb, rgb_to_lab
from pretext.tasks.image.split_brain import SplitBrain
from pretext.testing import check_task

SMALL = partial(SplitBrain, stride=2)
VALUES = partial(SplitBrain, stride=2, target=SplitValues())


def images(n=6, side=16, *key):
    """Smooth and colourful."""
    coarse = torch.rand(n, 3, 4, 4, generator=rng("cpu", "split brain", *key))
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def pose(task, x):
    return task.pose(x, rng("cpu", "split brain"))


def sit(task, net, x):
    puzzle = pose(task, x)
    return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


# kinds=(): colour and lightness are no independent things, not even in noise or in a constant image, for the gamut is
# narrow near black and white; what may be learnt there is no leak. The test of independent ones below takes its place.
@pytest.mark.parametrize("factory", [SMALL, VALUES])
def test_it_keeps_the_contract(factory):
    check_task(factory, Split(TinyNet), images(6, 12), random=False, kinds=())


@pytest.mark.parametrize(("side", "stride", "rows"), [(16, 4, 4), (15, 4, 4), (14, 4, 3), (16, 1, 16), (3, 2, 1)])
def test_the_answer_is_lab_at_the_middle_of_each_cell(side, stride, rows):
    x = images(2, side)
    task = SplitBrain(Split(TinyNet), stride=stride)
    question, (ab, light), given = pose(task, x)
    assert torch.equal(question, x)
    assert given.shape == (1, 1, rows, rows)
    assert rows == math.ceil((side - stride // 2) / stride)
    lab = rgb_to_lab(x)[..., stride // 2 :: stride, stride // 2 :: stride]
    torch.testing.assert_close(torch.cat((light, ab), 1), lab, rtol=0, atol=LAB)


def test_the_answer_is_computed_in_float32_and_rounded_once():
    x = images().bfloat16()
    (ab, light) = pose(SMALL(Split(TinyNet)), x).answer
    lab = rgb_to_lab(x.float())[..., 1::2, 1::2]
    assert ab.dtype == light.dtype == torch.bfloat16
    torch.testing.assert_close(torch.cat((light, ab), 1).float(), lab, rtol=2**-8, atol=LAB)  # one rounding


@pytest.mark.parametrize("side", [8, (8, 20)])
def test_solutions_have_the_answers_shape(side):
    x = F.interpolate(images(), side)
    for target, shapes in ((SplitClasses(), (313, 100)), (SplitValues(), (2, 1))):
        net = Split(TinyNet)
        task = SplitBrain(net, stride=3, target=target)
        question, answer, given = pose(task, x)
        for channels, truth, guess in zip(shapes, answer, task.solve(net(question), given), strict=True):
            assert guess.shape == (len(x), channels, *truth.shape[-2:])


def test_without_features_the_losses_are_exactly_ln_313_and_ln_100():
    task = SMALL(Split(TinyNet))
    puzzle = pose(task, images())
    seen = Split(TinyNet)(puzzle.question)
    blank = Features({name: torch.zeros_like(stage) for name, stage in seen.stages.items()}, seen.pooled)
    grade = task.grade(task.solve(blank, puzzle.given), puzzle.answer)
    assert grade.scores["ab_loss"].item() == pytest.approx(math.log(313), abs=1e-5)
    assert grade.scores["l_loss"].item() == pytest.approx(math.log(100), abs=1e-5)
    assert grade.loss.item() == pytest.approx(task.chance().loss.item(), abs=1e-5)


@pytest.mark.parametrize("shift", [0, 30])
def test_a_blind_guess_of_values_is_exactly_2_wherever_the_mean_is(shift):
    torch.manual_seed(0)
    ab, light = torch.randn(4, 2, 5, 5) * 20 + shift, torch.rand(4, 1, 5, 5) * 40 + shift
    task = VALUES(Split(TinyNet))
    grade = task.grade((torch.zeros_like(ab), torch.zeros_like(light)), (ab, light))
    assert grade.loss.item() == pytest.approx(task.chance().loss.item(), abs=1e-5)
    for name, value in task.chance().scores.items():
        assert grade.scores[name].item() == pytest.approx(value.item(), abs=1e-5)
    other = task.grade((torch.full_like(ab, 0.1), torch.zeros_like(light)), (ab, light))
    assert other.scores["ab_error"].item() == pytest.approx(1.01, abs=1e-4), "no constant does better than the mean"


def test_grey_images_have_finite_errors():
    grade = sit(task := VALUES(net := Split(TinyNet)), net, images()[:, :1].expand(-1, 3, -1, -1))
    assert grade.loss.isfinite()
    assert grade.scores["ab_error"] <= task.chance().scores["ab_error"]


def test_grades_of_classes_by_hand():
    task = SplitBrain(Split(TinyNet), target=SplitClasses(neighbours=5))
    centre = bins()[150]
    ab = centre.view(1, 2, 1, 1).repeat(2, 1, 1, 1)
    light = torch.tensor([0.0, 100.0]).view(2, 1, 1, 1)  # the ends belong to the first and the last bin
    weights, places = soft_encode(centre[None], 5)
    soft = torch.zeros(313).index_add_(0, places[0], weights[0])
    logits = torch.randn(2, 313, 1, 1, generator=rng("cpu", "logits"))
    levels = torch.zeros(2, 100, 1, 1)
    levels[0, 0] = levels[1, 99] = 3.0
    grade = task.grade((logits, levels), (ab, light))
    log = logits[..., 0, 0].log_softmax(1)
    assert grade.scores["ab_loss"].item() == pytest.approx(-(log * soft).sum(1).mean().item(), rel=1e-5)
    assert grade.scores["l_loss"].item() == pytest.approx(math.log(math.e**3 + 99) - 3, rel=1e-5)
    assert grade.scores["l_accuracy"] == 1
    logits[0, 150] = 9.0
    logits[1, 151] = 9.0
    assert task.grade((logits, levels), (ab, light)).scores["ab_accuracy"] == 0.5


def test_a_perfect_prediction_cannot_beat_the_soft_targets_entropy():
    task = SMALL(Split(TinyNet))
    _, (ab, light), _ = pose(task, images())
    weights, places = soft_encode(ab.permute(0, 2, 3, 1))
    soft = torch.zeros(*places.shape[:3], 313).scatter_(3, places, weights)
    entropy = -(weights * weights.log()).sum(-1).mean()
    perfect = soft.clamp(min=1e-12).log().permute(0, 3, 1, 2)
    exact = F.one_hot(light[:, 0].long(), 100).permute(0, 3, 1, 2) * 100.0
    grade = task.grade((perfect, exact), (ab, light))
    assert grade.scores["ab_loss"].item() == pytest.approx(entropy.item(), abs=1e-4)
    assert grade.scores["ab_accuracy"] == grade.scores["l_accuracy"] == 1
    assert grade.scores["l_loss"] < 1e-6


@pytest.mark.parametrize("factory", [SMALL, VALUES])
@pytest.mark.parametrize("teaches", [0, 1])
def test_no_gradient_crosses_from_one_half_to_the_other(factory, teaches):
    net = Split(TinyNet)
    task = factory(net)
    puzzle = pose(task, images())
    prediction = list(task.solve(net(puzzle.question), puzzle.given))
    prediction[1 - teaches] = prediction[1 - teaches].detach()
    task.grade(tuple(prediction), puzzle.answer).loss.backward()
    halves = (net.light, net.colour)
    assert all(p.grad is None or not p.grad.any() for p in halves[1 - teaches].parameters())
    assert all(p.grad.any() for p in halves[teaches].parameters())


@pytest.mark.parametrize("which", [0, 1])
def test_a_prediction_depends_on_its_own_half_alone(which):
    net = Split(TinyNet).eval()
    task = SMALL(net)
    question, _, given = pose(task, images())
    seen = net(question)
    hidden = {}
    for name, stage in seen.stages.items():
        halves = list(stage.chunk(2, 1))
        halves[1 - which] = torch.randn_like(halves[1 - which])
        hidden[name] = torch.cat(halves, 1)
    before, after = task.solve(seen, given), task.solve(Features(hidden, seen.pooled), given)
    assert torch.equal(before[which], after[which])
    assert not torch.equal(before[1 - which], after[1 - which])


def tinted(n, key, dependent):
    """Mosaics whose lightness and colour are drawn apart, deep inside the gamut, or one from the other."""
    draw = torch.rand(n, 3, 4, 4, generator=rng("cpu", "tinted", key))
    if dependent:
        draw[:, 1:] = draw[:, :1]
    lab = draw * torch.tensor([20.0, 32.0, 32.0]).view(3, 1, 1) + torch.tensor([50.0, -16.0, -16.0]).view(3, 1, 1)
    x = lab_to_rgb(lab)
    assert (rgb_to_lab(x) - lab).abs().max() < 0.01, "all are colours of sRGB"
    return x.repeat_interleave(4, 2).repeat_interleave(4, 3)


def marginal(x):
    """The losses of who knows nothing but how often each bin occurs in `x`."""
    lab = rgb_to_lab(x)
    weights, places = soft_encode(lab[:, 1:].permute(0, 2, 3, 1))
    share = torch.zeros(313).index_add_(0, places.flatten(), weights.flatten()) / (weights.numel() / 10)
    levels = lab[:, 0].long().flatten().bincount(minlength=100) / lab[:, 0].numel()
    return [-torch.xlogy(p, p).sum().item() for p in (share, levels)]


@pytest.mark.parametrize("dependent", [False, True])
def test_of_independent_lightness_and_colour_nothing_but_their_shares_is_learnt(dependent):
    torch.manual_seed(0)
    net = Split(TinyNet)
    task = SplitBrain(net, stride=4)
    descend((net, task), lambda step: sit(task, net, tinted(16, step, dependent)).loss, 120, 0.03)
    fresh = tinted(256, "fresh", dependent)
    floor = marginal(fresh)
    for training in (True, False):
        net.train(training)
        with torch.no_grad():
            scores = sit(task, net, fresh).scores
        losses = [scores["ab_loss"].item(), scores["l_loss"].item()]
        for loss, entropy in zip(losses, floor, strict=True):
            if dependent:
                assert loss < entropy - 0.1, "the test can see a leak"
            else:
                assert entropy - 0.01 < loss < entropy + 0.15


def test_the_right_prediction_draws_the_image_itself():
    x = images(2, 12)
    task = SplitBrain(Split(TinyNet), stride=1)
    puzzle = pose(task, x)
    ab, light = puzzle.answer
    weights, places = soft_encode(ab.permute(0, 2, 3, 1))
    soft = torch.zeros(*places.shape[:3], 313).scatter_(3, places, weights)
    right = F.one_hot(light[:, 0].long(), 100).permute(0, 3, 1, 2) * 100.0
    rows = task.draw(puzzle, (soft.clamp(min=1e-12).log().permute(0, 3, 1, 2), right))
    for image, row in zip(x, rows, strict=True):
        seen, colours, answer, predicted, lightness = (panel.image for panel in row)
        torch.testing.assert_close(answer, image, rtol=0, atol=2e-3)
        lab = rgb_to_lab(torch.stack([image, seen, colours, predicted, lightness]))
        assert lab[[1, 4], 1:].abs().max() < 0.1, "lightness has no colour"
        assert (lab[1, 0] - lab[0, 0]).abs().max() < 0.1
        assert (lab[4, 0] - lab[0, 0]).abs().max() < 0.7, "bins of one unit"
        assert (lab[3] - lab[0]).abs().mean() < 5, "bins of ten units"
    assert [len(row) for row in task.draw(puzzle, None)] == [3, 3]


def test_right_values_draw_the_image_itself_in_any_dtype():
    task, x = SplitBrain(Split(TinyNet), stride=1, target=SplitValues()), images(2, 12)
    puzzle = pose(task, x)
    right = [(t - t.mean((0, 2, 3), True)) / t.std((0, 2, 3), correction=0, keepdim=True) for t in puzzle.answer]
    assert task.grade(tuple(right), puzzle.answer).loss < 1e-6
    for image, row in zip(x, task.draw(puzzle, tuple(right)), strict=True):
        torch.testing.assert_close(row[3].image, image, rtol=0, atol=2e-3)
    low = pose(SMALL(Split(TinyNet)), x.bfloat16())
    guess = (torch.zeros(2, 313, 6, 6).bfloat16(), torch.zeros(2, 100, 6, 6).bfloat16())
    panels = [panel.image for row in SMALL(Split(TinyNet)).draw(low, guess) for panel in row]
    assert {(panel.dtype, *panel.shape) for panel in panels} == {(torch.float32, 3, 12, 12)}


def test_another_backbone_is_refused_with_the_config_that_would_do():
    with pytest.raises(ValueError, match=r"SplitBrain: needs a Split.*got TinyNet; configure backbone: \{class_path: "):
        SplitBrain(TinyNet())


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="SplitBrain: stride=0"):
        SplitBrain(Split(TinyNet), stride=0)
    for neighbours in (0, 314):
        with pytest.raises(ValueError, match=f"SplitClasses: neighbours={neighbours}; give 1 to 313"):
            SplitClasses(neighbours)


def test_images_without_a_pixel_to_ask_for_are_refused():
    with pytest.raises(ValueError, match="SplitBrain: images of 4 x 8 have no pixel"):
        pose(SplitBrain(Split(TinyNet), stride=8), torch.rand(1, 3, 4, 8))


def test_its_repr_tells_the_settings():
    assert "stride=2, target=SplitValues()" in repr(VALUES(Split(TinyNet)))
