"""The adversary: gradients of closed form, and a game whose equilibrium is known."""

import math

import pytest
import torch
from descent import descend
from torch import nn

from pretext.core.rng import rng
from pretext.nn.adversarial import Discriminator, adversarial
from pretext.nn.map_discriminator import MapDiscriminator


def images(n=4, side=16, *key):
    return torch.rand(n, 3, side, side, generator=rng("cpu", "adversary", side, *key))


class Judge(nn.Module):
    """A discriminator of one line."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, x):
        return self.logits(x)


def gradient(discriminator, fake, weight):
    fake = fake.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(adversarial(discriminator, images(), fake, weight).loss, fake)
    return gradient


@pytest.mark.parametrize("logit", [0.0, 2.0, -1.0])
def test_the_loss_of_equal_logits_has_a_closed_form(logit):
    grade = adversarial(Judge(lambda x: x.new_full((len(x),), logit)), images(), images(4, 16, "fake"), 1.0)
    sigmoid = 1 / (1 + math.exp(-logit))
    assert grade.loss.item() == pytest.approx(-math.log(sigmoid) - math.log(1 - sigmoid), rel=1e-6)
    assert grade.scores["discriminator"] == 0.5


@pytest.mark.parametrize(("sign", "accuracy"), [(1, 1.0), (-1, 0.0)])
def test_high_logits_mean_real(sign, accuracy):
    grade = adversarial(
        Judge(lambda x: sign * 20 * (x.mean((1, 2, 3)) - 0.5)), torch.ones(3, 3, 4, 4), torch.zeros(3, 3, 4, 4), 1
    )
    assert grade.scores["discriminator"] == accuracy
    assert grade.loss.item() == pytest.approx(2 * math.log1p(math.exp(-sign * 10)), rel=1e-4)


def test_a_new_discriminator_is_undecided():
    torch.manual_seed(0)
    grade = adversarial(Discriminator(), images(), images(4, 16, "fake"), 1.0)
    assert grade.loss.item() == pytest.approx(2 * math.log(2), abs=0.05)


def test_made_images_descend_minus_log_d_and_the_discriminator_its_own_loss():
    """The weight times the plain gradient for the images, the plain gradient of both cross entropies for the other."""
    torch.manual_seed(0)
    critic, fake = Discriminator(width=4), images(4, 16, "fake")
    plain, learnt = fake.clone().requires_grad_(), list(critic.parameters())
    (wanted,) = torch.autograd.grad(-torch.sigmoid(critic(plain)).log().mean(), plain)
    assert wanted.any()
    assert torch.allclose(gradient(critic, fake, 0.3), 0.3 * wanted, atol=1e-8)
    assert torch.allclose(gradient(critic, fake, torch.tensor(0.3)), 0.3 * wanted, atol=1e-8)
    loss = -torch.sigmoid(critic(images())).log().mean() - (1 - torch.sigmoid(critic(fake))).log().mean()
    grade = adversarial(critic, images(), fake.requires_grad_(), 0.3)
    assert grade.loss.item() == pytest.approx(loss.item(), rel=1e-5)  # the images' part adds nothing
    for got, own in zip(torch.autograd.grad(grade.loss, learnt), torch.autograd.grad(loss, learnt), strict=True):
        assert torch.allclose(got, own, atol=1e-6)


@pytest.mark.parametrize("logit", [-8.0, -1.0, 0.0, 3.0])
def test_where_the_discriminator_wins_images_still_have_a_gradient(logit):
    """d/dz of -log D is D - 1, not the -D of log(1 - D) that fades: at D = 0.0003 they differ 3,000 times."""
    critic = Judge(lambda x: x.sum((1, 2, 3)) + logit)
    (gradient_,) = torch.autograd.grad(
        adversarial(critic, images(), x := torch.zeros(1, 3, 4, 4, requires_grad=True), 1.0).loss, x
    )
    d = 1 / (1 + math.exp(-logit))
    torch.testing.assert_close(gradient_, torch.full_like(x, d - 1))


def test_no_gradient_reaches_real_images_nor_made_ones_at_weight_0():
    critic, real = Discriminator(width=4), images().requires_grad_()
    adversarial(critic, real, images(4, 16, "fake"), 1.0).loss.backward()
    assert real.grad is None
    assert not gradient(critic, images(4, 16, "fake"), 0.0).any()


@pytest.mark.parametrize("size", [(4, 4), (4, 9), (5, 7), (33, 32)])
def test_any_size_of_4_pixels_and_more_is_judged_item_by_item(size):
    torch.manual_seed(0)
    x, critic = torch.rand(3, 1, *size), Discriminator(channels=1, width=4)
    logits = critic(x)
    assert logits.shape == (3,)
    assert torch.allclose(critic(x[1:2]), logits[1:2], atol=1e-6)  # no statistics of the batch
    sides = x.requires_grad_()
    (reached,) = torch.autograd.grad(critic(sides).sum(), sides)
    assert reached.ne(0).all()  # every pixel counts


def test_weights_of_bfloat16_take_images_of_float32():
    grade = adversarial(Discriminator(width=4).bfloat16(), images(), images(4, 16, "fake"), 1.0)
    assert grade.loss.dtype == torch.float32
    assert grade.loss.item() == pytest.approx(2 * math.log(2), abs=0.05)


def test_it_learns_to_tell_two_kinds_apart_and_cannot_where_there_is_one():
    torch.manual_seed(0)
    for contrast, low, high in ((0.3, 0.95, 1.0), (1.0, 0.3, 0.7)):
        critic = Discriminator(width=8)

        def sit(step, critic=critic, contrast=contrast):
            fake = 0.5 + contrast * (images(32, 8, "fake", step) - 0.5)
            return adversarial(critic, images(32, 8, "real", step), fake, 1.0)

        descend((critic,), lambda step, sit=sit: sit(step).loss, 40, 5e-3)
        assert low <= sit(40).scores["discriminator"] <= high


def test_made_images_that_are_too_dark_are_made_brighter():
    """Descending the one loss improves the discriminator and takes the images towards the real ones."""
    torch.manual_seed(0)
    critic, colour = Discriminator(width=8), torch.full((1, 3, 1, 1), 0.2, requires_grad=True)
    optimiser = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for step in range(40):
        optimiser.zero_grad()
        real, fake = (0.2 * (images(16, 8, kind, step) - 0.5) for kind in ("real", "made"))
        loss = adversarial(critic, real + 0.6, fake + colour, 1.0).loss
        loss.backward()
        optimiser.step()
    (gradient,) = torch.autograd.grad(adversarial(critic, real + 0.6, fake + colour, 1.0).loss, colour)
    assert loss < 1
    assert gradient.sum() < 0


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"Discriminator wants images .*got \(2, 3, 3, 8\)"):
        Discriminator()(torch.rand(2, 3, 3, 8))
    with pytest.raises(ValueError, match="Discriminator: channels=3, width=0"):
        Discriminator(width=0)


class TestMaps:
    def test_places_are_judged_apart(self):
        torch.manual_seed(0)
        judge = MapDiscriminator(3, width=4)
        x = torch.rand(2, 3, 128, 96)
        assert judge(x).shape == (2, 1, 4, 3)
        changed = x.clone()
        changed[:, :, -1, -1] += 1
        moved = (judge(changed) - judge(x)).abs()
        assert moved[:, :, -1, -1].min() > 0
        assert moved[:, :, 0, 0].max() == 0

    def test_its_game_is_that_of_the_discriminator_of_pictures(self):
        """Undecided, both players' losses are those of a coin; the target alone learns to be taken for the source."""
        judge = MapDiscriminator(2, width=4)
        torch.nn.init.zeros_(judge.layers[-1].weight), torch.nn.init.zeros_(judge.layers[-1].bias)
        source, target = (torch.rand(2, 2, 32, 32, requires_grad=True) for _ in range(2))
        assert float(adversarial(judge, source, target, 1e-3).loss.detach()) == pytest.approx(2 * math.log(2), abs=1e-6)
        judge = MapDiscriminator(2, width=4)
        adversarial(judge, source, target, 1e-3).loss.backward()
        assert source.grad is None
        assert target.grad.any()

    def test_maps_that_are_too_small_are_refused(self):
        with pytest.raises(ValueError, match=r"at least 32 x 32, got \(1, 2, 31, 40\)"):
            MapDiscriminator(2)(torch.rand(1, 2, 31, 40))
