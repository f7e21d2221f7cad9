"""What `pretext transfer` measures: sources, targets and read-outs, as a YAML says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pretext.core.errors import require
from pretext.jobs.keys import environment_kept
from pretext.transfer.readouts import KINDS
from pretext.transfer.tables import BAR, REFERENCES

Options = dict[str, Any]
"""Options of the command line without their dashes, such as {trainer.max_steps: 100}."""


@dataclass
class SourceEntry:
    """A network whose features are tried: a config to train, or a run, or another project's backbone.

    Args:
        config: trained once.
        run: folder of a finished run.
        backbone: torchvision:NAME, timm:NAME or a class.
        weights: file with that backbone's weights.
        options: for the config, instead of the suite's of the same name; null takes one of those back.

    """

    config: str | None = None
    run: str | None = None
    backbone: str | None = None
    weights: str | None = None
    options: Options = field(default_factory=dict)


@dataclass
class TargetEntry:
    """What features are tried on: a labelled set, or a pretext task.

    Args:
        data: options that name the data, such as {data: datamodules.ImageFolder, data.root: DIR, data.canvas: 32}.
        task: {class_path, init_args} of a pretext task, whose own loss is taken; none: the labels of the data are
            wanted (one class, several, a class or numbers for each pixel, or a vector).

    """

    data: Options
    task: Options | None = None


@dataclass
class Readout:
    """How a read-out is trained on frozen features.

    Args:
        kind: "linear", or "convolutional" with two hidden layers; a pretext task brings its own head.
        width: channels of hidden layers.
        stage: name of the stage that is read; none: the deepest.
        items: to train on.
        test_items: to test on.
        steps: of the optimiser (AdamW).
        batch: items of a step.
        rate: at the first step; it falls to nothing.
        seeds: a read-out is trained with each.

    """

    kind: str = "convolutional"
    width: int = 64
    stage: str | None = None
    items: int = 1000
    test_items: int = 500
    steps: int = 200
    batch: int = 50
    rate: float = 2e-3
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])


@dataclass
class Suite:
    """A map of transfers; what it takes from the environment stands there as it is written.

    Args:
        network: {class_path, init_args} of a backbone: that of `random`, untrained, and of `self`.
        sources: by name.
        targets: by name.
        readout: how features are read.
        options: for every config that is trained.
        self_items: of the training set, for the network that is trained for each target itself.
        self_steps: of its training, its head included.
        order: most sources of one transfer; 2: pairs of the best single ones.
        beam: how many single sources are paired, for each target.
        seed: of sources and of all that is drawn.
        title: of the page.

    """

    network: Options
    sources: dict[str, SourceEntry]
    targets: dict[str, TargetEntry]
    readout: Readout = field(default_factory=Readout)
    options: Options = field(default_factory=dict)
    self_items: int = 5000
    self_steps: int = 200
    order: int = 1
    beam: int = 3
    seed: int = 0
    title: str = "Transfers"


def read_suite(file: str | Path) -> Suite:
    """Read a map's YAML.

    Raises:
        FileNotFoundError: there is no such file, or no such config.
        ValueError: an unknown key, a value of the wrong kind or out of its range, or a source that names nothing to
            measure, more than one thing, or has the name of a reference.

    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"transfer: no file {file}")
    try:
        content = OmegaConf.load(file)
        suite, written = _parsed(content), _parsed(environment_kept(content))
    except OmegaConfBaseException as error:
        raise ValueError(f"transfer: {file}: {str(error).splitlines()[0]}") from error
    _check(suite)
    for name, source in suite.sources.items():
        _check_source(name, source)
    return written


def _parsed(content: Container) -> Suite:
    return cast(Suite, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Suite), content)))


def _check(suite: Suite) -> None:
    own, asker = suite.readout, "transfer"
    require(own.kind in KINDS, asker, f"readout.kind={own.kind!r}", f"choose one of {', '.join(KINDS)}")
    least = min(own.width, own.items, own.test_items, own.steps, own.batch, suite.self_items, suite.self_steps)
    require(least >= 1 and own.rate > 0, asker, "a size, a number of steps or a rate is 0 or less", "give more")
    require(bool(own.seeds), asker, "readout.seeds is empty", "give one seed at least; three say how sure it is")
    require(
        suite.order in (1, 2) and suite.beam >= 2,
        asker,
        f"order={suite.order}, beam={suite.beam}",
        "order is 1 or 2, beam 2 or more",
    )
    require(bool(suite.sources) and bool(suite.targets), asker, "no source or no target", "name one of each at least")
    for name in (*suite.sources, *suite.targets):
        fits = bool(name) and not {BAR, "/"} & set(name)
        require(fits, asker, f"the name {name!r}", f"names are not empty, and have no {BAR!r} and no '/'")


def _check_source(name: str, source: SourceEntry) -> None:
    asker = f"transfer: {name}"
    require(
        name not in REFERENCES,
        asker,
        "it has the name of a reference",
        "self and random are always measured; call it otherwise",
    )
    named = [key for key in ("config", "run", "backbone") if getattr(source, key)]
    require(
        len(named) == 1, asker, f"it names {' and '.join(named) or 'nothing'}", "give a config, a run or a backbone"
    )
    if source.config and not Path(source.config).is_file():
        raise FileNotFoundError(f"{asker} names a config that is not there: {source.config}")
