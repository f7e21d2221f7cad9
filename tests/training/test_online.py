"""Watching a run from inside, without a trace in it."""

import csv
import random
import warnings
from contextlib import nullcontext

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from folders import labelled_folder
from grouped import grouped
from nets import TinyNet
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from datamodules import Digits, ImageFolder, Photos, Reading
from datamodules.base import DataModule
from datamodules.loader import Memory
from pretext import Augment, MultiModal, On, Pretrainer, Rotation
from pretext.__main__ import main
from pretext.core.types import Backbone, Features
from pretext.evaluation.embed import embed
from pretext.evaluation.quality import quality
from pretext.evaluation.solvers.logistic_regression import stratified
from pretext.training.callbacks import AtomicCheckpointIO, Checkpoint, History
from pretext.training.callbacks.online import Online
from pretext.training.callbacks.scored import scored
from pretext.training.optimization import Optim


class Restless(TinyNet):
    """A network of somebody else's that draws from all global generators, also in evaluation."""

    def forward(self, x):
        seen = super().forward(x)
        noise = torch.rand(()) + np.random.rand() + random.random()  # noqa: NPY002
        return Features(seen.stages, seen.pooled + noise * 1e-3)


class Shaken(Digits):
    """Data of somebody else's that draw from all global generators when they are set up and read."""

    def setup(self, stage=None):
        super().setup(stage)
        torch.rand(()), np.random.rand(), random.random()  # noqa: NPY002

    def ordered(self, split, items=None):
        torch.rand(()), np.random.rand(), random.random()  # noqa: NPY002
        return super().ordered(split, items)


class Witness(pl.Callback):
    """Writes down all that training computes and draws from."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, module, *rest):
        state = torch.get_rng_state(), torch.tensor(np.random.get_state()[1]), random.getstate()  # noqa: NPY002
        modes = tuple(m.training for m in module.modules())
        self.seen.append((*(part.tolist() for part in state[:2]), state[2], modes))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.seen.append((batch["index"].tolist(), float(outputs["loss"])))

    def on_validation_end(self, trainer, module):
        self.seen.append(float(trainer.callback_metrics["val/loss"]))

    def on_train_end(self, trainer, module):
        self.on_train_batch_start(trainer, module)


class Cut(pl.Callback):
    """Ends training after a step, as a kill would."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *rest):
        if trainer.global_step == self.step:
            raise RuntimeError("killed")


def model(backbone=TinyNet, **options):
    pl.seed_everything(0, verbose=False)
    sgd = options.pop("optimizer", lambda parameters: torch.optim.SGD(parameters, 0.05, momentum=0.9))
    return Pretrainer(
        backbone(dropout=0.3), {"turn": Rotation}, augment=Augment(crop=14, pad=1), optim=Optim(sgd), **options
    )


def digits(**options):
    return Digits(**grouped(Digits, **({"size": 16, "batch_size": 32, "limit": 160} | options)))


def fit(folder, module, data, *callbacks, ckpt=None, resumed_at=0, **options):
    logger = History(str(folder), resumed_at)
    trainer = pl.Trainer(
        default_root_dir=folder,
        logger=logger,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        accelerator="cpu",
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        **({"max_epochs": 2} | options),
        **dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False),
    )
    trainer.fit(module, datamodule=data, ckpt_path=ckpt, weights_only=True)
    return trainer


def table(folder):
    """The rows of metrics.csv as {(step, column): text}, without what depends on the clock."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = {(int(row["step"]), name): value for row in rows for name, value in row.items() if value}
    return {place: value for place, value in cells.items() if not place[1].endswith(("seconds", "items/s"))}


def online(cells):
    return {place: value for place, value in cells.items() if place[1].startswith("online/")}


def curve(folder, column):
    return {step: float(value) for (step, name), value in table(folder).items() if name == column}


# ---- The law: training never notices


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What training computes when nobody watches, for a network and for data."""
    known = {}

    def of(backbone, data):
        if (backbone, data) not in known:
            folder, witness, module = tmp_path_factory.mktemp("plain"), Witness(), model(backbone)
            fit(folder, module, DATA[data](tmp_path_factory), witness)
            known[backbone, data] = witness.seen, module.state_dict(), table(folder)
        return known[backbone, data]

    return of


def streamed(tmp_path_factory):
    return ImageFolder(
        labelled_folder(tmp_path_factory.mktemp("files"), 50), 16, batch_size=16, cache=0, reading=Reading(workers=2)
    )


DATA = {"memory": lambda _: digits(), "streamed": streamed}


