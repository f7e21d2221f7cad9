"""Numbers are learnt: vectors and maps that the colours of real files give away."""

import json
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet
from PIL import Image
from torch.optim import SGD

import pretext
from datamodules import Digits, PairedFiles, Splitting
from pretext import Regression, load
from pretext.evaluation.segment import Colours
from pretext.training.optimization import Optim

sgd = Optim(partial(SGD, lr=0.2, momentum=0.9))
SIDE = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Photos of two halves of random colours; how red each pixel is, and the mean colour in other units."""
    root = tmp_path_factory.mktemp("pairs")
    draws = np.random.default_rng(0)
    for folder in ("images", "red", "mean"):
        (root / folder).mkdir()
    for k in range(48):
        photo = np.repeat(draws.integers(0, 256, (1, 2, 3)), SIDE // 2, 1).repeat(SIDE, 0).astype(np.uint8)
        Image.fromarray(photo).save(root / f"images/{k}.png")
        red = 100 + 3 * photo[..., 0].astype(np.float32)
        red[:, 0] = np.nan if k % 2 else red[:, 0]  # not known
        np.save(root / f"red/{k}.npy", red)
        np.save(root / f"mean/{k}.npy", photo.mean((0, 1)).astype(np.float32) / 10 - 5)
    return root


def pairs(root, targets):
    return PairedFiles(root, targets, canvas=SIDE, batch_size=8, split=Splitting(test=0.25, val=0.2))


def scored(module, data, folder, epochs=12):
    runner = pl.Trainer(
        max_epochs=epochs,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    runner.fit(module, datamodule=data)
    assert runner.callback_metrics["val/score"] == runner.callback_metrics["val/r2"] > 0.5
    runner.test(module, datamodule=data, verbose=False)
    return json.loads((folder / "score.json").read_text())


@pytest.mark.parametrize("targets", ["red", "mean"])
def test_numbers_that_colours_give_away_are_learnt_in_their_own_units(root, tmp_path, targets):
    torch.manual_seed(0)
    module = Regression(backbone=Colours(), optim=sgd)
    result = scored(module, pairs(root, targets), tmp_path, epochs=25)
    assert 0.9 < result["low"] <= result["r2"] <= result["high"] <= 1
    assert (result["task"], result["items"], result["chance"], result["stage"]) == ("regression", 12, 0.0, "colours")
    batches = list(pairs(root, targets).ordered("test"))
    said = torch.cat([module.eval().predicted(batch) for batch in batches]).detach()
    true = torch.cat([batch["y"] for batch in batches])
    assert said.shape == true.shape
    assert float((said - true)[~true.isnan()].square().mean().sqrt()) == pytest.approx(result["rmse"], rel=1e-3)


def test_numbers_are_looked_at_on_the_cpu_though_lightning_makes_the_accelerator_the_default(root, tmp_path):
    module = Regression(backbone=TinyNet(), optim=sgd)
    trainer = pl.Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path, enable_progress_bar=False)
    trainer.datamodule, module.trainer = pairs(root, "mean"), trainer
    trainer.datamodule.setup("fit")
    with torch.device("meta"):
        module.configure_model()
    assert module.shape == [3]


def test_a_frozen_backbone_keeps_every_byte_and_a_trained_one_does_not(root, tmp_path):
    for freeze in (True, False):
        torch.manual_seed(0)
        module = Regression(backbone=TinyNet(), stage="conv1", freeze=freeze, optim=sgd)
        before = {name: value.clone() for name, value in module.backbone.state_dict().items()}
        scored(module, pairs(root, "mean"), tmp_path / str(freeze))
        after = module.backbone.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before) == freeze


def test_a_run_is_made_tested_loaded_and_probed(root, tmp_path):
    data = pairs(root, "mean")
    run = pretext.fit(Regression(backbone=TinyNet(), optim=sgd), data, tmp_path / "run", max_epochs=2)
    module = load(run.folder)
    assert module.shape == [3]
    assert torch.equal(module.middle, run.module.middle.cpu())
    batch = next(iter(data.ordered("test")))
    torch.testing.assert_close(module.predicted(batch), run.module.eval().predicted(batch))
    result = pretext.probe(run, data, protocols=["linear"], device="cpu")
    assert {row.features for row in result.stages} == {"trained", "random", "raw"}
    raw = next(row for row in result.stages if row.features == "raw")
    assert raw.score("regression").figures["r2"] > 0.9  # the mean colour is linear in pixels


def test_what_cannot_be_learnt_is_refused_in_one_line(root, tmp_path):
    with pytest.raises(ValueError, match=r"Regression: TinyNet has no stage 'none'; choose one of"):
        Regression(backbone=TinyNet(), stage="none")
    with pytest.raises(ValueError, match=r"Regression: y torch.int64 .*float vectors"):
        scored(Regression(backbone=TinyNet()), Digits(batch_size=8), tmp_path)
    module = Regression(backbone=Colours(), optim=sgd)
    scored(module, pairs(root, "mean"), tmp_path)
    with pytest.raises(ValueError, match=r"after training on \[3\] numbers"):
        module.training_step(next(iter(pairs(root, "red").ordered("train"))), 0)
