"""Where puzzles are solved: Grad-CAM++ and causal effects of linear heads in closed form, and who is left out."""

import sys
from functools import partial

import pytest
import torch
from nets import TinyNet
from tolerance import assert_rounded
from torch import nn

import pretext
from pretext import Pretrainer, Shapes
from pretext.audit.effects import causal_effects
from pretext.audit.where import deepest_layer, heat, where
from pretext.core.rng import rng
from pretext.ops.drawing import heated, mosaic

LIBRARY = "pytorch_grad_cam"


def pictures(count=6, size=16):
    return Shapes(size).decode(Shapes().sample(count, rng("cpu", "where")))


def batch(count=6):
    x = (pictures(count) * 255).byte()
    return {"x": x, "index": torch.arange(count), "y": torch.arange(count) % 2}


class TestHeat:
    def test_of_a_linear_head_on_pooled_features_it_is_the_closed_form(self):
        """With y = w . mean(A) the gradient is w / (h w) everywhere, so that each channel's weight is known."""
        pytest.importorskip(LIBRARY, reason="the library grad-cam, an extra, is not installed")
        torch.manual_seed(0)
        net, head, x = TinyNet(norm=False).eval(), nn.Linear(16, 5), pictures()
        found = heat(net, x, lambda features: head(features.pooled), 2)
        with torch.no_grad():
            features = net(x)
            maps, answer = features.stages["conv2"][2], int(head(features.pooled)[2].argmax())
            cells = maps[0].numel()
            slope = head.weight[answer] / cells
            alpha = slope**2 / (2 * slope**2 + maps.sum((1, 2)) * slope**3 + 1e-6)
            cam = torch.einsum("d,dij->ij", cells * slope.clamp(min=0) * alpha, maps).clamp(min=0)
            cam = (cam - cam.min()) / (1e-7 + (cam - cam.min()).max())
        enlarged = nn.functional.interpolate(cam[None, None], (16, 16), mode="bilinear", align_corners=False)[0, 0]
        enlarged = (enlarged - enlarged.min()) / (1e-7 + (enlarged - enlarged.min()).max())
        # OpenCV interpolates with weights of 11 bits.
        torch.testing.assert_close(found[2], enlarged, atol=4 / 2**11, rtol=0)
        assert not found[[0, 1, 3, 4, 5]].any()  # the answer to one puzzle owes nothing to other pictures

    def test_tasks_that_choose_are_drawn_and_others_say_why_not(self):
        pytest.importorskip(LIBRARY, reason="the library grad-cam, an extra, is not installed")
        tasks = {
            "turn": pretext.Rotation,
            "jigsaw": partial(pretext.Jigsaw, grid=2, permutations=6, width=8, hidden=16),
            "contrast": partial(pretext.Contrast, width=8, outputs=8),
            "draw": partial(pretext.VAE, latents=4, size=16, width=8),
        }
        module = Pretrainer(TinyNet(), tasks).train()
        weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        found = where(module, batch(), 3)
        assert list(found.rows) == ["turn", "jigsaw", "contrast"]
        assert [len(rows) for rows in found.rows.values()] == [3, 3, 3]
        assert "no choice but a picture" in found.why_not["draw"]
        assert list(found.effects) == ["turn"]  # of the others, pictures have no answer of their own
        assert {each.answer for each in found.effects["turn"]} <= {f"turned {90 * k}°" for k in range(4)}
        assert found.rows["jigsaw"][0][0].image.shape == (3, 2 * 6 + 1, 2 * 6 + 1)  # four tiles
        assert module.training
        assert all(torch.equal(weights[name], tensor) for name, tensor in module.state_dict().items())

    def test_an_evaluator_shows_where_it_sees_a_class(self):
        pytest.importorskip(LIBRARY, reason="the library grad-cam, an extra, is not installed")
        from pretext.supervised.module import name_classes

        module = pretext.FineTune(backbone=TinyNet(norm=False))
        name_classes(module, ["dull", "bright"])
        found = where(module, batch(), 4)
        with torch.no_grad():
            given = module.logits(module.inputs.eval_input(batch(4)["x"]))[""].argmax(1).tolist()
        said = [f"prediction: {module.classes[k]}" for k in given]
        assert [(row[1].caption, row[1].right) for row in found.rows["classes"]] == [
            (words, k == i % 2) for i, (words, k) in enumerate(zip(said, given, strict=True))
        ]
        assert found.effects["classes"][0].answer in ("dull", "bright")

    def test_a_network_across_domains_shows_where_it_sees_a_class_even_without_labels(self):
        pytest.importorskip(LIBRARY, reason="the library grad-cam, an extra, is not installed")
        module = pretext.Adaptation(backbone=TinyNet(norm=False))
        module.classes = ["dull", "bright"]
        module.begin(2)
        items = batch(3)
        labelled, alone = (where(module, items, 3), where(module, {k: v for k, v in items.items() if k != "y"}, 3))
        assert [row[1].right is None for row in labelled.rows["classes"]] == [False] * 3
        assert [row[1].right for row in alone.rows["classes"]] == [None] * 3
        assert alone.effects["classes"]

    def test_masks_and_other_than_pictures_say_why_not(self):
        found = where(pretext.AdvEnt(backbone=TinyNet()), batch(2), 2)
        assert "no choice but a picture" in found.why_not["segmentation"]
        several = Pretrainer(
            pretext.MultiModal({"a": TinyNet(), "b": TinyNet()}),
            {"pair": partial(pretext.Embed, first="a", second="b")},
        )
        assert where(several, batch(2), 2).why_not == {
            "The run": "MultiModal does not see pictures alone, and only these are drawn"
        }

    def test_without_the_library_it_says_what_to_install(self, monkeypatch):
        monkeypatch.setitem(sys.modules, LIBRARY, None)
        with pytest.raises(ValueError, match=r"needs the library grad-cam: pip install 'pretext-tasks\[where\]'"):
            heat(TinyNet(), pictures(), lambda features: features.pooled, 0)

    def test_the_deepest_layer_is_found_where_there_is_one(self):
        net = TinyNet()
        assert deepest_layer(net, pictures()) is net.conv2
        assert deepest_layer(net, pictures(size=8)) is net.conv1  # of the deeper one, 2 x 2 cells tell little
        with pytest.raises(ValueError, match="that has places; show larger pictures"):
            deepest_layer(net.eval(), torch.zeros(1, 3, 1, 1))
        resnet = pretext.TorchVision("resnet18", width=0.125)
        assert deepest_layer(resnet.eval(), pictures()) in list(resnet.modules())

        class Doubled(TinyNet):
            def forward(self, x):
                features = super().forward(x)
                return features._replace(stages={name: 2 * stage for name, stage in features.stages.items()})

        with pytest.raises(ValueError, match="--where: no layer of Doubled gives a map of its stages"):
            deepest_layer(Doubled(), pictures())


