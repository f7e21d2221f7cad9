"""What the modules that learn across domains share: classes, and the choice of an epoch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import nn

from pretext.supervised.adaptation.readouts import Beside
from pretext.supervised.adaptation.selection import Choice
from pretext.supervised.labelled import classes_of
from pretext.supervised.module import fits
from pretext.training.execution import Execution
from pretext.training.host import Host
from pretext.training.inputs import InputPipeline
from pretext.training.optimization import Optim


class AcrossDomains(Host, ABC):
    """A module that learns the source's classes; the epoch that is tested is chosen without a label of the target.

    Args:
        inputs: the backbone, and what turns loaded data into what it sees.
        optim: the optimiser and its schedule.
        execution: how the backbone is run.
        seed: first part of the key of every random draw.
        keep_best: use the weights of the best epoch, see `Choice`; else the last ones.
        beside: tested runs to compare with.

    """

    def __init__(
        self, inputs: InputPipeline, optim: Optim, execution: Execution, seed: int, keep_best: bool, beside: Beside
    ) -> None:
        super().__init__(inputs, optim, execution, seed)
        self.choice, self.beside = Choice(keep_best), beside
        self.classes: list[str] = []

    @abstractmethod
    def begin(self, classes: int) -> None:
        """Build what depends on the number of classes, from keys of its own."""

    def configure_model(self) -> None:
        names = classes_of(getattr(self.trainer, "datamodule", None), self.classes, type(self).__name__)
        _name_classes(self, names)
        if fits(self):
            nn.Module.train(self)  # a trunk that comes out of a run is in eval mode, and Lightning leaves it there

    def on_fit_end(self) -> None:
        self.choice.take(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["classes"] = list(self.classes)
        self.choice.save(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.classes and self.classes != checkpoint["classes"]:  # the data's, where a trainer asked for them
            classes_of(self, checkpoint["classes"], type(self).__name__)
        _name_classes(self, checkpoint["classes"])
        self.choice.load(self, checkpoint)


def _name_classes(module: AcrossDomains, classes: list[str]) -> None:
    """Tell a module its classes, unless it knows them, and let it begin."""
    if not module.classes:
        module.classes = list(classes)
        module.begin(len(classes))
