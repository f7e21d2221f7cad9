"""What do the features say about each place of a picture: a linear classifier of pixels on a frozen trunk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from pretext.core.errors import require
from pretext.core.files import whole
from pretext.core.ranks import together, total
from pretext.core.rng import rng, seed_of
from pretext.core.types import Backbone, Tree, reads_images
from pretext.evaluation import segment
from pretext.evaluation.embed import evaluating
from pretext.nn.aspp import aspp
from pretext.supervised.mask_scores import MaskScores
from pretext.supervised.scores import write
from pretext.supervised.segmentation_view import draw
from pretext.supervised.trunk import trunk
from pretext.training.execution import PLAIN, Execution
from pretext.training.host import Host
from pretext.training.inputs import InputPipeline
from pretext.training.optimization import Optim, trained

Classifier = Literal["linear", "aspp"]
INIT = 0.01  # standard deviation of the head's first weights, as usual for linear probes


def sgd(parameters: Iterable[Any]) -> Optimizer:
    """Build the usual optimiser of a linear classifier on standardised features: SGD with Nesterov's momentum."""
    return SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)


NESTEROV = Optim(sgd)


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
        classifier: of places: "linear", or "aspp", DeepLab's pyramid of dilated convolutions (UnNAS' head for
            Cityscapes), which adds capacity of its own.
        flip: mirror half of the training items.
        optim: the optimiser of the head, and the schedule of its learning rate.
        execution: memory layout and compilation of the backbone.
        seed: first part of the key of every random draw.

    Raises:
        ValueError: not exactly one of run and backbone, one that reads no images, or no such stage; later, data
            without masks, of other classes than before, or a stage without places.

    """

    head: nn.Sequential
    pixels: Tensor

    def __init__(
        self,
        run: str | None = None,
        backbone: Backbone | None = None,
        modality: str | None = None,
        stage: str | None = None,
        flip: bool = True,
        optim: Optim = NESTEROV,
        execution: Execution = PLAIN,
        seed: int = 0,
        classifier: Classifier = "linear",
    ) -> None:
        network = trunk(run, backbone, modality)
        super().__init__(InputPipeline(network), optim, execution, seed)
        reads_images(network, self)
        self.stage = stage_of(network, stage, self)
        require(classifier in get_args(Classifier), self, f"{classifier=}", "choose linear or aspp")
        self.flip, self.classifier = flip, classifier
        self.classes: list[str] = []
        self.scores = MaskScores(seed)
        network.requires_grad_(False).train()  # in eval mode where it looks; Lightning warns of any other eval mode

    def configure_model(self) -> None:
        data = getattr(self.trainer, "datamodule", None)
        classes = list(getattr(data, "classes", ()))
        if not classes:
            lack = "the trainer has no data module" if data is None else f"{type(data).__name__} names no classes"
            raise ValueError(f"Segmentation: {lack}; give data with masks, such as datamodules.Pets")
        _name_classes(self, classes)

    def configure_optimizers(self) -> Optimizer:
        return self.rates.optimizer(trained(self))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["classes"] = self.classes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        _name_classes(self, checkpoint["classes"])

    def logits(self, x: Tensor, height: int, width: int) -> Tensor:
        """Score every pixel: (N, 3, S, S) in [0, 1] to (N, K, height, width)."""
        with evaluating(self.backbone), torch.no_grad():  # whatever mode Lightning wants of the rest
            stage = self.look(x).stages[self.stage]
        if stage.ndim != 4:
            raise ValueError(
                f"Segmentation: stage {self.stage!r} is {tuple(stage.shape)}, without places; choose another"
            )
        return F.interpolate(self.head(stage).float(), (height, width), mode="bilinear")

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> Tensor:
        batch = self.lawful(batch)
        x, answer = self.train_input(batch["x"], batch_idx), masks_of(batch)
        if self.flip:
            generator = rng(self.device, self.seed, "train", "flip", self.global_rank, self.current_epoch, batch_idx)
            some = torch.rand(len(x), generator=generator, device=self.device) < 0.5
            x, answer = mirrored(x, some), mirrored(answer, some)
        logits = self.logits(x, *answer.shape[-2:])
        with together():
            self.pixels += total(torch.stack([(answer == k).sum() for k in range(len(self.classes))]))
            loss = segment.loss(logits, answer)
        self.keep({"train/loss": loss})
        return loss

    def validation_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        batch = self.lawful(batch)
        self.scores.add(predicted(self, batch), batch, batch_idx, len(self.classes))

    def on_validation_epoch_end(self) -> None:
        self.scores.validated(self, len(self.classes))

    def test_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        batch = self.lawful(batch)
        masks = predicted(self, batch)
        self.scores.add(masks, batch, batch_idx, len(self.classes))
        self.scores.show(masks, batch, self.number_of(batch_idx))

    def on_test_epoch_end(self) -> None:
        result = self.scores.tested(self, self.classes, int(self.pixels.argmax())) | {"stage": self.stage}
        write(result, self.trainer)
        trial = self.trainer.fast_dev_run  # type: ignore[attr-defined]  # Lightning sets it outside the class
        if trial or not self.trainer.is_global_zero:
            return
        with whole(Path(self.trainer.default_root_dir) / "segmentation.png") as draft:
            draw(self.scores.shown, self.classes).savefig(draft, dpi=150, format="png")


def predicted(module: Segmentation, batch: dict[str, Tree]) -> Tensor:
    """Name the class of every pixel of a batch's masks, (N, S, S) uint8."""
    return module.logits(module.inputs.centre(batch["x"]), *masks_of(batch).shape[-2:]).argmax(1).byte()


