"""Read-outs: what labels want, what each item costs, and what a code is of several networks."""

import math

import pytest
import torch
from nets import TinyNet
from tolerance import rounding

from pretext.core.rng import rng
from pretext.tasks.image.rotation import Rotation
from pretext.transfer.codes import Code, Shape
from pretext.transfer.measure import features_of
from pretext.transfer.problems import Items, Labels, Pretext
from pretext.transfer.readouts import ReadOut, Wanted, wanted_of
from pretext.transfer.suite import Readout

IMAGES = torch.randint(256, (6, 3, 16, 16), generator=rng("cpu", "readouts"), dtype=torch.uint8)


def constant(wanted, value):
    """A linear read-out that always says the same."""
    head = ReadOut(4, wanted, "linear", 8)
    torch.nn.init.zeros_(head.last.weight)
    torch.nn.init.constant_(head.last.bias, value)
    return head


def test_each_form_of_labels_costs_what_it_should():
    code = torch.ones(2, 4, 3, 3)
    blind = constant(Wanted("class", 5), 0.7).losses(code, torch.tensor([0, 3]))
    assert blind.tolist() == pytest.approx([math.log(5)] * 2, abs=rounding(2, 10))
    masks = torch.tensor([[[0, 255], [1, 2]], [[255, 255], [255, 255]]], dtype=torch.uint8)
    judged = constant(Wanted("mask", 3), 0.0).losses(code, masks)
    assert judged.tolist() == pytest.approx([math.log(3), 0], abs=rounding(2, 10))
    several = constant(Wanted("several", 3), 0.0).losses(code, torch.tensor([[1, 0, -1], [0, 0, 0]], dtype=torch.int8))
    assert several.tolist() == pytest.approx([math.log(2)] * 2, abs=rounding(1, 10))
    maps = torch.tensor([1.0, math.nan, 3.0, 1.0]).view(1, 1, 2, 2)
    assert constant(Wanted("map", 1), 1.0).losses(code[:1], maps).tolist() == pytest.approx(
        [4 / 3], abs=rounding(2, 10)
    )
    assert constant(Wanted("vector", 2), 1.0).losses(code[:1], torch.tensor([[0.0, 3.0]])).tolist() == [2.5]


def test_labels_tell_what_they_are():
    forms = {
        "class": torch.zeros(4).long(),
        "several": torch.zeros(4, 3, dtype=torch.int8),
        "mask": torch.zeros(4, 8, 8, dtype=torch.uint8),
        "map": torch.zeros(4, 2, 8, 8),
        "vector": torch.zeros(4, 5),
    }
    outputs = {"class": 7, "several": 3, "mask": 7, "map": 2, "vector": 5}
    assert {form: wanted_of(y, 7) for form, y in forms.items()} == {form: (form, n) for form, n in outputs.items()}


def test_numbers_are_standardised_as_they_are_in_training():
    y = torch.tensor([[1.0, 10.0], [3.0, 10.0], [math.nan, 30.0], [2.0, 30.0], [2.0, 20.0], [2.0, 20.0]])
    problem = Labels(Items(IMAGES, y), 0, Readout())
    asked = problem.ask(Items(IMAGES, y), rng("cpu", "ask")).rest
    assert asked.nanmean(0).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert asked[:2, 0].tolist() == pytest.approx([-math.sqrt(2.5), math.sqrt(2.5)])
    assert asked[2, 0].isnan()


def test_a_code_lays_the_channels_of_networks_side_by_side():
    one, other = TinyNet(4).eval(), TinyNet(8).eval()
    x = IMAGES.float() / 255
    both = Code([one, other])
    assert (both.dim, both.stages) == (24, {"code": 24})
    code = both(x).stages["code"]
    assert torch.equal(code[:, :8], one(x).stages["conv2"])
    assert torch.equal(code[:, 8:], other(x).stages["conv2"])
    assert Code([one, other], "conv1")(x).stages["code"].shape == (6, 12, 8, 8)
    with pytest.raises(ValueError, match=r"it wants 'hw' and a stage 'top' of all sources"):
        Code([one], "top")


def test_a_pretext_task_grades_each_item_as_alone():
    code = Code([TinyNet()]).eval()
    problem = Pretext(Rotation)
    head = problem.head(Shape(code))
    asked = problem.ask(Items(IMAGES[:1], None), rng("cpu", "ask"))
    assert len(asked.question) == 4  # all four turns of one picture
    features = features_of(code(asked.question).stages["code"])
    (loss,) = problem.item_losses(head, features, asked)
    given, answer = asked.rest
    assert loss == head.grade(head.solve(features, given), answer).loss


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: Labels(Items(IMAGES, torch.ones(6).long()), 3, Readout()),
            r"6 items of one class, \[1\]; it wants two",
        ),
        (lambda: Labels(Items(IMAGES, None), 3, Readout()), "data without labels; name a pretext task"),
        (lambda: wanted_of(torch.zeros(3).long(), 1), "a target of 1 class asks nothing"),
        (lambda: wanted_of(torch.zeros(3, 2, 2), 4), r"a target has labels torch.float32 \(3, 2, 2\)"),
        (
            lambda: constant(Wanted("mask", 3), 0.0).losses(
                torch.ones(1, 4, 1, 1), torch.zeros(1, 4, 4, dtype=torch.uint8)
            ),
            r"the stage has \(1, 1\); name a stage that is less deep \(readout.stage\)",
        ),
        (lambda: ReadOut(4, Wanted("class", 2), "deep", 8), "ReadOut: kind='deep'; choose one of linear"),
    ],
)
def test_what_asks_nothing_is_told(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
