"""Wrong uses from Python: each must be answered by one line that says what it got, what it wanted, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from schedule import Answer, Clock, Part, Question
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pretext
from datamodules import Digits, Sounds
from datamodules.options import Sampling
from fault_parts.setting import Setting
from pretext import ArrowOfTime, Pretrainer, Rotation, Sound, Wrapped
from pretext.training.callbacks import Online

ABOUT = "wrong uses from Python"
X, Y = torch.rand(8, 3, 16, 16), torch.arange(8) % 2
STEP: dict[str, Any] = {"max_steps": 1, "max_epochs": -1, "accelerator": "cpu"}
KINDS = ("ValueError", "TypeError", "FileNotFoundError", "AttributeError")
SMALL = 6  # of all uses, so many are tried in a small part


def net() -> pretext.NIN:
    """Make a small network for pictures."""
    return pretext.NIN(blocks=2, width=0.1)


def wave() -> Sound:
    """Make a small network for sounds."""
    return Sound(net())


def sound() -> Pretrainer:
    """Make a training on sounds."""
    return Pretrainer(wave(), {"way": ArrowOfTime})


def model(backbone: Any = None, **tasks: Any) -> Pretrainer:
    """Make a training on pictures."""
    return Pretrainer(backbone or net(), tasks or {"turn": Rotation})


def loader(*parts: Tensor, **options: Any) -> DataLoader[Any]:
    """Load batches of four."""
    return DataLoader(TensorDataset(*parts), **{"batch_size": 4} | options)


def fit(data: Any, module: Any = None, **options: Any) -> pretext.Run:
    """Train for a step."""
    return pretext.fit(module or model(), data, "run", **STEP | options)


def probe(data: Any, network: Any = None, **options: Any) -> pretext.ProbeResult:
    """Probe by the nearest neighbours."""
    return pretext.probe(network or net(), data, **{"folder": "probe", "protocols": ("knn",)} | options)


class Named(torch.utils.data.Dataset[Any]):
    """Pictures with names for labels, or under other keys."""

    def __init__(self, item: Callable[[int], Any]) -> None:
        self.item = item

    def __len__(self) -> int:
        return 4

    def __getitem__(self, place: int) -> Any:
        return self.item(place)


class Empty(pl.LightningDataModule):
    """A data module that loads nothing."""


def broken(x: Tensor) -> Tensor:
    """Put a NaN into pictures."""
    x = x.clone()
    x[0, 0, 0, 0] = float("nan")
    return x


WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "tasks as a list": (lambda: Pretrainer(net(), [Rotation]), "Pretrainer: tasks is a list; give them by name"),
    "a task that is built": (lambda: model(turn=Rotation(net())), "that is built already; give the class"),
    "a task by its name": (lambda: model(turn="rotation"), "tasks.'turn'. is 'rotation'; give the class"),
    "no task": (lambda: Pretrainer(net(), {}), "Pretrainer: no task; give at least one"),
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
    "pictures without channels": (lambda: fit(loader(X[:, 0])), r"NIN: the data is .*; it reads \(N, C, H, W\)"),
    "pictures to a network for sound": (lambda: probe(loader(X, Y), wave()), "Sound: the train data is .*reads sounds"),
    "a module that is none": (lambda: pretext.fit(nn.Linear(2, 2), loader(X)), "module is a Linear; give a pretext.Pr"),
    "no labels to probe": (lambda: probe(loader(X)), "probe needs labels, but Loaders has none"),
    "a network without data": (lambda: pretext.probe(net()), "probe: a NIN and no data"),
    "an unknown protocol": (lambda: probe(loader(X, Y), protocols=("linaer",)), "'linaer'; did you mean linear"),
    "no run": (lambda: pretext.probe("nowhere", loader(X, Y)), "no run in nowhere: a run is a folder with config.yaml"),
    "nothing to compare": (lambda: pretext.compare(), "compare: no run; give at least one"),
    "an unknown stage": (lambda: fit(Digits(size=16), callbacks=[Online(stage="conv9")]), "but NIN has"),
    "another sample rate": (lambda: fit(Sounds("x", sampling=Sampling(8000)), sound()), "16000, but Sounds has 8000"),
    "a run that cannot be exported": (lambda: pretext.export(3), "export: run is a int; give a run or a backbone"),
    "an unknown format": (lambda: pretext.export(net(), "onnx"), "export: to='onnx'; choose one of torchvision, safe"),
    "a split misspelt": (lambda: fit({"trian": loader(X)}), "data: a dict with 'trian'; did you mean train"),
    "no split to train on": (lambda: fit({"test": loader(X)}), "data: a dict of test; give a loader as train"),
    "a module to evolve": (lambda: pretext.evolve(model()), "evolve: config is a Pretrainer; give the file"),
    "half a config to evolve": (lambda: pretext.evolve({"tasks": {}}), "evolve: a config without model; give"),
    "a module to bench": (lambda: pretext.bench(model()), "bench: suite is a Pretrainer; give the file"),
    "a dict to bench": (lambda: pretext.bench({"boards": {}}), "bench: suite is a dict; give the file"),
    "a module to compare": (lambda: pretext.compare([model()]), "compare: a Pretrainer; give runs or their folders"),
    "a count in words": (lambda: pretext.show(model(), loader(X), count="two"), "count='two'; give a whole number"),
    "dims in words": (lambda: probe(loader(X, Y), dims="16"), "dims='16'; give a whole number, at least 1"),
    "negative dims": (lambda: probe(loader(X, Y), dims=-1), "dims=-1; give a whole number, at least 1"),
    "a number as augment": (lambda: Pretrainer(net(), {"a": Rotation}, augment=28), r"give pretext.Augment\(crop=28\)"),
    "weights as weighting": (
        lambda: Pretrainer(net(), {"t": Rotation}, weighting={"t": 2}),
        "Pretrainer: weighting=.*give a class, or functools.partial",
    ),
    "an optimiser as optim": (
        lambda: Pretrainer(net(), {"t": Rotation}, optim=torch.optim.Adam),
        "Pretrainer: optim is the class Adam; give pretext.Optim",
    ),
    "an optimiser by its name": (lambda: pretext.Optim("adam"), "Optim: optimizer is a str; give a class"),
    "a class as tasks": (lambda: Pretrainer(net(), Rotation), "tasks is the class Rotation; give them by name"),
    "a class as backbone": (lambda: model(pretext.NIN), r"backbone is the class NIN, .*call it: NIN\(...\)"),
    "an option misspelt": (lambda: fit(loader(X), max_step=2), "fit: no option max_step; did you mean max_steps"),
    "a class misspelt": (lambda: pretext.Rotatoin, "no attribute 'Rotatoin'; did you mean Rotation"),
    "puzzles of no task": (lambda: pretext.show(model()), "show: no data; give some"),
}  # fmt: skip


def part(setting: Setting) -> Part:
    """Make the part: every use is a question."""
    names = list(WRONG)
    picked = setting.size(names, names[:: -(-len(names) // SMALL)])
    asked = [Question(name, partial(ask, setting, *WRONG[name])) for name in picked]
    return Part("uses", ABOUT, 1.0, lambda: asked, table)


def ask(setting: Setting, use: Callable[[], object], words: str, clock: Clock, before: Answer) -> Answer:
    """Try a use.

    Raises:
        AssertionError: it is not answered as it should be.

    """
    home = setting.out / "uses"
    home.mkdir(parents=True, exist_ok=True)
    kind, said = answered(home, use)
    wrong = [
        *([] if kind in KINDS else [f"it ends with {kind}"]),
        *([] if len(said.splitlines()) == 1 else ["not one line"]),
        *([] if re.search(words, said) else [f"no {words!r} in it"]),
        *(["a run was trained"] if (home / "run" / "checkpoints").exists() else []),
    ]
    if wrong:
        raise AssertionError(f"{', '.join(wrong)}: {said}")
    return {"answer": said, "kind": kind}


def answered(home: Path, use: Callable[[], object]) -> tuple[str, str]:
    """Try a use in a folder; return the class of its error and its words."""
    with chdir(home), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        try:
            use()
        except Exception as error:  # whatever it is, it is the answer
            return type(error).__name__, str(error)
    return "nothing", ""


def table(answers: dict[str, Answer]) -> list[str]:
    """Set each use beside its answer."""
    lines = ["| use | answer | |", "|---|---|---|"]
    for use, answer in answers.items():
        said = answer.get("answer", answer.get("error", "")).replace("|", "\\|")
        lines.append(f"| {use} | {said} | {answer.get('kind', '-')} |")
    good = sum("answer" in answer for answer in answers.values())
    return [f"{good} of {len(answers)} wrong uses were answered by one line.", "", *lines]
