"""What `pretext.fit` makes of a user's own options, and of a module that is trained twice."""

import pytest
import torch
from nets import TinyNet
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import pretext
from pretext import Pretrainer, Rotation
from pretext.core.rng import rng

QUICK = {"accelerator": "cpu", "enable_progress_bar": False}


def loader(count=12):
    return DataLoader(TensorDataset(torch.rand(count, 3, 16, 16, generator=rng("cpu", "fitting"))), batch_size=4)


def module():
    torch.manual_seed(0)
    return Pretrainer(TinyNet(), {"turn": Rotation})


def test_who_limits_the_steps_has_no_limit_of_epochs(tmp_path):
    """Three batches an epoch: ten epochs, the default, would end it at step 30."""
    assert pretext.fit(module(), loader(), tmp_path / "steps", max_steps=32, **QUICK).steps == 32
    assert pretext.fit(module(), loader(), tmp_path / "both", max_steps=32, max_epochs=2, **QUICK).steps == 6


def test_a_run_keeps_its_weights_when_its_module_learns_on(tmp_path):
    host, data = module(), (loader(), loader())
    first = pretext.fit(host, data, tmp_path / "a", max_epochs=1, **QUICK)
    before = {name: value.clone() for name, value in first.module.state_dict().items()}
    said = pretext.test(first, accelerator="cpu")
    second = pretext.fit(host, data, tmp_path / "b", max_epochs=3, **QUICK)
    assert second.module is host is not first.module
    assert all(torch.equal(value, before[name]) for name, value in first.module.state_dict().items())
    assert not torch.equal(second.backbone.state_dict()["conv1.0.weight"], before["backbone.conv1.0.weight"])
    assert pretext.test(first, accelerator="cpu") == said
    assert pretext.test(tmp_path / "a", data, accelerator="cpu") == said


def test_lightnings_own_checkpoints_stand_beside_the_last(tmp_path):
    best = ModelCheckpoint(monitor="val/loss", dirpath=tmp_path / "best")
    data = {"train": loader(), "val": loader()}
    run = pretext.fit(module(), data, tmp_path / "run", max_epochs=2, callbacks=[best], **QUICK)
    assert (run.folder / "checkpoints" / "last.ckpt").is_file()
    assert [file.suffix for file in (tmp_path / "best").iterdir()] == [".ckpt"]


@pytest.mark.parametrize("option", [{"enable_checkpointing": True}, {"default_root_dir": "x"}])
def test_what_is_decided_is_no_option(option, tmp_path):
    with pytest.raises(ValueError, match=next(iter(option))):
        pretext.fit(module(), loader(), tmp_path / "run", **option)
