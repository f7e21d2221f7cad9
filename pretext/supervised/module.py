"""What the evaluators that learn from labels share: classes, losses, and which parts stay in eval mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from pretext.core.ranks import together, total
from pretext.core.rng import seed_of
from pretext.core.types import Tree
from pretext.evaluation.supervision import occurrences, supervised_loss
from pretext.supervised.labelled import classes_of, first_batch, labels_of, part
from pretext.supervised.scores import Logits, Scores, key
from pretext.training.execution import Execution
from pretext.training.host import Host
from pretext.training.inputs import InputPipeline, by_item
from pretext.training.optimization import Optim


class Supervised(Host, ABC):
    """A module that learns the classes of a labelled data module by one or several classifiers on a backbone.

    The classes come from the data module, later from the checkpoint. Where a data module's labels are (N, K), an item
    has several, and mean average precision ("map") takes the place of accuracy. A network for images sees the frames of
    clips, and what is said of them is averaged, as it is of rows that share their index at test.

    An heir logs and writes at the end of an epoch what `scores` has tallied.

    Args:
        inputs: the backbone, and what turns loaded data into what it sees; its modality is taken out of several.
        optim: the optimiser and its schedule.
        execution: how the backbone is run.
        seed: first part of the key of every random draw.
        label_smoothing: share of each answer's weight that goes to all classes alike.

    Raises:
        ValueError: a label smoothing outside [0, 1).

    """

    counts: Tensor

    def __init__(
        self, inputs: InputPipeline, optim: Optim, execution: Execution, seed: int, label_smoothing: float = 0.0
    ) -> None:
        super().__init__(inputs, optim, execution, seed)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"{type(self).__name__}: label_smoothing is a share in [0, 1), got {label_smoothing}")
        self.label_smoothing = label_smoothing
        self.classes: list[str] = []
        self.scores = Scores()
        self.frozen: Iterable[nn.Module] = ()  # in eval mode whatever happens
        self.loss_weights: dict[str, float] = {}  # of classifiers whose loss does not count once

    @abstractmethod
    def begin(self, classes: int) -> None:
        """Build what depends on the number of classes, anew if it is there; the caller seeds torch's generator."""

    @abstractmethod
    def logits(self, x: Tensor) -> Logits:
        """Classify rows (N, C, *S) in [0, 1]: for each classifier, by its name in logs, (N, K)."""

    def configure_model(self) -> None:
        names = classes_of(getattr(self.trainer, "datamodule", None), self.classes, type(self).__name__)
        if not self.classes:
            name_classes(self, names)
        if fits(self):
            # A trunk that comes out of a run is in eval mode, and Lightning does not change that. What shall stay in
            # eval mode is put there when training starts: before, Lightning warns of every module that is.
            nn.Module.train(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["classes"] = list(self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.classes and self.classes != checkpoint["classes"]:  # the data's, where a trainer asked for them
            classes_of(self, checkpoint["classes"], type(self).__name__)
        name_classes(self, checkpoint["classes"])

    def on_train_start(self) -> None:
        super().on_train_start()
        self.train()

    def train(self, mode: bool = True) -> Supervised:
        super().train(mode)
        for module in self.frozen:
            module.training = False
        return self

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> Tensor:
        batch = self.lawful(batch)
        y = labels_of(batch, type(self).__name__)
        x = self.inputs.for_network(self.train_input(_part(self, batch["x"]), batch_idx))
        logits = _averaged(self.logits(x), len(batch["index"]))
        with together():
            losses = {name: supervised_loss(rows, y, self.label_smoothing) for name, rows in logits.items()}
            self.counts += total(occurrences(y, len(self.classes)))
        loss = torch.stack([self.loss_weights.get(name, 1.0) * value for name, value in losses.items()]).sum()
        each = {key("train", name, "loss"): value for name, value in losses.items() if name}
        self.keep({**each, "train/loss": loss}, group=-1)
        return loss

    def validation_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        batch = self.lawful(batch)
        labels_of(batch, type(self).__name__)
        self.scores.add(eval_logits(self, batch), batch, batch_idx)

    test_step = validation_step

    def predict_step(self, batch: dict[str, Tree], batch_idx: int) -> dict[str, Tensor]:
        """Return the logits (N, K) of each classifier beside the indices of its items."""
        batch = self.lawful(batch)
        logits = eval_logits(self, batch)
        return {"index": batch["index"], **{f"logits.{name}".strip("."): rows for name, rows in logits.items()}}


def fits(module: Host) -> bool:
    """Tell whether a trainer is training a module, rather than testing it or not being there."""
    return module._trainer is not None and module._trainer.state.fn == TrainerFn.FITTING


def sample(module: Supervised, held_out: bool = False) -> Tensor:
    """Look up the first item of the data as evaluation shows it: (1, C, *S), of clips for images its frames.

    Raises:
        ValueError: `held_out`, but no item is held out for validation.

    """
    data = module.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it outside the class
    x = first_batch(data, fits(module), held_out, type(module).__name__)
    item: Tensor = module.inputs.eval_input(_part(module, x)[:1])
    return item


def name_classes(module: Supervised, classes: list[str]) -> None:
    """Tell a module its classes and let it begin, with torch's generator seeded by a key."""
    module.classes = list(classes)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # Lightning asks for the accelerator here
        torch.default_generator.manual_seed(seed_of(module.seed, "classifiers"))
        module.register_buffer("counts", torch.zeros(len(classes), dtype=torch.long))
        module.begin(len(classes))


def _part(module: Supervised, x: Tree) -> Tensor:
    return part(x, module.inputs.modality, type(module).__name__)


def _averaged(logits: Logits, items: int) -> Logits:
    return {name: by_item(rows.float(), items) for name, rows in logits.items()}


def eval_logits(module: Supervised, batch: dict[str, Tree]) -> Logits:
    """Classify the items of a batch as evaluation sees them."""
    return _averaged(module.logits(module.inputs.eval_input(_part(module, batch["x"]))), len(batch["index"]))
