"""Published numbers by one command: train a config as its paper does, let its judges judge, and set ours beside theirs.

Every part leaves a file when it is finished, so the same command goes on after a kill.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pretext.benchmark.each_epoch import EachEpoch, best_of
from pretext.core.configs import PACKAGED
from pretext.core.files import write_json
from pretext.evaluation.probe import ProbePlan, place_in, probe_network
from pretext.evaluation.protocol import Protocol
from pretext.jobs.files import once
from pretext.training.cli import PretextCLI
from pretext.training.networks import from_run
from pretext.training.run import LAST

CONFIGS = PACKAGED / "published"
ITEMS = 50_000  # of CIFAR-10's training set, all of which the published runs use
FEWEST = 64  # items of a scaled run: below, batch norm and kNN have nothing to work on
ASKED = "asked.json"
SAME: tuple[str, ...] = ("--data.root", "--data.download", "--checkpoint")
SAME += tuple(f"--trainer.{name}" for name in ("accelerator", "logger", "log_every_n_steps", "enable_progress_bar"))
SAME += tuple(f"--model.execution.{name}" for name in ("channels_last", "cuda_graphs"))
"""Options that leave the experiment as it is, with all below them."""


@dataclass(frozen=True)
class Judge:
    """A config that trains classifiers on every stage of the trained run, and what they scored where it was published.

    Args:
        name: for the table.
        config: its file in configs/published.
        epochs: that it trains, as the config says.
        published: accuracy in per cent by stage.
        per_class: it is trained on the first so many items of each class; none: on all.

    """

    name: str
    config: str
    epochs: int
    published: Mapping[str, float]
    per_class: int | None = None

    @property
    def folder(self) -> str:
        """The name of its run."""
        return Path(self.config).stem + ("" if self.per_class is None else f"_{self.per_class}")

    @property
    def options(self) -> tuple[str, ...]:
        """What its config does not say: of few labels how many, and that only published stages are judged."""
        if self.per_class is None:
            return ()
        return "--data.split.per_class", str(self.per_class), "--model.stages", json.dumps(list(self.published))


@dataclass(frozen=True)
class Readout:
    """A protocol on one stage's stored features, and what it scored where it was published, in per cent."""

    protocol: Protocol
    stage: str
    published: float


@dataclass(frozen=True)
class Publication:
    """A paper's experiment.

    Args:
        name: of the command's word and of the folder.
        title: of the table.
        config: its file in configs/published.
        epochs: that it trains, as the config says.
        published: figures of the pretext task itself on the test items, in per cent, such as {"rotation/accuracy": 93}.
        judges: trained on the run.
        readouts: of stored features.
        notes: what a reader of the table should know.

    """

    name: str
    title: str
    config: str
    epochs: int
    published: Mapping[str, float]
    judges: tuple[Judge, ...] = ()
    readouts: tuple[Readout, ...] = ()
    notes: str = ""


class Row(NamedTuple):
    """A figure of ours with its 95 % interval beside the published one, in per cent."""

    what: str
    stage: str
    ours: float
    low: float | None
    high: float | None
    published: float | None
    best: float | None = None
    """The best test score of all epochs, which authors may have reported; the last one is ours."""


