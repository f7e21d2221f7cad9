"""Search by gradient: each side sees its half, questions are those of training, and a torn search ends the same."""

import copy
import json
import re
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from test_resume import kill_after_step
from yaml import safe_load

from datamodules import Digits, Splitting
from pretext import Colorization, Jigsaw, Pretrainer, Rotation, load
from pretext.__main__ import main
from pretext.backbones.cells import Cells
from pretext.backbones.genotype import genotype_of
from pretext.backbones.search_cells import SearchCells
from pretext.core.rng import rng
from pretext.training.architecture import ArchitectureOptim
from pretext.training.bilevel import Bilevel
from pretext.training.callbacks import AtomicCheckpointIO
from pretext.training.found import network_config
from pretext.training.optimization import Optim
from pretext.views.augment import Augment

TASKS = {
    "rotation": Rotation,
    "jigsaw": partial(Jigsaw, grid=2, permutations=6, width=8, hidden=16),
    "colorization": Colorization,
}
STEPS = 16
CONFIG = """
model:
  class_path: pretext.Bilevel
  init_args:
    backbone: {class_path: pretext.SearchCells, init_args: {width: 2, cells: 3, nodes: 1}}
    tasks: {rotation: {class_path: pretext.Rotation}}
    augment: {class_path: pretext.Augment, init_args: {crop: 12}}
    architecture: {lr: 0.1}
    trace: 3
data:
  class_path: datamodules.Digits
  init_args: {size: 16, batch_size: 8, split: {limit: 81, val: 0.1, halves: true}}
trainer: {max_steps: 16, max_epochs: -1, log_every_n_steps: 1, accelerator: cpu, enable_progress_bar: false}
"""


class Altered(Digits):
    """Digits of which one half of the training items is replaced by noise."""

    def __init__(self, half, **options):
        super().__init__(**options)
        self.half = half

    def train_dataloader(self):
        loaders = super().train_dataloader()
        part = loaders.iterables[self.half] if self.half else None
        if part is not None:
            whole = copy.copy(part.source)
            whole.x = 255 - whole.x
            part.source = whole
        return loaders


def digits(half=None, **split):
    return Altered(half, size=16, batch_size=8, split=Splitting(**{"limit": 81, "val": 0.1, "halves": True, **split}))


def searched(folder, data, steps=2, tasks=None, callbacks=(), accelerator="cpu", precision=None, **options):
    torch.manual_seed(0)
    options = {"architecture": ArchitectureOptim(lr=0.1), "augment": Augment(crop=12), **options}
    module = Bilevel(SearchCells(2, 3, nodes=1), TASKS if tasks is None else tasks, **options)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": accelerator}
    quiet |= {"enable_checkpointing": False, "num_sanity_val_steps": 0, "limit_val_batches": 0, "log_every_n_steps": 1}
    trainer = pl.Trainer(
        default_root_dir=folder,
        max_steps=steps,
        plugins=[AtomicCheckpointIO()],
        callbacks=list(callbacks),
        precision=precision,
        **quiet,
    )
    trainer.fit(module, datamodule=data)
    return module


def weights_of(module):
    return {name: p for name, p in module.state_dict().items() if name != "backbone.alphas"}


def test_halves_share_no_item_are_of_one_size_and_the_same_for_every_seed():
    sets = []
    for seed in (0, 1):
        data = digits()
        data.seed = seed
        loaders = data.train_dataloader()
        batches = [batch for batch, _, _ in iter(loaders)]
        seen = {name: torch.cat([b[name]["index"] for b in batches]) for name in ("weights", "architecture")}
        assert all(len(items) == len(items.unique()) == 32 for items in seen.values())  # 4 batches of 8 of 36 items
        sets.append({name: set(part.items.tolist()) for name, part in loaders.iterables.items()})
        assert not sets[-1]["weights"] & sets[-1]["architecture"]
        assert len(sets[-1]["weights"]) == len(sets[-1]["architecture"]) == 36  # of 73 to train on
        assert seen["weights"].tolist() != sorted(seen["weights"].tolist())
    assert sets[0] == sets[1]


