"""The host: any number of pretext tasks on one shared backbone, as a LightningModule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from pretext.augment import Augment
from pretext.rng import rng, seed_of
from pretext.types import Backbone, Features, Grade, Task, TaskFactory, Tree
from pretext.weighting import Fixed, WeightingFactory

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class Pretrainer(pl.LightningModule):
    """Train a backbone on pretext tasks.

    Args:
        backbone: the network that all tasks share.
        tasks: by name, what builds each task from the backbone (the task's class and its other arguments).
        weighting: builds the weighting of the tasks' losses from their names.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optimizer: builds the optimiser from the parameters (a class and its other arguments).
        schedule: of the learning rate after the warm-up.
        warmup: share of all steps in which the learning rate grows linearly to its full value.
        scale_by_chance: divide each loss by the loss of a blind guess, so that weights compare across tasks.
        seed: first part of the key of all chance.
        channels_last: lay images out channel by channel last, which is faster on many devices.
        compile: compile the backbone with `torch.compile`.

    Raises:
        ValueError: there is no task, or a warm-up outside [0, 1].

    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: dict[str, TaskFactory],
        weighting: WeightingFactory = Fixed,
        augment: Augment | None = None,
        optimizer: OptimizerFactory = AdamW,
        schedule: Literal["cosine", "constant"] = "cosine",
        warmup: float = 0.05,
        scale_by_chance: bool = False,
        seed: int = 0,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if not tasks:
            raise ValueError(
                "Pretrainer: no task; give at least one, such as tasks: {turn: {class_path: pretext.Rotation}}"
            )
        if not 0 <= warmup <= 1:
            raise ValueError(f"Pretrainer: warmup is a share of all steps in [0, 1], got {warmup}")
        if bad := [name for name in tasks if not name.isidentifier() or hasattr(nn.ModuleDict(), name)]:
            raise ValueError(f"Pretrainer: {bad} cannot name a task; take a plain word that torch does not use itself")
        self.backbone = backbone
        self.tasks = nn.ModuleDict({name: build(backbone) for name, build in tasks.items()})
        self.weighting = weighting(list(tasks))
        self.scales = {n: float(t.chance().loss) if scale_by_chance else 1.0 for n, t in self._tasks()}
        self.augment = augment
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup = warmup
        self.seed = seed
        self.channels_last = channels_last
        self.compile_backbone = compile
        self.losses: dict[str, Tensor] = {}  # each task's, () and detached, of the last training step, for callbacks
        self.canvas: int | None = None  # side of the canvases that it is trained on; travels in the checkpoint

    def setup(self, stage: str) -> None:
        if self.channels_last:
            self.backbone.to(memory_format=torch.channels_last)
        if self.compile_backbone:
            self.backbone.compile()

    def look(self, question: Tree) -> Features:
        """Let the backbone see a question: the one place where it is called in training."""
        question = _cast(question, next(self.backbone.parameters()).dtype)  # bfloat16 where the weights are
        if self.channels_last and isinstance(question, Tensor) and question.dim() == 4:
            question = question.contiguous(memory_format=torch.channels_last)
        features: Features = self.backbone(question)
        return features

    def view(self, x: Tensor) -> Tensor:
        """Turn uint8 canvases (N, C, S, S) into what evaluation sees: centre crops in [0, 1].

        Canvases of another side than in training are resized to it first, or the crop would cut out another share.
        """
        if self.canvas is not None and x.shape[-1] != self.canvas:
            x = F.interpolate(x, (self.canvas, self.canvas), mode="bilinear", antialias=True)
        return x.float() / 255 if self.augment is None else self.augment.centre(x)

    def exam(self, task: Task, x: Tensor, *key: int | str) -> Grade:
        """Pose, look, solve and grade; `x` is (N, C, *S) in [0, 1]."""
        exact = torch.autocast(self.device.type, enabled=False)  # questions and grades keep full precision under bf16
        with torch.no_grad(), exact:
            puzzle = task.pose(x, rng(self.device, *key))
        prediction = task.solve(self.look(puzzle.question), puzzle.given)
        with exact:
            return task.grade(_cast(prediction, torch.float32), puzzle.answer)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        key = (self.global_rank, self.current_epoch, batch_idx)
        torch.manual_seed(seed_of(self.seed, "train", "network", *key))  # dropout: a resumed run drops the same
        self.canvas = batch["x"].shape[-1]
        with torch.no_grad():
            x = self._augmented(batch["x"], rng(self.device, self.seed, "train", "augment", *key))
        grades = {n: self.exam(t, x, self.seed, "train", n, *key) for n, t in self._tasks()}
        self.losses = {name: grade.loss.detach() for name, grade in grades.items()}
        loss = self._weighted(grades, "train")
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._examine(batch, batch_idx, "val")

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._examine(batch, batch_idx, "test")

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        """Return the pooled features (N, D) of a batch beside the indices of its items."""
        return {"index": batch["index"], "pooled": self.look(self.view(batch["x"])).pooled.float()}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        for _, task in self._tasks():
            task.follow(self.backbone)

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        self.options = [{key: value for key, value in g.items() if key != "params"} for g in optimizer.param_groups]
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["canvas"] = self.canvas

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.canvas = checkpoint["canvas"]

    def on_train_start(self) -> None:
        # Not in configure_optimizers: there this property makes Lightning open the training data before it has restored
        # where in the epoch a resumed run stopped, and the run would begin the epoch anew.
        self.steps = self.trainer.estimated_stepping_batches
        for group, options in zip(self.trainer.optimizers[0].param_groups, self.options, strict=True):
            group.update(options)  # the config decides, not what the resumed checkpoint says of rates and decays

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        factor = learning_rate(self.trainer.global_step, self.steps, self.warmup, self.schedule)
        for group, options in zip(self.trainer.optimizers[0].param_groups, self.options, strict=True):
            group["lr"] = options["lr"] * factor

    def _tasks(self) -> Iterable[tuple[str, Task]]:
        return self.tasks.items()  # type: ignore[return-value]  # ModuleDict forgets that its modules are tasks

    def _augmented(self, x: Tensor, chance: torch.Generator) -> Tensor:
        augmented: Tensor = x.float() / 255 if self.augment is None else self.augment(x, chance)
        return augmented

    def _examine(self, batch: dict[str, Tensor], batch_idx: int, split: str) -> None:
        x = self.view(batch["x"])  # epoch 0 in the key: the same puzzles in every epoch, so that curves compare
        keys = (self.global_rank, 0, batch_idx)
        self._weighted(
            {n: self.exam(t, x, self.seed, split, n, *keys) for n, t in self._tasks()}, split, len(batch["index"])
        )

    def _weighted(self, grades: dict[str, Grade], split: str, size: int | None = None) -> Tensor:
        """Combine the grades to one loss and log everything."""
        loss: Tensor = self.weighting({name: grade.loss / self.scales[name] for name, grade in grades.items()})
        scores = {f"{split}/{n}/{key}": value for n, g in grades.items() for key, value in g.scores.items()}
        losses = {f"{split}/{name}/loss": grade.loss for name, grade in grades.items()}
        self.log_dict({**losses, **scores}, batch_size=size, sync_dist=split != "train")
        self.log(f"{split}/loss", loss, prog_bar=True, batch_size=size, sync_dist=split != "train")
        return loss


def learning_rate(step: int, total: float, warmup: float, schedule: str) -> float:
    """Scale the learning rate at `step` of `total`: a pure function, so that a resumed run needs no scheduler's state.

    Linear over the share `warmup` of all steps, then constant or half a cosine down to 0 at step `total`. Where the end
    is not known (`total` infinite) there is neither warm-up nor cosine.
    """
    if not math.isfinite(total):
        return 1.0
    grown = math.ceil(warmup * total)
    if step < grown:
        return (step + 1) / (grown + 1)
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - grown) / max(1, total - grown)))


def _cast(tree: Tree, dtype: torch.dtype) -> Tree:
    """Bring the floating tensors of a tree to `dtype`."""
    if isinstance(tree, Tensor):
        return tree.to(dtype) if tree.is_floating_point() else tree
    if isinstance(tree, dict):
        return {key: _cast(value, dtype) for key, value in tree.items()}
    if isinstance(tree, tuple):
        values = [_cast(value, dtype) for value in tree]
        return type(tree)(*values) if hasattr(tree, "_fields") else tuple(values)
    return tree
