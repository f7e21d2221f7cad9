import math

import pytest
import torch
from torch import nn

from pretext.nn.gradient_reversal import annealed, reversed_gradient, strength_at
from pretext.nn.self_information import Telling, entropy, self_information, short_of
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


class TestWhatPredictionsTell:
    def test_it_is_the_mutual_information_of_items_and_classes(self):
        """Of equally many items: sum of p(i, k) log p(i, k) / (p(i) p(k)), as a share of log K."""
        logits = 3 * torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
        joint = logits.double().softmax(1) / 7
        independent = joint.sum(1, keepdim=True) * joint.sum(0)
        wanted = float((joint * (joint / independent).log()).sum()) / math.log(4)
        telling = Telling()
        for batch in logits.split([3, 1, 3]):
            telling.add(batch)
        assert telling.told().information == pytest.approx(wanted, abs=1e-6)

    def test_places_of_an_item_are_its_mean(self):
        """Half of each picture is of one class, half of another: sure everywhere, and both are named."""
        logits = torch.full((2, 3, 4, 4), -1000.0)
        logits[:, 0, :2], logits[:, 1, 2:] = 0.0, 0.0
        telling = Telling()
        telling.add(logits)
        assert telling.told() == pytest.approx((0.0, math.log(2) / math.log(3)), abs=1e-6)

    def test_classes_that_are_never_named_count_nothing(self):
        telling = Telling()
        telling.add(torch.tensor([[0.0, -1e4, -1e4], [0.0, -1e4, -1e4]]))
        assert telling.told() == (0.0, 0.0)
        assert Telling().told() == (0.0, 0.0)


@pytest.mark.parametrize(
    ("mean", "share", "missed"),
    [
        ([0.5, 0.3, 0.2], 1.0, 0.0),
        ([1.0, 0.0, 0.0], 1.0, 0.5),
        ([1.0, 0.0, 0.0], 0.5, 0.25),
        ([0.2, 0.6, 0.2], 0.5, 0.05),
    ],
)
def test_a_class_is_missed_as_far_as_it_falls_short_of_its_share(mean, share, missed):
    assert float(short_of(torch.tensor(mean), torch.tensor([0.5, 0.3, 0.2]), share)) == pytest.approx(missed, abs=1e-6)


def test_behind_a_reversal_a_network_climbs_what_its_judge_descends():
    net, judge = nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False)
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(1))
    judge(net(x)).mean().backward()
    plain = [p.grad.clone() for p in (*net.parameters(), *judge.parameters())]
    net.zero_grad(), judge.zero_grad()
    judge(reversed_gradient(net(x), 1.0)).mean().backward()
    assert torch.equal(net.weight.grad, -plain[0])
    assert torch.equal(judge.weight.grad, plain[1])
