"""What every Lightning module with a backbone shares."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from pretext.core.built import Built
from pretext.core.errors import described, require
from pretext.core.rng import rng, seed_torch
from pretext.core.tree import mapped
from pretext.core.types import Backbone, Seen, Tree
from pretext.training.batches import check_first, lawful
from pretext.training.execution import Execution
from pretext.training.figures import Figures
from pretext.training.inputs import InputPipeline
from pretext.training.optimization import LearningRates, Optim
from pretext.training.recording import Recorded

HOOK = "_current_fx_name"
"""In which hook a module is. Lightning sets it forty times a step; torch looks at each value whether it is a part."""


def require_backbone(backbone: object, asker: str) -> None:
    """Refuse what is no backbone, and say what makes one of it."""
    wrap = "give a network"
    if isinstance(backbone, type):
        wrap = f"call it: {backbone.__name__}(...)"
    elif isinstance(backbone, nn.Module):
        wrap = "wrap it: pretext.Wrapped(module, image_size=32)"
    got = f"backbone is {described(backbone)}, which is no pretext.Backbone"
    require(isinstance(backbone, Backbone), asker, got, wrap)


class Host(Built, pl.LightningModule, ABC):
    """A module whose backbone is trained, probed or fine-tuned.

    An heir says in Lightning's `configure_optimizers` which parameters it trains: `self.rates.optimizer(groups)`.

    Args:
        inputs: the backbone, and what turns loaded data into what it sees.
        optim: the optimiser and its schedule.
        execution: how the backbone is run.
        seed: first part of the key of every random draw.

    """

    verb: ClassVar[str] = "fit"
    """With what a run of it goes on: `pretext VERB RUN`."""

    def __init__(self, inputs: InputPipeline, optim: Optim, execution: Execution, seed: int) -> None:
        said = "give pretext.Optim(optimizer=functools.partial(torch.optim.Adam, lr=1e-3))"
        require(isinstance(optim, Optim), self, f"optim is {described(optim)}", said)
        require(isinstance(execution, Execution), self, f"execution is {described(execution)}", "give Execution(...)")
        require(isinstance(seed, int), self, f"{seed=}", "give a whole number")
        super().__init__()
        self.inputs = inputs
        self.backbone = inputs.backbone
        self.augment = inputs.augment
        self.rates = LearningRates(optim)
        self.execution = execution
        self.seed = seed
        self.figures = Figures()
        self._looked: set[int] = set()  # at a batch of training, validation ..., by the ids of Lightning's stages
        self._recorded: Recorded | None = None
        self._networks = [m for m in inputs.backbone.modules() if isinstance(m, Backbone)]

    def __setattr__(self, name: str, value: Any) -> None:
        if name == HOOK:
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def setup(self, stage: str) -> None:
        self.execution.prepare(self.backbone)
        self._recorded = self.execution.recorded(self.backbone)

    def teardown(self, stage: str) -> None:
        self._recorded = None  # it holds memory, and addresses of weights that now move

    def look(self, question: Tree) -> Seen:
        """Let the backbone see a question: the one place where it is called in training."""
        dtype = next(self.backbone.parameters()).dtype  # bfloat16 where the weights are
        question = mapped(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, question)
        return (self._recorded or self.backbone)(self.execution.lay_out(question))

    def lawful(self, batch: Any) -> dict[str, Any]:
        """Bring what a user's own loader yields to a batch, and look at the first one. Raises as `batches.lawful`."""
        brought = lawful(batch)
        stage = 0 if self._trainer is None else id(self._trainer.state.stage)
        if stage not in self._looked:
            self._looked.add(stage)
            check_first(brought["x"], self.backbone)
        return brought

    def train_input(self, x: Tree, batch_idx: int) -> Tree:
        """Turn a loaded batch into what training sees; epoch and batch are the key of what is random in it."""
        key = (self.global_rank, self.current_epoch, batch_idx)
        seed_torch(self.device, self.seed, "train", "network", *key)  # dropout: a resumed run drops the same
        with torch.no_grad():
            return self.inputs.train_input(x, rng(self.device, self.seed, "train", "augment", *key))

    def keep(self, values: Mapping[str, Tensor], group: int = 0) -> dict[str, Tensor]:
        """Keep what a training step measured, each (), and the learning rate of a group of parameters, to be logged.

        Returns:
            what is kept: copies, without gradient.

        """
        self.figures.add(self.trainer, "lr", self.trainer.optimizers[0].param_groups[group]["lr"])
        return self.figures.keep(self.trainer, values)

    def number_of(self, batch_idx: int) -> int:
        """Number an evaluation batch among those of all ranks, to which they are dealt in turn."""
        return batch_idx * self.ranks + self.global_rank

    @property
    def ranks(self) -> int:
        """How many processes train or evaluate together."""
        return 1 if self._trainer is None else self._trainer.world_size

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["canvas"] = self.inputs.canvas

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.inputs.canvas = checkpoint["canvas"]

    def on_train_start(self) -> None:
        # Not in configure_optimizers: there this property makes Lightning open the training data before it has restored
        # where in the epoch a resumed run stopped, and the run would begin the epoch anew.
        self.rates.begin(self.trainer.optimizers[0], self.trainer.estimated_stepping_batches)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.execution.begin_step()
        if self._recorded:
            self._recorded.begin(self.trainer.global_step)
        self.figures.begin(self.trainer)
        self.rates.set(self.trainer.optimizers[0], self.trainer.global_step)
        progress = self.rates.progress(self.trainer.global_step)
        for network in self._networks:
            network.advance(progress)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.figures.write(self.trainer)
