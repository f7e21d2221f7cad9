"""Networks of searched cells: published counts, the laws of their parts, what is refused."""

import json
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from every_task import images
from tolerance import NETWORK, assert_rounded
from torch import nn

import pretext
from datamodules import Digits, Splitting
from pretext.backbones.cells import Cells
from pretext.backbones.cost import cost
from pretext.backbones.genotype import OPERATIONS, genotype_of, published
from pretext.backbones.operations import DropPath, FactorisedReduction, operation
from pretext.core.rng import rng
from pretext.nn.aspp import aspp
from pretext.nn.auxiliary import AuxiliaryHead, _four
from pretext.training.optimization import trained

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "unnas_genotypes.json"
NAMES = list(published())
TABLE_1 = dict(  # multiply-adds in millions, as printed
    zip(NAMES, (538, 590, 558, 547, 567, 585, 549, 547, 559, 566, 554, 594, 566), strict=True)
)
TINY = {"width": 4, "cells": 3, "stem": "small"}
IMAGE_TASKS = {
    "rotation": pretext.Rotation,
    "jigsaw": partial(pretext.Jigsaw, grid=2, permutations=6, width=8, hidden=16),
    "colorization": pretext.Colorization,
    "position": partial(pretext.RelativePosition, hidden=16),
    "counting": partial(pretext.Counting, length=20, hidden=16, margin=1.0),
    "contrast": partial(pretext.Contrast, width=8, outputs=8),
    "inpainting": partial(pretext.Inpainting, ups=1, width=8, channels=8),
    "super-resolution": partial(pretext.SuperResolution, width=4),
    "split brain": pretext.SplitBrain,
}


def wired(*edges):
    """A genotype whose two cells are these."""
    return {"normal": list(edges), "reduce": list(edges)}


def parameters(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_the_published_ones_to_the_digit(name):
    """Both columns: ImageNet (14 cells, 1,000 classes), and Cityscapes (12 cells, one reduction, ASPP, 19 classes)."""
    known = published()[name]
    with torch.device("meta"):
        imagenet = Cells(name, known.width)
        assert parameters(imagenet, nn.Linear(imagenet.dim, 1000)) == known.parameters
        city = Cells(name, known.segmentation_width, cells=12, reductions=1)
        assert parameters(city, aspp(city.dim, 19)) == known.segmentation_parameters


@pytest.mark.parametrize("name", ["imagenet_rot", *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES)])
def test_multiply_adds_are_within_3_percent_of_table_1(name):
    """Table 1 counts batch norm and pooling too, torch's counter convolutions and the classifier alone: it is below."""
    network = cost(Cells(name, published()[name].width), 224, 1000)
    assert 0.97 * TABLE_1[name] <= network.multiply_adds / 1e6 <= TABLE_1[name]
    assert network.parameters == published()[name].parameters


def test_genotypes_are_those_of_the_authors():
    if not REFERENCE.is_file():
        pytest.skip("the reference file is not here")
    for name, entry in json.loads(REFERENCE.read_text()).items():
        assert genotype_of(entry) == published()[name].genotype


