import copy
import json
import warnings
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from clips import TinySound, TinyVideo
from labelled_sets import Labelled, colours, directions, tones
from nets import TinyNet
from pytorch_lightning.callbacks import EarlyStopping

from datamodules import Digits, Splitting
from pretext import Pretrainer, Rotation, load
from pretext.__main__ import main
from pretext.backbones.cells import Cells
from pretext.backbones.image import TorchVision
from pretext.evaluation.statistics.intervals import wilson
from pretext.supervised.finetune import AUXILIARY, Auxiliary, FineTune
from pretext.training.callbacks import AtomicCheckpointIO, Checkpoint
from pretext.training.optimization import Optim
from pretext.views.augment import Augment

ADAM = Optim(partial(torch.optim.Adam, lr=0.01))


def trainer(folder, epochs=4, **options):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    quiet |= {"enable_checkpointing": False, "plugins": [AtomicCheckpointIO()], "num_sanity_val_steps": 0}
    return pl.Trainer(default_root_dir=folder, max_epochs=epochs, **quiet, **options)


def net(kind=TinyNet, **options):
    torch.manual_seed(0)
    return kind(**options)


def tuned(folder, data, epochs=4, callbacks=(), ckpt=None, **options):
    options.setdefault("optim", ADAM)
    module = FineTune(backbone=options.pop("backbone", None) or net(), **options)
    trainer(folder, epochs, callbacks=list(callbacks)).fit(module, datamodule=data, ckpt_path=ckpt)
    return module


