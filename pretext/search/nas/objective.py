"""What one job of a comparison does: train one architecture for one measure, and score it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from optuna import Trial

from pretext.backbones.cost import cost
from pretext.core.rng import rng
from pretext.core.types import Task
from pretext.search.nas.results import ELSEWHERE
from pretext.search.nas.scoring import Batch, calibrate, score, value_of, within
from pretext.search.nas.settings import SUPERVISED, Comparison
from pretext.search.trainer import quiet_trainer
from pretext.supervised.module import Supervised
from pretext.training.host import Host
from pretext.training.pretrainer import Pretrainer
from pretext.training.run import build


class Measurer:
    """Trains and scores the architectures of one comparison, on data that is opened once.

    Args:
        comparison: what is compared.
        folder: where files go that Lightning or a data module writes.

    Raises:
        ValueError: the config names no data.

    """

    def __init__(self, comparison: Comparison, folder: Path) -> None:
        self.comparison, self.folder = comparison, folder
        data = build(comparison.config)[1]
        if data is None:
            raise ValueError("the config names no data; add --data CLASS")
        self.data: dict[bool, Any] = {False: data, True: comparison.settings.second}

    def check(self) -> None:
        """Pose each task once, and look for labels, so that what cannot work is known before there is a study.

        Raises:
            ValueError: a task cannot be posed from the data, or labels are missing; the message names the measure.

        """
        for measure in self.comparison.measures:
            data = self.data_of(measure)
            data.prepare_data()
            try:
                self._check(measure, data)
            except ValueError as error:
                raise ValueError(f"nas: {measure}: {error}") from error

    def __call__(self, trial: Trial) -> float:
        """Run the job that a trial stands for, note what is worth showing, and return its score; larger is better.

        Raises:
            FloatingPointError: it diverged.

        """
        noted = trial.user_attrs
        seed = int(self.comparison.config.get("seed_everything", 0)) + noted["seed"]
        host = self.trained(noted["measure"], self.drawn(noted["architecture"]), seed)
        figures = self.scored(host, noted["measure"])
        trial.set_user_attr("steps", self.comparison.settings.steps)
        trial.set_user_attr("facts", figures | self.cost(host))
        return value_of(figures)

    def data_of(self, measure: str) -> Any:
        """Return the data that a measure is taken on."""
        return self.data[measure.endswith(ELSEWHERE)]

    def drawn(self, architecture: int) -> dict[str, Any]:
        """Return the training config with the backbone that was drawn at this place."""
        space, choice = self.comparison.settings.drawn_from(), self.comparison.choices[architecture]
        made = space.configured(self.comparison.config, choice)
        assert made is not None  # only weights leave nothing to train
        return made

    def config(self, measure: str, made: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Return the config of a job, without data: that of all measures, as `drawn` gives it, with one of them."""
        rest = {key: value for key, value in made.items() if key != "data"} | {"seed_everything": seed}
        model, name = deepcopy(made["model"]), measure.removesuffix(ELSEWHERE)
        if name == SUPERVISED:
            common = {key: model[key] for key in ("backbone", "augment", "optim", "execution") if key in model}
            return {**rest, "model": {"class_path": "pretext.FineTune", "init_args": {**common, "keep_best": False}}}
        del model["tasks"]
        model.pop("weighting", None)
        return {**rest, "model": {**model, "tasks": {name: made["model"]["tasks"][name]}}}

    def trained(self, measure: str, made: Mapping[str, Any], seed: int) -> Host:
        """Train; batches come in the order of the seed, whatever is trained.

        Raises:
            FloatingPointError: the loss is not finite.

        """
        module, _ = build(self.config(measure, made, seed))
        data = self.data_of(measure)
        if hasattr(data, "seed"):
            data.seed = seed
        settings = self.comparison.settings
        trainer = quiet_trainer(self.comparison.config["trainer"], settings.steps, self.folder)
        trainer.fit(module, datamodule=data)
        module.to(trainer.strategy.root_device)
        if settings.calibration:
            calibrate(module, data.ordered("train", settings.calibration))
        return module

    def scored(self, host: Host, measure: str) -> dict[str, float]:
        """Score on held-out items: of a task the validation share, of labels the test items."""
        data, items = self.data_of(measure), self.comparison.settings.items
        if isinstance(host, Supervised):
            return score(host, data.ordered("test", items))
        held_out: Iterable[Batch] = data.val_dataloader()
        return score(host, within(held_out, items))

    def _check(self, measure: str, data: Any) -> None:
        module, _ = build(self.config(measure, self.drawn(0), 0))
        if isinstance(module, Supervised):
            if not list(getattr(data, "classes", [])):
                raise ValueError(f"{type(data).__name__} has no labels; leave labels out with --supervised false")
            return
        assert isinstance(module, Pretrainer)
        batch = next(iter(within(data.val_dataloader(), 1)), None)
        if batch is None:
            score(module, [])  # says what is missing
            return
        ((_, task),) = module.tasks.items()
        assert isinstance(task, Task)
        task.pose(module.inputs.centre(batch["x"]), rng("cpu", "nas", "check"))

    def cost(self, host: Host) -> dict[str, float]:
        """Count parameters, and multiply-adds at the side of the pictures that it was trained on."""
        network, _ = host.inputs.network()
        side = (host.augment.crop if host.augment else None) or host.inputs.canvas
        return {} if not side or network.axes != "hw" else cost(network, side)._asdict()
