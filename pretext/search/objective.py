"""A candidate: train a mixture of tasks for some steps, and judge the features that come out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from jsonargparse import ArgumentParser
from optuna import Trial, TrialPruned

from pretext.evaluation.embed import Embedded, FeatureError, embed
from pretext.evaluation.fitness import Fit
from pretext.evaluation.measure import measure
from pretext.evaluation.probe import Split
from pretext.search.settings import Search, mixed, unweighted
from pretext.training.callbacks import Divergence
from pretext.training.callbacks.quiet import undisturbed
from pretext.training.host import Host, canvas_of
from pretext.training.networks import probed_data
from pretext.training.run import build

Judge = Callable[[Host], Fit]
OWN = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "limit_val_batches": 0,
    "num_sanity_val_steps": 0,
    "callbacks": [],
    "max_epochs": -1,
    "max_time": None,
}
"""Of Lightning's trainer: a candidate leaves nothing but its figures, and nothing stops it."""
ALONE = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
"""A worker has one device, or Lightning would start it again for each; of several devices each gets its own worker."""
SHOWN = ("accuracy", "low", "high")


class Trained(NamedTuple):
    """What came of training."""

    host: Host
    steps: int
    device: torch.device


class Candidates:
    """Trains and judges candidates of one search, one after the other, on data that is opened once.

    All start from the same weights and see the same batches in the same order: chance comes from the config's seed.

    Args:
        search: what is searched.
        folder: where files go that Lightning or a data module writes.

    Raises:
        ValueError: the config names no data.

    """

    def __init__(self, search: Search, folder: Path) -> None:
        self.search, self.folder = search, folder
        self.judge = search.settings.judge()
        data = build(unweighted(search.config))[1]
        if data is None:
            raise ValueError("the config names no data; add --data CLASS")
        self.data: Any = data  # the batch law's methods, which Lightning does not know
        self.labelled: Any = search.settings.probe_data or data

    def try_out(self) -> None:
        """Judge a network without training it, so that what cannot work is known before there is a study.

        Raises:
            ValueError: as in `look`, of the fitness, of the data.

        """
        for data in {id(data): data for data in (self.data, self.labelled)}.values():
            data.prepare_data()
        trained = self.train(dict.fromkeys(self.search.space, 0.0), "all zero")
        seen = self.look(trained, self.data, "train")
        self.fit(seen)
        if self.search.settings.probe and self.labelled.classes:
            self.probed(seen, trained)

    def __call__(self, trial: Trial) -> float:
        """Run the candidate that a trial stands for, note what is worth showing, and return its fitness.

        Raises:
            FloatingPointError: it diverged.
            TrialPruned: it was given up half-way.

        """
        told = trial.user_attrs
        space = self.search.space
        weights = told.get("weights") or {name: trial.suggest_float(name, *space[name]) for name in sorted(space)}
        trained = self.train(weights, told.get("control"), trial)
        trial.set_user_attr("steps", trained.steps)
        seen = self.look(trained, self.data, "train")
        fit = self.fit(seen)
        trial.set_user_attr("facts", fit.facts)
        if self.search.settings.probe and self.labelled.classes:
            trial.set_user_attr("probe", self.probed(seen, trained))
        return fit.value

    def train(self, weights: Mapping[str, float], control: str | None = None, trial: Trial | None = None) -> Trained:
        """Train a mixture; with nothing to train, the network stays as it was made.

        Raises:
            FloatingPointError: the loss is not finite.
            TrialPruned: a pruner gave it up.

        """
        config = mixed(self.search, weights, control)
        whole = unweighted(self.search.config) if config is None else config
        module, _ = build({key: value for key, value in whole.items() if key != "data"})
        trainer = self._trainer(module, trial)
        if config is None:
            module.canvas = canvas_of(next(iter(self.data.ordered("train", 1)))["x"])  # as training would have noted
        else:
            trainer.fit(module, datamodule=self.data)
        return Trained(module, trainer.global_step, trainer.strategy.root_device)

    def look(self, trained: Trained, data: Any, split: Split) -> Embedded:
        """Embed the items of a split that are looked at, and keep the one stage that is judged.

        Raises:
            FloatingPointError: the features are not finite, or too large to be stored.
            ValueError: the network has no such stage.

        """
        settings = self.search.settings
        network, modality = trained.host.network(settings.modality)
        stage = settings.stage or list(network.stages)[-1]
        if stage not in network.stages:
            raise ValueError(f"evolve: no stage {stage!r}; {type(network).__name__} has {', '.join(network.stages)}")
        view = probed_data(trained.host, data, modality).view
        kind = next(network.parameters()).dtype  # bfloat16 where the weights are
        batches = data.ordered(split, settings.items)
        try:
            seen = embed(network.to(trained.device), batches, lambda x: view(x).to(kind), dims=1, title="")
        except FeatureError as error:
            raise FloatingPointError(str(error)) from error
        return Embedded({stage: seen.mean[stage]}, {stage: seen.mean[stage]}, seen.labels)

    def fit(self, seen: Embedded) -> Fit:
        """Judge features; a fitness that needs no labels gets none."""
        z = next(iter(seen.mean.values()))
        return self.judge(z, seen.labels if self.judge.needs_labels else seen.labels[:0])

    def probed(self, seen: Embedded, trained: Trained) -> dict[str, float] | None:
        """Score probes on the test items: accuracy of the linear one with its interval, and of nearest neighbours.

        Left out are classes that no training item of those looked at has, and sets with several labels an item.
        """
        if self.labelled is not self.data:
            seen = self.look(trained, self.labelled, "train")
        if seen.labels.ndim > 1:
            return None
        test = self.look(trained, self.labelled, "test")
        known = torch.isin(test.labels, seen.labels)
        stage = {name: rows[known] for name, rows in test.mean.items()}
        asked = Embedded(stage, stage, test.labels[known])
        row = measure(seen, asked, ("linear", "knn"), device=trained.device).rows[0]
        linear, knn = row.score("linear"), row.score("knn")
        assert linear is not None
        assert knn is not None
        return {name: float(linear.figures[name]) for name in SHOWN} | {"knn": float(knn.figures["accuracy"])}

    def _trainer(self, module: Host, trial: Trial | None) -> pl.Trainer:
        settings = self.search.settings
        parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False)
        parser.add_class_arguments(pl.Trainer, "trainer", fail_untyped=False)
        given = {"log_every_n_steps": 1, **self.search.config["trainer"], **OWN, "max_steps": settings.steps}
        one = isinstance(given.get("devices"), list) and len(given["devices"]) == 1  # which one, the user says
        given |= {"default_root_dir": str(self.folder), **({} if one else ALONE)}
        with warnings.catch_warnings():
            # Of a GPU that is there and not used, as the config may well want it.
            warnings.filterwarnings("ignore", "GPU available but not used", UserWarning)
            logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # no device tables for each candidate
            trainer: pl.Trainer = parser.instantiate(parser.parse_object({"trainer": given})).trainer
        trainer.callbacks.append(Divergence())  # type: ignore[attr-defined]  # Lightning sets it outside the class
        if trial is not None and settings.halving is not None and "control" not in trial.user_attrs:
            trainer.callbacks.append(Rungs(settings.rungs(), partial(self._halfway, trainer), trial))  # type: ignore[attr-defined]
        return trainer

    def _halfway(self, trainer: pl.Trainer, host: Host) -> Fit:
        return self.fit(self.look(Trained(host, trainer.global_step, trainer.strategy.root_device), self.data, "train"))


class Rungs(pl.Callback):
    """Judge a candidate after some numbers of steps, and give it up where it is worse than others were there.

    Successive halving as the study's pruner has it. Training goes on as if nobody had looked.
    """

    def __init__(self, steps: tuple[int, ...], judge: Judge, trial: Trial) -> None:
        self.steps, self.judge, self.trial = list(steps), judge, trial

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: Any) -> None:
        if trainer.global_step not in self.steps:
            return
        assert isinstance(pl_module, Host)
        self.steps.remove(trainer.global_step)  # several batches may make one step
        with undisturbed(pl_module.device):
            fit = self.judge(pl_module)
        self.trial.report(fit.value, trainer.global_step)
        self.trial.set_user_attr("steps", trainer.global_step)
        self.trial.set_user_attr("facts", fit.facts)
        if self.trial.should_prune():
            raise TrialPruned
