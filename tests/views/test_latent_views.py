"""Views from latent space: where pairs come from, and what a step does."""

from functools import partial

import pytest
import torch
from nets import TinyNet
from tolerance import assert_rounded
from torch import nn

from pretext import Augment, Contrast, LatentViews, Shapes
from pretext.core.rng import rng
from pretext.testing import checks
from pretext.training.run import build
from pretext.views.latent.generator import BOUND, truncated_normal


class Linear(nn.Module):
    """A generator whose pictures tell their latents: one colour each."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.05))

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        return truncated_normal(count, 3, generator)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return (0.5 + self.scale * latents).clamp(0, 1)[:, :, None, None].expand(-1, -1, 8, 8)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        return (images.mean((2, 3)) - 0.5) / self.scale


def loaded(count=64):
    return torch.rand(count, 3, 8, 8, generator=rng("cpu", "loaded")).repeat_interleave(2, 0)


def latents(views):
    with torch.no_grad():
        return Linear().encode(views).view(-1, 2, 3)


def test_without_a_step_both_views_are_the_anchor_bit_for_bit():
    for generator in (Linear(), Shapes(16, "textured")):
        views = LatentViews(generator, std=0.0)(loaded(), rng("cpu", "views"))
        assert torch.equal(views[::2], views[1::2])
        anchor = generator.sample(64, rng("cpu", "views"))
        assert torch.equal(views[::2], generator.decode(anchor))


def test_without_a_step_pixels_are_augmented_as_ever():
    """With std 0 the pairs are those of SimCLR on the generator's pictures."""
    pixels, chance = Augment(scale=(0.3, 1.0), brightness=0.4), rng("cpu", "views")
    made = LatentViews(Shapes(16), std=0.0, pixels=pixels)(loaded(), chance)
    again = rng("cpu", "views")
    anchor = Shapes(16).sample(64, again)
    Shapes(16).sample(64, again)  # the step, drawn whatever it is
    assert torch.equal(made, pixels(Shapes(16).decode(anchor).repeat_interleave(2, 0), again))


def test_a_step_is_of_the_law_times_std_and_pairs_never_cross():
    found = latents(LatentViews(Linear(), std=0.25, truncation=2.0)(loaded(4096), rng("cpu", "views")))
    step, anchor = found[:, 1] - found[:, 0], found[:, 0] / 2
    assert step.abs().max() <= 0.25 * BOUND + 1e-3
    deviation = 0.8796  # of the normal law between -2 and 2
    for part in (step / 0.25, anchor):
        error = 4 * deviation / (2 * part.numel()) ** 0.5
        assert part.std() == pytest.approx(deviation, abs=error)
    assert torch.corrcoef(torch.stack((step.flatten(), anchor.flatten())))[0, 1].abs() < 4 / step.numel() ** 0.5
    few = latents(LatentViews(Linear(), std=0.01)(loaded(64), rng("cpu", "views")))
    nearest = torch.cdist(few[:, 0], few[:, 1]).argmin(1)
    assert (nearest == torch.arange(64)).float().mean() > 0.95  # a neighbour lies by its own anchor


def test_what_is_kept_does_not_move():
    found = latents(LatentViews(Linear(), std=1.0, kept=2)(loaded(), rng("cpu", "views")))
    assert_rounded(found[:, 0, :2], found[:, 1, :2], magnitude=10.0, operations=64)
    assert (found[:, 0, 2] - found[:, 1, 2]).abs().median() > 0.3
    shapes = Shapes(16)
    views = LatentViews(shapes, std=4.0, kept=6)
    chance = rng("cpu", "views")
    anchor, step = shapes.sample(64, chance), 4 * shapes.sample(64, chance)
    step[:, :6] = 0
    assert torch.equal(views(loaded(), rng("cpu", "views"))[1::2], shapes.decode(anchor + step))
    assert torch.equal(shapes.labels(anchor), shapes.labels(anchor + step))
    with pytest.raises(ValueError, match="LatentViews: kept=3 of 3 latents; keep fewer"):
        LatentViews(Linear(), kept=3)(loaded(), rng("cpu", "views"))


def test_loaded_pictures_count_where_they_are_encoded_and_else_not():
    x = loaded()
    views = LatentViews(Linear(), std=0.0, anchors="encoded")(x, rng("cpu", "views"))
    assert_rounded(views.mean((2, 3)), x.mean((2, 3)), magnitude=1.0, operations=128)
    drawn = LatentViews(Linear())
    assert torch.equal(drawn(x, rng("cpu", "views")), drawn(1 - x, rng("cpu", "views")))
    with pytest.raises(ValueError, match="anchors='encoded', but Shapes has no `encode`"):
        LatentViews(Shapes(), anchors="encoded")


def test_a_generator_is_never_trained():
    views = LatentViews(Linear())
    task = Contrast(TinyNet(), views=views).train()
    assert not views.generator.training
    assert not [name for name, part in task.named_parameters() if part.requires_grad and name.startswith("views")]
    assert not task.pose(loaded(4), rng("cpu", "views")).question.requires_grad


def test_contrast_keeps_its_contract_with_a_generator():
    factory = partial(Contrast, views=LatentViews(Shapes(16), pixels=Augment(scale=(0.5, 1.0))), width=8, outputs=8)
    net, x = TinyNet(norm=False), torch.rand(4, 3, 16, 16, generator=rng("cpu", "contract"))
    checks.check_input_untouched(factory, net, x)
    checks.check_chance_law(factory, net, x)
    checks.check_dtype_and_device(factory, net, x)
    checks.check_gradients(factory, net, x)
    checks.check_copies(factory, net, x)
    checks.check_initial_loss(factory, net, x)


@pytest.mark.parametrize(
    ("views", "kind"),
    [
        ({"class_path": "pretext.Augment", "init_args": {"crop": 8}}, Augment),
        ({"crop": 8}, Augment),
        ({"class_path": "pretext.LatentViews", "init_args": {"generator": "pretext.Shapes", "std": 0.5}}, LatentViews),
    ],
)
def test_a_config_names_pixels_or_a_generator(views, kind):
    tasks = {"contrast": {"class_path": "pretext.Contrast", "init_args": {"views": views}}}
    backbone = {"class_path": "pretext.TorchVision", "init_args": {"name": "resnet18", "width": 0.25}}
    module, _ = build({"model": {"backbone": backbone, "tasks": tasks}})
    assert type(module.tasks["contrast"].views) is kind
