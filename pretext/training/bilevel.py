"""Differentiable architecture search whose loss is any pretext task, or labels: DARTS and UnNAS, first order.

https://arxiv.org/abs/1806.09055, https://arxiv.org/abs/2003.12056. Each step first moves the architecture's parameters
on a batch of one half of the training items, then the network's weights on a batch of the other half.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from pretext.backbones.search_cells import SearchCells
from pretext.core.errors import require
from pretext.core.rng import rng, seed_of, seed_torch
from pretext.core.types import Grade, Task, TaskFactory, Tree
from pretext.nn.weighting import Fixed, WeightingFactory
from pretext.training.architecture import ADAM, ArchitectureOptim, Trace
from pretext.training.exam import examined
from pretext.training.execution import PLAIN, Execution
from pretext.training.host import Host
from pretext.training.inputs import InputPipeline
from pretext.training.optimization import Optim, trained
from pretext.training.pretrainer import measured
from pretext.views.augment import Augment

WEIGHTS, ARCHITECTURE = "weights", "architecture"
"""The two halves of a training set, see the data modules' `split.halves`; also parts of the keys of chance."""
Batch = Mapping[str, Tree]
PRECISIONS = ("32-true", "bf16-mixed", "bf16-true")


def sgd(parameters: Iterable[Any]) -> Optimizer:
    """Build DARTS' optimiser of the weights."""
    return SGD(parameters, lr=0.025, momentum=0.9, weight_decay=3e-4)


