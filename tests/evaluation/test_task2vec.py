"""Task2Vec: the Fisher information against its definition, and distances that mean something."""

import pytest
import torch
from nets import TinyNet
from torch import nn

from pretext.core.rng import rng
from pretext.core.types import Backbone, Features
from pretext.evaluation.task2vec import asymmetric_distance, distance, embed_task, fisher


def draw(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_the_fisher_information_is_its_definition():
    """E over what the network itself says of the squared slope, item by item, here summed over all classes."""
    torch.manual_seed(0)
    net, head = TinyNet(4).eval(), nn.Linear(8, 3)
    nn.init.normal_(head.weight, std=2.0)
    x = draw(4, 3, 8, 8)
    filters = [net.conv1[0].weight, net.conv2[0].weight]
    known = [torch.zeros(len(w)) for w in filters]
    for item in x:
        likely = head(net(item[None]).pooled).log_softmax(1)[0]
        for p in likely:
            slopes = torch.autograd.grad(p, filters, retain_graph=True)
            for total, slope in zip(known, slopes, strict=True):
                total += p.detach().exp() * slope.square().flatten(1).mean(1) / len(x)
    many = x.repeat(400, 1, 1, 1)
    found = fisher(net, head, many, rng("cpu", "fisher"))
    # A draw varies about as much as it is large; 1,600 of them: 4 / sqrt(1600) = 10 %, and few filters matter more.
    torch.testing.assert_close(found.float(), torch.cat(known), rtol=0.2, atol=float(torch.cat(known).max()) * 0.1)


def test_equal_tasks_are_near_and_others_are_not():
    torch.manual_seed(0)
    net, x = TinyNet(8), draw(64, 3, 8, 8)
    colour, light = (x[:, 0].mean((1, 2)) > x[:, 1].mean((1, 2))).long(), (x[:, :, :4].mean((1, 2, 3)) > 0.5).long()
    of = {
        name: embed_task(net, x, labels, rng("cpu", name))
        for name, labels in (("colour", colour), ("again", 1 - colour), ("light", light))
    }
    assert all(embedding.shape == (24,) for embedding in of.values())
    assert distance(of["colour"], of["colour"]) == pytest.approx(0, abs=1e-12)
    assert distance(of["colour"], of["light"]) == distance(of["light"], of["colour"]) > 0
    assert distance(of["colour"], of["again"]) < distance(of["colour"], of["light"])
    trivial = torch.full((24,), 1e-9)
    near = asymmetric_distance(of["colour"], of["light"], trivial, alpha=0.5)
    wanted = distance(of["colour"], of["light"]) - 0.5 * distance(of["colour"], trivial)
    assert near == pytest.approx(wanted)


class Means(Backbone):
    """No convolution."""

    axes = "hw"
    dim = 3
    stages = {"mean": 3}  # noqa: RUF012

    def forward(self, x):
        return Features({"mean": x}, x.mean((2, 3)))


def test_what_has_no_embedding_is_told():
    with pytest.raises(ValueError, match="labels of 1 class"):
        embed_task(TinyNet(), draw(4, 3, 8, 8), torch.zeros(4).long(), rng("cpu", "t"))
    with pytest.raises(ValueError, match="Means has none; take another backbone"):
        embed_task(Means(), draw(4, 3, 8, 8), torch.arange(4) % 2, rng("cpu", "t"))