def scored(folder, module, data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises workers
        trainer(folder).test(module, datamodule=data, verbose=False)
    return json.loads((folder / "score.json").read_text())


def state(module):
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def moved(before, module):
    return {name for name, tensor in module.state_dict().items() if not torch.equal(before[name], tensor)}


def test_supervised_training_reads_digits_and_writes_its_score(tmp_path):
    data = Digits(size=16)
    options = {"backbone": net(width=24), "augment": Augment(crop=14, flip=False), "dropout": 0.1}
    module = tuned(tmp_path, data, 8, label_smoothing=0.1, **options)
    result = scored(tmp_path, module, data)
    assert result["accuracy"] > 0.8
    assert (result["low"], result["high"]) == wilson(round(500 * result["accuracy"]), 500)
    assert (result["task"], result["items"], result["classes"]) == ("finetune", 500, list("0123456789"))
    assert 0.05 < result["chance"] < 0.15
    assert result["validation"] == module.best.score > 0.8


def test_a_few_items_are_learnt_by_heart(tmp_path):
    data = Digits(size=16, batch_size=8, split=Splitting(limit=40, val=0.2))
    module = tuned(tmp_path, data, epochs=25, backbone=net(width=24), keep_best=False)
    batches = list(data.train_dataloader())
    x, y = torch.cat([b["x"] for b in batches]), torch.cat([b["y"] for b in batches])
    assert (module.eval().logits(module.inputs.eval_input(x))[""].argmax(1) == y).all()


def test_the_whole_network_is_trained_also_where_it_came_in_eval_mode(tmp_path):
    """A trunk that is loaded from a run is in eval mode: left there, its batch norms would keep old statistics."""
    backbone = net().eval()
    before = state(backbone)
    module = tuned(tmp_path, Digits(size=16, split=Splitting(limit=200)), epochs=1, backbone=backbone, keep_best=False)
    assert moved(before, module.backbone) == set(before)


class TestFreezing:
    def test_frozen_stages_keep_their_bytes_and_their_statistics(self, tmp_path):
        before = state(net())
        module = tuned(tmp_path, Digits(size=16, split=Splitting(limit=200)), epochs=1, freeze=1, keep_best=False)
        assert moved(before, module.backbone) == {name for name in before if name.startswith("conv2")}
        modes = {name: part.training for name, part in module.train().backbone.named_modules()}
        assert not modes["conv1.1"]
        assert modes["conv2.1"]
        assert modes["dropout"]  # behind the last stage

    def test_all_stages_frozen_leaves_the_head(self, tmp_path):
        backbone = net(TorchVision, name="resnet18", width=0.125)
        before = state(backbone)
        module = tuned(
            tmp_path, Digits(size=16, split=Splitting(limit=64)), 1, backbone=backbone, freeze=5, keep_best=False
        )
        assert not moved(before, module.backbone)
        (group,) = module.configure_optimizers().param_groups
        assert group["name"] == "head"

    def test_more_than_there_are_stages_is_refused(self):
        with pytest.raises(ValueError, match="freeze=3, but the backbone has 2 stages: conv1, conv2"):
            FineTune(backbone=net(), freeze=3)


class TestRates:
    def test_decay_by_depth_gives_the_exact_rates(self, tmp_path):
        rates = []
        module = FineTune(
            backbone=net(TorchVision, name="resnet18", width=0.125),
            layer_decay=0.5,
            head_lr=10,
            freeze=1,
            optim=Optim(partial(torch.optim.SGD, lr=0.8), "constant", warmup=0.0),
        )
        module.on_before_optimizer_step = lambda optimizer: rates.append(
            {group["name"]: group["lr"] for group in optimizer.param_groups}
        )
        trainer(tmp_path, 1).fit(module, datamodule=Digits(size=16, split=Splitting(limit=64)))
        wanted = {"layer1": 0.8 / 16, "layer2": 0.8 / 8, "layer3": 0.8 / 4, "layer4": 0.8 / 2, "head": 8.0}
        assert rates[0] == pytest.approx(wanted)
        held = {id(p) for group in module.configure_optimizers().param_groups for p in group["params"]}
        assert held == {id(p) for p in module.parameters() if p.requires_grad}
        assert len(held) == sum(len(group["params"]) for group in module.configure_optimizers().param_groups)

    def test_the_schedule_scales_every_rate_alike(self, tmp_path):
        seen = []
        module = FineTune(backbone=net(), layer_decay=0.5, optim=Optim(partial(torch.optim.SGD, lr=1.0), warmup=0.5))
        module.on_before_optimizer_step = lambda optimizer: seen.append([g["lr"] for g in optimizer.param_groups])
        trainer(tmp_path, 2).fit(module, datamodule=Digits(size=16, split=Splitting(limit=200)))
        assert len({rate[-1] for rate in seen}) > 2
        for rate in seen:
            assert rate == pytest.approx([rate[-1] / 4, rate[-1] / 2, rate[-1]])

    def test_a_small_decay_hardly_moves_the_first_stage(self, tmp_path):
        """The optimiser takes the rates to heart: SGD's first step is rate times gradient."""
        steps = {}
        for decay in (1.0, 0.1):
            before = state(net())
            module = tuned(
                tmp_path,
                Digits(size=16, batch_size=48, split=Splitting(limit=64)),
                1,
                layer_decay=decay,
                optim=Optim(partial(torch.optim.SGD, lr=0.1), warmup=0.0),
                keep_best=False,
            )
            steps[decay] = module.backbone.conv1[0].weight.detach() - before["conv1.0.weight"]
        torch.testing.assert_close(steps[0.1], steps[1.0] / 100, rtol=1e-2, atol=1e-8)


class TestTheBestEpoch:
    def test_its_weights_are_those_that_stay_and_are_tested(self, tmp_path):
        """From the third epoch on the rate is absurd, so that the last weights are not the best."""
        data, scores = Digits(size=16), []
        module = FineTune(backbone=net(), optim=Optim(ADAM.optimizer, "constant", 0.0))

        class Spoil(pl.Callback):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
                if trainer.current_epoch >= 2:
                    trainer.optimizers[0].param_groups[0]["lr"] = 30.0

            def on_validation_end(self, trainer, pl_module):
                scores.append((float(trainer.callback_metrics["val/accuracy"]), state(pl_module)))

        module.on_train_batch_start = lambda batch, batch_idx: None  # the schedule would mend the rate
        trainer(tmp_path, 4, callbacks=[Spoil(), Checkpoint()]).fit(module, datamodule=data)
        epoch = max(range(4), key=lambda i: scores[i][0])
        assert epoch < 2
        assert scores[3][0] < scores[epoch][0]
        assert module.best.epoch == epoch
        assert all(torch.equal(scores[epoch][1][name], tensor) for name, tensor in module.state_dict().items())
        result = scored(tmp_path, module, data)
        assert (result["epoch"], result["validation"]) == (epoch, pytest.approx(scores[epoch][0]))

        file = tmp_path / "checkpoints" / "last.ckpt"
        last = torch.load(file, weights_only=True)
        assert all(torch.equal(scores[3][1][name], tensor) for name, tensor in last["state_dict"].items())
        loaded = FineTune(backbone=net(), optim=ADAM)  # as pretext.load does
        loaded.on_load_checkpoint(last)
        loaded.load_state_dict(last["state_dict"])
        assert all(torch.equal(scores[epoch][1][name], tensor) for name, tensor in loaded.state_dict().items())
        again = FineTune(backbone=net(), optim=ADAM)  # as `pretext test RUN` does
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer(tmp_path).test(again, datamodule=data, ckpt_path=file, verbose=False)
        assert json.loads((tmp_path / "score.json").read_text()) == result

    def test_early_stopping_watches_the_validation_items(self, tmp_path):
        stop = EarlyStopping("val/accuracy", mode="max", patience=1, check_on_train_epoch_end=False)
        frozen = Optim(partial(torch.optim.SGD, lr=1e-12))
        module = tuned(tmp_path, Digits(size=16, split=Splitting(limit=200)), 50, [stop], optim=frozen, freeze=2)
        assert module.best.epoch == 0
        assert stop.stopped_epoch == 1

    def test_without_validation_items_the_last_weights_are_tested(self, tmp_path):
        data = Digits(size=16, split=Splitting(val=0))
        module = tuned(tmp_path, data, 2)
        assert module.best is None
        assert "validation" not in scored(tmp_path, module, data)


class Copy(pl.Callback):
    """Keeps the checkpoint of a step as if the run had been killed there."""

    def __init__(self, step, file):
        self.step, self.file = step, file

    def on_train_batch_end(self, trainer, pl_module, *rest):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.file)


