import pytest
import torch
from torch import nn

from pretext.nn.gradient_reversal import annealed, reversed_gradient, strength_at
from pretext.nn.self_information import entropy, self_information
from pretext.training.optimization import Optim, learning_rate


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 7.5])
def test_the_gradient_is_exactly_minus_lambda_and_the_value_untouched(strength):
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    y = reversed_gradient(x, strength)
    assert torch.equal(y, x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.full_like(x, -strength))


@pytest.mark.parametrize(
    ("progress", "published"), [(0, 0), (0.1, 0.462117), (0.25, 0.848284), (0.5, 0.986614), (1, 0.999909)]
)
def test_lambda_is_that_of_the_paper(progress, published):
    assert strength_at(progress) == pytest.approx(published, abs=5e-7)


@pytest.mark.parametrize(("progress", "published"), [(0, 0.01), (0.5, 0.002608), (1, 0.001656)])
def test_the_rate_is_that_of_the_paper(progress, published):
    assert 0.01 * annealed(progress) == pytest.approx(published, abs=5e-7)
    optim = Optim(schedule="annealed", warmup=0.0)
    assert learning_rate(round(1000 * progress), 1000, optim) == annealed(progress)


def test_self_information_of_a_known_answer():
    p = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    assert self_information(p.log())[0].tolist() == pytest.approx([0.25, 0.25, 0.1875, 0.1875], abs=1e-6)
    assert float(entropy(p.log())) == pytest.approx(0.875, abs=1e-6)


def test_a_blind_guess_has_an_entropy_of_one_and_a_sure_answer_none():
    assert entropy(torch.zeros(2, 5, 3, 3)).flatten().tolist() == pytest.approx([1.0] * 18, abs=1e-6)
    sure = torch.tensor([[1000.0, 0.0, 0.0, 0.0]], requires_grad=True)
    assert entropy(sure).tolist() == [0.0]
    entropy(sure).sum().backward()
    assert torch.equal(sure.grad, torch.zeros_like(sure))


def test_the_map_of_a_pixel_is_that_of_its_own_logits():
    logits = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    alone = self_information(logits[:, :, 1, 2])
    assert torch.allclose(self_information(logits)[:, :, 1, 2], alone, rtol=0, atol=1e-6)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="two classes or more, got"):
        self_information(torch.zeros(3, 1))


def test_behind_a_reversal_a_network_climbs_what_its_judge_descends():
    net, judge = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    judge(net(x)).mean().backward()
    plain = [p.grad.clone() for p in (*net.parameters(), *judge.parameters())]
    net.zero_grad(), judge.zero_grad()
    judge(reversed_gradient(net(x), 1.0)).mean().backward()
    assert torch.equal(net.weight.grad, -plain[0])
    assert torch.equal(judge.weight.grad, plain[1])