@pytest.mark.parametrize(
    ("backbone", "data", "options"),
    [
        (TinyNet, "memory", {"scores": ["knn"], "every_n_steps": 2}),
        (TinyNet, "memory", {"scores": ["linear"], "stage": "conv1"}),
        (TinyNet, "memory", {"scores": ["quality"], "every_n_steps": 1}),
        (Restless, "memory", {"every_n_steps": 2, "stage": "all"}),
        (Restless, "streamed", {"every_n_steps": 2}),
        (TinyNet, "streamed", {"every_n_epochs": 2}),
        (TinyNet, "memory", {"scores": ["knn"], "data": Shaken(16)}),
    ],
)
def test_training_is_bit_identical_with_and_without(backbone, data, options, plain, tmp_path, tmp_path_factory):
    witness, module = Witness(), model(backbone)
    fit(tmp_path, module, DATA[data](tmp_path_factory), Online(items=40, **options), witness)
    seen, weights, cells = plain(backbone, data)
    assert online(table(tmp_path))
    assert witness.seen == seen
    assert {place: value for place, value in table(tmp_path).items() if place[1] in {n for _, n in cells}} == cells
    assert all(torch.equal(weight, weights[name]) for name, weight in module.state_dict().items())


def test_what_the_law_compares_would_differ_if_the_generators_were_not_put_back(plain, monkeypatch, tmp_path):
    monkeypatch.setattr("pretext.training.callbacks.online.undisturbed", nullcontext)
    witness = Witness()
    fit(tmp_path, model(Restless), digits(), Online(["quality"], items=40), witness)
    assert witness.seen != plain(Restless, "memory")[0]


def test_a_compiled_network_is_not_compiled_again(tmp_path):
    """Other batch sizes would make torch compile for any size, and training go on with other kernels."""

    def compiled(*callbacks):
        torch.compiler.reset()
        graphs, module = [], model()

        def backend(graph, inputs):
            graphs.append([tuple(part.shape) for part in inputs if isinstance(part, torch.Tensor)])
            return graph

        module.backbone.compile(backend=backend)
        fit(tmp_path / str(len(callbacks)), module, digits(limit=100), *callbacks, max_epochs=1, limit_val_batches=0)
        return graphs, module.state_dict()

    (graphs, weights), (watched, others) = compiled(), compiled(Online(["knn"], items=20, every_n_steps=1))
    assert len(graphs) > 0
    assert graphs == watched
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


@pytest.mark.parametrize("options", [{"every_n_steps": 3}, {"every_n_epochs": 1}])
def test_a_run_that_was_killed_and_resumed_has_the_same_curves_and_weights(options, tmp_path):
    whole, torn = tmp_path / "whole", tmp_path / "torn"

    def callbacks():
        return Online(items=40, **options), Checkpoint(every_n_steps=2)

    module, other = model(), model()
    fit(whole, module, digits(), *callbacks())
    with pytest.raises(RuntimeError, match="killed"):
        fit(torn, model(), digits(), *callbacks(), Cut(7))  # of 2 x 4 steps; the last checkpoint is of step 6
    fit(torn, other, digits(), *callbacks(), ckpt=torn / "checkpoints" / "last.ckpt", resumed_at=6)
    assert all(torch.equal(weight, other.state_dict()[name]) for name, weight in module.state_dict().items())
    assert table(torn) == table(whole)
    assert {step for step, _ in online(table(whole))} == ({0, 2, 5, 7} if "every_n_steps" in options else {0, 3, 7})


# ---- What it measures


class Raw(Backbone):
    """The pixels themselves, whatever is trained."""

    axes, dim = "hw", 8

    def __init__(self, dropout=0.0):
        super().__init__()
        self.stages = {"deaf": 1, "pixels": 196}
        self.head = nn.Linear(196, 8)

    def forward(self, x):
        pixels = x.mean(1).flatten(1)
        return Features({"deaf": pixels[:, :1] * 0 + 1, "pixels": pixels}, self.head(pixels))


def test_the_figures_are_those_of_scikit_learn_on_the_same_items(tmp_path):
    module, data = model(Raw), digits(limit=None)
    fit(tmp_path, module, data, Online(items=200, stage="all"), limit_train_batches=1, max_epochs=1)
    seen = embed(module.backbone, data.ordered("train", 400), module.inputs.centre)
    held, x, y = stratified(seen.labels, 0.5), seen.mean["pixels"].double(), seen.labels
    reference = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp(-distance / 0.07))
    right = reference.fit(x[~held], y[~held]).predict(x[held]) == y[held].numpy()
    found = {name: float(value) for (step, name), value in table(tmp_path).items() if step == 0}
    assert found["online/held_out"] == held.sum() == pytest.approx(200, abs=5)
    assert found["online/pixels/knn"] == pytest.approx(right.mean(), abs=1.01 / len(right))  # a tie of votes at most
    assert found["online/pixels/knn"] > 0.85
    assert found["online/pixels/linear"] > 0.85
    assert found["online/deaf/linear"] < 0.2
    assert found["online/deaf/rankme"] == pytest.approx(1, abs=1e-3)
    for name, value in quality(seen.mean["pixels"]).items():
        assert found[f"online/pixels/{name}"] == value


