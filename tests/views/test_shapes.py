"""The renderer of shapes: its truth is the truth."""

import csv
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import kstest, truncnorm
from tolerance import assert_rounded

from pretext import LatentGenerator, Shapes
from pretext.core.rng import rng
from pretext.views.latent.generator import decoded, truncated_normal
from pretext.views.latent.outlines import SHAPES
from pretext.views.latent.words import Factors


def drawn(count=64, seed=0):
    return Shapes().sample(count, rng("cpu", "shapes", seed))


def factors(**given):
    """Make one of each class, large, plain, red and in the centre, but for what is given."""
    count = len(SHAPES)
    half = torch.full((count,), 0.5)
    usual = {"shape": torch.arange(count), "x": half, "y": half, "size": half * 2, "hue": half * 0}
    usual |= {"texture": torch.zeros(count, dtype=torch.long), "ground": torch.zeros(count, 3)}
    return Factors(**(usual | given))


def test_latents_are_normal_between_two_bounds():
    z = truncated_normal(20_000, 1, rng("cpu", "law"))[:, 0]
    assert z.abs().max() <= 2
    assert kstest(z.numpy(), truncnorm(-2, 2).cdf).pvalue > 1e-3
    assert torch.equal(drawn(), drawn())
    assert isinstance(Shapes(), LatentGenerator)


def test_factors_are_found_in_the_latents_that_draw_them():
    shapes, z = Shapes(), drawn()
    asked = shapes.factors(z)
    found = shapes.factors(shapes.latents(asked))
    for a, b in zip(asked, found, strict=True):
        # Off by float32's rounding of a number near 1, through erfinv and erf, whose slopes cancel.
        assert_rounded(b.float(), a.float(), magnitude=1.0, operations=16)


@pytest.mark.parametrize("style", ["flat", "textured"])
def test_pictures_keep_the_law_and_each_is_of_its_own_latents(style):
    shapes, z = Shapes(style=style), drawn()
    x = decoded(shapes, z)
    assert x.shape == (64, 3, 32, 32)
    assert_rounded(shapes.decode(z[7:8]), x[7:8], magnitude=100.0, operations=16)  # phases of waves reach 100
    assert torch.equal(shapes.masks(z), Shapes(style="flat").masks(z))


def test_the_mask_is_what_is_coloured():
    shapes, z = Shapes(64), drawn()
    x, mask = shapes.decode(z), shapes.masks(z)
    colour = x.amax(1) - x.amin(1)
    assert not colour[mask == 0].max() > 0.5  # the ground is grey, and half of a soft edge
    assert colour[mask > 0].min() > 0.1
    assert torch.equal(mask.amax((1, 2)).long(), shapes.labels(z) + 1)


def test_areas_are_those_of_geometry():
    shapes = Shapes(256)
    area = shapes.masks(shapes.latents(factors())).bool().float().mean((1, 2))
    radius = 0.14 + 0.16 * (1 - 1e-4)
    tip, notch = 1.1, 0.48
    wanted = {
        "circle": math.pi,
        "square": 1.7**2,
        "triangle": 3 * math.sqrt(3) * 0.57**2,
        "cross": 2 * (2 * 0.72) - 0.72**2,
        "star": 5 * tip * notch * math.sin(math.pi / 5),
        "ring": math.pi * (1 - 0.48**2),
    }
    for found, name in zip(area.tolist(), SHAPES, strict=True):
        assert found == pytest.approx(wanted[name] * radius**2, rel=0.03), name  # pixels of 1/77 of a radius


def test_no_shape_leaves_the_picture():
    ends = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    masks = Shapes(64).masks(Shapes(64).latents(factors(x=ends, y=1 - ends)))
    for edge in (masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]):
        assert not edge.any()


def test_a_small_step_keeps_the_class_and_moves_what_it_is_taken_in():
    shapes, z = Shapes(), drawn(256)
    top = z[:, : len(SHAPES)].topk(2).values
    step = (top[:, 0] - top[:, 1])[:, None] * 0.49 * (2 * torch.rand(z.shape, generator=rng("cpu", "step")) - 1)
    assert torch.equal(shapes.labels(z + step), shapes.labels(z))
    moved = z.clone()
    moved[:, 6] += 0.3
    assert (shapes.factors(moved).x > shapes.factors(z).x).all()
    assert torch.equal(shapes.factors(moved).y, shapes.factors(z).y)


