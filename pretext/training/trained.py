"""A run in memory: what `pretext.fit` returns, and every verb takes."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytorch_lightning as pl

from pretext.core.types import Backbone
from pretext.training.host import Host
from pretext.training.unwritten import can_be_built


@dataclass(frozen=True, repr=False)
class Run:
    """A run: its folder, and in memory what it trained and on what.

    Args:
        folder: with config.yaml, checkpoints and logs; it is not there where no step was taken.
        module: trained, or as it is where training did not finish.
        data: what it was trained on.
        steps: taken in all, also before it was resumed.

    """

    folder: Path
    module: Host
    data: pl.LightningDataModule
    steps: int = 0

    @property
    def backbone(self) -> Backbone:
        """The trained network."""
        return self.module.backbone

    @property
    def is_written(self) -> bool:
        """Whether the folder says all that its module was built of, so that another process can build it again."""
        return can_be_built(self.folder, ("model",))

    def copied(self) -> Host:
        """Copy the module, so that training the copy leaves this run as it is."""
        trainer, self.module._trainer = self.module._trainer, None  # which has the data and all callbacks
        try:
            return deepcopy(self.module).eval()
        finally:
            self.module._trainer = trainer

    def __fspath__(self) -> str:
        """Let a run stand where a path is wanted."""
        return str(self.folder)

    def __repr__(self) -> str:
        tasks = {name: type(task).__name__ for name, task in getattr(self.module, "tasks", {}).items()}
        asked = ", ".join(name if name == kind else f"{name} ({kind})" for name, kind in tasks.items())
        size = sum(p.numel() for p in self.backbone.parameters())
        network = f"{type(self.backbone).__name__}, {size:,} parameters"
        return f"Run({self.folder}: {asked or type(self.module).__name__}; step {self.steps}; {network})"