class Noise(DataModule):
    """Pictures and labels that have nothing to do with each other; whoever opens the test set is caught."""

    classes = ("heads", "tails")

    def __init__(self):
        super().__init__(batch_size=32, val=0.1, limit=None, seed=0)

    def open(self, split):
        assert split == "train", "the test items were looked at"
        chance = torch.Generator().manual_seed(1)
        x = torch.randint(256, (400, 3, 16, 16), generator=chance, dtype=torch.uint8)
        return Memory(x, torch.randint(2, (400,), generator=chance))


def test_it_never_looks_at_test_items_nor_scores_what_it_was_fitted_on(tmp_path):
    fit(tmp_path, model(Raw), Noise(), Online(["linear", "knn"], items=200), max_epochs=1)
    found = online(table(tmp_path))
    # 196 pixels separate the 200 items fitted on completely; of the 200 held out about half are named right.
    figures = [float(value) for (_, name), value in found.items() if name.endswith(("linear", "knn"))]
    assert len(figures) == 4
    assert all(0.35 < figure < 0.65 for figure in figures)


def test_a_labelled_set_of_its_own_is_shown_as_what_is_trained_on(tmp_path):
    """At 40 px as at 16: resized to the canvas of training, of which the crop of 14 px shows nearly all."""
    files, large = ImageFolder(labelled_folder(tmp_path / "files", 30), 16, batch_size=16), digits(size=40, limit=None)
    watch = Online(items=100, data=large, scores=["knn"])
    fit(tmp_path, model(), files, watch, limit_train_batches=2, max_epochs=1)
    fresh = model()
    fresh.inputs.canvas = 16
    seen = embed(fresh.backbone, large.ordered("train", 200), fresh.inputs.centre)
    by_hand = scored(seen, ["knn"], ["conv2"])["conv2/knn"]
    assert curve(tmp_path, "online/conv2/knn")[0] == by_hand > 0.3  # of ten digits


