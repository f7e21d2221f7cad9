"""Wrong uses from Python: each is told in one line that names the class, what it got, what it wanted, what to do."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from nets import TinyNet, WaveNet
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pretext
from datamodules import Digits, Sounds
from datamodules.options import Sampling
from pretext import ArrowOfTime, Pretrainer, Rotation, Sound, Wrapped
from pretext.training.callbacks import Online

X, Y = torch.rand(8, 3, 16, 16), torch.arange(8) % 2
STEP = {"max_steps": 1, "max_epochs": -1, "accelerator": "cpu"}


def model(backbone=None, **tasks):
    return Pretrainer(backbone or TinyNet(), tasks or {"turn": Rotation})


def loader(*parts, **options):
    return DataLoader(TensorDataset(*parts), **{"batch_size": 4} | options)


def fit(data, module=None, **options):
    return pretext.fit(module or model(), data, "run", **STEP | options)


def probe(data, net=None, **options):
    return pretext.probe(net or TinyNet(), data, **{"folder": "probe", "protocols": ("knn",)} | options)


class Named(torch.utils.data.Dataset):
    """Pictures with names for labels, or under other keys."""

    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 4

    def __getitem__(self, place):
        return self.item(place)


class Empty(pl.LightningDataModule):
    """A data module that loads nothing."""


def broken(x):
    x = x.clone()
    x[0, 0, 0, 0] = float("nan")
    return x


WRONG = {
    "tasks as a list": (lambda: Pretrainer(TinyNet(), [Rotation]), "Pretrainer: tasks is a list; give them by name"),
    "a task that is built": (lambda: model(turn=Rotation(TinyNet())), "that is built already; give the class"),
    "a task by its name": (lambda: model(turn="rotation"), "tasks.'turn'. is 'rotation'; give the class"),
    "no task": (lambda: Pretrainer(TinyNet(), {}), "Pretrainer: no task; give at least one"),
    "a plain module as backbone": (lambda: model(nn.Conv2d(3, 8, 3)), r"is a Conv2d, .* wrap it: pretext.Wrapped"),
    "a backbone by its name": (lambda: model("resnet18"), "backbone is a str, .*give a network"),
    "a task of clips on pictures": (lambda: model(turn=ArrowOfTime), "ArrowOfTime needs a backbone with an axis 't'"),
    "no such module in Wrapped": (lambda: Wrapped(nn.Sequential(nn.Conv2d(3, 4, 3)), {"a": "b"}), "no module at b"),
    "a tensor as data": (lambda: fit(X), r"data is a tensor; wrap it: DataLoader\(TensorDataset"),
    "a data set without loader": (lambda: fit(TensorDataset(X)), "is a data set, TensorDataset; wrap it: DataLoader"),
    "a generator": (lambda: fit(x for x in X), "can be gone through once only; give a DataLoader"),
    "a name as data": (lambda: fit("digits"), "data is 'digits'; give a DataLoader"),
    "an empty loader": (lambda: fit(loader(X[:3], drop_last=True)), "data has no batch; look at its items, batch_size"),
    "a data module that loads nothing": (lambda: fit(Empty()), "no train data; .*define train_dataloader"),
    "values up to 255": (lambda: fit(loader(X * 255)), r"x goes from .* to 2\d\d; .*divide by 255, or give uint8"),
    "normalised pictures": (lambda: fit(loader((X - 0.5) / 0.2)), "leave normalisation to the backbone"),
    "NaN": (lambda: fit(loader(broken(X))), "x has NaN; look at the file or the transform"),
    "int64 pictures": (lambda: fit(loader((X * 255).long())), "x is torch.int64; give uint8 pictures"),
    "three parts in a batch": (lambda: fit(loader(X, Y, Y)), r"a list of 3 .*; yield a tensor x, a pair"),
    "other keys": (lambda: fit(DataLoader(Named(lambda k: {"image": X[k]}))), 'a dict of image; yield .*"x": x'),
    "words as labels": (lambda: fit(DataLoader(Named(lambda k: (X[k], "cat")))), "y is a .*; give class numbers"),
    "arrays": (lambda: fit([np.zeros((2, 3, 16, 16))]), "ndarray.; yield a tensor x"),
    "pictures without channels": (lambda: fit(loader(X[:, 0])), r"TinyNet: the data is .*; it reads \(N, C, H, W\)"),
    "pictures to a network for sound": (lambda: probe(loader(X, Y), WaveNet()), "WaveNet: the data is .*reads sounds"),
    "a module that is none": (lambda: pretext.fit(nn.Linear(2, 2), loader(X)), "module is a Linear; give a pretext.Pr"),
    "no labels to probe": (lambda: probe(loader(X)), "probe needs labels, but Loaders has none"),
    "a network without data": (lambda: pretext.probe(TinyNet()), "probe: a TinyNet and no data"),
    "an unknown protocol": (lambda: probe(loader(X, Y), protocols=("linaer",)), "'linaer'; did you mean linear"),
    "no run": (lambda: pretext.probe("nowhere", loader(X, Y)), "no run in nowhere: a run is a folder with config.yaml"),
    "nothing to compare": (lambda: pretext.compare(), "compare: no run; give at least one"),
    "an unknown stage": (lambda: fit(Digits(size=16), callbacks=[Online(stage="conv9")]), "but TinyNet has conv1"),
    "another sample rate": (lambda: fit(Sounds("x", sampling=Sampling(8000)), sound()), "16000, but Sounds has 8000"),
    "a run that cannot be exported": (lambda: pretext.export(3), "export: run is a int; give a run or a backbone"),
    "puzzles of no task": (lambda: pretext.show(model()), "show: no data; give some"),
}  # fmt: skip


def sound():
    return Pretrainer(Sound(TinyNet()), {"way": ArrowOfTime})


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_use_is_told_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, words = WRONG[name]
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=words) as told:
        call()
    assert len(str(told.value).splitlines()) == 1
    assert not (tmp_path / "run" / "checkpoints").exists()
