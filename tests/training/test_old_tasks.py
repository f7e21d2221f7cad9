"""Arguments of tasks as release 0.1 wrote them become today's, and build the very same task."""

from functools import partial
from inspect import signature

import pytest
import torch
from clips import av_batch, tiny_multimodal
from jsonargparse import ArgumentParser
from nets import TinyNet

import pretext
from pretext import Alignment, Colorization, Distillation, Embed, Split, SplitBrain
from pretext.core.rng import rng
from pretext.core.types import TaskFactory
from pretext.nn.alignment_readouts import Binary, Contrastive
from pretext.nn.colour_targets import ColourClasses, ColourValues
from pretext.nn.embedding_losses import InfoNCE, MaxMargin
from pretext.nn.split_targets import SplitClasses, SplitValues
from pretext.nn.teachers import Frozen, Momentum
from pretext.ops.negatives import Negatives
from pretext.training.old_tasks import RULES, THEN
from pretext.training.renamed import current

IMAGES = torch.rand(4, 3, 16, 16, generator=rng("cpu", "old tasks"))
CLIPS = av_batch(4) | {"flow": av_batch(4)["rgb"][:, :2]}
SHARES = {"easy": 0.5, "hard": 0.5}
MULTIMODAL = partial(tiny_multimodal, flow=True)
LAYERS = ("0.weight", "0.bias", "2.weight", "2.bias")
HEAD = [f"head.{layer}" for layer in LAYERS]
HEADS = [f"heads.{i}.{layer}" for i in (0, 1) for layer in LAYERS]
ADAPTER = ["adapters.0.weight", "adapters.0.bias"]
READERS = ["bias", "readers.0.weight", "readers.1.weight"]
FRAMES = {"frames": 4}

CASES = [
    (
        "Colorization",
        {"target": "classes", "stride": 2, "neighbours": 5, "rebalance": 0.2, "temperature": 0.5, "grey_below": 5.0},
        partial(Colorization, target=ColourClasses(5, 0.2, 0.5), stride=2),
        ["rebalance.counts", *(f"head.{name}" for name in READERS)],
    ),
    (
        "Colorization",
        {"target": "values", "stride": 4, "neighbours": 10, "rebalance": 0.5, "temperature": 0.38},
        partial(Colorization, target=ColourValues()),
        [f"head.{name}" for name in READERS],
    ),
    (
        "SplitBrain",
        {"target": "classes", "neighbours": 3, "stride": 2},
        partial(SplitBrain, stride=2, target=SplitClasses(3)),
        [f"{half}.{name}" for half in ("colour", "light") for name in READERS],
    ),
    ("SplitBrain", {"target": "values"}, partial(SplitBrain, target=SplitValues()), None),
    (
        "Alignment",
        FRAMES | {"loss": "bce", "negatives": SHARES, "gap": 1, "margin": 0.99, "width": 12},
        partial(Alignment, frames=4, readout=Binary(12), negatives=Negatives(SHARES, gap=1)),
        HEAD,
    ),
    (
        "Alignment",
        FRAMES | {"loss": "contrastive", "negatives": "super_hard", "overlap": 3, "margin": 0.5, "curriculum": None},
        partial(Alignment, frames=4, readout=Contrastive(margin=0.5), negatives=Negatives("super_hard", overlap=3)),
        HEADS,
    ),
    ("Alignment", FRAMES | {"margin": 0.5}, partial(Alignment, frames=4), HEAD),  # had no effect without "contrastive"
    (
        "Embed",
        FRAMES | {"loss": "nce", "margin": 1.0, "temperature": 0.3, "outputs": 5},
        partial(Embed, frames=4, loss=InfoNCE(0.3), outputs=5),
        HEADS,
    ),
    ("Embed", FRAMES | {"margin": 0.3}, partial(Embed, frames=4, loss=MaxMargin(0.3, squared=True)), HEADS),
    (
        "Distillation",
        FRAMES | {"kind": "joint", "detach": False, "momentum": 0.9},
        partial(Distillation, frames=4, detach=False),
        ADAPTER,
    ),
    ("Distillation", FRAMES | {"kind": "frozen"}, partial(Distillation, frames=4, copy=Frozen), None),
    (
        "Distillation",
        FRAMES | {"kind": "momentum", "momentum": 0.9},
        partial(Distillation, frames=4, copy=partial(Momentum, momentum=0.9)),
        None,
    ),
]


