"""What `pretext bench` compares: boards of entries, as a YAML says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pretext.core.yaml_file import read_yaml
from pretext.evaluation.available import DEFAULT, protocols_named
from pretext.evaluation.embed import DIMS

BASELINES = ("random", "raw")  # what every entry is compared with: kind and name of their cells
Options = dict[str, Any]
"""Options of the command line without their dashes, such as {trainer.max_steps: 100}."""


@dataclass
class Entry:
    """What is compared: a config to train, or a run, or another project's backbone.

    Args:
        config: trained once for each seed.
        run: folder of a finished run; measured as it is.
        backbone: torchvision:NAME, timm:NAME or a class.
        weights: file with that backbone's weights.
        crop: centre of the canvas that it is shown; all of it unless given.
        options: for the config, instead of the board's of the same name; null takes one of those back.
        modality: which network of a MultiModal backbone is probed.
        seeds: instead of the suite's.

    """

    config: str | None = None
    run: str | None = None
    backbone: str | None = None
    weights: str | None = None
    crop: int | None = None
    options: Options = field(default_factory=dict)
    modality: str | None = None
    seeds: list[int] | None = None


@dataclass
class Board:
    """One data set and what is compared on it.

    Args:
        data: options that name the labelled data to probe on, such as {data: datamodules.ImageFolder, data.root: DIR}.
        entries: by name.
        options: for every config that is trained here.

    """

    data: Options
    entries: dict[str, Entry]
    options: Options = field(default_factory=dict)


@dataclass
class Suite:
    """A benchmark.

    Args:
        boards: by name.
        seeds: each config is trained with each.
        protocols: what is measured; short names or class paths.
        dims: values that a stage is pooled to, at most.
        views: augmented views of each training item to add.
        title: of the page.

    """

    boards: dict[str, Board]
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    protocols: list[str] = field(default_factory=lambda: list(DEFAULT))
    dims: int = DIMS
    views: int = 0
    title: str = "Leaderboard"


def read_suite(file: str | Path) -> Suite:
    """Read a benchmark's YAML.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key or protocol, a value of the wrong kind, or an entry that names nothing to measure,
            more than one thing, or has the name of a baseline.

    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"bench: no file {file}")
    try:
        content = OmegaConf.merge(OmegaConf.structured(Suite), read_yaml(file))
        suite = cast(Suite, OmegaConf.to_object(content))
    except OmegaConfBaseException as error:
        raise ValueError(f"bench: {file}: {str(error).splitlines()[0]}") from error
    try:
        protocols_named(suite.protocols)
    except ValueError as error:
        raise ValueError(f"bench: {file}: {error}") from error
    for board, own in suite.boards.items():
        for name, entry in own.entries.items():
            _check(f"bench: {board}/{name}", name, entry)
    return suite


def _check(label: str, name: str, entry: Entry) -> None:
    """Refuse an entry that has the name of a baseline, or that names nothing to measure, or more than one thing."""
    if name in BASELINES:
        raise ValueError(f"{label} has the name of a baseline; call it otherwise")
    named = [key for key in ("config", "run", "backbone") if getattr(entry, key)]
    if len(named) != 1:
        got = " and ".join(named) or "nothing"
        raise ValueError(f"{label} names {got}; give either a config, a run or a backbone")
    if entry.config and not Path(entry.config).is_file():
        raise FileNotFoundError(f"{label} names a config that is not there: {entry.config}")


def seeds_of(suite: Suite, entry: Entry) -> list[int]:
    """Return an entry's seeds: of what is not trained here only the first, since there is nothing to repeat."""
    seeds = suite.seeds if entry.seeds is None else entry.seeds
    return seeds if entry.config else seeds[:1]
