"""Published experiments: their configs say what the papers did, and a scaled run goes through all parts and resumes."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier

import pretext
from datamodules.loader import Memory
from pretext.__main__ import main
from pretext.benchmark.each_epoch import best_of
from pretext.benchmark.published.rotnet import ROTNET
from pretext.benchmark.published.simclr import NEIGHBOURS, SIMCLR, AdamLinear, TenNeighbours, fitted
from pretext.benchmark.reproduce import CONFIGS, Reproduction
from pretext.core.rng import rng
from pretext.evaluation.embed import Embedded
from pretext.evaluation.protocol import Sets
from pretext.training.optimization import learning_rate
from pretext.training.run import build, load, read


def resolved(config, *options):
    module, data = build(read(CONFIGS / config), list(options))
    return module, data, read(CONFIGS / config)["trainer"]


def rates(module, epochs):
    """Return the learning rate at the start of each epoch."""
    optim = module.rates.optim
    (base,) = {group["lr"] for group in optim.optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups}
    return [base * learning_rate(epoch, epochs, optim) for epoch in range(epochs)]


def sgd(module):
    options = module.rates.optim.optimizer([torch.nn.Parameter(torch.zeros(1))]).defaults
    return {key: options[key] for key in ("momentum", "nesterov", "weight_decay")}


def alone(epochs):
    """Return the trainer's options: on several devices a batch would be as many times as large."""
    return {"max_epochs": epochs, "devices": 1}


NESTEROV = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