@dataclass(frozen=True)
class Reproduction:
    """A publication that is repeated.

    Args:
        publication: which one.
        folder: of the results.
        options: for all configs, such as ["--data.root", DIR].
        scale: 1 repeats it; less is a share of its steps.

    Raises:
        ValueError: a scale outside (0, 1]; when it is run, a folder that holds another scale or other options.

    """

    publication: Publication
    folder: Path
    options: tuple[str, ...] = field(default=())
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ValueError(f"reproduce: scale is a share of the published steps in (0, 1], got {self.scale:g}")

    def run(self) -> list[Row]:
        """Do what is not done yet, write `reproduce.json`, and return the table's rows."""
        self._claim()
        publication, own = self.publication, self.folder / "run"
        scores = self._once("trained", partial(self._train, publication.config, publication.epochs, own, ()))
        rows = [
            Row(name, "", 100 * scores[f"test/{name}"], None, None, value)
            for name, value in publication.published.items()
        ]
        for judge in publication.judges:
            rows += self._judged(judge, own)
        if publication.readouts:
            read = partial(read_out, publication, own)
            rows += [Row(*row) for row in self._once("readouts", read)]
        write_json(self.folder / "reproduce.json", {**self._facts, "rows": [row._asdict() for row in rows]})
        return rows

    @property
    def differs(self) -> str:
        """Say in what it differs from what was published; "" where in nothing that is known of."""
        parts = [f"{self.scale:g} of the published steps"] if self.scale != 1 else []
        other = [word.partition("=")[0] for word in self._changes if word.startswith("--")]
        return " and ".join(parts + ([f"another {', another '.join(other)}"] if other else []))

    @property
    def _facts(self) -> dict[str, Any]:
        return {"publication": self.publication.name, "scale": self.scale, "options": list(self.options)}

    @property
    def _changes(self) -> list[str]:
        """List the options that change the experiment, with their values."""
        found, counts = [], False
        for word in self.options:
            counts = not word.startswith(SAME) if word.startswith("--") else counts
            found += [word] if counts else []
        return found

    def _claim(self) -> None:
        """Note in the folder what it is of: what is finished there is not done again, so it must be the same."""
        mine = self._facts | {"options": self._changes}
        asked = once(self.folder / ASKED, lambda: mine)
        if asked != mine:
            had = " ".join([f"scale {asked['scale']:g}", *asked["options"]])
            raise ValueError(
                f"reproduce: {self.folder} holds {asked['publication']} of {had}; "
                "ask for the same, or give another --out"
            )

    def amount(self, epochs: int) -> list[str]:
        """Return the options that make of a config's epochs their share: fewer epochs, below one also fewer items."""
        share = epochs * self.scale
        if self.scale == 1:
            return []
        if share >= 1:
            return ["--trainer.max_epochs", str(round(share))]
        return ["--trainer.max_epochs", "1", "--data.split.limit", str(max(FEWEST, round(share * ITEMS)))]

    def words(self, config: str, epochs: int, run: Path, more: tuple[str, ...] = ()) -> list[str]:
        """Return the command that trains a config."""
        fit = ["fit", "-c", str(CONFIGS / config), "--trainer.default_root_dir", str(run), *more]
        return [*fit, *self.options, *self.amount(epochs)]

    def _once(self, name: str, make: Any) -> Any:
        return once(self.folder / f"{name}.json", make)

    def _train(self, config: str, epochs: int, run: Path, more: tuple[str, ...]) -> dict[str, float]:
        """Train a config, or go on where it stopped, and test it."""
        started = (run / LAST).exists()
        PretextCLI(["fit", str(run)] if started else self.words(config, epochs, run, more))
        tested = PretextCLI(["test", str(run)])
        return {name: float(value) for name, value in tested.trainer.callback_metrics.items()}

    def _judged(self, judge: Judge, own: Path) -> list[Row]:
        """Let a judge judge; the classifiers of all stages are trained at once."""
        run = self.folder / judge.folder
        watch = ("--trainer.callbacks+", f"{EachEpoch.__module__}.{EachEpoch.__name__}")
        more = ("--model.run", str(own), *judge.options, *watch)
        self._once(f"{run.name}-test", partial(self._train, judge.config, judge.epochs, run, more))
        rows, best = json.loads((run / "score.json").read_text(encoding="utf-8"))["rows"], best_of(run)
        return [_judged_row(judge, row, best.get(row["stage"])) for row in rows]


def read_out(publication: Publication, folder: Path) -> list[Row]:
    """Measure a publication's read-outs on the features that a finished run gives the whole sets."""
    networks, probed, run = from_run(folder)
    asked = list(dict.fromkeys(readout.stage for readout in publication.readouts))
    plan = ProbePlan([readout.protocol for readout in publication.readouts], stages=asked)
    measured = probe_network(networks["trained"], probed, plan, place_in(run, probed.data), publication.name)
    stages = {row.stage: row for row in measured.rows}
    rows = []
    for readout in publication.readouts:
        own = readout.protocol.description
        score = stages[readout.stage].score(own.name)
        value = None if score is None else score.value("accuracy")
        if value is not None:
            ours, low, high = (100 * bound for bound in (value.value, value.low, value.high))
            rows.append(Row(own.title, readout.stage, ours, low, high, readout.published))
    return rows


def _judged_row(judge: Judge, row: Mapping[str, Any], best: float | None) -> Row:
    ours, low, high = (100 * row[key] for key in ("accuracy", "low", "high"))
    most = None if best is None else 100 * best
    return Row(judge.name, row["stage"], ours, low, high, judge.published.get(row["stage"]), most)
