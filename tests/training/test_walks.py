"""Walks through latent space: what is named is what changes."""

import pytest
import torch
from nets import TinyNet

import pretext
from datamodules import Generated
from pretext import VAE, Contrast, LatentViews, Pretrainer, Shapes
from pretext.__main__ import main
from pretext.training.drawing import HostGenerator, direction_between, generator_of, walk


def drawing():
    return Pretrainer(TinyNet(), {"contrast": lambda net: Contrast(net, views=LatentViews(Shapes(16)))})


def test_a_walk_between_two_pictures_begins_at_one_and_ends_at_the_other():
    module = drawing()
    generator = generator_of(module)
    assert isinstance(generator, Shapes)
    rows = walk(generator, module.device, 3)
    assert [panel.caption for panel in rows[0]] == [f"{k}% of the way" for k in (0, 25, 50, 75, 100)]
    again = walk(generator, module.device, 3, torch.zeros(17))
    for row, still in zip(rows, again, strict=True):
        assert torch.equal(row[0].image, still[2].image)
        assert not torch.equal(row[4].image, row[0].image)
        assert all(torch.equal(panel.image, still[2].image) for panel in still)


def test_a_direction_between_attributes_changes_them():
    module = drawing()
    found = direction_between(Shapes(), module, None, ["across=left", "across=right"])
    assert int(found.abs().argmax()) == 6
    assert found[6] > 1.5
    to_ring = direction_between(Shapes(), module, None, ["star", "ring"])
    assert int(to_ring.argmax()) == 5
    assert int(to_ring.argmin()) == 4
    with pytest.raises(ValueError, match="walk: --walk star,moon; name two of circle, square"):
        direction_between(Shapes(), module, None, ["star", "moon"])


def test_of_a_trained_one_classes_of_the_data_are_encoded():
    torch.manual_seed(0)
    module = Pretrainer(TinyNet(), {"draw": lambda net: VAE(net, latents=4, size=16, width=8)}).eval()
    data = Generated(Shapes(16), train_items=60, batch_size=30)
    generator = generator_of(module)
    assert isinstance(generator, HostGenerator)
    found = direction_between(generator, module, data, ["circle", "ring"])
    x, y = (torch.cat([batch[name] for batch in data.ordered("train")]) for name in ("x", "y"))
    with torch.no_grad():
        latents = generator.encode(x / 255)
    torch.testing.assert_close(found, latents[y == 5].mean(0) - latents[y == 0].mean(0), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="walk: a run or config that draws nothing; give one with"):
        generator_of(Pretrainer(TinyNet(), {"turn": pretext.Rotation}))
    with pytest.raises(
        ValueError, match="walk: --walk a,b; neither the generator nor the data has classes; show labelled"
    ):
        direction_between(generator, module, None, ["a", "b"])


def test_show_draws_them(tmp_path, capsys):
    out = tmp_path / "walk.png"
    assert main(["show", "-c", "generated/contrast", "--walk", "--count", "2", "--out", str(out)]) == 0
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert main(["show", "-c", "generated/contrast", "--walk", "star,moon", "--out", str(out)]) == 1
    assert "name two of circle" in capsys.readouterr().err
    other = ["--model.tasks.contrast.views.generator", "nets.TinyNet"]
    assert main(["show", "-c", "generated/contrast", *other, "--walk"]) == 1
    assert "nets.TinyNet is no LatentGenerator: give its methods the names" in capsys.readouterr().err
    assert main(["show", "-c", "generated/contrast", "--walk", "--where"]) == 1
    assert "two pictures; ask for one" in capsys.readouterr().err
