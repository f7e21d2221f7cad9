"""Generated views at test time: rows beside their picture, and their average."""

import pytest
import torch
from nets import TinyNet
from torch import nn

import pretext
from datamodules import Generated
from pretext import GeneratedViews, Shapes
from pretext.core.rng import rng
from pretext.report.probe import tables
from pretext.views.latent.generator import truncated_normal


class Shift(nn.Module):
    """Latents are the pixels: a picture is found again exactly."""

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        return truncated_normal(count, 3 * 16 * 16, generator)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.view(-1, 3, 16, 16).clamp(0, 1)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)


def test_views_lie_behind_their_picture_and_never_cross():
    x = torch.rand(5, 3, 16, 16, generator=rng("cpu", "ensemble"))
    still = GeneratedViews(Shift(), views=3, std=0.0).around(lambda x: x)(x)
    assert torch.equal(still, x.repeat_interleave(4, 0))
    views = GeneratedViews(Shift(), views=3, std=0.05).around(lambda x: x)
    near = views(x)
    assert torch.equal(near[::4], x)
    assert (near - x.repeat_interleave(4, 0)).abs().max() <= 0.1 + 1e-6
    assert torch.equal(views(x), near)


def test_a_probe_averages_what_is_said_of_views(tmp_path):
    torch.manual_seed(0)
    net, data = TinyNet(), Generated(Shapes(16), train_items=60, test_items=40, batch_size=20)
    options = {"protocols": ("linear",), "dims": 64}
    plain = pretext.probe(net, data, folder=tmp_path / "plain", **options)
    still = pretext.probe(net, data, folder=tmp_path / "still", ensemble=GeneratedViews(Shift(), 2, 0.0), **options)
    assert [row.score("linear").figures for row in plain.stages] == [
        row.score("linear").figures for row in still.stages
    ]
    far = pretext.probe(net, data, folder=tmp_path / "far", ensemble=GeneratedViews(Shift(), 2, 1.0), **options)
    trained = [row.score("linear").figures["validation"] for row in (plain.stages[0], far.stages[0])]
    assert trained[0] == trained[1]  # training items have no views
    assert far.protocol["view"].endswith("test averaged with 2 views of a generator at std 1")
    captions = ["averaged" in tables(result)[0].caption for result in (plain, far)]
    assert captions == [False, True]
    with pytest.raises(ValueError, match="GeneratedViews: Shapes without `encode`; give one that finds"):
        pretext.probe(net, data, folder=tmp_path / "no", ensemble=GeneratedViews(Shapes()), **options)
