"""Inpainting: nothing of the hole gets out, the masks hide what they should, and 1 is the price of a mean colour."""

import math
from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet
from torch.nn import functional as F

from pretext.core.rng import rng
from pretext.tasks.image.inpainting import FILL, ChannelwiseLinear, Inpainting
from pretext.testing import check_content_free, check_task

MASKS = ["centre", "block", "region"]
Small = partial(Inpainting, channels=16, width=16)


def images(n=6, side=32, *key, detail=4):
    """Smooth images: from what is around a hole one can tell what is in it."""
    coarse = torch.rand(n, 3, detail, detail, generator=rng("cpu", "inpainting", side, *key))
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "inpainting", *parts))


def masks(mask, n=400, height=32, width=32, *parts):
    return pose(Small(TinyNet(), mask), torch.zeros(n, 3, height, width), *parts).given


@pytest.mark.parametrize("options", [{}, {"mask": "centre"}, {"adversarial": 0.01}], ids=str)
def test_it_keeps_the_contract(options):
    """Noise has a test of its own; a constant image can rightly be painted in, whoever sees its colour."""
    items = 4 if "adversarial" in options else 8  # an adversary learns in every step
    check_task(partial(Small, **options), TinyNet(), images(items), random="mask" not in options, kinds=())


def test_nothing_is_learnt_from_noise():
    """A constant image can rightly be painted in."""
    check_content_free(partial(Inpainting, channels=8, width=8), TinyNet(), images(), kinds=("noise",))


# What is hidden


def test_the_central_hole_and_its_ring_have_the_sizes_of_the_paper():
    question, (target, weights, hidden), given = pose(Inpainting(TinyNet(), "centre"), images(2, 128))
    assert hidden.shape == weights.shape == (2, 1, 128, 128)
    assert torch.equal(hidden, given)
    assert hidden[0].sum() == 56**2
    assert hidden[:, :, 36:92, 36:92].all()
    assert weights[0].sum() == 56**2 + 10 * (64**2 - 56**2) == 12736
    assert weights[:, :, 32:96, 32:96].all()
    assert torch.equal(target, images(2, 128))
    assert torch.equal(question[..., 40, 40], torch.tensor(FILL).expand(2, 3))


