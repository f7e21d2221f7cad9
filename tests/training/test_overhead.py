"""What is taken off every step: the answers stay what they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.profilers import PassThroughProfiler, SimpleProfiler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pretext
from pretext.training.overhead import HOOKS, NVML, Unwatched, lightened

OPTIONS = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
WITHOUT_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA, whose count torch keeps")


def module() -> pretext.Pretrainer:
    backbone = pretext.TorchVision("resnet18", stem="small", stem_stride=2, width=0.0625)
    return pretext.Pretrainer(backbone=backbone, tasks={"rotation": pretext.Rotation})


def test_a_profiler_that_a_user_asked_for_is_kept() -> None:
    assert isinstance(lightened(pl.Trainer(**OPTIONS)).profiler, Unwatched)
    assert isinstance(lightened(pl.Trainer(profiler="simple", **OPTIONS)).profiler, SimpleProfiler)


def test_lightning_profiles_by_the_method_that_is_replaced() -> None:
    """Or the replacement would have no effect."""
    assert type(pl.Trainer(**OPTIONS).profiler) is PassThroughProfiler
    assert "profile" in vars(Unwatched)
    with Unwatched().profile("anything"), Unwatched().profile("within it"):
        pass
    assert Unwatched().profile("of a function")(lambda: 3)() == 3


@WITHOUT_CUDA
def test_no_driver_is_looked_for_in_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(NVML, "1")
    images = DataLoader(TensorDataset(torch.zeros(8, 3, 16, 16)), batch_size=2)
    looked: list[int] = []
    torch_asks = torch.cuda.device_count  # which loads NVIDIA's library
    host = module()

    class Counted(pl.Callback):
        def on_train_batch_start(self, *unused: object) -> None:
            monkeypatch.setattr(torch.cuda, "device_count", lambda: looked.append(1) or torch_asks())

    pretext.fit(host, images, tmp_path / "run", max_steps=4, accelerator="cpu", callbacks=[Counted()])
    assert os.environ[NVML] == "0"
    assert not looked
    assert not torch.cuda.is_available()


def test_a_host_knows_in_which_hook_it_is_and_keeps_its_parts() -> None:
    host = module()
    host._current_fx_name = "training_step"
    assert host._current_fx_name == "training_step"
    host.extra, host.more = nn.Linear(2, 2), nn.Parameter(torch.zeros(1))
    assert dict(host.named_modules())["extra"] is host.extra
    assert dict(host.named_parameters())["more"] is host.more


def test_lightning_passes_by_the_hooks_that_a_callback_has_not() -> None:
    class Two(pl.Callback):
        def __init__(self) -> None:
            self.called: list[str] = []
            self.on_after_backward = lambda *unused: self.called.append("own")  # type: ignore[method-assign]

        def on_train_batch_end(self, *unused: object) -> None:
            self.called.append("end")

    class Heir(Two):
        pass

    callback = Heir()
    quiet = {"enable_progress_bar": False, "limit_val_batches": 0}
    trainer = lightened(pl.Trainer(callbacks=[callback], max_steps=2, **quiet, **OPTIONS))
    assert all(callable(getattr(pl.Callback, hook)) for hook in HOOKS)  # they are called so by this Lightning
    idle = {hook for hook in HOOKS if getattr(callback, hook) is None}
    assert idle == set(HOOKS) - {"on_after_backward", "on_train_batch_end"}
    images = DataLoader(TensorDataset(torch.zeros(8, 3, 16, 16)), batch_size=4)
    trainer.fit(module(), images, images)
    assert callback.called == ["own", "end"] * 2