@pytest.mark.parametrize("step", [5, 10])  # with 4 batches in an epoch: before and after the best may be known
def test_a_resumed_run_is_the_one_that_was_never_stopped(step, tmp_path):
    options = {"augment": Augment(crop=14, pad=1), "dropout": 0.3, "layer_decay": 0.7, "freeze": 1}
    file = tmp_path / "torn.ckpt"
    whole = tuned(tmp_path, Digits(size=16, split=Splitting(limit=300)), 4, [Copy(step, file)], **options)
    torch.manual_seed(99)
    torn = tuned(tmp_path, Digits(size=16, split=Splitting(limit=300)), 4, ckpt=file, **copy.deepcopy(options))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, torn.state_dict()[name]), name
    assert (whole.best.score, whole.best.epoch) == (torn.best.score, torn.best.epoch)


def test_same_seed_same_weights_and_another_seed_others(tmp_path):
    def head(seed):
        torch.manual_seed(seed + 7)
        backbone = net(dropout=0.2)
        torch.rand(seed + 1)  # what the process has drawn before does not matter
        return tuned(
            tmp_path, Digits(size=16, split=Splitting(limit=64)), 1, backbone=backbone, seed=seed
        ).head.weight.detach()

    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))


def test_several_labels_are_learnt_and_scored_by_mean_average_precision(tmp_path):
    data = Labelled(colours(400), colours(100, key=1), classes=["red", "green", "blue"])
    stop = EarlyStopping("val/map", mode="max", patience=8, check_on_train_epoch_end=False)
    result = scored(tmp_path, tuned(tmp_path, data, 6, [stop]), data)
    assert result["map"] > 0.9
    assert result["low"] <= result["map"] <= result["high"]
    assert result["chance"] < 0.5


@pytest.mark.parametrize(("kind", "make"), [(TinyVideo, directions), (TinySound, tones)])
def test_clips_and_sounds_are_learnt(kind, make, tmp_path):
    data = Labelled(make(300), make(100, key=1), classes="ab")
    assert scored(tmp_path, tuned(tmp_path, data, 6, backbone=net(kind)), data)["low"] > 0.7


