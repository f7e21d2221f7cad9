"""Colorization: the question is lightness alone, the loss has closed forms, and only what L tells can be learnt."""

import copy
import io
import math
from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet
from tolerance import LAB
from torch.nn import functional as F

from pretext.core.rng import rng
from pretext.nn.colour_targets import ColourClasses, ColourValues
from pretext.ops.gamut import bins, soft_encode
from pretext.ops.lab import lab_to_rgb, lightness, rgb_to_lab
from pretext.tasks.image.colorization import Colorization
from pretext.testing import check_task

VALUES = partial(Colorization, target=ColourValues())


def smooth(n, channels, side, *key):
    """Random waves in [0, 1]."""
    coarse = torch.rand(n, channels, 5, 5, generator=rng("cpu", "colorization", *key))
    return F.interpolate(coarse, (side, side), mode="bilinear")


def images(n=6, side=16):
    return smooth(n, 3, side, "images")


def paint(light, ab):
    """Lab images inside the gamut, as RGB; `light` and `ab` in [0, 1] become L in 40..60 and |a|, |b| <= 20."""
    return lab_to_rgb(torch.cat((40 + 20 * light, 40 * ab - 20), 1))


def pose(task, x):
    return task.pose(x, rng("cpu", "colorization", "pose"))


def soft(answer, neighbours=10):
    """Targets (N, 313, h, w), densely."""
    shares, near = soft_encode(answer.movedim(1, -1), neighbours)
    return torch.zeros(*near.shape[:-1], 313).scatter(-1, near, shares).movedim(-1, 1)


# Noise and single colours are left out of the contract:
# lightness rightly tells about colour there, for hardly any colour is possible near black and white. The test on
# lightness and colour drawn apart takes their place.
@pytest.mark.parametrize("factory", [Colorization, VALUES])
def test_it_keeps_the_contract(factory):
    check_task(factory, TinyNet(), images(8), random=False, kinds=())


# The question


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_question_is_a_function_of_lightness_alone(dtype):
    x = images().to(dtype)
    question = pose(Colorization(TinyNet()), x).question
    assert torch.equal(question, (lightness(x) / 100).to(dtype).expand(-1, 3, -1, -1))
    assert question.dtype == dtype


def test_other_colours_of_the_same_lightness_give_the_same_question():
    light = smooth(6, 1, 16, "light")
    one, other = (paint(light, smooth(6, 2, 16, key)) for key in ("one", "other"))
    assert (one - other).abs().max() > 0.1
    asked, again = (pose(Colorization(TinyNet()), x) for x in (one, other))
    torch.testing.assert_close(asked.question, again.question, rtol=0, atol=LAB / 100)
    torch.testing.assert_close(asked.given, again.given, rtol=0, atol=LAB / 100)
    assert (asked.answer - again.answer).abs().max() > 5


def test_pixels_that_are_not_asked_do_not_touch_the_answer():
    x = images()
    changed = torch.rand(x.shape, generator=rng("cpu", "changed"))
    changed[..., 2::4, 2::4] = x[..., 2::4, 2::4]
    one, other = (pose(Colorization(TinyNet()), image) for image in (x, changed))
    assert torch.equal(one.answer, other.answer)
    assert torch.equal(one.given, other.given)
    assert not torch.equal(one.question, other.question)


@pytest.mark.parametrize(("stride", "side", "asked"), [(1, 16, 16), (4, 16, 4), (4, 18, 4), (8, 12, 1), (5, 11, 2)])
def test_the_answer_is_the_colour_of_every_stride_th_pixel(stride, side, asked):
    x, start = images(2, side), stride // 2
    _, answer, given = pose(Colorization(TinyNet(), stride=stride), x)
    lab = rgb_to_lab(x)[..., start::stride, start::stride]
    assert answer.shape == (2, 2, asked, asked)
    torch.testing.assert_close(answer, lab[:, 1:], rtol=0, atol=LAB)
    torch.testing.assert_close(given, lab[:, :1] / 100, rtol=0, atol=LAB / 100)


def test_known_colours_have_the_right_signs_and_come_back():
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]])
    x = colours[:, :, None, None].expand(-1, -1, 8, 8)
    task = Colorization(TinyNet())
    puzzle = pose(task, x)
    a, b = puzzle.answer[:, :, 0, 0].T
    assert (a.sign()[:3].tolist(), b.sign()[:4].tolist()) == ([1, -1, 1], [1, 1, -1, 1])
    assert puzzle.answer[4].abs().max() < 0.02  # white
    torch.testing.assert_close(puzzle.question[4], torch.ones(3, 8, 8), rtol=0, atol=1e-5)
    rows = task.draw(puzzle, 100 * soft(puzzle.answer, 1))
    for row, colour in zip(rows, colours, strict=True):
        assert torch.equal(row[2].image.amax((1, 2)) > 0.5, colour > 0.5)
        torch.testing.assert_close(row[1].image, colour[:, None, None].expand(3, 8, 8), rtol=0, atol=2e-3)


