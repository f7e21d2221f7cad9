"""VAE: its divergence is the closed form, a blind guess costs 1, and a run's decoder generates."""

from functools import partial

import pytest
import torch
from descent import descend
from nets import TinyNet
from torch.distributions import Normal, kl_divergence

import pretext
from datamodules import Generated
from pretext import VAE, LatentGenerator, LatentViews, Pretrainer, Shapes, TrainedGenerator
from pretext.core.rng import rng
from pretext.nn.picture_head import picture_errors
from pretext.tasks.image.vae import Drawn
from pretext.testing import check_task
from pretext.views.latent.generator import InvertibleGenerator, decoded

SMALL = partial(VAE, latents=4, size=16, width=8)


def images(n=8, side=16):
    coarse = torch.rand(n, 3, 4, 4, generator=rng("cpu", "vae", "images"))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")


def pose(task, x):
    return task.pose(x, rng("cpu", "vae"))


# No content-free input: noise has a mean in each place that latents rightly carry.
def test_it_keeps_the_contract():
    check_task(SMALL, TinyNet(), images(), kinds=())


def test_the_divergence_is_that_of_normal_laws():
    task, x = SMALL(TinyNet(), noise=0.3), images()
    chance = rng("cpu", "laws")
    mean, log_variance = torch.randn(8, 4, generator=chance), torch.randn(8, 4, generator=chance)
    grade = task.grade(Drawn(x, mean, log_variance), x)
    law = Normal(mean, (log_variance / 2).exp())
    nats = kl_divergence(law, Normal(torch.zeros(8, 4), torch.ones(8, 4))).sum(1).mean()
    assert float(grade.scores["nats"]) == pytest.approx(float(nats), rel=1e-5)
    assert float(grade.scores["error"]) == 0
    assert float(grade.loss) == pytest.approx(2 * 0.3 / (3 * 16 * 16) * float(nats), rel=1e-5)


def test_without_noise_its_gradient_is_that_of_the_likeliest_noise():
    task, x, chance = SMALL(TinyNet()), images(), rng("cpu", "likeliest")
    drawn, mean = ((0.5 * torch.rand(shape, generator=chance)).requires_grad_() for shape in (x.shape, (8, 4)))
    grade = task.grade(Drawn(drawn, mean, torch.zeros(8, 4)), x)
    error = picture_errors(drawn, x).mean()
    pixels, nats = 3 * 16 * 16, 0.5 * mean.square().sum(1).mean()
    found = torch.autograd.grad(grade.loss, (drawn, mean))
    likeliest = torch.autograd.grad(pixels / 2 * error.log() + nats, (drawn, mean))
    for one, other in zip(found, likeliest, strict=True):
        torch.testing.assert_close(one, other * 2 * error.detach() / pixels, rtol=1e-5, atol=1e-9)


def test_the_mean_colour_and_the_latents_own_law_cost_one():
    task, x = SMALL(TinyNet()), images()
    mean = x.mean((0, 2, 3), keepdim=True).expand_as(x)
    nothing = Drawn(mean, torch.zeros(8, 4), torch.zeros(8, 4))
    assert float(task.grade(nothing, x).loss) == pytest.approx(float(task.chance().loss), abs=1e-5)


def test_latents_are_drawn_about_their_mean():
    task, net, x = SMALL(TinyNet()), TinyNet(), images()
    features = net(x)
    said = task.solve(features, torch.zeros(8, 4))
    torch.testing.assert_close(said.picture, task.decode(said.mean))
    torch.testing.assert_close(task.encode(features), said.mean)
    moved = task.solve(features, torch.ones(8, 4))
    torch.testing.assert_close(moved.picture, task.decode(said.mean + (said.log_variance / 2).exp()))


def test_images_of_another_size_are_averaged_to_what_is_drawn():
    task, x = SMALL(TinyNet()), images(side=32)
    torch.testing.assert_close(pose(task, x).answer, torch.nn.functional.avg_pool2d(x, 2))
    with pytest.raises(ValueError, match=r"VAE wants square images \(N, 3, S, S\), got \(1, 3, 8, 9\)"):
        pose(task, torch.rand(1, 3, 8, 9))


def test_it_learns_to_draw_by_a_few_numbers():
    torch.manual_seed(0)
    net, x = TinyNet(), images()
    task = VAE(net, latents=8, size=16, width=16, noise=0.05)

    def loss(step):
        puzzle = task.pose(x, rng("cpu", "vae", step))
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss

    descend([net, task], loss, 120, 1e-2)
    with torch.no_grad():
        puzzle = pose(task, x)
        grade = task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)
    assert float(grade.scores["error"]) < 0.75
    assert float(grade.scores["nats"]) > 0.5  # the latents tell images apart


def test_a_run_generates(tmp_path):
    data = Generated(Shapes(16), train_items=16, batch_size=8)
    model = Pretrainer(
        pretext.TorchVision("resnet18", width=0.125, stem="small"), {"turn": pretext.Rotation, "draw": SMALL}
    )
    run = pretext.fit(model, data, tmp_path / "run", max_epochs=1)
    generator = TrainedGenerator(run.folder)
    assert isinstance(generator, InvertibleGenerator)
    assert isinstance(model.tasks["draw"], LatentGenerator)
    z = generator.sample(5, rng("cpu", "run"))
    model.eval()
    with torch.no_grad():
        assert torch.equal(decoded(generator, z), model.tasks["draw"].decode(z))
        found = model.tasks["draw"].encode(model.backbone(images()))
    torch.testing.assert_close(generator.encode(images()), found)
    assert not [p for p in generator.train().parameters() if p.requires_grad]
    assert not generator.network.backbone.training
    views = LatentViews(generator, std=0.0, anchors="encoded")(images().repeat_interleave(2, 0), rng("cpu", "run"))
    torch.testing.assert_close(views[::2], generator.decode(found))
    with pytest.raises(ValueError, match=r"task='turn' of .*, but that generates nothing; give a run of pretext.VAE"):
        TrainedGenerator(run.folder, "turn")
    assert not isinstance(Shapes(), InvertibleGenerator)
