"""Unsupervised domain adaptation: labels of a source, pictures of a target, and a classifier for the target."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from pretext.core.errors import require
from pretext.core.ranks import in_turn, together, total
from pretext.core.rng import rng, seed_of
from pretext.core.types import Backbone, Grade, Task, Tree
from pretext.evaluation.supervision import Scored, occurrences
from pretext.supervised.adaptation.domains import both_of, domain_of
from pretext.supervised.adaptation.methods import Method, MethodFactory, Step
from pretext.supervised.adaptation.module import AcrossDomains
from pretext.supervised.adaptation.readouts import (
    ALONE,
    LABELS,
    Beside,
    features_of,
    gathered,
    others,
    read_out,
    rows_of,
    with_gaps,
)
from pretext.supervised.adaptation.selection import Tallies
from pretext.supervised.labelled import part
from pretext.supervised.scores import write
from pretext.supervised.trunk import trunk
from pretext.training.exam import examined
from pretext.training.execution import PLAIN, Execution
from pretext.training.inputs import InputPipeline, by_item
from pretext.training.optimization import ADAMW, Optim, trained
from pretext.views.augment import Augment

READ = 10_000  # most items of a domain that read-outs are fitted on


class Adaptation(AcrossDomains):
    """Train a backbone and a linear classifier on a source's labels, drawn to a target without labels by a method.

    The data module yields both domains (`datamodules.Pairs`). No label of the target is in what training and validation
    see. Those weights are tested and loaded whose epoch had the highest source validation accuracy plus information in
    predictions on the target (`Told`); without held-out items, the last ones. The test writes `score.json` into the
    run: {"task", "accuracy", "low", "high" (of the target), "rows": [{"name", "accuracy", "low", "high", "gap_closed",
    "chosen"}], "source" (the same of the source's test items), "selected", "validation", "entropy", "diversity",
    "epoch", "items", "chance", "classes"}. Rows are the run's, read-outs of the source's labels from its features (as
    they are, and after subspace alignment), and the runs of `beside`; `gap_closed` is there where both are named.

    Args:
        run: whose trained backbone to take, in the place of
        backbone: the network itself, to train from scratch.
        modality: which network of several, and what to show it of several modalities.
        method: builds what draws the domains together (`DANN`, `Bridge`, `MinEnt`); none: source only.
        keep_best: use the weights of the best epoch, see above; else the last ones.
        beside: tested runs to compare with.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optim: the optimiser, and the schedule of its learning rate.
        execution: memory layout and compilation of the backbone.
        seed: first part of the key of every random draw.

    Raises:
        ValueError: neither run nor backbone; later, data of one domain, domains of other sizes, items with
            several labels.

    """

    counts: Tensor

    def __init__(
        self,
        run: str | None = None,
        backbone: Backbone | None = None,
        modality: str | None = None,
        method: MethodFactory | None = None,
        keep_best: bool = True,
        beside: Beside = ALONE,
        augment: Augment | None = None,
        optim: Optim = ADAMW,
        execution: Execution = PLAIN,
        seed: int = 0,
    ) -> None:
        inputs = InputPipeline(trunk(run, None if run else backbone, modality), augment, modality)
        super().__init__(inputs, optim, execution, seed, keep_best, beside)
        self.head = nn.Linear(self.backbone.dim, 1)  # as many outputs as classes, once these are known
        self.method: Method | None = None if method is None else method(self.backbone)
        if self.method is not None and self.method.off:
            self.method.requires_grad_(False)
        self.tallies = Tallies()
        self._tested: list[tuple[Tensor, Tensor]] = []  # features and labels of the target

    def begin(self, classes: int) -> None:
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # Lightning asks for the accelerator here
            torch.default_generator.manual_seed(seed_of(self.seed, "classifiers"))
            self.head = nn.Linear(self.backbone.dim, classes)
        self.register_buffer("counts", torch.zeros(classes, dtype=torch.long))

    def configure_optimizers(self) -> Optimizer:
        return self.rates.optimizer(trained(self))

    def classify(self, x: Tensor, items: int) -> tuple[Tensor, Tensor]:
        """Return the pooled features (N, D) and the logits (N, K) of what the network sees of `items` items."""
        seen = self.look(x)
        with torch.autocast(x.device.type, enabled=False):
            pooled = by_item(seen.pooled.float(), items)
            return pooled, self.head(pooled)

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> Tensor:
        source, target = (self.lawful(half) for half in both_of(batch, 1, self))
        x = self.inputs.for_network(self.train_input(_part(self, source), batch_idx))
        method = None if self.method is None or self.method.off else self.method
        other = None if method is None else self._other(target, batch_idx)
        looks = method is not None and method.looks
        sizes = [len(half["index"]) for half in ((source, target) if looks else (source,))]
        seen = self.classify(torch.cat([x, other]) if looks and other is not None else x, sum(sizes))
        pooled, logits = (torch.split(part, sizes) for part in seen)
        with together():
            self.counts += total(occurrences(source["y"], len(self.classes)))
        loss = cross_entropy(logits[0], source["y"])
        kept = {"train/labels": loss}
        if method is not None and other is not None:
            progress, examine = self.rates.progress(self.trainer.global_step), _examiner(self, batch_idx)
            with together():
                shares = self.counts / self.counts.sum()
                grade = method(Step(x, other, pooled, logits, shares, progress, examine))
            loss = loss + grade.loss
            kept |= {f"train/{name}": value for name, value in grade.scores.items()}
        self.keep({**kept, "train/loss": loss})
        return loss

    def validation_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        self._look_on(batch, batch_idx)

    def test_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        pooled = self._look_on(batch, batch_idx)
        self._tested = [] if batch_idx == 0 else self._tested
        if batch["domain"] == "target" and "y" in batch and not batch.get("spare"):
            self._tested.append((pooled.float().cpu(), batch["y"].cpu()))

    def predict_step(self, batch: dict[str, Tree], batch_idx: int) -> dict[str, Tensor]:
        """Return the logits (N, K) of target items beside their indices."""
        batch = self.lawful(batch)
        return {"index": batch["index"], "logits": self._seen(batch)[1]}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if self.method is not None:
            self.method.begin(self.current_epoch)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.method is not None:
            self.method.follow(self.backbone)

    def on_validation_epoch_end(self) -> None:
        chosen = None if self.trainer.sanity_checking else self.tallies.chosen()
        if chosen is not None:
            self.log("val/accuracy", chosen.accuracy, sync_dist=True)  # the same on all ranks
            self.choice.consider(self, chosen)

    def on_test_epoch_end(self) -> None:
        mine, theirs = (self.tallies.scored(domain) for domain in ("source", "target"))
        wanted = "give a target with labels to test on, or look at what it predicts: pretext predict RUN"
        require(theirs is not None, self, "the target has no labels, so nothing can be tested", wanted)
        assert theirs is not None
        rows = _rows(self, theirs)
        self.log("test/accuracy", theirs.value, sync_dist=True)
        facts = {"items": theirs.items, "chance": self.tallies.chance(self.counts), "classes": self.classes}
        source = None if mine is None else mine.plain()
        said = {"source": source, "rows": rows, **self.choice.said(), **facts}
        write({"task": "adaptation", **theirs.plain(), **said}, self.trainer)

    def _other(self, target: dict[str, Tree], batch_idx: int) -> Tensor:
        """Turn a batch of the target into what training sees, with draws of its own."""
        key = (self.global_rank, self.current_epoch, batch_idx)
        generator = rng(self.device, self.seed, "train", "augment", "target", *key)
        with torch.no_grad():
            shown: Tensor = self.inputs.for_network(self.inputs.train_input(_part(self, target), generator))
        return shown

    def _look_on(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Classify a batch of one domain, tally it, and return its pooled features (N, D)."""
        domain_of(batch, self)
        batch = self.lawful(batch)
        pooled, logits = self._seen(batch)
        self.tallies.add(logits, batch, batch_idx)
        return pooled

    def _seen(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return the pooled features and logits of a batch as evaluation sees it."""
        return self.classify(self.inputs.eval_input(_part(self, batch)), len(batch["index"]))


def _examiner(module: Adaptation, batch_idx: int) -> Callable[[str, Task, Tree], Grade]:
    """Let a module's backbone sit the exams of a training step."""
    key = (module.global_rank, module.current_epoch, batch_idx)

    def examine(name: str, task: Task, x: Tree) -> Grade:
        return examined(module, (task.pose, task.solve, task.grade), x, module.seed, "train", name, *key)

    return examine


def _rows(module: Adaptation, mine: Scored) -> list[dict[str, Any]]:
    """Compare the target's test score with read-outs and other runs."""
    tested = in_turn(module._tested)
    test, answers = gathered([pooled for pooled, _ in tested]), torch.cat([labels for _, labels in tested])
    beside = others(module.beside, module.classes, mine.items)
    name = LABELS if module.method is None or module.method.off else type(module.method).__name__
    own = {"name": name, **mine.plain(), "chosen": True}
    data: Any = module.trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it outside the class
    features = features_of(data.both(READ), lambda batch: module._seen(batch)[0], module.device, test)
    return with_gaps([own, *rows_of(read_out(features), answers)], mine.measure, beside)


def _part(module: Adaptation, batch: dict[str, Tree]) -> Tensor:
    return part(batch["x"], module.inputs.modality, "Adaptation")
