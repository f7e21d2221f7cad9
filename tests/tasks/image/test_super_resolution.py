"""Super-resolution: aligned, exact on what holds no detail, and measured against bicubic."""

import math
from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet
from torch.nn import functional
from torchvision.models.vgg import cfgs, make_layers

from pretext.core.rng import rng
from pretext.ops.resample import KERNELS, resample
from pretext.tasks.image.super_resolution import SuperResolution
from pretext.testing import check_copies, check_task

SMALL = partial(SuperResolution, width=16, blocks=1)
GAME = partial(SMALL, adversarial=0.01)


def images(n=6, side=16):
    """Smooth colours with edges across them: what shrinking blurs, and what can be guessed."""
    chance = rng("cpu", "super-resolution", "images")
    coarse = resample(torch.rand(n, 3, 4, 4, generator=chance), side, side, "bilinear")
    shapes = resample(torch.rand(n, 1, 5, 5, generator=chance), side, side, "bicubic") > 0.5
    return torch.where(shapes, coarse, 1 - coarse).clamp(0, 1)


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "super-resolution", *parts))


def sit(task, net, puzzle):
    return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


def shrunk_by(x, kernel, scale=2):
    return resample(x, x.shape[-2] // scale, x.shape[-1] // scale, kernel).clamp(0, 1)


def posed_by(kernel, task, x):
    """Pose until the kernel is drawn."""
    for step in range(60):
        puzzle = pose(task, x, step)
        if torch.equal(puzzle.question, shrunk_by(x, kernel, task.scale)):
            return puzzle
    raise AssertionError(f"{kernel} was never drawn")


# Not content-free input: what a known filter did to noise can be undone in part, for any pixels. That is signal
# processing, which the task rightly learns, and no leak of the answer; and on one colour bicubic is exact.
@pytest.mark.parametrize(
    "factory", [SMALL, pytest.param(partial(GAME, scale=4, pixel="l1"), marks=pytest.mark.slow)], ids=["plain", "game"]
)
def test_it_keeps_the_contract(factory):
    check_task(factory, TinyNet(), images(8), kinds=())


def test_the_question_is_the_image_shrunk_by_one_of_all_kernels_for_the_whole_batch():
    x, task, seen = images(), SMALL(TinyNet()), set()
    candidates = {kernel: shrunk_by(x, kernel) for kernel in KERNELS}
    for step in range(40):
        puzzle = pose(task, x, step)
        mine = [kernel for kernel, image in candidates.items() if torch.equal(puzzle.question, image)]
        assert len(mine) == 1
        seen.update(mine)
        assert torch.equal(puzzle.given, puzzle.question)
        assert torch.equal(puzzle.answer[0], x)
    assert seen == set(KERNELS)


def test_the_same_key_poses_the_same_puzzle():
    x, task = images(), SMALL(TinyNet())
    for step in range(10):
        first, _ = pose(task, x, step), torch.rand(1)
        again = pose(task, x, step)
        assert torch.equal(first.question, again.question)
        assert torch.equal(first.answer[1], again.answer[1])


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", [2, 4])
def test_the_base_lies_exactly_on_the_image(kernel, scale):
    """A ramp, in either direction, comes back where it was: half a pixel off would be 0.5 / 64."""
    ramp = ((torch.arange(64) + 0.5) / 64).expand(2, 3, 64, 64).clone()
    for x in (ramp, ramp.mT.contiguous()):
        _, base = posed_by(kernel, SMALL(TinyNet(), scale=scale), x).answer
        inside = slice(6 * scale, -6 * scale)
        torch.testing.assert_close(base[..., inside, inside], x[..., inside, inside], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_base_shrunk_again_is_the_question_where_images_are_smooth(kernel):
    smooth = resample(images(4, 4), 32, 32, "bilinear")
    puzzle = posed_by(kernel, SMALL(TinyNet()), smooth)
    again = shrunk_by(puzzle.answer[1], "area")
    assert (again - puzzle.question).abs().max() < 0.03
    assert (again.roll(1, -1) - puzzle.question).abs().max() > 0.1  # one pixel off is seen


def test_one_colour_is_enlarged_exactly():
    x = torch.rand(4, 3, 1, 1).expand(4, 3, 16, 16).contiguous()
    task, net = SMALL(TinyNet()), TinyNet()
    puzzle = pose(task, x)
    torch.testing.assert_close(puzzle.answer[1], x)
    torch.nn.init.zeros_(task.residual[-2].weight)  # the convolution before the pixels are shuffled
    grade = sit(task, net, puzzle)
    assert grade.loss.item() == 1
    assert grade.scores["psnr_gain"].item() == 0


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_it_starts_at_the_bicubic_enlargement(scale):
    torch.manual_seed(0)
    net, task = TinyNet(), SMALL(TinyNet(), scale=scale)
    puzzle = pose(task, images(6, 32))
    made = task.solve(net(puzzle.question), puzzle.given)
    assert made.shape == (6, 3, 32, 32)
    assert 0 < (made - puzzle.answer[1]).abs().max() < 0.01
    torch.testing.assert_close(puzzle.answer[1], resample(puzzle.question, 32, 32, "bicubic").clamp(0, 1))
    assert task.grade(made, puzzle.answer).loss.item() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("scale", [2, 4])
def test_each_value_of_its_maps_becomes_one_pixel(scale):
    """The head enlarges by a bijection: nothing is averaged away or repeated."""
    step = 2 * scale
    shuffle = SMALL(TinyNet(), scale=scale).residual[-1]
    maps = torch.rand(2, 3 * step**2, 5, 7)
    large = shuffle(maps)
    assert large.shape == (2, 3, 5 * step, 7 * step)
    assert torch.equal(large.flatten().sort().values, maps.flatten().sort().values)
    assert torch.equal(functional.pixel_unshuffle(large, step), maps)


@pytest.mark.parametrize("pixel", ["l2", "l1"])
def test_the_loss_is_the_share_of_bicubics_error_that_is_left(pixel):
    task = SMALL(TinyNet(), pixel=pixel)
    x, base = (answer := pose(task, images()).answer)
    assert task.grade(base, answer).loss == 1 == task.chance().loss
    half = task.grade((x + base) / 2, answer)
    assert half.loss.item() == pytest.approx({"l2": 1 / 4, "l1": 1 / 2}[pixel], rel=0.02)
    assert half.scores["psnr_gain"].item() == pytest.approx(20 * math.log10(2), abs=0.01)
    assert task.grade(x, answer).loss < 0.05
    assert task.grade(2 * x - base, answer).loss.item() == pytest.approx(1, rel=1e-5)  # as far off on the other side


def test_what_shrinking_removed_is_nowhere_in_the_question():
    """Two images that differ by a pattern whose 2 x 2 means are 0 are one and the same question."""
    x = 0.25 + images() / 2
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(8, 8)
    other, task = x + 0.2 * signs, SMALL(TinyNet())
    for step in range(60):
        one, two = pose(task, x, step), pose(task, other, step)
        if torch.equal(one.question, shrunk_by(x, "area")):
            torch.testing.assert_close(one.question, two.question)
            torch.testing.assert_close(one.given, two.given)
            assert (one.answer[0] - two.answer[0]).abs().min() > 0.19
            return
    raise AssertionError("area was never drawn")


def learn(task, net, x, steps):
    """Train on changing puzzles of `x`; then the mean loss over all kernels in eval mode."""
    descend((net, task), lambda step: sit(task, net, pose(task, x, "learn", step)).loss, steps, 5e-3)
    task.eval(), net.eval()
    with torch.no_grad():
        return [sit(task, net, posed_by(kernel, task, x)).loss.item() for kernel in KERNELS]


def test_training_beats_bicubic_for_every_kernel_also_without_the_batchs_statistics():
    torch.manual_seed(0)
    net = TinyNet(16)
    assert max(learn(SMALL(net), net, images(8), 120)) < 0.9


class Blind(TinyNet):
    """Sees every image alike."""

    def forward(self, x):
        features = super().forward(x)
        alike = {name: stage.mean(0, keepdim=True).expand_as(stage) for name, stage in features.stages.items()}
        return features._replace(stages=alike)


def test_a_head_alone_does_not_beat_bicubic_on_new_images():
    """What is given (the small image) goes into the base only, so that detail has to come from the backbone."""
    torch.manual_seed(0)
    task, net = SMALL(TinyNet()), TinyNet()
    puzzle = pose(task, images())
    features = net(puzzle.question)
    residual = task.solve(features, puzzle.given) - puzzle.answer[1]
    other = torch.rand_like(puzzle.given)
    same = task.solve(features, other) - resample(other, 16, 16, "bicubic").clamp(0, 1)
    torch.testing.assert_close(residual, same, rtol=0, atol=1e-6)
    net = Blind()
    learnt = learn(SMALL(net), net, images(32)[:16], 60)
    net.eval()
    assert min(learnt) > 0.9


def test_without_an_adversarial_weight_there_is_no_discriminator():
    task = SMALL(TinyNet())
    assert task.discriminator is None
    assert not [name for name, _ in task.named_parameters() if "discriminator" in name]
    assert set(task.chance().scores) == {"psnr_gain"}
    assert GAME(TinyNet()).chance().loss.item() == pytest.approx(1 + 2 * math.log(2))


@pytest.mark.parametrize("pixel", ["l2", "l1"])
def test_the_weight_is_that_of_minus_log_d_beside_the_plain_error(pixel):
    """So 1e-3 means what it means in the paper: the whole is divided by bicubic's error, not the error alone."""
    torch.manual_seed(0)
    task, weight = GAME(TinyNet(), pixel=pixel), 0.01
    truth, base = pose(task, images()).answer
    made = (base + 0.05).requires_grad_()
    weights = list(task.discriminator.parameters())
    grade = task.grade(made, (truth, base))
    mine, *theirs = torch.autograd.grad(grade.loss, [made, *weights])
    on_real, on_made = task.discriminator(truth), task.discriminator(made)
    size, smallest = {"l2": (torch.square, 1e-6), "l1": (torch.abs, 1e-3)}[pixel]
    whole = size(made - truth).mean() + weight * functional.softplus(-on_made).mean()
    (descended,) = torch.autograd.grad(whole, made, retain_graph=True)
    torch.testing.assert_close(mine, descended / (size(base - truth).mean() + smallest))
    game = functional.softplus(-on_real).mean() + functional.softplus(on_made).mean()
    torch.testing.assert_close(theirs, list(torch.autograd.grad(game, weights)))
    error = (size(made - truth).mean() + smallest) / (size(base - truth).mean() + smallest)
    assert grade.loss.item() == pytest.approx((error + game).item(), rel=1e-5)
    assert grade.scores["error"].item() == pytest.approx(error.item(), rel=1e-5)


def test_the_adversarial_gradient_reaches_the_backbone():
    """Twice the weight: the part of the gradient that is not the pixels' is twice as large."""
    gradients = []
    for weight in (0.0, 1.0, 2.0):
        torch.manual_seed(0)
        net = TinyNet(norm=False)
        task = SMALL(net, blocks=0, adversarial=weight)
        if task.discriminator is not None:
            torch.manual_seed(1)
            for parameter in task.discriminator.parameters():
                torch.nn.init.normal_(parameter, std=0.1)
        sit(task, net, pose(task, images())).loss.backward()
        gradients.append(net.conv1[0].weight.grad)
    pixels, once, twice = gradients
    assert (once - pixels).abs().max() > 0
    torch.testing.assert_close(twice - pixels, 2 * (once - pixels), rtol=1e-3, atol=1e-8)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """The first two blocks of a VGG19 of random weights, as torchvision would save it."""
    torch.manual_seed(0)
    network = make_layers(cfgs["E"][:5])
    file = tmp_path_factory.mktemp("vgg") / "vgg19.pth"
    torch.save({f"features.{name}": value for name, value in network.state_dict().items()}, file)
    return file, network


def test_the_content_may_be_features_of_a_users_vgg(vgg):
    file, network = vgg
    net = TinyNet()
    task = SMALL(net, vgg=str(file), layer="relu2_2")
    truth, base = pose(task, images()).answer
    mean, std = (torch.tensor(c).view(3, 1, 1) for c in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    made = base + 0.03
    seen = [network((x - mean) / std) / 12.75 for x in (made, base, truth)]
    errors = [(x - seen[2]).square().mean() for x in seen[:2]]
    wanted = (errors[0] + 1e-6) / (errors[1] + 1e-6)
    assert task.grade(made, (truth, base)).loss.item() == pytest.approx(wanted.item(), rel=1e-4)
    assert task.grade(base, (truth, base)).loss == 1
    best = task.grade(truth, (truth, base))
    assert best.loss.item() == pytest.approx(1e-6 / (errors[1].item() + 1e-6), rel=1e-4)
    assert best.scores["psnr_gain"] > 10  # which stays that of the pixels
    assert not [name for name in task.state_dict() if "vgg" in name]
    check_copies(partial(SMALL, vgg=str(file), layer="relu2_2"), net, images())


def test_a_file_that_is_no_vgg_and_absolute_errors_of_features_are_refused(vgg, tmp_path):
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"VGGFeatures: .*other.pth has no features.0.weight"):
        SMALL(TinyNet(), vgg=str(tmp_path / "other.pth"))
    with pytest.raises(ValueError, match=r"has no features\.10\.weight"):
        SMALL(TinyNet(), vgg=str(vgg[0]))
    with pytest.raises(ValueError, match="pixel='l1'; features are compared by squares"):
        SMALL(TinyNet(), vgg=str(vgg[0]), pixel="l1")


@pytest.mark.parametrize("shape", [(2, 3, 12, 16), (2, 3, 16, 12), (3, 8, 8)])
def test_sides_that_do_not_divide_are_refused(shape):
    with pytest.raises(ValueError, match=r"SuperResolution wants images .* multiples of 8, got"):
        pose(SMALL(TinyNet(), scale=4), torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 3}, "scale=3; take a power of two"),
        ({"scale": 1}, "scale=1"),
        ({"width": 0}, "width=0"),
        ({"blocks": -1}, "blocks=-1"),
        ({"pixel": "vgg"}, "pixel='vgg'"),
        ({"adversarial": -0.1}, "adversarial=-0.1"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SuperResolution(TinyNet(), **options)
    with pytest.raises(ValueError, match="SuperResolution needs a backbone with an axis 'h'"):
        SuperResolution(TinyNet(axes="t"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_drawing_shows_large_pixels_the_image_and_the_gain(dtype):
    x, task = images(2).to(dtype), SMALL(TinyNet())
    puzzle = pose(task, x)
    base = puzzle.answer[1]
    prediction = torch.stack([(x[0] + base[0]) / 2, 2 * (base[1] - 0.5) + 0.5])
    rows = task.draw(puzzle, prediction)
    for i, row in enumerate(rows):
        assert torch.equal(row[0].image[:, ::2, 1::2], puzzle.question[i].float())
        assert torch.equal(row[1].image, x[i].float())
    assert [row[2].right for row in rows] == [True, False]
    gain = float(rows[0][2].caption.split()[1])
    assert gain == pytest.approx(20 * math.log10(2), abs=0.1)
    assert [len(row) for row in task.draw(puzzle, None)] == [2, 2]