# The loss


def unevenly_weighted(answer, **options):
    """A task whose weights have seen the answers, and differ."""
    task = Colorization(TinyNet(), ColourClasses(**options))
    task.grade(torch.zeros(len(answer), 313, *answer.shape[-2:]), answer)
    weights = task.rebalance.weights()
    assert weights.max() > 1.5 * weights.min()
    return task


@pytest.mark.parametrize("level", [0.0, 3.0])
@pytest.mark.parametrize("rebalance", [0.0, 0.5, 1.0])
def test_equal_logits_cost_exactly_ln_313_whatever_the_weights(level, rebalance):
    answer = pose(Colorization(TinyNet()), images()).answer
    task = Colorization(TinyNet(), ColourClasses(rebalance=rebalance))
    for _ in range(3):  # the weights change with each
        loss = task.grade(torch.full((6, 313, 4, 4), level), answer).loss
        assert loss.item() == pytest.approx(math.log(313), abs=1e-5)
    assert task.chance().loss.item() == pytest.approx(math.log(313), abs=1e-6)
    assert task.chance().scores["accuracy"].item() == pytest.approx(1 / 313)


def test_the_gradient_at_equal_logits_is_the_weight_times_how_far_the_target_is_from_uniform():
    answer = pose(Colorization(TinyNet()), images()).answer
    task = unevenly_weighted(answer)
    weights = task.rebalance.weights()
    logits = torch.zeros(6, 313, 4, 4, requires_grad=True)
    task.grade(logits, answer).loss.backward()
    target = soft(answer)
    each = weights[target.argmax(1)][:, None]
    torch.testing.assert_close(logits.grad, each * (1 / 313 - target) / each.sum(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("neighbours", [1, 5, 10])
def test_the_loss_is_the_weighted_cross_entropy_with_dense_targets(neighbours):
    answer = pose(Colorization(TinyNet()), images()).answer
    task = unevenly_weighted(answer, neighbours=neighbours)
    weights = task.rebalance.weights()
    logits = torch.randn(6, 313, 4, 4, generator=rng("cpu", "logits"))
    target = soft(answer, neighbours)
    each = weights[target.argmax(1)]
    expected = (each * F.cross_entropy(logits, target, reduction="none")).sum() / each.sum()
    torch.testing.assert_close(task.grade(logits, answer).loss, expected)


def test_the_targets_own_logarithm_costs_their_entropy_and_is_always_right():
    answer = pose(Colorization(TinyNet()), images()).answer
    task, target = Colorization(TinyNet(), ColourClasses(rebalance=1.0)), soft(answer)
    grade = task.grade(target.clamp(min=1e-12).log(), answer)
    entropy = torch.special.entr(target).sum(1).mean()
    assert grade.loss.item() == pytest.approx(entropy.item(), abs=1e-4)
    assert grade.scores["accuracy"] == 1
    assert task.grade(-target, answer).scores["accuracy"] == 0


def with_grey(x):
    """The same images, every second one without its colour."""
    x = x.clone()
    x[::2] = (lightness(x[::2]) / 100).expand(-1, 3, -1, -1)
    return x


@pytest.mark.parametrize(("factory", "outputs"), [(Colorization, 313), (VALUES, 2)])
def test_grey_images_do_not_count(factory, outputs):
    task = factory(TinyNet())
    answer = pose(task, with_grey(images())).answer
    said = torch.randn(6, outputs, 4, 4, generator=rng("cpu", "said"), requires_grad=True)
    grade = task.grade(said, answer)
    grade.loss.backward()
    assert [bool(g.any()) for g in said.grad] == [False, True] * 3
    alone = factory(TinyNet()).grade(said[1::2], answer[1::2])
    torch.testing.assert_close(alone.loss, grade.loss)
    assert alone.scores == grade.scores
    if task.rebalance is not None:  # nor for the distribution of colours: 3 images of 16 pixels did
        assert task.rebalance.counts.sum() / 2**16 == pytest.approx(48, abs=0.01)


@pytest.mark.parametrize(("factory", "outputs"), [(Colorization, 313), (VALUES, 2)])
def test_a_batch_without_any_colour_costs_nothing_and_teaches_nothing(factory, outputs):
    task = factory(TinyNet())
    answer = pose(task, images()[:, :1].expand(-1, 3, -1, -1)).answer
    said = torch.randn(6, outputs, 4, 4, generator=rng("cpu", "said"), requires_grad=True)
    grade = task.grade(said, answer)
    grade.loss.backward()
    assert grade.loss == 0
    assert torch.equal(said.grad, torch.zeros_like(said))
    assert all(score == 0 for score in grade.scores.values())


def test_one_coloured_pixel_makes_an_image_count():
    answer = torch.zeros(2, 2, 4, 4)
    answer[0, 1, 2, 3], answer[1, 1, 2, 3] = -5.1, -5.0
    said = torch.randn(2, 2, 4, 4, generator=rng("cpu", "pixel"), requires_grad=True)
    VALUES(TinyNet()).grade(said, answer).loss.backward()
    assert [bool(g.any()) for g in said.grad] == [True, False]


def test_the_error_of_values_is_a_share_of_the_colour():
    task = VALUES(TinyNet())
    answer = pose(task, images()).answer
    assert task.grade(torch.zeros_like(answer), answer).loss == 1 == task.chance().loss
    assert task.grade(answer, answer).loss == 0
    assert task.grade(answer / 2, answer).loss.item() == pytest.approx(0.25)
    assert task.grade(-answer, answer).loss.item() == pytest.approx(4)


# Observed colours


def test_colours_are_counted_in_training_only_and_after_they_are_weighed():
    task = Colorization(TinyNet())
    answer, logits = pose(task, images()).answer, torch.zeros(6, 313, 4, 4)
    task.eval().grade(logits, answer)
    assert not task.rebalance.counts.any()
    random = torch.randn(logits.shape, generator=rng("cpu", "first"))
    first = task.train().grade(random, answer).loss
    target = soft(answer)
    torch.testing.assert_close(first, F.cross_entropy(random, target))  # all weights are still 1
    counted = task.rebalance.counts / 2**16
    torch.testing.assert_close(counted, target.sum((0, 2, 3)), rtol=0, atol=1e-2)
    assert task.grade(random, answer).loss != first


def step(net, task, optimiser, x):
    optimiser.zero_grad()
    question, answer, given = pose(task, x)
    loss = task.grade(task.solve(net(question), given), answer).loss
    loss.backward()
    optimiser.step()
    return loss.item()


def test_a_resumed_training_goes_on_identically():
    torch.manual_seed(0)
    net = TinyNet()
    task = Colorization(net)
    batches = [smooth(4, 3, 16, "batch", i) for i in range(4)]
    plain = partial(torch.optim.SGD, lr=0.1)
    optimiser = plain([*net.parameters(), *task.parameters()])
    for x in batches[:2]:
        step(net, task, optimiser, x)
    file = io.BytesIO()
    torch.save(task.state_dict(), file)
    file.seek(0)
    net_again = copy.deepcopy(net)
    again = Colorization(net_again)
    again.load_state_dict(torch.load(file, weights_only=True))
    rest = [step(net, task, optimiser, x) for x in batches[2:]]
    fresh = plain([*net_again.parameters(), *again.parameters()])
    assert rest == [step(net_again, again, fresh, x) for x in batches[2:]]
    assert torch.equal(task.rebalance.counts, again.rebalance.counts)


def test_the_weights_scale_gradients_and_leave_predictions_alone():
    task = Colorization(TinyNet()).eval()
    net = TinyNet().eval()
    question, answer, given = pose(task, images())
    before = task.solve(net(question), given)
    task.rebalance.counts += torch.arange(313) * 2**16
    assert torch.equal(task.solve(net(question), given), before)
    assert task.grade(before, answer).loss != Colorization(TinyNet()).grade(before, answer).loss


# Leaks


def batch(tied, step):
    """Colour by itself, in cells of 4 pixels, or yellow where it is bright and blue where it is dark.

    Cells are drawn one by one, so that no place has colours of its own, which a net could know without seeing any.
    """
    light = smooth(32, 1, 16, "leak", step, "light")
    free = torch.rand(32, 2, 4, 4, generator=rng("cpu", "leak", step, "ab"))
    yellow = torch.cat((torch.full_like(light, 0.5), (light > 0.5).float()), 1)
    return paint(light, yellow if tied else F.interpolate(free, scale_factor=4))


@torch.no_grad()
def judged(net, task, tied):
    """Loss on fresh images over that of the best guess without a look: the same distribution or value everywhere."""
    question, answer, given = pose(task, torch.cat([batch(tied, 10_000 + i) for i in range(16)]))
    loss = task.grade(task.solve(net(question), given), answer).loss
    if task.rebalance is None:
        explained = answer.mean((0, 2, 3)).square().sum() / answer.square().sum(1).mean()
        return (loss / (1 - explained)).item()
    marginal = soft(answer).mean((0, 2, 3))
    return (loss / torch.special.entr(marginal).sum()).item()


@pytest.mark.parametrize("factory", [partial(Colorization, target=ColourClasses(rebalance=1.0)), VALUES])
@pytest.mark.parametrize("tied", [False, True])
def test_a_net_learns_what_lightness_tells_of_colour_and_nothing_else(factory, tied):
    torch.manual_seed(0)
    net = TinyNet()
    task = factory(net)

    def loss(i):
        question, answer, given = pose(task, batch(tied, i))
        return task.grade(task.solve(net(question), given), answer).loss

    descend((net, task), loss, 120, 0.015)
    for mode in (True, False):
        net.train(mode), task.train(mode)
        share = judged(net, task, tied)
        assert share < 0.9 if tied else share > 0.999


# Drawing


def test_a_perfect_prediction_is_drawn_in_the_colours_that_were_asked():
    """Where all colours are bins' own, the drawing is exact; else the nearest bin is within half a cell's diagonal."""
    task = Colorization(TinyNet(), stride=1)
    x = paint(smooth(2, 1, 12, "draw"), smooth(2, 2, 12, "draw ab"))
    puzzle = pose(task, x)
    rows = task.draw(puzzle, 100 * soft(puzzle.answer, 1))
    for image, (asked, true, predicted) in zip(x, rows, strict=True):
        torch.testing.assert_close(true.image, image, rtol=0, atol=1e-3)
        torch.testing.assert_close(asked.image, (lightness(image) / 100).expand(3, -1, -1), rtol=0, atol=LAB / 100)
        gap = rgb_to_lab(predicted.image) - rgb_to_lab(image)
        assert gap[0].abs().max() < 0.1
        assert gap[1:].norm(dim=0).max() < 5 * math.sqrt(2) + 0.1
    exact = bins()[(bins().abs() <= 20).all(1)][:16].T.reshape(2, 4, 4)
    x = paint(torch.full((1, 1, 4, 4), 0.5), (exact[None] + 20) / 40)
    puzzle = pose(task, x)
    (row,) = task.draw(puzzle, 100 * soft(puzzle.answer, 1))
    torch.testing.assert_close(row[2].image, x[0], rtol=0, atol=1e-3)
    assert row[2].caption == "prediction: off by 0.0 in ab"


def test_values_are_drawn_as_they_are():
    task = VALUES(TinyNet())
    puzzle = pose(task, images())
    for row in task.draw(puzzle, puzzle.answer):
        assert torch.equal(row[1].image, row[2].image)
    off = task.draw(puzzle, puzzle.answer + torch.tensor([3.0, 4.0])[:, None, None])
    assert {row[2].caption for row in off} == {"prediction: off by 5.0 in ab"}
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 6


@pytest.mark.parametrize("factory", [Colorization, VALUES])
def test_drawings_work_in_bfloat16(factory):
    task = factory(TinyNet()).bfloat16()
    puzzle = pose(task, images().bfloat16())
    prediction = task.solve(TinyNet().bfloat16()(puzzle.question), puzzle.given)
    for row in task.draw(puzzle, prediction):
        for panel in row:
            assert panel.image.shape == (3, 16, 16)
            assert panel.image.dtype == torch.float32
            assert 0 <= panel.image.min() <= panel.image.max() <= 1


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stride": 0}, "Colorization: stride=0"),
        ({"grey_below": -1.0}, "grey_below=-1.0"),
    ],
)
def test_what_is_out_of_range_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Colorization(TinyNet(), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighbours": 0}, "ColourClasses: neighbours=0"),
        ({"neighbours": 314}, "neighbours=314"),
        ({"rebalance": 1.5}, "ColourClasses: rebalance=1.5"),
        ({"temperature": 0.0}, "temperature=0.0"),
    ],
)
def test_classes_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ColourClasses(**change)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (3, 8, 8), (2, 3, 2, 8)])
def test_images_without_colours_or_of_no_size_are_refused(shape):
    with pytest.raises(ValueError, match="Colorization wants RGB images"):
        pose(Colorization(TinyNet()), torch.rand(shape))


def test_backbones_that_do_not_read_images_or_have_no_stages_are_refused():
    with pytest.raises(ValueError, match="Colorization needs a backbone with an axis 'h'"):
        Colorization(TinyNet(axes="t"))
    net = TinyNet()
    net.stages = {}
    with pytest.raises(ValueError, match="TinyNet has none"):
        Colorization(net)


def test_it_tells_its_settings():
    assert "rebalance=0.25, temperature=0.38" in repr(Colorization(TinyNet(), ColourClasses(rebalance=0.25)))
    assert "target=ColourValues(), stride=8" in repr(VALUES(TinyNet(), stride=8))