@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_stages_are_the_last_cells_of_each_resolution(stem):
    net = Cells("imagenet_col", 4, 6, stem, tap_reductions=True)
    seen = net(torch.rand(2, 3, 64, 64))
    sides = {name: stage.shape[-1] for name, stage in seen.stages.items()}
    first = 64 if stem == "small" else 8
    expected = {"cells1": first, "reduction1": first // 2, "cells2": first // 2}
    expected |= {"reduction2": first // 4, "cells3": first // 4}
    assert sides == {"stem": 64 if stem == "small" else 16} | expected
    assert {name: stage.shape[1] for name, stage in seen.stages.items()} == net.stages
    assert net.stages["cells3"] == net.dim == 4 * 4 * 4
    assert torch.equal(seen.pooled, seen.stages["cells3"].mean((-2, -1)))


@pytest.mark.parametrize("side", [5, 8])
def test_a_factorised_reduction_reads_every_pixel_once(side):
    """With identity kernels the first half of its channels holds the even pixels, the second the odd ones."""
    part = FactorisedReduction(3, 6).eval()
    for convolution in (part.even, part.odd):
        nn.init.dirac_(convolution.weight)
    part.norm.running_var.fill_(1 - part.norm.eps)  # so that it divides by 1
    x = torch.randn(2, 3, side, side, generator=rng("cpu", "reduction"))
    kept = x.relu()
    odd = nn.functional.pad(kept, (0, 1, 0, 1))[..., 1::2, 1::2]
    assert_rounded(part(x), torch.cat((kept[..., ::2, ::2], odd), 1), NETWORK)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("stride", "side"), [(1, 7), (2, 7), (2, 1)])
def test_every_operation_keeps_channels_and_halves_rounded_up(name, stride, side):
    seen = operation(name, 6, stride)(torch.rand(2, 6, side, side))
    assert seen.shape == (2, 6, -(-side // stride), -(-side // stride))


def test_pooling_does_not_count_its_border():
    ones = torch.ones(1, 2, 5, 5)
    for name in ("avg_pool_3x3", "max_pool_3x3"):
        assert torch.equal(operation(name, 2, 1)(ones), ones)


def test_separable_convolutions_have_the_parameters_of_two_depthwise_and_two_pointwise_ones():
    c = 6
    assert parameters(operation("sep_conv_5x5", c, 1)) == 2 * (25 * c + c * c + 2 * c)
    assert parameters(operation("dil_conv_3x3", c, 2)) == 9 * c + c * c + 2 * c
    assert parameters(operation("skip_connect", c, 2)) == c * c + 2 * c
    assert parameters(operation("none", c, 2), operation("skip_connect", c, 1)) == 0


def test_a_node_is_the_sum_of_its_operations_and_none_adds_nothing():
    """Nodes: input + input, nothing + input, both of them; the random sample of UnNAS holds `none` too."""
    edges = [("skip_connect", 1), ("skip_connect", 1), ("none", 0), ("skip_connect", 1), ("skip_connect", 2)]
    net = Cells(wired(*edges, ("skip_connect", 3)), **TINY).eval()
    cell = net.net.cells[0]
    before, last = torch.rand(2, 12, 8, 8), torch.rand(2, 12, 8, 8)
    one = cell.inputs[1](last)
    assert_rounded(cell(before, last), torch.cat((2 * one, one, 3 * one), 1), NETWORK)


def test_drop_path_drops_whole_operations_of_an_item_and_only_in_training():
    edges = [("avg_pool_3x3", 0), ("skip_connect", 1)]
    nets = [Cells(wired(*edges), **TINY, drop_path=rate) for rate in (0.0, 0.5)]
    nets[1].load_state_dict(nets[0].state_dict())
    x = torch.rand(64, 12, 8, 8, generator=rng("cpu", "drop path"))
    plain, dropped = (net.net.cells[0] for net in nets)
    assert torch.equal(plain.eval()(x, x), dropped.eval()(x, x))
    torch.manual_seed(0)
    dropped.train()
    pooled = dropped._through(0, [x, x])
    whole = plain.operations[0](x)
    kept = (pooled != 0).flatten(1).any(1)
    assert 16 < kept.sum() < 48  # 32 expected, 4 standard deviations of 4
    assert torch.equal(pooled[kept], 2 * whole[kept])  # so that the mean stays
    assert torch.equal(dropped._through(1, [x, x]), x)  # an identity is never dropped


class Noted(pl.Callback):
    """Notes with which probabilities each pass of training drops paths, and keeps the state after a step."""

    def __init__(self, keep=None, file=None):
        self.rates, self.keep, self.file = [], keep, file

    def on_train_start(self, trainer, module):
        cells = [
            cell for network in module.backbone.modules() if isinstance(network, Cells) for cell in network.net.cells
        ]
        module.backbone.register_forward_pre_hook(
            lambda *_: self.rates.append({float(cell.drop.rate) for cell in cells})
        )

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == self.keep:
            trainer.save_checkpoint(self.file)


def grown(folder, host, nested=False, noted=None, start=None, **limit):
    """Train six steps, two epochs; return the module and the probabilities of each step."""
    torch.manual_seed(0)
    make = partial(Cells, wired(("sep_conv_3x3", 0), ("max_pool_3x3", 1)), **TINY, drop_path=(0.1, 0.4))
    module = host(backbone=pretext.Split(make) if nested else make())
    noted = noted or Noted()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": False, "limit_val_batches": 0, "log_every_n_steps": 1}
    trainer = pl.Trainer(default_root_dir=folder, callbacks=[noted], **quiet, **(limit or {"max_epochs": 2}))
    trainer.fit(module, datamodule=Digits(size=8, batch_size=8, split=Splitting(limit=24, val=0.0)), ckpt_path=start)
    return module, noted.rates


TURNING = partial(pretext.Pretrainer, tasks={"turn": partial(pretext.Rotation, turns="one")})
LABELS = partial(pretext.FineTune, keep_best=False)


@pytest.mark.parametrize(("host", "nested"), [(TURNING, False), (TURNING, True), (LABELS, False)])
def test_drop_path_grows_in_a_straight_line_whatever_trains_the_cells(tmp_path, host, nested):
    module, rates = grown(tmp_path, host, nested)
    rates = rates[-6:]  # who learns labels looks at an item first
    assert [len(each) for each in rates] == [1] * 6  # all cells drop alike
    assert [each.pop() for each in rates] == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3, 0.35])
    module.eval()
    x = images(8)
    assert torch.equal(module.backbone(x).pooled, module.backbone(x).pooled)  # nothing is dropped


def test_a_resumed_run_drops_the_same_paths_with_the_same_probabilities(tmp_path):
    whole, rates = grown(tmp_path, TURNING, noted=Noted(4, tmp_path / "torn.ckpt"))
    resumed, rest = grown(tmp_path, TURNING, start=tmp_path / "torn.ckpt")
    assert rest == rates[4:]
    left, right = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(value, right[name]) for name, value in left.items())