def mirrored(x: Tensor, some: Tensor) -> Tensor:
    """Mirror those of pictures (N, ..., W) whose entry in bool (N,) is set."""
    return torch.where(some.view(-1, *(1,) * (x.ndim - 1)), x.flip(-1), x)


def _name_classes(module: Segmentation, classes: list[str]) -> None:
    """Build the head for these classes, or refuse others than it was built for."""
    if module.classes and classes != module.classes:
        raise ValueError(f"Segmentation was trained for the classes {module.classes}, but the data has {classes}")
    if module.classes:
        return
    module.classes = classes
    channels = module.backbone.stages[module.stage]
    module.head = head_of(module.classifier, channels, len(classes), module.seed).to(module.device)
    module.register_buffer("pixels", torch.zeros(len(classes), dtype=torch.int64, device=module.device))


def head_of(classifier: Classifier, channels: int, classes: int, seed: int) -> nn.Sequential:
    """Build a classifier of places, from a map (N, channels, H, W) to logits (N, classes, H, W), by a key."""
    return (_linear if classifier == "linear" else _pyramid)(channels, classes, seed)


def stage_of(network: Backbone, stage: str | None, asker: object) -> str:
    """Return the stage to read, by default the last.

    Raises:
        ValueError: there is no such stage.

    """
    named = list(network.stages)[-1] if stage is None else stage
    got = f"{type(network).__name__} has no stage {stage!r}"
    require(named in network.stages, asker, got, f"choose one of {', '.join(network.stages)}")
    return named


def _linear(channels: int, classes: int, seed: int) -> nn.Sequential:
    """Build the linear head."""
    classify = nn.utils.skip_init(nn.Conv2d, channels, classes, 1)  # type: ignore[no-untyped-call]  # torch's
    nn.init.normal_(classify.weight, std=INIT, generator=rng("cpu", seed, "head"))
    nn.init.zeros_(classify.bias)
    return nn.Sequential(nn.BatchNorm2d(channels, affine=False), classify)


def _pyramid(channels: int, classes: int, seed: int) -> nn.Sequential:
    """Build DeepLab's head; its layers draw from torch's own generator, seeded by the key of the linear one."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed_of(seed, "head"))
        return aspp(channels, classes)


def masks_of(batch: dict[str, Tree]) -> Tensor:
    """Take the masks of a batch, (N, S, S) uint8."""
    masks = batch.get("y")
    if not isinstance(masks, Tensor) or masks.ndim != 3:
        got = "no y" if masks is None else f"y of shape {tuple(masks.shape)}"
        raise ValueError(f"Segmentation wants masks, y uint8 (N, S, S), but the data has {got}; see datamodules.Pets")
    return masks