def test_several_modalities_are_measured_one_by_one(tmp_path):
    class Pair(Noise):
        def open(self, split):
            source = super().open(split)
            read = source.read
            source.read = lambda *plan, **pool: (
                {**b, "x": {"rgb": b["x"], "grey": b["x"][:, :1] // 2}} for b in read(*plan, **pool)
            )
            return source

    class Grey(TinyNet):
        def forward(self, x):
            assert x.shape[1] == 1
            return super().forward(x.expand(-1, 3, -1, -1))

    pl.seed_everything(0, verbose=False)
    both = MultiModal({"rgb": TinyNet(), "grey": Grey()})
    module = Pretrainer(both, {"turn": lambda b: On(b, "rgb", Rotation)}, augment=Augment(crop=14))
    watch = Online(["knn"], modality="grey", items=20), Online(["knn"], items=20, name="other")
    fit(tmp_path, module, Pair(), *watch, limit_train_batches=1, max_epochs=1)
    assert {name for _, name in online(table(tmp_path))} == {"online/grey.conv2/knn", "online/held_out"}
    assert curve(tmp_path, "other/rgb.conv2/knn")


def test_weights_in_half_precision_are_looked_at_as_they_are(tmp_path):
    fit(tmp_path, model(), digits(), Online(["quality"], items=20), max_epochs=1, precision="bf16-true")
    assert curve(tmp_path, "online/conv2/rankme")


def test_its_values_can_be_watched_by_other_callbacks(tmp_path):
    watch = Online(["knn"], items=20)
    trainer = fit(tmp_path, model(), digits(), watch, max_epochs=1)
    assert trainer.callback_metrics["online/conv2/knn"] == torch.tensor(curve(tmp_path, "online/conv2/knn")[3])


# ---- When it cannot


def test_of_data_without_labels_it_measures_what_needs_none_and_says_so(tmp_path):
    data = Photos(labelled_folder(tmp_path / "files"), 16, batch_size=8)
    with pytest.warns(UserWarning, match=r"Photos has no labels, so only quality is measured"):
        fit(tmp_path / "run", model(), data, Online(items=5), limit_train_batches=1, max_epochs=1)
    found = {name.rpartition("/")[2] for _, name in online(table(tmp_path / "run"))}
    assert found == {"rankme", "alpha_req", "uniformity", "zipf_kl"}
    fit(tmp_path / "asked", model(), data, Online(["quality"], items=5), limit_train_batches=1, max_epochs=1)
    with pytest.raises(ValueError, match=r"scores=\['knn'\], but Photos has no labels; ask for quality alone, or"):
        fit(tmp_path / "other", model(), data, Online(["knn"]))


def test_labels_that_are_not_one_class_an_item_count_as_none(tmp_path):
    class Several(Noise):
        def open(self, split):
            source = super().open(split)
            return Memory(source.x, torch.stack([source.y, 1 - source.y], 1).to(torch.int8))

    with pytest.raises(ValueError, match=r"scores=\['linear'\], but Several has several labels an item"):
        fit(tmp_path, model(), Several(), Online(["linear"]))


def test_a_run_whose_weights_break_is_not_ended_by_being_watched(tmp_path):
    class Spoil(pl.Callback):
        def on_train_batch_end(self, trainer, module, *rest):
            next(module.backbone.parameters()).data.fill_(torch.nan)

    with pytest.warns(UserWarning, match="nothing measured at step 4: embed: stage 'conv1' of TinyNet gives NaN"):
        trainer = fit(tmp_path, model(), digits(), Spoil(), Online(items=20), max_epochs=1)
    assert trainer.global_step == 4
    assert {step for step, _ in online(table(tmp_path))} == {0}


def test_classes_that_cannot_be_told_apart_end_it_at_once(tmp_path):
    class One(Noise):
        def open(self, split):
            source = super().open(split)
            return Memory(source.x, source.y * 0)

    with pytest.raises(ValueError, match="one class only"):
        fit(tmp_path, model(), One(), Online(["linear"], items=20))


def test_refusals_name_what_was_given_and_what_to_do(tmp_path):
    for options, words in (
        ({"items": 0}, "items=0; give at least 1"),
        ({"every_n_steps": 0, "dims": -1}, "every_n_steps=0, dims=-1; give at least 1"),
        ({"scores": ["svm"]}, r"scores=\['svm'\]; choose from knn, linear, quality"),
        ({"scores": []}, r"scores=\[\]; choose from"),
    ):
        with pytest.raises(ValueError, match=words):
            Online(**options)
    for callbacks, words in (
        ([Online(stage="layer4")], "stage='layer4', but TinyNet has conv1, conv2; choose"),
        ([Online(modality="rgb")], "no modality 'rgb' to choose"),
        ([Online(), Online()], "two are named 'online'"),
        ([Checkpoint(), Online()], "put it after"),
    ):
        with pytest.raises(ValueError, match=words):
            fit(tmp_path, model(), digits(), *callbacks)
    loader = digits().train_dataloader()
    trainer = pl.Trainer(callbacks=[Online()], fast_dev_run=True, accelerator="cpu")
    with pytest.raises(ValueError, match=r"no data module, but wants one with `ordered\(split, items\)`"):
        trainer.fit(model(), loader, loader)


# ---- From a config


CONFIG = """
model:
  backbone: {class_path: nets.TinyNet, init_args: {dropout: 0.3}}
  tasks: {turn: {class_path: pretext.Rotation}}
  augment: {class_path: pretext.Augment, init_args: {crop: 14, pad: 1}}
data: {class_path: datamodules.Digits, init_args: {size: 16, batch_size: 32, limit: 160}}
trainer:
  max_epochs: 2
  accelerator: cpu
  log_every_n_steps: 1
  enable_progress_bar: false
  callbacks:
    - class_path: pretext.training.callbacks.online.Online
      init_args: {every_n_steps: 3, items: 40, scores: [knn, quality], stage: all}
    - class_path: pretext.training.callbacks.online.Online
      init_args:
        name: other
        items: 100
        scores: [linear]
        data: {class_path: datamodules.Digits, init_args: {size: 20}}
"""


def test_a_config_names_it_and_the_run_resumes(tmp_path, monkeypatch):
    config, whole, torn = tmp_path / "tiny.yaml", tmp_path / "whole", tmp_path / "torn"
    config.write_text(CONFIG)

    def run(*args):
        with warnings.catch_warnings():  # the command line silences one for good
            return main(["fit", *map(str, args), "--checkpoint.every_n_steps", "3"])

    assert run("-c", config, "--trainer.default_root_dir", whole) == 0
    step = Pretrainer.training_step

    def interrupted(self, batch, batch_idx):
        if self.trainer.global_step == 5:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Pretrainer, "training_step", interrupted)
        with pytest.raises(SystemExit):
            run("-c", config, "--trainer.default_root_dir", torn)
    assert torch.load(torn / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4  # an epoch's end
    assert run(torn) == 0
    assert table(torn) == table(whole)
    columns = {name for _, name in table(whole)}
    assert {"online/conv1/knn", "online/conv2/rankme", "online/held_out", "other/conv2/linear"} <= columns
    assert "online/conv1/linear" not in columns
