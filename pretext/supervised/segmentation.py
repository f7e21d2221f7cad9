"""What do the features say about each place of a picture: a linear classifier of pixels on a frozen trunk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from pretext.core.files import whole
from pretext.core.rng import rng
from pretext.core.types import Backbone, Tree, reads_images
from pretext.evaluation import segment
from pretext.evaluation.embed import evaluating
from pretext.supervised.labelled import write
from pretext.supervised.segmentation_view import SHOWN, Shown, draw
from pretext.training.host import Host, OptimizerFactory, Schedule
from pretext.training.run import trunk

INIT = 0.01  # standard deviation of the head's first weights, as usual for linear probes


def sgd(parameters: Iterable[Any]) -> Optimizer:
    """Build the usual optimiser of a linear classifier on standardised features: SGD with Nesterov's momentum."""
    return SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)


class Segmentation(Host):
    """Dense transfer: a linear classifier of every place of one stage, upsampled to pixels; the trunk stays as it is.

    The head is batch norm without affine parameters and a 1x1 convolution; its logits are upsampled bilinearly to the
    mask. Loss is the mean cross-entropy of the judged pixels (255 in a mask: not judged). Training and evaluation see
    the whole canvas; the only augmentation mirrors photo and mask together. The trunk is in eval mode and without
    gradient, so its parameters and buffers keep every byte.

    The data module's masks are y, uint8 (N, S, S), its `classes` their names (such as `datamodules.Pets`). `test`
    writes `score.json` (mean IoU over the classes with a 95 % interval, each class's IoU, and as `chance` the mean IoU
    of always naming the class with most pixels in training) and `segmentation.png` (test items drawn by lot) into the
    run. Random initialisation is a `backbone` without a run, colours alone `pretext.evaluation.segment.Colours`.

    Args:
        run: a run whose trained backbone to use; or
        backbone: the network to use, as it is built.
        modality: which network of several.
        stage: the stage to read; by default the last.
        flip: mirror half of the training items.
        optimizer: builds the optimiser from the head's parameters (a class and its other arguments).
        schedule: of the learning rate after the warm-up.
        warmup: share of all steps in which the learning rate grows linearly to its full value.
        seed: first part of the key of all chance.
        channels_last: lay images out channel by channel last, which is faster on many devices.
        compile: compile the backbone with `torch.compile`.

    Raises:
        ValueError: not exactly one of run and backbone, one that reads no images, or no such stage; later, data
            without masks, of other classes than before, or a stage without places.

    """

    pixels: Tensor

    def __init__(
        self,
        run: str | None = None,
        backbone: Backbone | None = None,
        modality: str | None = None,
        stage: str | None = None,
        flip: bool = True,
        optimizer: OptimizerFactory = sgd,
        schedule: Schedule = "cosine",
        warmup: float = 0.05,
        seed: int = 0,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        network = trunk(run, backbone, modality)
        super().__init__(network, None, optimizer, schedule, warmup, seed, channels_last, compile)
        reads_images(network, self)
        self.stage = list(network.stages)[-1] if stage is None else stage
        if self.stage not in network.stages:
            known = ", ".join(network.stages)
            raise ValueError(f"Segmentation: {type(network).__name__} has no stage {stage!r}; choose one of {known}")
        self.flip = flip
        self.classes: list[str] = []
        network.requires_grad_(False).train()  # in eval mode where it looks; Lightning warns of any other eval mode

    def configure_model(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        classes = list(getattr(data, "classes", ()))
        if not classes:
            lack = "the trainer has no data module" if data is None else f"{type(data).__name__} names no classes"
            raise ValueError(f"Segmentation: {lack}; give data with masks, such as datamodules.Pets")
        self._name(classes)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["classes"] = self.classes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._name(checkpoint["classes"])

    def logits(self, x: Tensor, height: int, width: int) -> Tensor:
        """Score every pixel: (N, 3, S, S) in [0, 1] to (N, K, height, width)."""
        with evaluating(self.backbone), torch.no_grad():  # whatever mode Lightning wants of the rest
            seen = self.look(x).stages[self.stage]
        if seen.ndim != 4:
            raise ValueError(
                f"Segmentation: stage {self.stage!r} is {tuple(seen.shape)}, without places; choose another"
            )
        return F.interpolate(self.head(seen).float(), (height, width), mode="bilinear")

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> Tensor:
        x, answer = self.train_view(batch["x"], batch_idx), _masks(batch)
        if self.flip:
            chance = rng(self.device, self.seed, "train", "flip", self.global_rank, self.current_epoch, batch_idx)
            some = torch.rand(len(x), generator=chance, device=self.device) < 0.5
            x, answer = mirrored(x, some), mirrored(answer, some)
        self.pixels += torch.stack([(answer == k).sum() for k in range(len(self.classes))])
        loss = segment.loss(self.logits(x, *answer.shape[-2:]), answer)
        self.log("train/loss", loss, prog_bar=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def on_validation_epoch_start(self) -> None:
        self._counts = torch.zeros(len(self.classes), len(self.classes), dtype=torch.int64, device=self.device)

    def validation_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        self._counts += self._confusion(batch, self._predicted(batch)).sum(0)

    def on_validation_epoch_end(self) -> None:
        counts: Any = self.trainer.strategy.reduce(self._counts, reduce_op="sum")  # of all ranks
        self.log("val/miou", segment.mean_iou(counts.cpu()).float(), prog_bar=True)

    def on_test_epoch_start(self) -> None:
        if self.trainer.world_size > 1:
            raise ValueError("Segmentation: one device tests all items; add --trainer.devices 1")
        self._confusions: list[Tensor] = []
        self._shown: list[Shown] = []

    def test_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        predicted = self._predicted(batch)
        self._confusions.append(self._confusion(batch, predicted).cpu())
        lots = torch.rand(len(predicted), generator=rng("cpu", self.seed, "test", "picture", batch_idx)).tolist()
        parts = (part.cpu() for part in (batch["x"], batch["y"], predicted))
        items = [Shown(*item) for item in zip(lots, *parts, strict=True)]
        self._shown = sorted([*self._shown, *items], key=lambda item: item.lot)[:SHOWN]

    def on_test_epoch_end(self) -> None:
        commonest = int(self.pixels.argmax())
        result = score(torch.cat(self._confusions), self.classes, commonest, self.seed) | {"stage": self.stage}
        self.log("test/miou", result["miou"])
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # Lightning sets it outside the class
            return  # a trial run leaves nothing behind
        folder = Path(self.trainer.default_root_dir)
        write(result, folder)
        with whole(folder / "segmentation.png") as draft:
            draw(self._shown, self.classes).savefig(draft, dpi=150, format="png")

    def _name(self, classes: list[str]) -> None:
        """Build the head for these classes, or refuse others than it was built for."""
        if self.classes and classes != self.classes:
            raise ValueError(f"Segmentation was trained for the classes {self.classes}, but the data has {classes}")
        if self.classes:
            return
        self.classes = classes
        channels = self.backbone.stages[self.stage]
        classify = nn.utils.skip_init(nn.Conv2d, channels, len(classes), 1)  # type: ignore[no-untyped-call]  # torch's
        nn.init.normal_(classify.weight, std=INIT, generator=rng("cpu", self.seed, "head"))
        nn.init.zeros_(classify.bias)
        self.head = nn.Sequential(nn.BatchNorm2d(channels, affine=False), classify).to(self.device)
        self.register_buffer("pixels", torch.zeros(len(classes), dtype=torch.int64, device=self.device))

    def _predicted(self, batch: dict[str, Tree]) -> Tensor:
        """Name every pixel of a batch's masks, (N, S, S) uint8."""
        return self.logits(self.view(batch["x"]), *_masks(batch).shape[-2:]).argmax(1).byte()

    def _confusion(self, batch: dict[str, Tree], predicted: Tensor) -> Tensor:
        return segment.confusion(predicted, batch["y"], len(self.classes))


def mirrored(x: Tensor, some: Tensor) -> Tensor:
    """Mirror those of pictures (N, ..., W) whose entry in bool (N,) is set."""
    return torch.where(some.view(-1, *(1,) * (x.ndim - 1)), x.flip(-1), x)


def score(confusions: Tensor, classes: list[str], commonest: int, seed: int = 0) -> dict[str, Any]:
    """Sum up the confusions (N, K, K) of all test images, as `score.json` has it; None for a class never met."""
    total = confusions.sum(0)
    bounds = segment.interval(confusions, rng("cpu", seed, "test", "interval"))
    each = [None if math.isnan(value) else value for value in segment.iou(total).tolist()]
    return {
        "task": "segmentation",
        "miou": float(segment.mean_iou(total)),
        **bounds._asdict(),
        "iou": dict(zip(classes, each, strict=True)),
        "items": len(confusions),
        "chance": segment.constant(total, commonest),
    }


def _masks(batch: dict[str, Tree]) -> Tensor:
    """Take the masks of a batch, (N, S, S) uint8."""
    masks = batch.get("y")
    if not isinstance(masks, Tensor) or masks.ndim != 3:
        got = "no y" if masks is None else f"y of shape {tuple(masks.shape)}"
        raise ValueError(f"Segmentation wants masks, y uint8 (N, S, S), but the data has {got}; see datamodules.Pets")
    return masks