@pytest.mark.slow
def test_a_probability_that_grows_is_compiled_once():
    passes = []
    drop = DropPath(0.0)
    torch.compiler.reset()
    seen = torch.compile(drop, backend=lambda graph, _: passes.append(1) or graph.forward)
    for step in range(12):
        drop.rate.fill_(step / 12)
        seen(torch.ones(4, 2, 1, 1))
    assert len(passes) == 1


def test_drop_path_that_grows_wants_a_known_end(tmp_path):
    with pytest.raises(ValueError, match=r"Cells: the end of training is not known, but drop_path grows to it; set"):
        grown(tmp_path, TURNING, max_epochs=-1)


def step(task, backbone, x):
    """Train one step and tell which parameters moved."""
    made = task(backbone)
    module = nn.ModuleList([backbone, made])
    optimizer = torch.optim.SGD(trained(module), lr=0.1)
    puzzle = made.pose(x, rng("cpu", "cells"))
    grade = made.grade(made.solve(backbone(puzzle.question), puzzle.given), puzzle.answer)
    grade.loss.backward()
    before = [p.detach().clone() for p in backbone.parameters()]
    optimizer.step()
    assert torch.isfinite(grade.loss)
    return sum(not torch.equal(a, b) for a, b in zip(before, backbone.parameters(), strict=True))


EVERY = [(name, task) for name in NAMES for task in IMAGE_TASKS]
FEW = [("imagenet_rot", "jigsaw"), ("cityscapes_col", "colorization"), ("darts_v2", "split brain")]


@pytest.mark.parametrize(
    ("name", "task"), [pair if pair in FEW else pytest.param(*pair, marks=pytest.mark.slow) for pair in EVERY]
)
def test_every_published_genotype_trains_a_step_in_every_image_task(name, task):
    torch.manual_seed(0)
    make = partial(Cells, name, **TINY)
    backbone = pretext.Split(make) if task == "split brain" else make()
    assert step(IMAGE_TASKS[task], backbone, images(24)) > 10


def test_the_auxiliary_pooling_is_that_of_darts_for_both_sets():
    for side, stride in ((8, 3), (7, 2)):
        x = torch.rand(2, 3, side, side)
        assert torch.equal(_four(x), nn.functional.avg_pool2d(x, 5, stride))
    for side in (1, 2, 3, 4, 14):
        assert AuxiliaryHead(3, 5)(torch.rand(2, 3, side, side)).shape == (2, 5)


def test_a_genotype_is_read_from_a_file_ours_or_the_authors(tmp_path):
    wiring = genotype_of("cityscapes_jig")
    theirs = {**wiring.plain(), "normal_concat": [2, 3, 4, 5], "reduce_concat": [2, 3, 4, 5]}
    for content in (wiring.plain(), theirs):
        (tmp_path / "genotype.json").write_text(json.dumps(content))
        assert genotype_of(str(tmp_path / "genotype.json")) == wiring
    assert Cells(wiring.plain(), **TINY).genotype == wiring.plain()
    (tmp_path / "broken.json").write_text("genotype")
    with pytest.raises(ValueError, match=r"Genotype: .*broken\.json is no JSON"):
        genotype_of(str(tmp_path / "broken.json"))


def test_every_stage_of_cells_is_probed(tmp_path):
    net = Cells("darts_v2", **TINY)
    data = Digits(size=16, split=Splitting(limit=80))
    found = pretext.probe(net, data, protocols=("knn",), dims=64, folder=tmp_path)
    assert [row.stage for row in found.stages if row.features == "trained"] == list(net.stages)


FINE = [("skip_connect", 0), ("skip_connect", 1)]


@pytest.mark.parametrize(
    ("genotype", "said"),
    [
        ("imagenet_rott", "no published genotype 'imagenet_rott'; did you mean imagenet_rot"),
        (
            wired(("conv_7x7", 0), ("skip_connect", 1)),
            r"normal edge 0 is \[conv_7x7, 0\]; operations are none, max_pool",
        ),
        (
            wired(*FINE, ("skip_connect", 3), ("none", 1)),
            r"edge 2 is \[skip_connect, 3\]; node 3 reads an input from 0 to 2",
        ),
        (wired(*FINE, ("skip_connect", -1), ("none", 1)), "node 3 reads an input from 0 to 2"),
        (wired(*FINE, ("skip_connect", 1)), "3 normal and 3 reduction edges; give two"),
        ({"normal": FINE, "reduce": FINE * 2}, "2 normal and 4 reduction edges; give two"),
        ({"normal": FINE}, "it wants normal and reduce"),
        ({"normal": ["skip"], "reduce": FINE}, "it wants normal and reduce"),
    ],
)
def test_what_is_no_genotype_is_named_in_one_line(genotype, said):
    with pytest.raises(ValueError, match=said) as told:
        Cells(genotype, **TINY)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "option",
    [{"cells": 2}, {"width": 0}, {"stem": "big"}, {"reductions": 3}, {"drop_path": 1.0}, {"drop_path": (0.0, 1.0)}],
)
def test_what_cannot_be_built_is_refused(option):
    with pytest.raises(ValueError, match="Cells: "):
        Cells("darts_v2", **{**TINY, **option})