class TestEffects:
    def test_of_a_linear_head_they_are_weights_times_the_distance_from_the_middle(self):
        chance = rng("cpu", "effects")
        features, head = torch.randn(40, 6, generator=chance), nn.Linear(6, 3)
        found = causal_effects(head, features, 5)
        middle = found.values.mean(1, keepdim=True)
        wanted = (found.values - middle)[:, :, None] * head.weight.detach().mT[:, None]
        assert_rounded(found.effects, wanted, magnitude=4.0, operations=64)
        assert_rounded(found.values[:, 0], features.amin(0), operations=4)
        assert_rounded(found.values[:, -1], features.amax(0), operations=4)
        feature, answer = found.strongest(1)[0]
        spans = head.weight.abs().mT * (features.amax(0) - features.amin(0))[:, None]
        assert (feature, answer) == divmod(int(spans.argmax()), 3)

    def test_they_are_of_the_intervention_and_not_of_what_goes_along(self):
        """The second feature is a copy of the first, but the head reads the first alone."""
        first = torch.randn(30, 1, generator=rng("cpu", "copy"))
        found = causal_effects(lambda x: x[:, :1], torch.cat((first, first), 1))
        assert not found.effects[1].any()
        assert found.effects[0].abs().max() > 0.5

    def test_a_probability_averages_out_over_answers(self):
        x = torch.randn(20, 4, generator=rng("cpu", "probability"))
        found = causal_effects(lambda rows: (rows[:, :3] * 2).softmax(1), x)
        assert_rounded(found.effects.sum(2), torch.zeros(4, 9), magnitude=1.0, operations=64)
        assert_rounded(found.effects.mean(1), torch.zeros(4, 3), magnitude=1.0, operations=64)
        with pytest.raises(ValueError, match="causal_effects: steps=1"):
            causal_effects(lambda rows: rows, x, 1)


def test_heat_and_mosaics_are_drawn_where_they_belong():
    x = pictures(5)
    still = heated(x[0], torch.zeros(16, 16))
    assert_rounded(still, 0.35 * x[0] + 0.35 * x[0].mean(0, keepdim=True), operations=8, magnitude=1.0)
    spot = torch.zeros(16, 16)
    spot[3, 4] = 1
    assert (heated(x[0], spot) - still).abs().sum(0).nonzero().tolist() == [[3, 4]]
    tiles = mosaic(x)
    assert tiles.shape == (3, 2 * 17 - 1, 3 * 17 - 1)
    assert torch.equal(tiles[:, 17:, 17:33], x[4])
    assert (tiles[:, 17:, 34:] == 1).all()
    assert torch.equal(mosaic(x[:1]), x[0])
