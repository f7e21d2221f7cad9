"""Numbers instead of classes: a linear layer reads vectors, or maps such as depth, off a trained or frozen network."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from pretext.core import ranks
from pretext.core.errors import require
from pretext.core.ranks import together, total
from pretext.core.rng import rng
from pretext.core.types import Backbone, Tree, reads_images
from pretext.evaluation.statistics.regression import explained, r2_of, sums
from pretext.supervised.scores import write
from pretext.supervised.segmentation import head_of, stage_of
from pretext.supervised.trunk import trunk
from pretext.training.execution import PLAIN, Execution
from pretext.training.host import Host
from pretext.training.inputs import InputPipeline
from pretext.training.optimization import ADAMW, Optim, trained

BATCHES = 16
"""Of training items, from which means and deviations of the numbers are taken"""


class Regression(Host):
    """Fine-tune a backbone to say numbers: vectors such as a pose or maps such as depth; or read them off a frozen one.

    The data module's y are floats (N, V), or maps (N, C, S, S) (`datamodules.PairedFiles`); NaN is not known and not
    graded. The head is batch norm without affine parameters and one linear layer: of vectors on the stage's average, of
    maps on each of its places, upsampled bilinearly. Numbers are standardised by the first training items; the loss is
    their mean squared error. The network sees the whole canvas without augmentation, since numbers tell of places.

    `test` writes `score.json` into the run: {"task", "r2" (the share of variance that is explained, averaged over the
    numbers), "low", "high", "rmse", "each", "items", "stage", "chance"}; the mean of the numbers explains 0.

    Args:
        run: whose trained backbone to take,
        backbone: or which network itself.
        modality: which network of several.
        stage: the stage to read; by default the last.
        freeze: the backbone stays as it is, in eval mode and without gradient.
        optim: the optimiser, and the schedule of its learning rate.
        execution: memory layout and compilation of the backbone.
        seed: first part of the key of every random draw.

    Raises:
        ValueError: not exactly one of run and backbone, one that reads no images, or no such stage; later, data
            without numbers or of other numbers than before, or a stage without places for maps.

    """

    head: nn.Sequential
    middle: Tensor
    spread: Tensor

    def __init__(
        self,
        run: str | None = None,
        backbone: Backbone | None = None,
        modality: str | None = None,
        stage: str | None = None,
        freeze: bool = False,
        optim: Optim = ADAMW,
        execution: Execution = PLAIN,
        seed: int = 0,
    ) -> None:
        network = trunk(run, backbone, modality)
        super().__init__(InputPipeline(network), optim, execution, seed)
        reads_images(network, self)
        self.stage = stage_of(network, stage, self)
        self.freeze_backbone = freeze
        self.shape: list[int] = []  # of an item's numbers, as its maps' side does not matter: [V], or [C, 0, 0]
        self._tallies: list[Tensor] = []
        network.requires_grad_(not freeze).train()

    def configure_model(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        if self.shape:
            return
        require(hasattr(data, "ordered"), self, f"{type(data).__name__}", "give a data module of numbers")
        with torch.device("cpu"):  # Lightning makes the accelerator the default here, and data are drawn on the CPU
            y = torch.cat([_numbers(batch, self) for batch in islice(data.ordered("train"), BATCHES)])  # type: ignore[union-attr]  # just asked
            axes = [axis for axis in range(y.ndim) if axis != 1]
            known = (~y.isnan()).sum(axes)
            middle = y.nansum(axes) / known.clamp(min=1)
            off = y - middle.view(1, -1, *(1,) * (y.ndim - 2))
            _begin(self, [y.shape[1], *(0,) * (y.ndim - 2)])
            self.middle.copy_(middle)
            self.spread.copy_((off.square().nansum(axes) / known.clamp(min=1)).sqrt().clamp(min=1e-6))

    def configure_optimizers(self) -> Optimizer:
        return self.rates.optimizer(trained(self))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["numbers"] = list(self.shape)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if not self.shape:
            _begin(self, checkpoint["numbers"])

    def on_train_start(self) -> None:
        super().on_train_start()
        self.train()

    def train(self, mode: bool = True) -> Regression:
        super().train(mode)
        if self.freeze_backbone and mode and self._trainer is not None:  # before, Lightning warns of it
            self.backbone.eval()
        return self

    def forward(self, x: Tensor, side: tuple[int, int] | None = None) -> Tensor:
        """Say standardised numbers of pictures (N, 3, S, S) in [0, 1]: (N, V), or (N, C, *side)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_backbone):
            stage = self.look(x).stages[self.stage]
        places = stage if stage.ndim == 4 else stage.flatten(2).mean(2)[..., None, None]
        if side is None:
            vectors: Tensor = self.head(places.mean((2, 3), keepdim=True)).flatten(1).float()
            return vectors
        require(min(places.shape[2:]) > 1, self, f"{self.stage=} without places", "name one that is less deep")
        return F.interpolate(self.head(places).float(), side, mode="bilinear")

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> Tensor:
        batch = self.lawful(batch)
        y = _numbers(batch, self)
        said = self(self.train_input(batch["x"], batch_idx), _side(y))
        known, wanted = ~y.isnan(), _standardised(self, y).nan_to_num()
        with together():
            errors = total(((said - wanted).square() * known).sum())
            loss: Tensor = errors / total(known.sum()).clamp(min=1)
        self.keep({"train/loss": loss})
        return loss

    def validation_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        batch = self.lawful(batch)
        if batch_idx == 0:
            self._tallies = []
        items = sums(self.predicted(batch), _numbers(batch, self)).cpu()
        self._tallies.append(items[:0] if batch.get("spare") else items)

    test_step = validation_step

    def predict_step(self, batch: dict[str, Tree], batch_idx: int) -> dict[str, Tensor]:
        """Return the numbers of a batch beside the indices of its items."""
        batch = self.lawful(batch)
        return {"index": batch["index"], "numbers": self.predicted(batch)}

    def predicted(self, batch: dict[str, Any]) -> Tensor:
        """Say the numbers of a batch in their own units; maps on the grid of the batch's own, or of its pictures."""
        x = self.inputs.centre(batch["x"])
        assert isinstance(x, Tensor)  # a network of images alone
        side = _side(batch.get("y", x)) if len(self.shape) > 1 else None
        said: Tensor = self(x, side)
        per = (1, -1, *(1,) * (said.ndim - 2))
        return said * self.spread.view(per) + self.middle.view(per)

    def on_validation_epoch_end(self) -> None:
        items, self._tallies = ranks.in_turn(self._tallies), []
        if not self.trainer.sanity_checking and items:
            score = float(r2_of(torch.cat(items).sum(0)).nanmean())
            self.log_dict({"val/r2": score, "val/score": score}, sync_dist=True)

    def on_test_epoch_end(self) -> None:
        items = torch.cat(ranks.in_turn(self._tallies))
        score = explained(items, rng("cpu", self.seed, "test", "interval"))
        self.log("test/r2", score.r2, sync_dist=True)
        each = [None if math.isnan(value) else value for value in score.each]
        facts = {"items": len(items), "stage": self.stage, "frozen": self.freeze_backbone, "chance": 0.0}
        write({"task": "regression", **score._asdict(), "each": each, **facts}, self.trainer)