@pytest.mark.parametrize(
    "tasks", [{"rotation": Rotation}, pytest.param({}, marks=pytest.mark.slow)], ids=["rotation", "labels"]
)
def test_weights_never_see_the_half_of_the_architecture_nor_it_theirs(tmp_path, tasks):
    still = {"architecture": ArchitectureOptim(lr=0.0)}
    before = searched(tmp_path, digits(), tasks=tasks, **still)
    after = searched(tmp_path, digits("architecture"), tasks=tasks, **still)
    for name, value in weights_of(before).items():
        assert torch.equal(value, weights_of(after)[name]), name  # statistics of batch norm among them
    frozen = {"optim": Optim(partial(torch.optim.SGD, lr=0.0))}
    before = searched(tmp_path, digits(), tasks=tasks, **frozen)
    after = searched(tmp_path, digits("weights"), tasks=tasks, **frozen)
    assert torch.equal(before.backbone.alphas, after.backbone.alphas)
    moved = searched(tmp_path, digits("architecture"), tasks=tasks, **frozen)
    assert not torch.equal(before.backbone.alphas, moved.backbone.alphas)  # the half that it does see


class Questions(pl.Callback):
    """Notes what the backbone is shown, and the batch of the weights."""

    def on_train_start(self, trainer, module):
        self.shown, self.batches = [], []
        module.backbone.register_forward_pre_hook(lambda _, given: self.shown.append(given[0].clone()))

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.batches.append(batch["weights"]["x"].clone())


@pytest.mark.parametrize("name", list(TASKS))
def test_tasks_pose_their_questions_exactly_as_in_training(tmp_path, name):
    noted = Questions()
    module = searched(tmp_path, digits(), 2, {name: TASKS[name]}, [noted], seed=5)
    host = Pretrainer(module.backbone, {name: TASKS[name]}, augment=Augment(crop=12), seed=5)
    posed = []
    host.backbone.register_forward_pre_hook(lambda _, given: posed.append(given[0].clone()))
    for step, x in enumerate(noted.batches):  # the keys of `Pretrainer.training_step`: rank 0, epoch 0
        crops = host.inputs.train_input(x, rng("cpu", 5, "train", "augment", 0, 0, step))
        host.exam(host.tasks[name], crops, 5, "train", name, 0, 0, step)
    weights = noted.shown[1::2][: len(posed)]  # first the architecture's, then the weights'
    assert len(posed) == 2
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(weights, posed, strict=True))


def test_the_architecture_waits_for_its_start_and_steps_are_those_of_the_weights(tmp_path):
    module = searched(tmp_path, digits(), 4, architecture=ArchitectureOptim(lr=0.1, start=0.5), trace=1)
    assert module.trace.steps == [0, 1, 2, 3, 4]
    first, *rest = module.trace.weights
    assert [torch.equal(first, weights) for weights in rest] == [True, True, False, False]
    assert module.trainer.global_step == 4


def test_the_gradient_of_weights_is_clipped(tmp_path):
    """With a norm of 0.01 and plain SGD at rate 1, one step moves all weights by that norm."""
    plain = Optim(partial(torch.optim.SGD, lr=1.0), schedule="constant", warmup=0.0)
    torch.manual_seed(0)
    start_of = {n: p.clone() for n, p in Bilevel(SearchCells(2, 3, nodes=1), TASKS).named_parameters()}
    module = searched(tmp_path, digits(), 1, optim=plain, clip=0.01, architecture=ArchitectureOptim(lr=0.0))
    moved = [(p - start_of[n]).norm() for n, p in module.named_parameters() if n != "backbone.alphas"]
    assert float(torch.stack(moved).norm().detach()) == pytest.approx(0.01, rel=1e-3)


def test_data_without_halves_and_labels_are_asked_for_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"Bilevel: a batch has .*set the data's split, --data\.split\.halves true"):
        searched(tmp_path, digits(halves=False))
    with pytest.raises(ValueError, match=r"Bilevel: start=1\.5; give a share"):
        Bilevel(SearchCells(2, 3), architecture=ArchitectureOptim(start=1.5))


@pytest.mark.cuda
def test_a_search_on_a_device_moves_the_architecture(tmp_path):
    module = searched(tmp_path, digits(), 3, accelerator="gpu", trace=1)
    first, *_, last = module.trace.weights
    assert module.trace.steps == [0, 1, 2, 3]
    assert torch.isfinite(last).all()
    assert not torch.equal(first, last)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Compute as the forked processes do: the order of sums depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    (folder / "tiny.yaml").write_text(CONFIG)
    assert (
        main(["nas", "search", "-c", str(folder / "tiny.yaml"), "--trainer.default_root_dir", str(folder / "run")]) == 0
    )
    return folder / "run"


