"""What a search maximises: train a mixture of tasks for some steps, and judge the features that come out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from optuna import Trial

from pretext.evaluation.embed import Embedded, FeatureError, embed
from pretext.evaluation.fitness import Fit
from pretext.evaluation.measure import measure
from pretext.evaluation.probe import Split
from pretext.search.halving import Halving
from pretext.search.settings import Search
from pretext.search.space import ZERO, Choice, mixture, suggest, unweighted
from pretext.search.trainer import quiet_trainer
from pretext.training.host import Host
from pretext.training.inputs import canvas_of
from pretext.training.networks import probed_data
from pretext.training.run import build

NOTHING: Choice = {}
PROBE_FIGURES = ("accuracy", "low", "high")


class Trained(NamedTuple):
    """What came of training."""

    host: Host
    steps: int
    device: torch.device


class Objective:
    """Trains and judges candidates of one search, one after the other, on data that is opened once.

    All of one architecture start from the same weights, and all see the same batches in the same order: both follow the
    config's seed.

    Args:
        search: what is searched.
        folder: where files go that Lightning or a data module writes.

    Raises:
        ValueError: the config names no data.

    """

    def __init__(self, search: Search, folder: Path) -> None:
        self.search, self.folder = search, folder
        self.fitness = search.settings.criterion()
        data = build(unweighted(search.config))[1]
        if data is None:
            raise ValueError("the config names no data; add --data CLASS")
        self.data: Any = data  # the batch law's methods, which Lightning does not know
        self.labelled: Any = search.settings.probe_data or data

    def check(self) -> None:
        """Judge a network without training it, so that what cannot work is known before there is a study.

        Raises:
            ValueError: as in `embed`, of the fitness, of the data.

        """
        for data in {id(data): data for data in (self.data, self.labelled)}.values():
            data.prepare_data()
        trained = self.train(dict.fromkeys(self.search.space, 0.0), ZERO)
        features = self.embed(trained, self.data, "train")
        self.judge(features)
        if self.search.settings.probe and self.labelled.classes:
            self.probe(features, trained)

    def __call__(self, trial: Trial) -> float:
        """Run the candidate that a trial stands for, note what is worth showing, and return its fitness.

        Raises:
            FloatingPointError: it diverged.
            TrialPruned: it was given up half-way.

        """
        planned = trial.user_attrs
        weights = planned.get("weights") or suggest(self.search.space, trial)
        space = None if "control" in planned else self.search.settings.architecture
        architecture = {} if space is None else suggest(space, trial)
        trained = self.train(weights, planned.get("control"), trial, architecture)
        trial.set_user_attr("steps", trained.steps)
        features = self.embed(trained, self.data, "train")
        fit = self.judge(features)
        trial.set_user_attr("facts", fit.facts)
        if self.search.settings.probe and self.labelled.classes:
            trial.set_user_attr("probe", self.probe(features, trained))
        return fit.value

    def train(
        self,
        weights: Mapping[str, float],
        control: str | None = None,
        trial: Trial | None = None,
        architecture: Choice = NOTHING,
    ) -> Trained:
        """Train a mixture, on the config's backbone or on a chosen one; with nothing to train, it stays as it was made.

        Raises:
            FloatingPointError: the loss is not finite.
            TrialPruned: a pruner gave it up.

        """
        base = self.search.built_on(architecture)
        config = mixture(base, weights, control)
        whole = unweighted(base) if config is None else config
        module, _ = build({key: value for key, value in whole.items() if key != "data"})
        trainer = self._trainer(module, trial)
        if config is None:
            module.inputs.canvas = canvas_of(
                _first(self.data, self.search.settings.items)["x"]
            )  # as training would have noted
        else:
            trainer.fit(module, datamodule=self.data)
        return Trained(module, trainer.global_step, trainer.strategy.root_device)

    def embed(self, trained: Trained, data: Any, split: Split) -> Embedded:
        """Embed the chosen items of a split, and keep the one stage that is judged.

        Raises:
            FloatingPointError: the features are not finite, or too large to be stored.
            ValueError: the network has no such stage.

        """
        settings = self.search.settings
        network, modality = trained.host.inputs.network(settings.modality)
        stage = settings.stage or list(network.stages)[-1]
        if stage not in network.stages:
            raise ValueError(f"evolve: no stage {stage!r}; {type(network).__name__} has {', '.join(network.stages)}")
        view = probed_data(trained.host.inputs, data, modality).view
        kind = next(network.parameters()).dtype  # bfloat16 where the weights are
        batches = data.ordered(split, settings.items)
        try:
            features = embed(network.to(trained.device), batches, lambda x: view(x).to(kind), dims=1, title="")
        except FeatureError as error:
            raise FloatingPointError(str(error)) from error
        return Embedded({stage: features.mean[stage]}, {stage: features.mean[stage]}, features.labels)

    def judge(self, features: Embedded) -> Fit:
        """Measure the fitness of features; one that needs no labels gets none."""
        z = next(iter(features.mean.values()))
        return self.fitness(z, features.labels if self.fitness.needs_labels else features.labels[:0])

    def probe(self, features: Embedded, trained: Trained) -> dict[str, float] | None:
        """Score probes on the test items: accuracy of the linear one with its interval, and of nearest neighbours.

        Classes that none of the embedded training items has are left out. Data with several labels an item has no such
        score.
        """
        train = features if self.labelled is self.data else self.embed(trained, self.labelled, "train")
        if train.labels.ndim > 1:
            return None
        test = self.embed(trained, self.labelled, "test")
        known = torch.isin(test.labels, train.labels)
        stage = {name: rows[known] for name, rows in test.mean.items()}
        asked = Embedded(stage, stage, test.labels[known])
        row = measure(train, asked, ("linear", "knn"), device=trained.device).rows[0]
        linear, knn = row.score("linear"), row.score("knn")
        assert linear is not None
        assert knn is not None
        figures = {name: float(linear.figures[name]) for name in PROBE_FIGURES}
        return figures | {"knn": float(knn.figures["accuracy"])}

    def _trainer(self, module: Host, trial: Trial | None) -> pl.Trainer:
        settings = self.search.settings
        trainer = quiet_trainer(self.search.config["trainer"], settings.steps, self.folder)
        if trial is not None and settings.halving is not None and "control" not in trial.user_attrs:
            judge = partial(self._judge_halfway, trainer)
            trainer.callbacks.append(Halving(settings.halving_steps(), judge, trial))  # type: ignore[attr-defined]
        return trainer

    def _judge_halfway(self, trainer: pl.Trainer, host: Host) -> Fit:
        trained = Trained(host, trainer.global_step, trainer.strategy.root_device)
        return self.judge(self.embed(trained, self.data, "train"))


def _first(data: Any, items: int | None) -> Any:
    """Return the first batch of the chosen items in which one can be read.

    Raises:
        ValueError: there is none.

    """
    for batch in data.ordered("train", items):
        return batch
    raise ValueError("evolve: no item of the training set can be used; the data module says why")
