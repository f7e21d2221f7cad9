"""The trainer: any number of pretext tasks on one shared backbone, as a LightningModule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from pretext.backbones.multimodal import MultiModal
from pretext.core.errors import described, require
from pretext.core.ranks import together
from pretext.core.types import Backbone, Grade, Task, TaskFactory, Tree
from pretext.nn.weighting import Fixed, WeightingFactory
from pretext.training.exam import Parts, examined
from pretext.training.execution import PLAIN, Execution
from pretext.training.host import Host, require_backbone
from pretext.training.inputs import InputPipeline, by_item
from pretext.training.optimization import ADAMW, Optim, trained
from pretext.views.augment import Augment


class Pretrainer(Host):
    """Train a backbone on pretext tasks.

    Args:
        backbone: the network that all tasks share.
        tasks: by name, what builds each task from the backbone (the task's class and its other arguments).
        weighting: builds the weighting of the tasks' losses from their names.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optim: the optimiser, and the schedule of its learning rate.
        scale_by_chance: divide each loss by the loss of a blind guess, so that weights compare across tasks.
        execution: memory layout, and what is compiled.
        seed: first part of the key of every random draw.

    Raises:
        ValueError: there is no task, or one has a name that torch uses itself, or is built already; the backbone is a
            plain module; an argument of another kind than these.

    """

    def __init__(
        self,
        backbone: Backbone,
        tasks: dict[str, TaskFactory],
        weighting: WeightingFactory = Fixed,
        augment: Augment | None = None,
        optim: Optim = ADAMW,
        scale_by_chance: bool = False,
        execution: Execution = PLAIN,
        seed: int = 0,
    ) -> None:
        _check(backbone, tasks, weighting)
        super().__init__(InputPipeline(backbone, augment), optim, execution, seed)
        if not tasks:
            raise ValueError(
                "Pretrainer: no task; give at least one, such as tasks: {turn: {class_path: pretext.Rotation}}"
            )
        if bad := [name for name in tasks if not name.isidentifier() or hasattr(nn.ModuleDict(), name)]:
            raise ValueError(f"Pretrainer: {bad} cannot name a task; take a plain word that torch does not use itself")
        self.tasks = nn.ModuleDict({name: build(backbone) for name, build in tasks.items()})
        self.weighting = weighting(list(tasks))
        for name in self.weighting.off:  # an optimiser would shrink its weights, and several processes wait for them
            self.tasks[name].requires_grad_(False)
        self.scales = {n: float(t.chance().loss) if scale_by_chance else 1.0 for n, t in self._tasks()}
        self._parts: dict[Task, Parts] = {}  # of a task, compiled
        self.losses: dict[str, Tensor] = {}  # each task's, () and detached, of the last training step, for callbacks

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.execution.compile == "step":
            compiled = self.execution.compiled
            self._parts = {t: (compiled(t.pose), compiled(t.solve), compiled(t.grade)) for _, t in self._tasks()}

    def exam(self, task: Task, x: Tree, *key: int | str) -> Grade:
        """Pose, look, solve and grade; `x` is (N, C, *S) in [0, 1], or a dict of these by modality.

        Raises:
            ValueError: there are several modalities, but the backbone is for one.

        """
        if isinstance(x, dict) and not isinstance(self.backbone, MultiModal):
            raise ValueError(
                f"Pretrainer: the data has {', '.join(x)}, but {type(self.backbone).__name__} is one network; name one "
                "in the data module's modalities, or take a MultiModal and wrap tasks of one modality in On"
            )
        return examined(self, self._parts.get(task) or (task.pose, task.solve, task.grade), x, *key)

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> Tensor:
        batch, key = self.lawful(batch), (self.global_rank, self.current_epoch, batch_idx)
        x = self.train_input(batch["x"], batch_idx)
        with together():  # each rank poses with its own key; what grades compare and divide by is of all ranks
            grades = {n: self.exam(t, x, self.seed, "train", n, *key) for n, t in self._tasks()}
        loss = self._weighted(grades)
        kept = self.keep({**measured(grades, "train"), "train/loss": loss})
        self.losses = {name: kept[f"train/{name}/loss"] for name in grades}
        return loss

    def validation_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        self._examine(batch, batch_idx, "val")

    def test_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        self._examine(batch, batch_idx, "test")

    def predict_step(self, batch: dict[str, Tree], batch_idx: int) -> dict[str, Tensor]:
        """Return the pooled features (N, D) of a batch beside the indices of its items, of several modalities each."""
        batch = self.lawful(batch)
        x, index = batch["x"], batch["index"]
        if not isinstance(self.backbone, MultiModal):
            return {"index": index, "pooled": by_item(self.look(self.inputs.eval_input(x)).pooled.float(), len(index))}
        features = self.look({name: self.inputs.eval_input(x, name) for name in self.backbone.backbones})
        return {"index": index, **{f"pooled.{n}": by_item(f.pooled.float(), len(index)) for n, f in features.items()}}

    def configure_optimizers(self) -> Optimizer:
        return self.rates.optimizer(trained(self))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        for _, task in self._tasks():
            task.follow(self.backbone)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        for _, task in self._tasks():
            task.begin(self.current_epoch)

    def _tasks(self) -> Iterable[tuple[str, Task]]:
        """Go through the tasks that count."""
        named: Iterable[tuple[str, Any]] = self.tasks.items()  # ModuleDict forgets that its modules are tasks
        return [(name, task) for name, task in named if name not in self.weighting.off]

    def _examine(self, batch: dict[str, Tree], batch_idx: int, split: str) -> None:
        batch = self.lawful(batch)
        x = self.inputs.centre(batch["x"])
        # Rank 0 and the number among the batches of all ranks: the puzzles of one process. Epoch 0: the same ones in
        # every epoch, so that curves compare.
        keys = (0, 0, self.number_of(batch_idx))
        grades = {n: self.exam(t, x, self.seed, split, n, *keys) for n, t in self._tasks()}
        size = 0 if batch.get("spare") else len(batch["index"])
        # Lightning averages the ranks' weights as whole numbers, rounded down: 35 items on two would count as 34.
        how: dict[str, Any] = {"batch_size": size * self.ranks, "sync_dist": True}
        self.log_dict(measured(grades, split), **how)
        self.log(f"{split}/loss", self._weighted(grades), prog_bar=True, **how)

    def _weighted(self, grades: dict[str, Grade]) -> Tensor:
        """Combine the grades to one loss."""
        scales = self.scales
        losses = {n: grade.loss if scales[n] == 1 else grade.loss / scales[n] for n, grade in grades.items()}
        loss: Tensor = self.weighting(losses)
        return loss


def _check(backbone: object, tasks: object, weighting: object) -> None:
    """Refuse what can be given from Python alone: a config's parser would have told."""
    require_backbone(backbone, "Pretrainer")
    named = 'give them by name, as in {"turn": pretext.Rotation}'
    require(isinstance(tasks, dict), "Pretrainer", f"tasks is {described(tasks)}", named)
    for name, task in cast(dict[str, object], tasks).items():
        what = f"tasks[{name!r}] is {'a ' if isinstance(task, Task) else ''}{_named(task)}"
        advice = "give the class, or functools.partial(class, options): it is built from the backbone"
        require(callable(task) and not isinstance(task, Task), "Pretrainer", what, advice)
    wanted = "give a class, or functools.partial(pretext.nn.weighting.Fixed, weights={...})"
    builds = callable(weighting) and not isinstance(weighting, nn.Module)
    require(builds, "Pretrainer", f"{weighting=}", wanted)


def _named(task: object) -> str:
    return f"{type(task).__name__} that is built already" if isinstance(task, Task) else repr(task)


def measured(grades: dict[str, Grade], split: str) -> dict[str, Tensor]:
    """Name every task's loss and scores as logs do."""
    scores = {f"{split}/{n}/{key}": value for n, g in grades.items() for key, value in g.scores.items()}
    return {**{f"{split}/{name}/loss": grade.loss for name, grade in grades.items()}, **scores}
