"""What the evaluators that learn from labels share: data, classes, losses, scores and which parts stay in eval mode."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from pretext.core.rng import seed_of
from pretext.core.types import Backbone, Tree
from pretext.evaluation.supervision import Scored, Tally, by_index, occurrences, supervised_loss
from pretext.supervised.labelled import classes_of, first_batch, part, write
from pretext.training.host import Host, OptimizerFactory, Schedule, by_item
from pretext.training.run import trunk
from pretext.views.augment import Augment


class Supervised(Host, ABC):
    """A module that learns the classes of a labelled data module by one or several classifiers on a backbone.

    The classes come from the data module, later from the checkpoint. Where a data module's labels are (N, K), an item
    has several, and mean average precision ("map") takes the place of accuracy. A network for images sees the frames of
    clips, and what is said of them is averaged, as it is of rows that share their index at test.

    Args:
        run: whose trained backbone to take,
        backbone: or which network itself.
        modality: which network of several, and what to show it of several modalities.
        augment: as in `Host`, as are all others.
        optimizer: see there.
        schedule: see there.
        warmup: see there.
        seed: see there.
        channels_last: see there.
        compile: see there.
        label_smoothing: share of each answer's weight that goes to all classes alike.

    Raises:
        ValueError: both or neither of run and backbone, or a label smoothing outside [0, 1).

    """

    counts: Tensor

    def __init__(
        self,
        run: str | None,
        backbone: Backbone | None,
        modality: str | None,
        augment: Augment | None,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        warmup: float,
        seed: int,
        channels_last: bool,
        compile: bool,
        label_smoothing: float = 0.0,
    ) -> None:
        network = trunk(run, backbone, modality)
        super().__init__(network, augment, optimizer, schedule, warmup, seed, channels_last, compile)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"{type(self).__name__}: label_smoothing is a share in [0, 1), got {label_smoothing}")
        self.modality = modality
        self.label_smoothing = label_smoothing
        self.classes: list[str] = []
        self._tallies: dict[str, Tally] = {}

    @abstractmethod
    def begin(self, classes: int) -> None:
        """Build what depends on the number of classes, anew if it is there; chance is keyed by the caller."""

    @abstractmethod
    def logits(self, x: Tensor) -> dict[str, Tensor]:
        """Classify rows (N, C, *S) in [0, 1]: for each classifier, by its name in logs, (N, K)."""

    @abstractmethod
    def still(self) -> Iterable[nn.Module]:
        """List the modules that are in eval mode whatever happens."""

    @abstractmethod
    def validated(self, scores: dict[str, Scored]) -> None:
        """Take note of how well each classifier does on the validation items."""

    @abstractmethod
    def tested(self, scores: dict[str, Scored]) -> dict[str, Any]:
        """Return what to write of the test."""

    def configure_model(self) -> None:
        names = classes_of(getattr(self.trainer, "datamodule", None), self.classes, type(self).__name__)
        if not self.classes:
            self._named(names)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["classes"] = list(self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.classes and self.classes != checkpoint["classes"]:  # the data's, where a trainer asked for them
            classes_of(self, checkpoint["classes"], type(self).__name__)
        self._named(checkpoint["classes"])

    def on_fit_start(self) -> None:
        # A trunk that comes out of a run is in eval mode, and Lightning does not change that. What shall stay in eval
        # mode is put there when training starts: before, Lightning warns of every module that is.
        nn.Module.train(self)

    def on_train_start(self) -> None:
        super().on_train_start()
        self.train()

    def train(self, mode: bool = True) -> Supervised:
        super().train(mode)
        for module in self.still():
            module.training = False
        return self

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> Tensor:
        x = self.arranged(self.train_view(self._part(batch["x"]), batch_idx))
        said = self._said(x, len(batch["index"]))
        losses = {name: supervised_loss(logits, batch["y"], self.label_smoothing) for name, logits in said.items()}
        self.counts += occurrences(batch["y"], len(self.classes))
        loss = torch.stack(list(losses.values())).sum()
        self.log_dict({key("train", name, "loss"): value for name, value in losses.items() if name})
        self.log("train/loss", loss, prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[-1]["lr"])
        return loss

    def on_validation_epoch_start(self) -> None:
        self._tallies = {}

    def validation_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        self._examine(batch)

    def on_validation_epoch_end(self) -> None:
        if not self._tallies or self.trainer.sanity_checking:
            return
        scores = {name: tally.value() for name, tally in self._tallies.items()}
        self.log_dict({key("val", name, scored.measure): scored.value for name, scored in scores.items()})
        self.log(
            "val/score", max(scored.value for scored in scores.values())
        )  # whatever it measures, for early stopping
        self.validated(scores)

    def on_test_epoch_start(self) -> None:
        self._tallies = {}

    def test_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        self._examine(batch)

    def on_test_epoch_end(self) -> None:
        scores = {name: tally.scored() for name, tally in self._tallies.items()}
        self.log_dict({key("test", name, scored.measure): scored.value for name, scored in scores.items()})
        first = next(iter(self._tallies))
        chance, items = self._tallies[first].chance(self.counts), scores[first].items
        result = self.tested(scores) | {"items": items, "chance": chance, "classes": self.classes}
        if self.trainer.is_global_zero:
            write(result, self.trainer.default_root_dir)

    def predict_step(self, batch: dict[str, Tree], batch_idx: int) -> dict[str, Tensor]:
        """Return the logits (N, K) of each classifier beside the indices of its items."""
        said = self._said(self.shown(self._part(batch["x"])), len(batch["index"]))
        return {"index": batch["index"], **{f"logits.{name}".strip("."): logits for name, logits in said.items()}}

    def sample(self, held_out: bool = False) -> Tensor:
        """Look up the first item of the data as evaluation shows it: (1, C, *S), of clips for images its frames.

        Raises:
            ValueError: `held_out`, but no item is held out for validation.

        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it outside the class
        x = first_batch(data, self.fits(), held_out, type(self).__name__)
        shown: Tensor = self.shown(self._part(x)[:1])
        return shown

    def fits(self) -> bool:
        """Tell whether a trainer is training this module, rather than testing it or not being there."""
        return self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING

    def _named(self, classes: list[str]) -> None:
        """Take over the classes and begin, with chance from a key and nowhere else."""
        self.classes = list(classes)
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # Lightning asks for the accelerator here
            torch.default_generator.manual_seed(seed_of(self.seed, "classifiers"))
            self.register_buffer("counts", torch.zeros(len(classes), dtype=torch.long))
            self.begin(len(classes))

    def _part(self, x: Tree) -> Tensor:
        return part(x, self.modality, type(self).__name__)

    def _said(self, x: Tensor, items: int) -> dict[str, Tensor]:
        return {name: by_item(logits.float(), items) for name, logits in self.logits(x).items()}

    def _examine(self, batch: dict[str, Tree]) -> None:
        x, index = self.shown(self._part(batch["x"])), batch["index"]
        for name, logits in self._said(x, len(index)).items():
            self._tallies.setdefault(name, Tally()).add(*by_index(logits, batch["y"], index))


def key(split: str, name: str, what: str) -> str:
    """Name a figure in logs; a classifier that is the only one has no name."""
    return "/".join(part for part in (split, name, what) if part)