def _begin(module: Regression, shape: list[int]) -> None:
    """Build what depends on how many numbers there are."""
    module.shape = list(shape)
    outputs, channels = shape[0], module.backbone.stages[module.stage]
    module.head = head_of("linear", channels, outputs, module.seed).to(module.device)
    module.register_buffer("middle", torch.zeros(outputs, device=module.device))
    module.register_buffer("spread", torch.ones(outputs, device=module.device))


def _standardised(module: Regression, y: Tensor) -> Tensor:
    per = (1, -1, *(1,) * (y.ndim - 2))
    return (y - module.middle.view(per)) / module.spread.view(per)


def _side(y: Tensor) -> tuple[int, int] | None:
    """Return the sides of maps (N, C, H, W); vectors have none."""
    return (int(y.shape[-2]), int(y.shape[-1])) if y.ndim == 4 else None


def _numbers(batch: dict[str, Any], module: Regression) -> Tensor:
    """Take the numbers of a batch, (N, V) or (N, C, H, W) float."""
    y = batch.get("y")
    like = isinstance(y, Tensor) and y.is_floating_point() and y.ndim in (2, 4)
    got = "no y" if y is None else f"y {getattr(y, 'dtype', type(y).__name__)} {tuple(getattr(y, 'shape', ()))}"
    require(like, module, got, "give float vectors (N, V) or maps (N, C, S, S), as datamodules.PairedFiles has them")
    numbers: Tensor = y  # type: ignore[assignment]  # just asked
    known = module.shape
    fits = not known or (numbers.shape[1] == known[0] and numbers.ndim - 1 == len(known))
    require(fits, module, f"{got} after training on {known[:1]} numbers", "give data of the same numbers")
    return numbers