@pytest.mark.parametrize("size", [(32, 32), (8, 8), (9, 31)])
@pytest.mark.parametrize("mask", MASKS)
def test_the_share_that_is_hidden_keeps_its_bounds(mask, size):
    height, width = size
    count = masks(mask, 400, *size).sum((1, 2, 3))
    least, most = {
        "centre": ((height // 2 - 2) * (width // 2 - 2), math.ceil(height / 2 + 1) * math.ceil(width / 2 + 1)),
        "block": ((height // 8) * (width // 8), height * width // 4),
        "region": (math.ceil(0.2 * height * width), math.floor(0.3 * height * width)),
    }[mask]
    assert least <= count.min()
    assert count.max() <= most
    assert len(count.unique()) == 1 if mask == "centre" else len(count.unique()) > 5


def test_regions_hide_a_share_drawn_evenly():
    """32 x 32: 205 to 307 pixels; the mean of 4,000 draws is within 4 of its deviations of 256, and all 103 occur."""
    count = masks("region", 4000).sum((1, 2, 3)).double()
    assert abs(count.mean() - 256) < 4 * math.sqrt((103**2 - 1) / 12 / 4000)
    assert len(count.unique()) == 103


def test_regions_hide_every_place_alike_and_hang_together():
    hidden = masks("region", 4000).double()
    often = hidden.mean(0)
    assert abs(often - 0.25).max() < 5.5 * math.sqrt(0.25 * 0.75 / 4000)  # 1,024 places, 0.04 expected beyond 4 of 1e5
    alike = (hidden[..., 1:] == hidden[..., :-1]).double().mean()
    assert 0.8 < alike < 0.95  # 0.625 for independent pixels, 1 - 1/32 or so for one block
    assert not torch.equal(hidden.flip(-1), hidden)


def test_blocks_are_rectangles_of_an_eighth_to_a_quarter_of_the_side():
    """Rows of a union of four blocks have one to four runs; a run is no shorter than the shortest block."""
    hidden = masks("block").float()
    for lines in (hidden, hidden.transpose(-1, -2)):
        ends = F.pad(lines, (1, 1)).diff(dim=-1)
        assert 1 < (ends == 1).sum(-1).max() <= 4
        for length in (1, 2, 3):
            runs = F.pad(lines, (1, 1)).unfold(-1, length + 2, 1)
            alone = torch.tensor([0.0, *[1.0] * length, 0.0])
            assert not (runs == alone).all(-1).any()  # 32 / 8 = 4 is the least
    assert hidden.flatten(1).mean(1).std() > 0.01


@pytest.mark.parametrize("mask", MASKS)
def test_masks_differ_between_images_and_draws_unless_they_are_fixed(mask):
    one, other = masks(mask, 8, 32, 32, "a"), masks(mask, 8, 32, 32, "b")
    apart = len({m.numpy().tobytes() for m in torch.cat([one, other])})
    assert apart == (1 if mask == "centre" else 16)


@pytest.mark.parametrize("overlap", [0.0, 1 / 32, 1 / 16])
@pytest.mark.parametrize("mask", MASKS)
def test_the_ring_is_what_is_visible_near_the_hole(mask, overlap):
    _, (_, weights, hidden), _ = pose(Small(TinyNet(), mask, overlap=overlap, overlap_weight=7), images(4))
    ring, expected = round(32 * overlap), hidden.clone()
    for down in range(-ring, ring + 1):  # by shifts, as far as they stay inside
        for right in range(-ring, ring + 1):
            moved = F.pad(hidden, (ring + right, ring - right, ring + down, ring - down))
            expected |= moved[..., ring : ring + 32, ring : ring + 32]
    assert torch.equal(weights, torch.where(hidden, 1.0, 7.0 * expected))
    assert weights.eq(7).any() == (overlap > 0)


# What gets out of the hole


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", MASKS)
def test_question_and_prediction_are_the_same_whatever_was_hidden(mask, dtype):
    torch.manual_seed(0)
    net = TinyNet().to(dtype)
    task, x = Small(net, mask).to(dtype), images().to(dtype)
    puzzle = pose(task, x)
    prediction = task.solve(net(puzzle.question), puzzle.given)
    for other in (torch.rand_like(x), torch.full_like(x, math.nan)):
        again = pose(task, torch.where(puzzle.given, other, x))
        assert torch.equal(again.question, puzzle.question)
        assert torch.equal(again.given, puzzle.given)
        assert torch.equal(task.solve(net(again.question), again.given), prediction)


@pytest.mark.parametrize("mask", MASKS)
def test_the_prediction_has_no_gradient_in_hidden_pixels(mask):
    torch.manual_seed(0)
    net = TinyNet()
    task, x = Small(net, mask), images().requires_grad_()
    puzzle = pose(task, x)
    prediction = task.solve(net(puzzle.question), puzzle.given)
    weights = torch.randn(prediction.shape, generator=rng("cpu", "weights"))
    (gradient,) = torch.autograd.grad((prediction * weights).sum(), x)
    hidden = puzzle.given.expand_as(x)
    assert not gradient[hidden].any()
    assert gradient[~hidden].ne(0).double().mean() > 0.9


# The head


def test_the_layer_over_places_keeps_channels_apart():
    layer = ChannelwiseLinear(3, 2)
    jacobian = torch.autograd.functional.jacobian(layer, torch.rand(1, 3, 2, 2)).view(3, 4, 3, 4)
    for one in range(3):
        for other in range(3):
            block = jacobian[one, :, other]
            assert torch.equal(block, layer.weight[one].T) if one == other else not block.any()
    assert jacobian[0, :, 0].all()  # every place with every place


def test_the_layer_over_places_has_as_many_weights_as_in_the_paper():
    assert sum(p.numel() for p in ChannelwiseLinear(256, 6).parameters()) == 256 * 36**2 == 331_776
    assert Inpainting(TinyNet(), grid=6).places.weight.numel() == 331_776


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (48, 40), (64, 64)])
def test_the_picture_has_the_size_of_the_image_and_starts_grey(size):
    torch.manual_seed(0)
    net = TinyNet()
    task = Inpainting(net)
    question, _, given = pose(task, torch.rand(2, 3, *size))
    prediction = task.solve(net(question), given)
    assert prediction.shape == (2, 3, *size)
    assert abs(prediction - 0.45).max() < 0.15
    assert prediction.std() > 0  # of small but not zero weights


def test_one_image_is_a_batch_and_in_eval_mode_nobody_looks_at_the_others():
    torch.manual_seed(0)
    net = TinyNet()
    task = Small(net)
    question, answer, given = pose(task, images(1))
    assert task.grade(task.solve(net(question), given), answer).loss.isfinite()
    net.eval(), task.eval()
    question, _, given = pose(task, images(5))
    every = task.solve(net(question), given)
    assert torch.allclose(task.solve(net(question[2:3]), given[2:3]), every[2:3], atol=1e-6)


# The grade


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mask", MASKS)
def test_the_mean_colour_costs_exactly_what_chance_says_and_the_image_nothing(mask, dtype):
    task = Small(TinyNet(), mask)
    _, answer, _ = pose(task, images().to(dtype))
    x, weights, hidden = (part.double() for part in answer)
    for name, where in (("loss", weights), ("hidden", hidden)):
        mean = ((where * x).sum((0, 2, 3)) / where.sum()).view(1, 3, 1, 1).expand_as(x)
        loss, scores = task.grade(mean, answer)
        assert {"loss": loss, **scores}[name].item() == pytest.approx(1, abs=1e-5)
        other = task.grade(mean + 0.1, answer)  # no colour is better than the mean
        assert {"loss": other.loss, **other.scores}[name] > 1.05
    blind = task.chance()
    assert blind.loss == blind.scores["hidden"] == 1
    perfect = task.grade(answer.x, answer)
    assert perfect.loss == perfect.scores["hidden"] == 0


def test_the_loss_is_the_weighted_error_over_the_weighted_variance():
    """By hand: half of 8 x 8 black, half white, one hidden block; the ring weighs 3."""
    task = Small(TinyNet(), "centre", overlap=1 / 8, overlap_weight=3)
    x = torch.zeros(1, 3, 8, 8)
    x[..., 4:] = 1
    _, answer, _ = pose(task, x)
    assert answer.weights.sum() == 4 + 3 * 12
    prediction = torch.where(answer.hidden, 0.5, x)  # wrong in the hole alone: 4 x 0.25, of a spread of 40 x 0.25
    assert task.grade(prediction, answer).loss.item() == pytest.approx(4 / 40)
    assert task.grade(prediction, answer).scores["hidden"].item() == pytest.approx(1)
    prediction = torch.where(answer.hidden, x, 0.5)
    assert task.grade(prediction, answer).loss.item() == pytest.approx(36 / 40)
    assert task.grade(prediction, answer).scores["hidden"] == 0


@pytest.mark.parametrize(("mask", "visible"), [("region", 0.0), ("block", 0.0), ("centre", 0.75)])
def test_the_share_of_the_loss_that_is_visible_pixels(mask, visible):
    """Of a picture that is off by as much everywhere. With the ring of before it was nine tenths of a region's."""
    _, (_, weights, hidden), _ = pose(Small(TinyNet(), mask), images(64))
    share = 1 - (weights * hidden).sum() / weights.sum()
    assert share.item() == pytest.approx(visible, abs=0.01 if visible == 0 else 0.1)
    _, (_, ringed, hidden), _ = pose(Small(TinyNet(), mask, overlap_weight=10.0), images(64))
    assert 1 - (ringed * hidden).sum() / ringed.sum() > 0.7


@pytest.mark.parametrize("mask", MASKS)
def test_without_a_ring_visible_pixels_do_not_count(mask):
    """Nor do they by default, but around the central hole."""
    x, torn = images(), torch.rand(6, 3, 32, 32, generator=rng("cpu", "torn"))
    for options, same in (
        ({"overlap": 0.0}, True),
        ({"overlap": 1 / 32, "overlap_weight": 10.0}, False),
        ({}, mask != "centre"),
    ):
        task = Small(TinyNet(), mask, **options)
        _, answer, hidden = pose(task, x)
        prediction = x + 0.1
        grade, other = (task.grade(p, answer) for p in (prediction, torch.where(hidden, prediction, torn)))
        assert torch.equal(grade.loss, other.loss) == same
        assert torch.equal(grade.scores["hidden"], other.scores["hidden"])
        elsewhere = answer._replace(x=torch.where(hidden, x, torn))
        assert torch.equal(task.grade(prediction, elsewhere).loss, grade.loss) == same


def test_a_batch_of_one_colour_has_a_finite_loss():
    task = Small(TinyNet())
    _, answer, _ = pose(task, torch.full((2, 3, 32, 32), 0.25))
    assert task.grade(answer.x, answer).loss == 0
    assert task.grade(answer.x + 0.01, answer).loss.item() == pytest.approx(1, rel=1e-3)  # the least variance: 0.01^2


def test_it_learns_to_paint_smooth_images_that_it_has_not_seen():
    """Better than a hole of the visible pixels' mean colour, which takes no sight of places."""
    torch.manual_seed(0)
    net = TinyNet(16)
    task = Inpainting(net, channels=32, width=32)
    task.paint[-1].weight.data.mul_(8)  # a nearly grey picture stays so for long

    def loss(step):
        question, answer, given = pose(task, images(32, 16, step, detail=2), step)
        return task.grade(task.solve(net(question), given), answer).loss

    descend((net, task), loss, 150, 0.005)
    question, answer, given = pose(task, images(128, 16, "new", detail=2), "new")
    with torch.no_grad():
        learnt = task.grade(task.solve(net(question), given), answer)
    mean = (answer.x * ~given).sum((2, 3), keepdim=True) / (~given).sum((2, 3), keepdim=True)
    flat = task.grade(mean.expand_as(answer.x), answer)
    assert 0.5 < flat.loss < 0.9
    assert learnt.loss < 0.8 * flat.loss
    assert learnt.scores["hidden"] < 0.8 * flat.scores["hidden"]


# The adversary


def test_without_weight_there_is_no_discriminator():
    plain, with_critic = Small(TinyNet()), Small(TinyNet(), adversarial=0.1)
    assert plain.discriminator is None
    assert not [name for name, _ in plain.named_parameters() if "discriminator" in name]
    assert [name for name, _ in with_critic.named_parameters() if "discriminator" in name]
    assert list(plain.chance().scores) == ["hidden"]
    blind = with_critic.chance()
    assert blind.loss.item() == pytest.approx(1 + 2 * math.log(2))
    assert blind.scores == {"hidden": 1, "error": 1, "discriminator": 0.5}


def test_the_discriminator_judges_the_hole_alone_and_weighs_as_beside_a_plain_error():
    """Divided by what the mean colour costs, as the error is: beside the error in [0, 1] it has the weight itself."""
    torch.manual_seed(0)
    x, gradients = images(), []
    for weight in (0.5, 2.0):
        torch.manual_seed(1)
        task = Small(TinyNet(), adversarial=weight)
        _, answer, hidden = pose(task, x)
        prediction = torch.rand(x.shape, generator=rng("cpu", "prediction")).requires_grad_()
        loss, scores = task.grade(prediction, answer)
        where = hidden.expand_as(x)
        mean = ((x * hidden).sum((0, 2, 3)) / hidden.sum()).view(1, 3, 1, 1).expand_as(x)
        blind = (x - mean)[where].square().mean()
        gradients.append(torch.autograd.grad(loss, prediction)[0])
        critic = task.discriminator
        taken_for_real = F.softplus(-critic(torch.where(hidden, prediction, x))).mean()
        whole = (prediction - x)[where].square().mean() + weight * taken_for_real
        (downhill,) = torch.autograd.grad(whole, prediction)
        torch.testing.assert_close(gradients[-1], downhill / blind)
        torch.testing.assert_close(scores["error"], ((prediction - x)[where].square().mean() / blind).detach())
    assert (gradients[1] - gradients[0]).any()
    assert not gradients[1][~hidden.expand_as(x)].any()


# The rest


def test_the_drawing_pastes_the_prediction_into_the_hole():
    x, task = images(3), Small(TinyNet())
    puzzle = pose(task, x)
    prediction = torch.rand(3, 3, 32, 32, generator=rng("cpu", "painted"))
    rows = task.draw(puzzle, prediction)
    assert len(rows) == 3
    for i, (asked, answer, painted) in enumerate(rows):
        hidden = puzzle.given[i].expand(3, -1, -1)
        assert torch.equal(asked.image, puzzle.question[i])
        assert torch.equal(answer.image, x[i])
        assert torch.equal(painted.image[hidden], prediction[i][hidden])
        assert torch.equal(painted.image[~hidden], x[i][~hidden])
        assert answer.caption == f"answer: {hidden.float().mean():.0%} were hidden"
    assert [len(row) for row in task.draw(puzzle, None)] == [2] * 3
    half = pose(task, x.bfloat16())
    assert task.draw(half, prediction.bfloat16())[0][2].image.dtype == torch.float32


def test_it_tells_its_settings():
    assert "mask='block', overlap=0.0625" in repr(Small(TinyNet(), "block", overlap=1 / 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask": "center"}, "Inpainting: mask='center'; choose"),
        ({"overlap": 0.2}, "Inpainting: overlap=0.2"),
        ({"overlap_weight": -1.0}, "overlap_weight=-1.0"),
        ({"adversarial": -0.1}, "adversarial=-0.1"),
        ({"grid": 1}, "Inpainting: grid=1"),
        ({"ups": 0}, "ups=0"),
        ({"ups": 3, "width": 3}, "width=3"),
        ({"channels": 0}, "channels=0"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Inpainting(TinyNet(), **options)


@pytest.mark.parametrize("shape", [(2, 3, 7, 32), (2, 1, 32, 32), (3, 32, 32)])
def test_what_is_no_image_or_too_small_is_refused(shape):
    with pytest.raises(ValueError, match="Inpainting wants images"):
        pose(Small(TinyNet()), torch.rand(shape))


def test_backbones_that_do_not_read_images_are_refused():
    with pytest.raises(ValueError, match=r"Inpainting needs a backbone with an axis 'h'.*reads 't'"):
        Inpainting(TinyNet(axes="t"))