def test_it_leaves_a_genotype_its_picture_and_a_config_that_fit_takes(run, tmp_path):
    found = genotype_of(json.loads((run / "genotype.json").read_text()))
    assert found == load(run).backbone.genotype()
    page = (run / "search.html").read_text()
    for operation, _ in found.normal + found.reduce:
        assert f">{operation}<" in page
    assert "src=" not in page.replace('src="data:', "")
    network = safe_load((run / "network.yaml").read_text())
    assert (
        network["model"]["backbone"]["init_args"] | {"genotype": found.plain(), "width": 2, "cells": 3}
        == (network["model"]["backbone"]["init_args"])
    )
    assert "halves" not in str(network)
    fast = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"]
    assert (
        main(["fit", "-c", str(run / "network.yaml"), "--trainer.default_root_dir", str(tmp_path / "fit"), *fast]) == 0
    )
    assert load(tmp_path / "fit").backbone.genotype == found.plain()


def test_whoever_goes_on_with_a_search_is_told_how_and_the_page_keeps_its_first_command(run, capsys):
    assert main(["nas", "search", str(run)]) == 0
    said = capsys.readouterr().out
    assert f"pretext nas search {run} --trainer.max_steps N" in said
    page = re.sub("<[^>]+>", "", (run / "search.html").read_text())
    assert f"pretext nas search -c {run.parent / 'tiny.yaml'}" in page
    assert f"pretext nas search {run} " not in page


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        (
            "model: {backbone: {class_path: nets.TinyNet}, tasks: {turn: {class_path: pretext.Rotation}}}\n",
            [],
            "trains a Pretrainer, which is no search",
        ),
        (
            CONFIG[: CONFIG.index("data:")],
            ["--trainer.gradient_clip_val", "1"],
            "clips the gradient of its weights itself: --model.clip",
        ),
    ],
)
def test_what_is_no_search_is_refused_before_a_step(tmp_path, capsys, model, words, said):
    (tmp_path / "tiny.yaml").write_text(model + CONFIG[CONFIG.index("data:") :])
    own = ["nas", "search", "-c", str(tmp_path / "tiny.yaml"), "--trainer.default_root_dir", str(tmp_path / "run")]
    assert main([*own, *words]) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_gradients_that_would_have_to_be_rescaled_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Bilevel: precision='16-true'; gradients are not rescaled: 32-true"):
        searched(tmp_path, digits(), precision="16-true")


def test_what_learns_labels_as_darts_does_on_small_images_drops_paths_as_it_does():
    """DARTS drops paths on CIFAR-10 alone, and so labels alone; UnNAS nowhere."""
    for tasks in ({"rotation": {"class_path": "pretext.Rotation"}}, None):
        for stem in ("small", "imagenet"):
            backbone = {"class_path": "pretext.SearchCells", "init_args": {"stem": stem}}
            searched_with = {"model": {"init_args": {"backbone": backbone, "tasks": tasks}}, "data": {"init_args": {}}}
            made = network_config(searched_with, genotype_of("darts_v2"))["model"]
            options = made.get("init_args", made)["backbone"]["init_args"]
            assert options.get("drop_path") == ([0.0, 0.2] if (tasks, stem) == (None, "small") else None)
            assert Cells(**{**options, "width": 2, "cells": 3}).rates == (
                (0.0, 0.2) if "drop_path" in options else (0, 0)
            )


@pytest.mark.parametrize("loss", ["rotation", pytest.param("labels", marks=pytest.mark.slow)])
def test_a_search_killed_mid_epoch_ends_in_the_same_genotype_bit_for_bit(run, tmp_path, loss):
    """A real process, killed with -9 after a checkpoint; `nas search RUN` goes on, and an epoch has four steps."""
    config, whole, torn = run.parent / "tiny.yaml", run, tmp_path / "torn"
    labels = ["--model.tasks", "null"] if loss == "labels" else []
    if labels:
        whole = tmp_path / "whole"
        assert main(["nas", "search", "-c", str(config), "--trainer.default_root_dir", str(whole), *labels]) == 0
    options = ["--trainer.default_root_dir", torn, "--checkpoint.every_n_steps", "1", *labels]
    step = kill_after_step(tmp_path / "log", torn / "checkpoints" / "last.ckpt", 5, "-c", config, *options)
    assert step < STEPS
    assert main(["nas", "search", str(torn)]) == 0
    left, right = (torch.load(r / "checkpoints" / "last.ckpt", weights_only=True) for r in (whole, torn))
    assert left["state_dict"].keys() == right["state_dict"].keys()
    assert all(torch.equal(value, right["state_dict"][name]) for name, value in left["state_dict"].items())
    assert left["trace"]["steps"] == right["trace"]["steps"]
    assert all(torch.equal(a, b) for a, b in zip(left["trace"]["weights"], right["trace"]["weights"], strict=True))
    assert (whole / "genotype.json").read_text() == (torn / "genotype.json").read_text()