class TestRotNet:
    def test_trains_as_published(self, tmp_path):
        module, data, trainer = resolved(ROTNET.config, "--data.root", str(tmp_path))
        assert trainer == alone(200) == alone(ROTNET.epochs)
        assert rates(module, 200) == pytest.approx([0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 40)
        assert sgd(module) == NESTEROV
        assert (data.batch_size, data.val, data.limit) == (128, 0, None)
        assert (list(module.tasks), module.tasks["rotation"].turns) == (["rotation"], "all")
        augment = module.augment
        assert (augment.crop, augment.pad, augment.border, augment.flip, augment.scale) == (32, 4, "zero", True, (1, 1))
        assert augment.colour == (0, 0, 0, 0, 0, 1)
        assert list(module.backbone.stages) == ["conv1", "conv2", "conv3", "conv4"]
        assert read(CONFIGS / ROTNET.config)["model"]["backbone"]["init_args"] == {"blocks": 4, "init": "torch"}
        command = Reproduction(ROTNET, tmp_path, ("--data.root", "images")).words(ROTNET.config, 200, tmp_path / "run")
        run = ["--trainer.default_root_dir", str(tmp_path / "run")]
        assert command == ["fit", "-c", str(CONFIGS / ROTNET.config), *run, "--data.root", "images"]  # and nothing else

    @pytest.mark.parametrize(
        ("judge", "epochs", "falls"), [(ROTNET.judges[0], 50, (20, 40, 45)), (ROTNET.judges[1], 100, (35, 70, 85))]
    )
    def test_judges_as_published(self, judge, epochs, falls, tmp_path):
        options = ["--model.backbone", "pretext.NIN", "--data.root", str(tmp_path)]
        module, data, trainer = resolved(judge.config, *options)
        assert trainer == alone(epochs) == alone(judge.epochs)
        published = [0.1 * 0.2 ** sum(epoch >= fall for fall in falls) for epoch in range(epochs)]
        assert rates(module, epochs) == pytest.approx(published)
        assert sgd(module) == NESTEROV
        assert (data.batch_size, data.val, data.limit, data.per_class) == (128, 0, None, None)
        augment = module.augment
        assert (augment.crop, augment.pad, augment.border, augment.flip) == (32, 4, "zero", True)
        assert (augment.scale, augment.colour) == ((1, 1), (0, 0, 0, 0, 0, 1))
        assert (module.choose, module.kind) == (False, judge.config.removesuffix(".yaml").rsplit("_", 1)[1])
        assert module.dims == {"mlp": "whole", "conv": None}[module.kind]
        assert module.stages == ["conv1", "conv2", "conv3", "conv4"]

    def test_few_labels_are_the_first_of_each_class_and_learnt_from_as_long_as_all(self, tmp_path):
        """20 to 1,000 of each class of a set of CIFAR-10's size, in its order; 50,000 items an epoch."""
        few = ROTNET.judges[2:]
        assert [judge.per_class for judge in few] == [20, 100, 400, 1000]
        assert len({judge.folder for judge in ROTNET.judges}) == len(ROTNET.judges)
        labels = torch.randint(10, (50_000,), generator=torch.Generator().manual_seed(0))
        for judge in few:
            options = ["--model.backbone", "pretext.NIN", "--data.root", str(tmp_path), *judge.options]
            module, data, trainer = resolved(judge.config, *options)
            assert trainer == alone(judge.epochs) == alone(100)
            published = [0.1 * 0.2 ** sum(epoch >= fall for fall in (35, 70, 85)) for epoch in range(100)]
            assert rates(module, 100) == pytest.approx(published)
            assert (sgd(module), module.kind, module.stages, module.choose) == (NESTEROV, "conv", ["conv2"], False)
            assert (data.batch_size, data.val, data.per_class) == (128, 0, judge.per_class)
            assert (module.augment.crop, module.augment.pad, module.augment.border) == (32, 4, "zero")
            data._sources["train"] = Memory(torch.zeros(50_000, 1), labels)
            loader = data.train_dataloader()
            assert len(loader) == 390  # as of all items
            first = [i for k in range(10) for i in (labels == k).nonzero()[: judge.per_class, 0].tolist()]
            assert loader.items.tolist() == sorted(first)

    def test_published_values(self):
        assert [judge.published for judge in ROTNET.judges[2:]] == [
            {"conv2": pytest.approx(100 - error)} for error in (35.37, 24.72, 17.16, 13.57)
        ]
        assert list(ROTNET.judges[0].published.values()) == [85.07, 89.06, 86.21, 61.73]
        assert ROTNET.published == {"rotation/accuracy": 93.65}
        assert ROTNET.judges[1].published == {"conv2": 91.16}


class TestSimCLR:
    def test_trains_as_published(self, tmp_path):
        module, data, trainer = resolved(SIMCLR.config, "--data.root", str(tmp_path))
        assert trainer == alone(100) == alone(SIMCLR.epochs)
        cosine = [0.06 * 512 / 256 * 0.5 * (1 + np.cos(np.pi * epoch / 100)) for epoch in range(100)]
        assert rates(module, 100) == pytest.approx(cosine)
        assert sgd(module) == {"momentum": 0.9, "nesterov": False, "weight_decay": 5e-4}
        assert (data.batch_size, data.val) == (512, 0)
        assert module.augment is None
        task = module.tasks["contrast"]
        views = task.views
        assert (views.scale, views.flip) == ((0.2, 1.0), True)
        assert views.colour == (0.4, 0.4, 0.4, 0.1, 0.1, 0.8)
        assert task.temperature == 0.5
        shapes = [tuple(p.shape) for p in task.head.parameters()]
        assert shapes == [(1024, 512), (1024,), (128, 1024), (128,)]
        net = module.backbone
        assert (net.name, net.stem, net.stem_stride) == ("resnet18", "small", 1)
        x = torch.rand(1, 3, 4, 4)
        assert torch.equal(net.normalise(x), x)
        assert (data.limit, NEIGHBOURS) == (None, 10)
        assert [(readout.stage, readout.published) for readout in SIMCLR.readouts] == [
            ("layer4", 83.2),
            ("layer4", 85.6),
        ]

    def test_the_loss_is_the_papers_and_no_share_of_it(self, tmp_path):
        """Divided by a blind guess's it is another to SGD, whose weight decay then weighs seven times as much."""
        module, data, _ = resolved(SIMCLR.config, "--data.root", str(tmp_path))
        task = module.tasks["contrast"]
        embeddings = torch.randn(2 * data.batch_size, 8, generator=rng("cpu", "published"))
        grade = task.grade(embeddings, torch.arange(len(embeddings)) ^ 1)
        similar = torch.nn.functional.normalize(embeddings) @ torch.nn.functional.normalize(embeddings).T / 0.5
        similar.fill_diagonal_(-torch.inf)
        ntxent = torch.nn.functional.cross_entropy(similar, torch.arange(len(embeddings)) ^ 1)
        assert float(module._weighted({"contrast": grade})) == pytest.approx(float(ntxent), rel=1e-6)

    def test_the_linear_readout_learns_as_published(self, monkeypatch):
        """Adam at .01 with decay 5e-6, 500 epochs of batches of 512, the rate falling as a cosine: noted as it runs."""
        seen = []

        class Noted(torch.optim.Adam):
            def step(self, closure=None):
                group = self.param_groups[0]
                seen.append((group["lr"], group["weight_decay"], group["betas"]))
                return super().step(closure)

        monkeypatch.setattr(torch.optim, "Adam", Noted)
        fitted(torch.zeros(513, 2), torch.zeros(513, dtype=torch.long), 2, rng("cpu", 0))
        assert len(seen) == 2 * 500  # a batch of 512 and one of one
        cosine = [0.01 * 0.5 * (1 + np.cos(np.pi * epoch / 500)) for epoch in range(500)]
        assert [rate for rate, _, _ in seen[::2]] == pytest.approx(cosine)
        assert {(decay, betas) for _, decay, betas in seen} == {(5e-6, (0.9, 0.999))}

    def test_both_readouts_are_what_they_say(self):
        generator = torch.Generator().manual_seed(0)
        centres = torch.randn(5, 8, generator=generator)
        y = torch.arange(200) % 5
        x = centres[y] + 1.2 * torch.randn(200, 8, generator=generator)
        train, test = (Embedded({"layer4": x[k::2]}, {"layer4": x[k::2]}, y[k::2]) for k in (0, 1))
        sets = Sets(train, test)
        neighbours = KNeighborsClassifier(10, metric="cosine").fit(x[::2], y[::2]).score(x[1::2], y[1::2])
        ours = TenNeighbours().measure("layer4", sets, rng("cpu", 0)).figures["accuracy"]
        assert ours == pytest.approx(neighbours, abs=0.02)  # the two break ties of votes in their own ways
        linear = AdamLinear().measure("layer4", sets, rng("cpu", 0)).figures["accuracy"]
        assert linear > neighbours - 0.05


def test_the_scale_takes_epochs_first_and_then_items(tmp_path):
    def amount(scale):
        return Reproduction(ROTNET, tmp_path, (), scale).amount(200)

    assert amount(1) == []
    assert amount(0.5) == ["--trainer.max_epochs", "100"]
    assert amount(0.001) == ["--trainer.max_epochs", "1", "--data.split.limit", "10000"]
    assert amount(1e-9) == ["--trainer.max_epochs", "1", "--data.split.limit", "64"]
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="scale is a share of the published steps"):
            amount(wrong)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """Write a few tiny photos of ten classes, laid out as CIFAR-10's."""
    root, pixels = tmp_path_factory.mktemp("cifar"), np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for label in range(10):
            (root / split / str(label)).mkdir(parents=True)
            for i in range(count):
                image = pixels.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(image).save(root / split / str(label) / f"{i}.png")
    return root