def parsed(name, args):
    """What a config with these arguments names."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--task", type=TaskFactory)
    config = parser.parse_object({"task": {"class_path": f"pretext.{name}", "init_args": args}})
    return parser.instantiate(config).task


def built(factory, backbone):
    torch.manual_seed(0)
    net = backbone()
    task = factory(net)
    puzzle = task.pose(CLIPS if backbone is MULTIMODAL else IMAGES, rng("cpu", "old"))
    return task, task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer)


@pytest.mark.parametrize(("name", "old", "today", "names"), CASES)
def test_old_arguments_build_the_very_task(name, old, today, names):
    backbone = {"Colorization": TinyNet, "SplitBrain": partial(Split, TinyNet)}.get(name, MULTIMODAL)
    new = RULES[name](old)
    assert RULES[name](new) == new  # what is written as today stays
    (task, grade), (other, wanted) = (built(factory, backbone) for factory in (parsed(name, new), today))
    assert task.extra_repr() == other.extra_repr()
    assert list(task.state_dict()) == list(other.state_dict())
    assert names is None or sorted(task.state_dict()) == sorted(names)  # as in checkpoints of release 0.1
    assert all(torch.equal(*pair) for pair in zip(task.state_dict().values(), other.state_dict().values(), strict=True))
    assert torch.equal(grade.loss, wanted.loss)


@pytest.mark.parametrize(("copy", "prefix"), [("frozen", "copy.network."), ("momentum", "copy.network.")])
def test_copies_keep_their_names_in_checkpoints(copy, prefix):
    task, _ = built(parsed("Distillation", RULES["Distillation"](FRAMES | {"kind": copy})), MULTIMODAL)
    own = {name for name in task.state_dict() if not name.startswith("adapters.")}
    assert own == {f"{prefix}{name}" for name in MULTIMODAL().backbones["flow"].state_dict()}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("Alignment", {"margin": 0.5}, {"readout": ("Contrastive", {"margin": 0.5})}),
        ("Alignment", {"negatives": "hard"}, {"negatives": {"kinds": "hard"}}),
        ("Alignment", {"gap": 3}, {"negatives": {"gap": 3}}),
        ("Embed", {"temperature": 0.2}, {"loss": ("InfoNCE", {"temperature": 0.2})}),
        ("Embed", {"margin": 0.2}, {"loss": ("MaxMargin", {"margin": 0.2, "squared": True})}),
        ("Colorization", {"neighbours": 5}, {"target": ("ColourClasses", {"neighbours": 5})}),
        ("Distillation", {"momentum": 0.5}, {"copy": ("Momentum", {"momentum": 0.5})}),
        ("Distillation", {"kind": "joint"}, {"copy": None}),
    ],
)
def test_one_option_alone_names_the_part_that_owns_it(name, old, new):
    """As a command line gives it, on top of a config."""
    changed = RULES[name](old)
    for key, value in changed.items():
        if isinstance(value, dict) and "class_path" in value:
            changed[key] = (value["class_path"].rpartition(".")[2], value["init_args"])
    assert changed == new


@pytest.mark.parametrize("name", RULES)
def test_arguments_of_today_stay(name):
    for args in ({}, {"frames": 3}, {"stride": 2}):
        assert RULES[name](args) == args


@pytest.mark.parametrize("name", THEN)
def test_a_run_from_before_an_option_was_there_asks_what_it_asked_then(name):
    """A run writes down every option, so one that is missing did not exist; who names a few options wants today's."""
    named, added = THEN[name]
    task = getattr(pretext, name)
    parameters = signature(task).parameters
    assert named | added.keys() <= parameters.keys()
    full = {option: parameters[option].default for option in named}

    def read(args):
        config = {"model": {"tasks": {"task": {"class_path": f"pretext.{name}", "init_args": args}}}}
        return current(config)["model"]["tasks"]["task"]["init_args"]

    assert read(full) == full | added
    assert all(read(full | {option: "said"})[option] == "said" for option in added)
    for group, options in added.items():
        if isinstance(options, dict):
            assert read(full | {group: {"gap": 0.1}})[group] == options | {"gap": 0.1}
            assert read(full | {group: dict.fromkeys(options, 0.5)})[group] == dict.fromkeys(options, 0.5)
    few = {option: full[option] for option in sorted(named)[1:]}
    assert read(few) == few
