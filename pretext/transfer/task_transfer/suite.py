"""What `pretext transfer predict` is told by a YAML: tasks, the data, where correlations come from, how to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pretext.core.errors import require
from pretext.jobs.keys import environment_kept
from pretext.transfer.suite import Options
from pretext.transfer.task_transfer.picture import VIEWS

STARTS = ("common", "own")
ASKER = "transfer predict"


@dataclass
class TaskEntry:
    """A task: trained here, or of finished runs, or nothing of both where nobody has labels.

    Args:
        task: {class_path, init_args} of a task whose answer is a picture.
        sees: what the encoder is shown of the question: "question", or one half of a split-brain ("light", "colour").
        part: which picture of the answer, where it is a tuple.
        runs: folders of finished runs, each a model of this task, with their own heads.

    """

    task: Options | None = None
    sees: str = "question"
    part: int = 0
    runs: list[str] = field(default_factory=list)

    @property
    def known(self) -> bool:
        """Are there networks of it?"""
        return self.task is not None or bool(self.runs)


@dataclass
class Training:
    """How the models of a task are trained.

    Args:
        models: of each task.
        subset: photos of each, drawn from the training set.
        steps: of AdamW, whose rate falls to nothing.
        batch: photos of a step.
        rate: at the first step.
        start: "common": all begin with the same weights and meet their photos in the same order; "own": each draws its
            own, so that their weights have no common basis.

    """

    models: int = 5
    subset: int = 1000
    steps: int = 300
    batch: int = 50
    rate: float = 3e-3
    start: str = "common"


@dataclass
class Correlated:
    """Where correlations come from: one of three files, or none, and they are measured.

    Args:
        table: CSV of transfers, `sources,target,value`, such as a map's affinities.csv.
        scale: of the table, "log" or "linear".
        votes: CSV of `item,rater,answer` about pairs `a|b`.
        scores: folder of a map's results, whose cells have scores without training.
        score: which one.
        items: photos with labels on which frozen encoders are compared, where correlations are measured.
        steps: of their read-outs.

    """

    table: str | None = None
    scale: str = "log"
    votes: str | None = None
    scores: str | None = None
    score: str = "log_me"
    items: int = 200
    steps: int = 100


@dataclass
class Regression:
    """How weights are predicted; see `ttnet.Settings`.

    Args:
        hidden: width.
        components: principal axes, 0: all.
        steps: of Adam.
        rate: at the first step.
        consistency: weights of the loss of predicted networks, one of which is chosen by leaving known tasks out.
        batch: photos of that loss.

    """

    hidden: int = 64
    components: int = 0
    steps: int = 1000
    rate: float = 3e-3
    consistency: list[float] = field(default_factory=lambda: [0.0, 0.1])
    batch: int = 32


@dataclass
class TaskSuite:
    """A transfer to tasks without labels.

    Args:
        network: {class_path, init_args} of the encoder.
        data: options that name the data, such as {data: datamodules.ImageFolder, data.root: DIR, data.canvas: 32}.
        tasks: by name.
        targets: tasks to predict, each from all known others; none: all.
        width: channels of the head's widest layer.
        training: of known tasks.
        correlations: where they come from.
        regression: how weights are predicted.
        few: labelled photos that predicted networks are fine-tuned with, at last; 0: none.
        few_steps: of that.
        items: photos to train on, of which subsets are drawn.
        test_items: photos to judge by, of the test set.
        seed: of all that is drawn.
        title: of the page.

    """

    network: Options
    data: Options
    tasks: dict[str, TaskEntry]
    targets: list[str] = field(default_factory=list)
    width: int = 16
    training: Training = field(default_factory=Training)
    correlations: Correlated = field(default_factory=Correlated)
    regression: Regression = field(default_factory=Regression)
    few: int = 50
    few_steps: int = 50
    items: int = 5000
    test_items: int = 300
    seed: int = 0
    title: str = "Tasks without labels"

    @property
    def known(self) -> list[str]:
        """Tasks of which there are networks."""
        return [name for name, entry in self.tasks.items() if entry.known]

    @property
    def shaped(self) -> str:
        """The task whose network all others must resemble: one that is trained here, before runs of others."""
        return next((name for name in self.known if not self.tasks[name].runs), self.known[0])

    @property
    def wanted(self) -> list[str]:
        """Tasks to predict."""
        return self.targets or list(self.tasks)

    def sources(self, target: str) -> list[str]:
        """Known tasks but the target."""
        return [name for name in self.known if name != target]


def read_task_suite(file: str | Path) -> TaskSuite:
    """Read a YAML.

    Raises:
        FileNotFoundError: there is no such file, or no file of correlations.
        ValueError: an unknown key, a value of the wrong kind or out of its range, or too few tasks.

    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"{ASKER}: no file {file}")
    try:
        content = OmegaConf.load(file)
        suite, written = _parsed(content), _parsed(environment_kept(content))
    except OmegaConfBaseException as error:
        raise ValueError(f"{ASKER}: {file}: {str(error).splitlines()[0]}") from error
    check(suite)
    return written


def check(suite: TaskSuite) -> None:
    """Refuse a suite that cannot be. Raises as `read_task_suite`."""
    lost = [name for name in suite.targets if name not in suite.tasks]
    require(not lost, ASKER, f"targets {', '.join(lost)} are no tasks", f"there are {', '.join(suite.tasks)}")
    require(len(suite.known) > 3, ASKER, f"{len(suite.known)} known tasks", "it wants four, one may be the target")
    own, few = suite.training, suite.regression
    sizes: Sequence[int] = [
        *(own.models, own.subset, own.steps, own.batch, few.hidden, few.batch),
        *(suite.items, suite.test_items, suite.correlations.items, suite.correlations.steps, suite.width),
    ]
    positive = min(sizes) >= 1 and min(own.rate, few.rate) > 0 and min(few.components, suite.few, few.steps) >= 0
    require(positive, ASKER, "a size, a number of steps or a rate is 0 or less", "give more")
    require(own.subset <= suite.items, ASKER, f"subset={own.subset} of {suite.items} items", "draw fewer of them")
    require(own.start in STARTS, ASKER, f"start={own.start!r}", f"choose one of {', '.join(STARTS)}")
    require(bool(few.consistency), ASKER, "regression.consistency is empty", "give one weight at least, such as 0")
    files = [f for f in (suite.correlations.table, suite.correlations.votes, suite.correlations.scores) if f]
    require(len(files) < 2, ASKER, f"correlations from {' and '.join(files)}", "name one of them")
    require(
        suite.correlations.scale in ("log", "linear"), ASKER, f"scale={suite.correlations.scale!r}", "log or linear"
    )
    for name, entry in suite.tasks.items():
        _check_task(name, entry, measured=not files)
    for file in files:
        if not Path(file).exists():
            raise FileNotFoundError(f"{ASKER}: no {file}, which correlations are to come from")


def _check_task(name: str, entry: TaskEntry, measured: bool) -> None:
    asker = f"{ASKER}: {name}"
    require(bool(name) and not {"|", "/"} & set(name), asker, "its name", "names are not empty, and have no '|' or '/'")
    require(entry.task is None or not entry.runs, asker, "it names a task and runs", "give one of both")
    require(entry.sees in VIEWS, asker, f"sees={entry.sees!r}", f"choose one of {', '.join(VIEWS)}")
    wanted = "correlations with it cannot be measured here: name a table, votes or scores"
    require(entry.task is not None or not measured, asker, "it names no task", wanted)


def _parsed(content: Container) -> TaskSuite:
    return cast(TaskSuite, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TaskSuite), content)))