def test_a_scaled_run_goes_through_all_parts_and_is_not_repeated(cifar, tmp_path, capsys):
    small = ["--model.backbone.init_args.width", "0.1"]
    words = ["reproduce", "simclr", "--data.root", str(cifar), "--scale", "1e-9", "--out", str(tmp_path), *small]
    words += ["--trainer.accelerator", "cpu", "--data.batch_size", "32", "--trainer.log_every_n_steps", "1"]
    assert main(words) == 0
    first = json.loads((tmp_path / "reproduce.json").read_text())
    assert [(row["what"], row["stage"], row["published"]) for row in first["rows"]] == [
        ("kNN, k = 10", "layer4", 83.2),
        ("Linear, Adam", "layer4", 85.6),
    ]
    assert all(row["low"] <= row["ours"] <= row["high"] for row in first["rows"])
    out = " ".join(capsys.readouterr().out.split())  # a table's words are wrapped
    assert "this is no reproduction" in out
    written = (tmp_path / "run" / "metrics.csv").stat().st_mtime_ns
    options = {"data.root": str(cifar), "model.backbone.init_args.width": 0.1, "trainer.accelerator": "cpu"}
    options |= {"data.batch_size": 32, "trainer.log_every_n_steps": 1}
    again = pretext.reproduce("simclr", tmp_path, options, scale=1e-9)  # from what is there, as the command line does
    assert [row._asdict() for row in again.rows] == first["rows"]
    assert again.file.read_text().startswith(again.table.title)
    assert json.loads((tmp_path / "reproduce.json").read_text()) == first
    assert (tmp_path / "run" / "metrics.csv").stat().st_mtime_ns == written
    assert main([word for word in words if word not in ("--scale", "1e-9")]) == 1  # what is there is of less
    assert f"{tmp_path} holds simclr of scale 1e-09 --model.backbone.init_args.width 0.1" in capsys.readouterr().err
    assert main(["reproduce", "lenet"]) == 1
    assert "reproduce knows rotnet and simclr, got lenet" in capsys.readouterr().err


