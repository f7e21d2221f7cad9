"""The record of a run: under which circumstances, against which chance."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

import pretext
from pretext.core.files import write_json
from pretext.training.callbacks.history import Board, History

PACKAGES = ("torch", "torchvision", "pytorch-lightning")


class Record(pl.Callback):
    """Write `environment.json` (versions, machine, command) and `chance.json` (blind guesses) into the run.

    They are written when the first step is done: a start that fails leaves nothing.
    """

    def __init__(self, command: str) -> None:
        self.command = command
        self._written = False
        self._guesses: dict[str, dict[str, float]] = {}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.is_global_zero:
            self._guesses = {name: _blind_guess(task) for name, task in getattr(pl_module, "tasks", {}).items()}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        trial = trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        if self._written or not trainer.is_global_zero or trial:
            return
        self._written = True
        run = Path(trainer.default_root_dir)
        file = run / "environment.json"
        first = json.loads(file.read_text()) if file.exists() else None  # a resumed run keeps how it began
        began = {**environment(), "precision": str(trainer.precision), "command": self.command}
        write_json(file, first | {"resumed": self.command} if first else began)
        write_json(run / "chance.json", self._guesses)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, Board | History):
                logger.begun = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what is trained; of a run that is finished already nothing is, and this is not called."""
        if trainer.is_global_zero:
            trained = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
            print(f"{counted(trained)} parameters, run {trainer.default_root_dir}", file=sys.stderr)
            for name, task in getattr(pl_module, "tasks", {}).items():
                print(f"  {name}: {type(task).__name__}({task.extra_repr()})", file=sys.stderr)


def counted(parameters: int) -> str:
    """Write a number of parameters with two or three figures: 11.2 M, 4,520."""
    return f"{parameters / 1e6:.1f} M" if parameters >= 1e6 else f"{parameters:,}"


def environment() -> dict[str, str]:
    """Name the versions and the machine that a figure was made with."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "pretext": pretext.__version__,  # a checkout need not be installed
        **{package: version(package) for package in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "cores": str(os.cpu_count()),
        "threads": str(torch.get_num_threads()),
    }


def _blind_guess(task: object) -> dict[str, float]:
    chance = task.chance()  # type: ignore[attr-defined]  # ModuleDict forgets that its modules are tasks
    return {"loss": float(chance.loss), **{key: float(value) for key, value in chance.scores.items()}}
