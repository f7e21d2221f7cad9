"""Operations on latents: arithmetic that can be undone, directions that lead where they say, labels by a read-out."""

import pytest
import torch
from sklearn.linear_model import Ridge
from tolerance import assert_rounded

from datamodules import Generated
from pretext import LabelledGenerator, Shapes
from pretext.core.rng import rng
from pretext.views.latent.labelled import ridge_readout
from pretext.views.latent.operations import (
    composed,
    extrapolated,
    fitted_direction,
    interpolated,
    moved,
    optimised,
    sought,
)


def drawn(count=16, key=0):
    return Shapes().sample(count, rng("cpu", "operations", key))


def test_ways_between_two_latents():
    a, b = drawn(), drawn(key=1)
    assert torch.equal(interpolated(a, b, 0.0), a)
    assert torch.equal(interpolated(a, b, 1.0), b)
    assert_rounded(interpolated(a, b, 0.25), a + (b - a) / 4, operations=4)
    assert_rounded(extrapolated(a, b, 0.5), b + (b - a) / 2, operations=8)
    assert_rounded(extrapolated(a, interpolated(a, b, 0.5), 1.0), b, operations=16)  # twice as far as half the way
    d = fitted_direction(a, b)
    assert_rounded(moved(moved(a, d, 2.0), d, -2.0), a, magnitude=8.0, operations=4)


def test_a_composition_takes_each_pixel_from_one_picture():
    shapes, a, b = Shapes(), drawn(), drawn(key=1)
    mask = shapes.masks(a)[:, None] > 0
    both = composed(shapes.decode(a), shapes.decode(b), mask)
    assert torch.equal(both, torch.where(mask, shapes.decode(a), shapes.decode(b)))
    columns = torch.tensor([1.0] * 6 + [0.0] * 11)
    mixed = composed(a, b, columns)
    assert torch.equal(shapes.labels(mixed), shapes.labels(a))
    assert torch.equal(shapes.factors(mixed).x, shapes.factors(b).x)


def test_a_direction_of_pairs_is_their_least_squares():
    a = drawn(64)
    truth = torch.zeros(17)
    truth[8] = 1.5  # the size
    found = fitted_direction(a, a + truth)
    assert_rounded(found, truth, magnitude=2.0, operations=64)
    larger = Shapes().factors(moved(a, found, 0.5)).size
    assert (larger > Shapes().factors(a).size).all()


def test_a_direction_from_an_attribute_leads_to_it():
    shapes = Shapes()
    large = shapes.attribute_names.index("size=large")
    without, having = sought(shapes, lambda z: shapes.attributes(z)[:, large], 2000, rng("cpu", "large"))
    direction = fitted_direction(without, having)
    # Only the size differs: the other columns are means of noise.
    others = torch.cat((direction[:8], direction[9:]))
    assert direction[8] > 1
    assert others.abs().max() < 4 * 0.88 * (1 / len(without) + 1 / len(having)) ** 0.5
    before, after = (shapes.attributes(z)[:, large].mean() for z in (without, moved(without, direction, 1.0)))
    assert (before, float(after) > 0.6) == (0, True)
    with pytest.raises(ValueError, match="sought: none of 8 latents with the attribute; draw more"):
        sought(shapes, lambda z: torch.zeros(len(z)), 8, rng("cpu", "none"))


def test_optimising_moves_the_shape_to_where_it_is_wanted():
    shapes = Shapes()
    goal = drawn(4)
    start = goal.clone()
    start[:, 6] += 0.25 * torch.tensor([1.0, -1, 1, -1])
    wanted = shapes.decode(goal)
    found = optimised(shapes, start, lambda x: (x - wanted).square().mean((1, 2, 3)), steps=60)
    assert torch.equal(start[:, 6] - goal[:, 6], (start - goal)[:, 6])
    assert ((found - goal)[:, 6].abs() < 0.3 * (start - goal)[:, 6].abs()).all()
    with pytest.raises(ValueError, match="optimised: a cost without gradient"):
        optimised(shapes, start, lambda x: x.detach().sum((1, 2, 3)), steps=1)


def test_the_read_out_is_ridge_regression():
    chance = rng("cpu", "ridge")
    for count, size in ((40, 6), (6, 40)):
        x = torch.randn(count, size, generator=chance)
        x = x - x.mean(0)
        y = torch.arange(count) % 3
        weight, bias = ridge_readout(x, y, 3, 2.0)
        reference = Ridge(alpha=2.0).fit(x.double().numpy(), torch.nn.functional.one_hot(y).double().numpy())
        torch.testing.assert_close(weight.mT.double(), torch.from_numpy(reference.coef_), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(bias.double(), torch.from_numpy(reference.intercept_), atol=1e-5, rtol=1e-4)


def test_a_few_labels_make_a_labelled_set_without_end():
    shapes, few = Shapes(16), drawn(300, key=5)
    labelled = LabelledGenerator(shapes, few, shapes.labels(few), shapes.classes)
    z = drawn(500, key=6)
    right = (labelled.labels(z) == shapes.labels(z)).float().mean()
    assert right > 0.6  # chance is a sixth
    assert torch.equal(labelled.decode(z[:4]), shapes.decode(z[:4]))
    data = Generated(labelled, train_items=64)
    assert data.classes == shapes.classes
    batch = next(iter(data.ordered("train")))
    assert len(batch["y"]) == 64
    with pytest.raises(ValueError, match="LabelledGenerator: no sample of ring; label at least one of each class"):
        LabelledGenerator(shapes, few, shapes.labels(few).clamp(max=4), shapes.classes)


def test_features_of_the_generator_are_read_where_it_tells_them():
    class Telling:
        def sample(self, count, generator):
            return torch.rand(count, 2, generator=generator) - 0.5

        def decode(self, latents):
            return torch.zeros(len(latents), 3, 8, 8)

        def features(self, latents):
            return latents.prod(1, keepdim=True)

    z = Telling().sample(200, rng("cpu", "telling"))
    labels = (z.prod(1) > 0).long()  # no line parts the latents
    labelled = LabelledGenerator(Telling(), z, labels, ["unlike", "alike"])
    assert (labelled.labels(z) == labels).float().mean() > 0.9
