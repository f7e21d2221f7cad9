"""Learning to learn, as a LightningModule: every step learns a few small tasks and asks how well that went."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import Adam, Optimizer

from pretext.core.errors import require
from pretext.core.files import write_json
from pretext.core.rng import seed_of
from pretext.core.types import Backbone, Tree
from pretext.training.execution import PLAIN, Execution
from pretext.training.host import Host
from pretext.training.inputs import InputPipeline
from pretext.training.meta.informed import Informed
from pretext.training.meta.learner import Answers, Episodes, Learner, Network, Spec
from pretext.training.meta.maml import MAML
from pretext.training.meta.norms import NORMS, SAID, Norm, tame
from pretext.training.meta.rows import episodes_of, initial, plain
from pretext.training.meta.scores import FILE, Scores, figures, grade, summary
from pretext.training.optimization import LearningRates, Optim
from pretext.views.augment import Augment

OUTER = Optim(Adam, schedule="constant", warmup=0.0)


class MetaLearner(Host):
    """Train a network to learn new tasks from a few examples: MAML and its kin, or a sequence learner.

    Data come as episodes: `datamodules.Episodes` over any labelled data, or `datamodules.Sinusoids`. It runs on one
    device; `gradient_clip_val` of the trainer is `clip` here.

    The test writes `score.json` into the run: {"task", "learner", "accuracy" (or "loss"), "low", "high": its 95 %
    interval over episodes (Student's t), "before": as it was before an episode's examples were learnt, "episodes",
    "chance", "statistics"}. Where batch norm sees all questions of an episode at once, names say "transductive".

    Args:
        run: whose trained backbone is the initialisation, in the place of
        backbone: which network, from scratch.
        modality: which network of several, and what to show it of several modalities.
        learner: how an episode is learnt.
        norm: what takes the place of batch norm: "group" norm; "frozen" statistics; those of each pass ("batch"), which
            are transductive. None: frozen for a run, else group.
        augment: crop, flip and colour jitter of whole batches on the device; none: the canvas as it is.
        optim: the optimiser of the outer loop, and its schedule.
        clip: largest norm of the outer gradient; 0: as it is.
        execution: memory layout; nothing can be compiled here.
        seed: first part of the key of every random draw.

    Raises:
        ValueError: neither run nor backbone, an option out of its range; later, data without episodes, or of
            another shape than those before, several devices.

    """

    def __init__(
        self,
        run: str | None = None,
        backbone: Backbone | None = None,
        modality: str | None = None,
        learner: Learner | None = None,
        norm: Norm | None = None,
        augment: Augment | None = None,
        optim: Optim = OUTER,
        clip: float = 10.0,
        execution: Execution = PLAIN,
        seed: int = 0,
    ) -> None:
        own = initial(run, backbone, modality)
        super().__init__(InputPipeline(own, augment, modality), optim, execution, seed)
        require(norm in (None, *NORMS), self, f"{norm=}", f"choose one of {', '.join(NORMS)}")
        require(clip >= 0, self, f"{clip=}", "give a norm, or 0")
        for name, asked in (("compile", execution.compile), ("cuda_graphs", execution.cuda_graphs)):
            require(not asked, self, f"{name}={asked}", "leave it out: steps are functions here")
        self.automatic_optimization = False
        self.norm: Norm = norm or ("frozen" if run is not None else "group")
        self.tamed = tame(self.backbone, self.norm)
        self.learner: Learner = MAML() if learner is None else learner
        self.clip, self.spec = clip, Spec(0, 0, 0)
        self.apart = LearningRates(optim)  # of what has an optimiser of its own, of the same schedule
        self.scores = Scores()

    def configure_model(self) -> None:
        require(self.trainer.world_size == 1, self, f"{self.trainer.world_size} devices", "train on one")
        data = getattr(self.trainer, "datamodule", None)
        wrap = "--data datamodules.Episodes --data.data datamodules.Digits, or datamodules.Sinusoids"
        require(hasattr(data, "outputs"), self, f"{type(data).__name__}, which has no episodes", f"give some: {wrap}")
        known = cast(Any, data)
        _begin(self, Spec(self.backbone.dim, known.outputs, known.facts))

    def configure_optimizers(self) -> list[Optimizer]:
        apart, factory = self.learner.apart(), self.learner.own_optimizer()
        aside = set(map(id, apart))
        mine = [p for p in self.parameters() if p.requires_grad and id(p) not in aside]
        optimizers = [self.rates.optimizer([{"params": mine}])]
        if factory is not None:
            own = self.rates.optim
            self.apart = LearningRates(Optim(factory, own.schedule, own.warmup, own.milestones, own.factor))
            optimizers.append(self.apart.optimizer([{"params": apart}]))
        return optimizers

    def forward(self, x: Tensor) -> Tensor:
        """Read answers (n, outputs) from rows (n, C, ...)."""
        pooled = self.look(x).pooled
        with torch.autocast(x.device.type, enabled=False):
            answers: Tensor = self.learner.head(pooled.to(torch.promote_types(pooled.dtype, torch.float32)))
            return answers

    def training_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        episodes = episodes_of(self.inputs, self.train_input(batch["x"], batch_idx), batch)
        answers = self._answers(episodes)
        found = figures(answers, episodes)
        losses = found["loss"]
        if (informed := self._informed()) is not None and "accuracy" in found:
            assert episodes.metadata is not None
            counts = informed.counted(episodes.metadata, found["accuracy"])
            losses = losses * counts
            found["forgotten"] = 1 - counts
        loss = losses.mean()
        self._step(loss)
        self.keep({f"train/{name}": values.mean() for name, values in found.items()} | {"train/loss": loss})

    def validation_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        found = self._scored(batch)
        size = 0 if batch.get("spare") else len(batch["episode"])
        named = {f"val/{self._named(name)}": values.mean() for name, values in found.items()}
        self.log_dict(named, prog_bar=True, batch_size=size)

    def test_step(self, batch: dict[str, Tree], batch_idx: int) -> None:
        self.scores.add(self._scored(batch), batch_idx)

    def on_test_epoch_end(self) -> None:
        values = self.scores.values()
        self.log_dict({f"test/{self._named(name)}": numbers.mean() for name, numbers in values.items()})
        if self.trainer.fast_dev_run:  # type: ignore[attr-defined]  # Lightning sets it outside the class
            return
        about = {"task": "few_shot", "learner": self.learner.describe(), "statistics": self._statistics()}
        score = summary(values, self.spec.outputs)
        write_json(Path(self.trainer.default_root_dir) / FILE, about | score)
        if lost := score.get("diverged"):
            of = f"{lost:,} of {score['episodes']:,} test episodes"
            print(f"MetaLearner: learning diverged in {of}, whose answers are wrong; lower its rate", file=sys.stderr)

    def on_fit_start(self) -> None:
        if self.tamed:
            many = f"{len(self.tamed)} batch norms" if len(self.tamed) > 1 else "1 batch norm"
            print(f"MetaLearner: {many} {SAID[self.norm]}; --model.norm {'|'.join(NORMS)}", file=sys.stderr)

    def on_train_start(self) -> None:
        super().on_train_start()
        self.train()
        if len(self.trainer.optimizers) > 1:
            self.apart.begin(self.trainer.optimizers[1], self.trainer.estimated_stepping_batches)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if len(self.trainer.optimizers) > 1:
            self.apart.set(self.trainer.optimizers[1], self.trainer.global_step)

    def train(self, mode: bool = True) -> MetaLearner:
        super().train(mode)
        if self.norm == "frozen":
            for layer in self.tamed:
                layer.training = False
        return self

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["episodes"] = self.spec._asdict()
        if (informed := self._informed()) is not None:
            checkpoint["learnt"] = informed.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        _begin(self, Spec(**checkpoint["episodes"]))
        if (informed := self._informed()) is not None:
            informed.load(checkpoint["learnt"])

    def _informed(self) -> Informed | None:
        return self.learner.informed if isinstance(self.learner, MAML) else None

    def _statistics(self) -> str:
        return "transductive" if self.norm == "batch" and self.tamed else "of each item alone"

    def _named(self, name: str) -> str:
        return f"{name}_transductive" if self._statistics() == "transductive" else name

    def _answers(self, episodes: Episodes) -> Answers:
        named = {n: p for n, p in self.named_parameters() if n.startswith(("backbone.", "learner.head."))}
        trained = {name: parameter for name, parameter in named.items() if parameter.requires_grad}

        def call(values: Mapping[str, Tensor], x: Tensor) -> Tensor:
            answers: Tensor = functional_call(self, dict(values), (x,))
            return answers

        return self.learner.answer(Network(trained, call), episodes, grade)

    def _scored(self, batch: dict[str, Tree]) -> dict[str, Tensor]:
        """Learn and answer evaluation episodes, whose steps need gradients: figures by name, (B,) each."""
        with torch.inference_mode(False), torch.no_grad():
            x = self.inputs.centre(plain(batch["x"]))
            episodes = episodes_of(self.inputs, x, {key: plain(part) for key, part in batch.items() if key != "x"})
            return figures(self._answers(episodes), episodes)

    def _step(self, loss: Tensor) -> None:
        """Move all parameters down the outer gradient; a step counts once, however many optimisers there are."""
        _, *others = self.trainer.optimizers
        for optimizer in self.trainer.optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        if self.clip:
            nn.utils.clip_grad_norm_([p for p in self.parameters() if p.grad is not None], self.clip)
        for optimizer in others:
            optimizer.step()
        counted: Any = self.optimizers()
        (counted[0] if isinstance(counted, list) else counted).step()


def _begin(module: MetaLearner, spec: Spec) -> None:
    """Build what depends on the episodes, once, with torch's generator seeded by a key."""
    if module.spec.outputs:
        got = f"episodes of {spec.outputs} answers and {spec.facts} facts"
        learnt = f"it learnt {module.spec.outputs} and {module.spec.facts}: give such data (ways, metadata)"
        require(module.spec == spec, module, got, learnt)
        return
    module.spec = spec
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(seed_of(module.seed, "learner"))
        module.learner.begin(module.backbone, spec)