def test_options_that_change_the_experiment_make_it_no_reproduction(tmp_path):
    def differs(scale, *options):
        return Reproduction(ROTNET, tmp_path, options, scale).differs

    assert differs(1, "--data.root", "photos", "--trainer.accelerator=cpu", "--data.download", "true") == ""
    assert differs(1, "--checkpoint.every_n_steps", "50", "--trainer.enable_progress_bar=false") == ""
    assert differs(1, "--trainer.devices", "4") == "another --trainer.devices"  # so many times larger batches
    assert differs(1, "--model.execution.cuda_graphs", "false", "--model.execution.channels_last=true") == ""
    assert differs(1, "--model.execution.compile", "step") == "another --model.execution.compile"
    assert differs(0.5, "--data.root", "photos") == "0.5 of the published steps"
    assert differs(1, "--data.root=photos", "--data.batch_size", "32") == "another --data.batch_size"
    assert "another --model.seed, another --trainer.precision" in differs(
        0.5, "--model.seed=1", "--trainer.precision=16"
    )


def test_the_best_test_epoch_is_told_and_never_chosen(cifar, tmp_path):
    """The same weights with and without the callback; an epoch that is done again replaces what came after it."""
    words = [
        "fit",
        "-c",
        str(CONFIGS / "rotnet_cifar10_conv.yaml"),
        "--data.root",
        str(cifar),
        "--trainer.max_epochs=2",
    ]
    words += ["--model.backbone", "pretext.NIN", "--model.backbone.init_args.width", "0.1", "--trainer.accelerator=cpu"]
    words += ["--data.batch_size", "32", "--trainer.log_every_n_steps", "1", "--model.stages", "[conv2]"]
    watch = ["--trainer.callbacks+", "pretext.benchmark.each_epoch.EachEpoch"]
    for name, more in (("plain", []), ("watched", watch)):
        assert main([*words, "--trainer.default_root_dir", str(tmp_path / name), *more]) == 0
    plain, watched = (load(tmp_path / name).heads.state_dict() for name in ("plain", "watched"))
    assert all(torch.equal(plain[key], watched[key]) for key in plain)
    noted = json.loads((tmp_path / "watched" / "each_epoch.json").read_text())
    assert [len(values) for values in noted.values()] == [2]
    assert main(["test", str(tmp_path / "watched")]) == 0
    (row,) = json.loads((tmp_path / "watched" / "score.json").read_text())["rows"]
    assert noted["conv2"][-1] == pytest.approx(row["accuracy"])
    assert best_of(tmp_path / "watched") == {"conv2": max(noted["conv2"])}
    assert best_of(tmp_path / "plain") == {}


@pytest.mark.slow
def test_rotnets_judges_judge_every_block(cifar, tmp_path):
    words = ["reproduce", "rotnet", "--data.root", str(cifar), "--scale", "1e-9", "--out", str(tmp_path)]
    words += ["--trainer.accelerator", "cpu", "--data.batch_size", "32", "--trainer.log_every_n_steps", "1"]
    assert main(words) == 0
    rows = json.loads((tmp_path / "reproduce.json").read_text())["rows"]
    blocks = ["conv1", "conv2", "conv3", "conv4"]
    expected = [("rotation/accuracy", ""), *(("MLP", b) for b in blocks), *(("convolutional", b) for b in blocks)]
    expected += [(f"convolutional, {count} labels a class", "conv2") for count in (20, 100, 400, 1000)]
    assert [(row["what"], row["stage"]) for row in rows] == expected
    assert [row["published"] for row in rows[1:5]] == [85.07, 89.06, 86.21, 61.73]