class Bilevel(Host):
    """Search the cells of a network by gradient, without labels or with them.

    Data come as batches {"weights": ..., "architecture": ...} of two halves of the training items: set the data
    module's `split.halves`. Tasks pose their questions exactly as in `Pretrainer`. It runs on one device, in float32 or
    bfloat16; `gradient_clip_val` of the trainer is `clip` here. What it finds `pretext nas search RUN` writes.

    Args:
        backbone: the search network.
        tasks: by name, what builds each task; none: the classes of the data module are learnt.
        weighting: builds the weighting of the tasks' losses from their names.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optim: the optimiser of the network's weights, and its schedule.
        architecture: how the architecture's parameters are trained.
        clip: largest norm of the gradient of the weights; 0: as it is.
        trace: note the weights of the operations every so many steps.
        execution: memory layout, and what is compiled.
        seed: first part of the key of every random draw.

    Raises:
        ValueError: an option out of its range; later, data without halves, without classes, or several devices.

    """

    backbone: SearchCells
    verb = "nas search"

    def __init__(
        self,
        backbone: SearchCells,
        tasks: dict[str, TaskFactory] | None = None,
        weighting: WeightingFactory = Fixed,
        augment: Augment | None = None,
        optim: Optim = Optim(sgd, warmup=0.0),  # noqa: B008  # frozen
        architecture: ArchitectureOptim = ADAM,
        clip: float = 5.0,
        trace: int = 20,
        execution: Execution = PLAIN,
        seed: int = 0,
    ) -> None:
        super().__init__(InputPipeline(backbone, augment), optim, execution, seed)
        require(0 <= architecture.start < 1, self, f"start={architecture.start}", "give a share of all steps below 1")
        require(clip >= 0 and trace >= 1, self, f"{clip=}, {trace=}", "give a norm, or 0, and a number of steps")
        self.automatic_optimization = False
        self.tasks = nn.ModuleDict({name: build(backbone) for name, build in (tasks or {}).items()})
        self.weighting = weighting(list(self.tasks)) if self.tasks else None
        self.head: nn.Linear | None = None  # as many outputs as classes, once these are known
        self.architecture, self.clip, self.every, self.trace = architecture, clip, trace, Trace()
        self.classes: list[str] = []
        self._steps = 0.0  # how many there will be in all

    def configure_model(self) -> None:
        require(self.trainer.world_size == 1, self, f"{self.trainer.world_size} devices", "search on one")
        precision = self.trainer.precision
        require(precision in PRECISIONS, self, f"{precision=}", f"gradients are not rescaled: {', '.join(PRECISIONS)}")
        names = list(getattr(getattr(self.trainer, "datamodule", None), "classes", [])) or self.classes
        if not self.tasks:
            require(bool(names), self, "no tasks, and data without classes", "name tasks, or give labelled data")
            _name_classes(self, names)

    def configure_optimizers(self) -> list[Optimizer]:
        own = self.architecture
        # It asks for a gradient only where it is trained: then it is no weight of the network.
        adam = Adam([self.backbone.alphas], own.lr, own.betas, weight_decay=own.weight_decay)
        return [self.rates.optimizer(trained(self)), adam]

    def training_step(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        if set(batch) != {WEIGHTS, ARCHITECTURE}:
            raise ValueError(
                f"Bilevel: a batch has {', '.join(sorted(batch))}; it wants two halves of the training items: set the "
                "data's split, --data.split.halves true"
            )
        due = self.trainer.global_step >= self.architecture.start * self._steps
        losses = {"train/architecture_loss": self.architecture_step(batch[ARCHITECTURE], batch_idx)} if due else {}
        self.keep({**self.weights_step(batch[WEIGHTS], batch_idx), **losses})
        if self.trainer.global_step % self.every == 0 or self.trainer.global_step == self.trainer.max_steps:
            self.trace.add(self.trainer.global_step, self.backbone.weights())

    def architecture_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Move the architecture's parameters down their gradient on a batch of their half, and return the loss.

        Nothing else changes: weights stay, and so do running statistics, which weights are judged and tasks are graded
        by.
        """
        alphas, optimizer = self.backbone.alphas, self.trainer.optimizers[1]
        buffers = [(buffer, buffer.clone()) for buffer in self.buffers()]
        alphas.requires_grad_(True)
        loss = self._losses(batch, batch_idx, ARCHITECTURE)["train/loss"]
        (alphas.grad,) = torch.autograd.grad(loss, [alphas])
        optimizer.step()  # not Lightning's: a step of the search is one of the weights
        alphas.requires_grad_(False).grad = None
        for buffer, before in buffers:
            buffer.copy_(before)
        return loss

    def weights_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Move the network's weights down their gradient on a batch of their half, and return what was measured."""
        optimizer: Any = self.optimizers()[0]  # type: ignore[index]  # there are two
        optimizer.zero_grad()
        losses = self._losses(batch, batch_idx, "train")
        self.manual_backward(losses["train/loss"])
        if self.clip:
            nn.utils.clip_grad_norm_([p for p in self.parameters() if p.grad is not None], self.clip)
        optimizer.step()
        for task in self._tasks().values():
            task.follow(self.backbone)
        return losses

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        x = self.inputs.centre(batch["x"])
        size = len(batch["index"])
        if self.head is not None:
            logits = self._classify(x)
            self.log("val/accuracy", (logits.argmax(1) == batch["y"]).float().mean(), batch_size=size)
            self.log("val/loss", nn.functional.cross_entropy(logits, batch["y"]), prog_bar=True, batch_size=size)
            return
        grades = self._grades(x, "val", 0, 0, self.number_of(batch_idx))
        self.log_dict(measured(grades, "val"), batch_size=size)
        self.log("val/loss", self._weighted(grades), prog_bar=True, batch_size=size)

    def on_train_start(self) -> None:
        super().on_train_start()
        self._steps = float(self.trainer.estimated_stepping_batches)
        if not self.trace.steps:  # a search that goes on has noted its start
            self.trace.add(self.trainer.global_step, self.backbone.weights())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        for task in self._tasks().values():
            task.begin(self.current_epoch)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["trace"], checkpoint["classes"] = self.trace.state(), list(self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.trace.load(checkpoint["trace"])
        if checkpoint["classes"]:
            _name_classes(self, checkpoint["classes"])

    def _tasks(self) -> dict[str, Task]:
        off = self.weighting.off if self.weighting is not None else ()
        return {name: task for name, task in self.tasks.items() if name not in off}  # type: ignore[misc]  # they are tasks

    def _losses(self, batch: Batch, batch_idx: int, split: str) -> dict[str, Tensor]:
        """Grade a training batch; `split` is the part of the key that tells the two halves apart."""
        place = (self.global_rank, self.current_epoch, batch_idx)
        seed_torch(self.device, self.seed, split, "network", *place)
        with torch.no_grad():
            x = self.inputs.train_input(batch["x"], rng(self.device, self.seed, split, "augment", *place))
        if self.head is not None:
            return {"train/loss": nn.functional.cross_entropy(self._classify(x), batch["y"])}
        grades = self._grades(x, split, *place)
        return {**measured(grades, "train"), "train/loss": self._weighted(grades)}

    def _grades(self, x: Tree, split: str, *place: int) -> dict[str, Grade]:
        return {
            name: examined(self, (task.pose, task.solve, task.grade), x, self.seed, split, name, *place)
            for name, task in self._tasks().items()
        }

    def _weighted(self, grades: Mapping[str, Grade]) -> Tensor:
        assert self.weighting is not None
        loss: Tensor = self.weighting({name: grade.loss for name, grade in grades.items()})
        return loss

    def _classify(self, x: Tree) -> Tensor:
        assert self.head is not None
        pooled = self.look(x).pooled
        with torch.autocast(self.device.type, enabled=False):
            logits: Tensor = self.head(pooled.float())
            return logits


def _name_classes(module: Bilevel, classes: list[str]) -> None:
    """Build the classifier of these classes, once, with torch's generator seeded by a key."""
    if module.head is not None:
        require(module.classes == classes, module, f"data with {len(classes)} other classes", "give the same data")
        return
    module.classes = list(classes)
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed_of(module.seed, "classifier"))
        module.head = nn.Linear(module.backbone.dim, len(classes))
