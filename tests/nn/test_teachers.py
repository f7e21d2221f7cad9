"""Teachers teach and are not taught."""

import pytest
import torch
from torch import nn

from pretext.nn.teachers import Frozen, Momentum


def student():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.mark.parametrize("teacher", [Frozen, Momentum])
def test_a_teacher_is_a_still_copy(teacher):
    net = student()
    copy = teacher(net)
    copy.train()
    assert not any(module.training for module in copy.network.modules())
    assert not any(p.requires_grad for p in copy.parameters())
    assert {id(p) for p in copy.parameters()}.isdisjoint({id(p) for p in net.parameters()})
    before = [b.clone() for b in copy.buffers()]
    out = copy(torch.randn(8, 3, requires_grad=True))
    assert not out.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, copy.buffers(), strict=True))


def test_training_the_student_does_not_move_a_frozen_teacher():
    net = student()
    teacher = Frozen(net)
    x = torch.randn(8, 3)
    before = teacher(x)
    net(x).square().sum().backward()
    torch.optim.SGD(net.parameters(), lr=1.0).step()
    assert torch.equal(before, teacher(x))


def test_momentum_follows_by_the_closed_form():
    net = student()
    teacher = Momentum(net, 0.9)
    start = teacher.network[0].weight.clone()
    with torch.no_grad():
        net[0].weight.add_(1.0)
        net[1].running_mean.fill_(5.0)
    for _ in range(3):
        teacher.follow(net)
    assert torch.allclose(teacher.network[0].weight, start + 1 - 0.9**3, atol=1e-6)
    assert torch.equal(teacher.network[1].running_mean, net[1].running_mean)


def test_momentum_refuses_a_stranger_and_a_bad_rate():
    with pytest.raises(ValueError, match="other parameters"):
        Momentum(student()).follow(nn.Linear(3, 4))
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        Momentum(student(), 1.5)