def test_an_image_network_learns_from_a_clips_frames(tmp_path):
    """Which way a bar moves no single frame tells, but how bright the clip is."""
    x, _ = directions(160)
    dark = torch.arange(160) % 2
    x = torch.where(dark[:, None, None, None, None] == 1, x // 2, x)
    data = Labelled((x[:120], dark[:120]), (x[120:], dark[120:]), classes=["bright", "dark"])
    module = tuned(tmp_path, data, 10)
    assert scored(tmp_path, module, data)["low"] > 0.8
    module.eval()
    batch = {"x": x[:5], "index": torch.arange(5)}
    each = torch.stack([module.logits(x[:5, :, t].float() / 255)[""] for t in range(6)]).mean(0)
    torch.testing.assert_close(module.predict_step(batch, 0)["logits"], each)


CONFIG = """
model:
  class_path: pretext.supervised.finetune.FineTune
  init_args:
    layer_decay: 0.5
    optim:
      optimizer: {class_path: torch.optim.SGD, init_args: {lr: 0.1, momentum: 0.9}}
data: {class_path: datamodules.Digits, init_args: {size: 16, limit: 300}}
trainer:
  max_epochs: 2
  log_every_n_steps: 1
  accelerator: cpu
  enable_progress_bar: false
  callbacks:
    - class_path: pytorch_lightning.callbacks.EarlyStopping
      init_args: {monitor: val/accuracy, mode: max, patience: 5, check_on_train_epoch_end: false}
"""


def test_a_run_is_fine_tuned_tested_and_loaded_from_the_command_line(tmp_path, capsys):
    pretext = Pretrainer(net(), {"turn": Rotation}, optim=ADAM)
    run, tune = tmp_path / "pretext", tmp_path / "tune"
    trainer(run, 1, callbacks=[Checkpoint()]).fit(pretext, datamodule=Digits(size=16, split=Splitting(limit=200)))
    tasks = "{turn: {class_path: pretext.Rotation}}"
    (run / "config.yaml").write_text(f"model: {{backbone: {{class_path: nets.TinyNet}}, tasks: {tasks}}}")
    assert all(
        torch.equal(pretext.backbone.state_dict()[name], tensor)
        for name, tensor in FineTune(run=str(run)).backbone.state_dict().items()
    )
    (tmp_path / "tune.yaml").write_text(CONFIG)
    options = ["--model.run", str(run), "--trainer.default_root_dir", str(tune)]
    assert main(["fit", "-c", str(tmp_path / "tune.yaml"), *options]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning advises workers
        assert main(["test", str(tune)]) == 0
    result = json.loads((tune / "score.json").read_text())
    module, data = load(tune), Digits(size=16)
    right = [module.predict_step(batch, 0)["logits"].argmax(1) == batch["y"] for batch in data.ordered("test")]
    assert float(torch.cat(right).double().mean()) == pytest.approx(result["accuracy"])
    assert result["items"] == 500


def test_a_trial_run_leaves_nothing_behind(tmp_path):
    module, runner = FineTune(backbone=net(), optim=ADAM), trainer(tmp_path, fast_dev_run=True)
    runner.fit(module, datamodule=Digits(size=16, split=Splitting(limit=64)))
    runner.test(module, datamodule=Digits(size=16), verbose=False)
    assert not list(tmp_path.iterdir())


class TestRefusals:
    def test_no_labels(self, tmp_path):
        with pytest.raises(ValueError, match="FineTune learns classes, but Labelled has none"):
            tuned(tmp_path, Labelled(tones(8), tones(8)), 1, backbone=net(TinySound))

    def test_options_out_of_range(self):
        for options in ({"layer_decay": 0.0}, {"layer_decay": 1.5}, {"head_lr": 0}, {"dropout": 1.0}):
            with pytest.raises(ValueError, match=r"FineTune: layer_decay=.*give a decay in \(0, 1\]"):
                FineTune(backbone=net(), **options)
        with pytest.raises(ValueError, match=r"label_smoothing is a share in \[0, 1\), got 1"):
            FineTune(backbone=net(), label_smoothing=1)


class Losses(pl.Callback):
    """Keeps what a step measured."""

    def on_train_batch_end(self, trainer, pl_module, *rest):
        self.last = {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_an_auxiliary_classifier_learns_beside_the_other_and_is_not_asked_afterwards(tmp_path):
    """DARTS reads the second reduction; its loss counts 0.4 times."""
    data, seen = Digits(size=16, batch_size=64, split=Splitting(limit=256)), Losses()
    cells = {"genotype": "imagenet_col", "width": 2, "cells": 3, "stem": "small", "tap_reductions": True}
    losses = {}
    for weight in (1.0, 0.5):
        module = tuned(
            tmp_path / str(weight),
            data,
            1,
            [seen],
            backbone=net(Cells, **cells),
            auxiliary=Auxiliary(weight, "reduction2"),
            optim=Optim(partial(torch.optim.SGD, lr=0.0)),
        )
        losses[weight] = seen.last["train/loss"], seen.last["train/auxiliary/loss"]
        assert set(module.logits(torch.rand(2, 3, 16, 16))) == {"", AUXILIARY}
        assert set(module.eval().logits(torch.rand(2, 3, 16, 16))) == {""}
    (whole, its), (half, its_again) = losses.values()
    assert its == its_again > 0
    assert whole - half == pytest.approx(its / 2, abs=1e-5)  # sums of about 5 in float32
    assert "auxiliary" not in str(scored(tmp_path, module, data))


@pytest.mark.parametrize("auxiliary", [Auxiliary(-0.4), Auxiliary(0.4, "conv9")])
def test_an_auxiliary_classifier_of_nothing_is_refused(auxiliary):
    with pytest.raises(ValueError, match=r"FineTune: Auxiliary.*stages conv1, conv2; give a positive weight"):
        FineTune(backbone=net(), auxiliary=auxiliary)