def test_places_and_hues_have_gradients():
    z = drawn().requires_grad_()
    Shapes().decode(z).square().sum().backward()
    for column in (6, 7, 8, 9, 10, 14):
        assert z.grad[:, column].abs().max() > 0
    assert torch.isfinite(z.grad).all()
    assert not z.grad[:, :6].any()


def test_words_and_attributes_say_what_is_drawn():
    shapes = Shapes()
    z = shapes.latents(
        factors(
            x=torch.tensor([0.0, 1, 0.5, 0.5, 0.5, 0.5]),
            y=torch.tensor([0.0, 1, 0.5, 0.5, 0.5, 0.5]),
            size=torch.tensor([0.0, 0.0, 0.5, 1, 1, 1]),
            hue=torch.tensor([0.0, 1 / 3, 2 / 3, 0.99, 1 / 6, 0.5]),
            texture=torch.tensor([0, 1, 2, 0, 1, 2]),
        )
    )
    assert [said[0] for said in shapes.captions(z)] == [
        "a small red circle at the top left",
        "a small striped green square at the bottom right",
        "a medium dotted blue triangle in the centre",
        "a large red cross in the centre",
        "a large striped yellow star in the centre",
        "a large dotted cyan ring in the centre",
    ]
    told = shapes.attributes(drawn())
    assert told.shape == (64, len(shapes.attribute_names))
    assert (told.sum(1) == 6).all()
    for row, said in zip(told.bool(), shapes.captions(drawn()), strict=True):
        names = [name.split("=") for name, one in zip(shapes.attribute_names, row.tolist(), strict=True) if one]
        for kind, value in names:
            assert kind in ("across", "down") or value in said[1]
        assert len(set(said)) == 4


def test_a_folder_holds_what_is_drawn(tmp_path):
    shapes = Shapes(16, "textured")
    shapes.write(tmp_path / "some", 10, seed=3)
    shapes.write(tmp_path / "more", 12, seed=3)
    assert not [file for file in tmp_path.iterdir() if file.name not in ("some", "more")]
    z = shapes.sample(256, rng("cpu", "Shapes", 3, 0))[:12]
    with (tmp_path / "more" / "captions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48
    for k, (picture, mask, said) in enumerate(zip(shapes.decode(z), shapes.masks(z), shapes.captions(z), strict=True)):
        name = f"images/{shapes.classes[shapes.labels(z)[k]]}/{k:06}.png"
        pixels = np.asarray(Image.open(tmp_path / "more" / name))
        assert np.array_equal(pixels, (picture * 255).round().byte().permute(1, 2, 0).numpy())
        assert np.array_equal(np.asarray(Image.open(tmp_path / "more" / name.replace("images", "masks"))), mask.numpy())
        assert [row["caption"] for row in rows if row["file"] == name] == said
        assert {row["class"] for row in rows if row["file"] == name} == {shapes.classes[shapes.labels(z)[k]]}
        if k < 10:
            assert (tmp_path / "some" / name).read_bytes() == (tmp_path / "more" / name).read_bytes()
    with pytest.raises(FileExistsError, match="is there already; name a new folder"):
        shapes.write(tmp_path / "some", 1)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda z: torch.full((len(z), 3, 8, 8), torch.nan), "Made.decode made pictures with NaN or infinite pixels"),
        (lambda z: torch.full((len(z), 3, 8, 8), 1.5), "Made.decode made pictures from 1.5 to 1.5"),
        (lambda z: torch.zeros(len(z), 1, 8, 8), r"Made.decode made \(2, 1, 8, 8\) of 2 latents"),
    ],
)
def test_a_generator_that_makes_no_pictures_is_told_of_in_a_line(made, message):
    class Made:
        def sample(self, count, generator):
            return torch.zeros(count, 1)

        def decode(self, latents):
            return made(latents)

    with pytest.raises(ValueError, match=message):
        decoded(Made(), torch.zeros(2, 1))


def test_wrong_arguments_are_told():
    with pytest.raises(ValueError, match="Shapes: size=4; give at least 8 pixels"):
        Shapes(4)
    with pytest.raises(ValueError, match=r"Shapes wants latents \(N, 17\), got \(2, 3\)"):
        Shapes().decode(torch.zeros(2, 3))
