"""What `pretext bench` compares: boards of entries, as a YAML says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pretext.evaluation.available import DEFAULT, protocols_named
from pretext.evaluation.embed import DIMS
from pretext.jobs.keys import environment_kept, here

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
        start: another entry of the board, from whose run with the same seed an evaluator starts (its `--model.run`).
        amounts: of curves over an amount of something, such as images or labels: their names, and how much it is here.

    """

    config: str | None = None
    run: str | None = None
    backbone: str | None = None
    weights: str | None = None
    crop: int | None = None
    options: Options = field(default_factory=dict)
    modality: str | None = None
    seeds: list[int] | None = None
    start: str | None = None
    amounts: dict[str, float] = field(default_factory=dict)


@dataclass
class Board:
    """One data set and what is compared on it.

    Args:
        data: options that name the labelled data to probe on, such as {data: datamodules.ImageFolder, data.root: DIR}.
        entries: by name.
        options: for every config that is trained here.
        amount: what the amounts of its entries are of, such as "images without labels".

    """

    data: Options
    entries: dict[str, Entry]
    options: Options = field(default_factory=dict)
    amount: str = "amount"


@dataclass
class Suite:
    """A benchmark; what its boards take from the environment stands there as it is written.

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
            more than one thing, has the name of a baseline, or starts from what leads to no run.

    """
    if not Path(file).is_file():
        raise FileNotFoundError(f"bench: no file {file}")
    try:
        content = OmegaConf.load(file)
        suite, written = _parsed(content), _parsed(environment_kept(content))
    except OmegaConfBaseException as error:
        raise ValueError(f"bench: {file}: {str(error).splitlines()[0]}") from error
    try:
        protocols_named(suite.protocols)
    except ValueError as error:
        raise ValueError(f"bench: {file}: {error}") from error
    for board, own in suite.boards.items():
        for name, entry in own.entries.items():
            _check(f"bench: {board}/{name}", name, entry)
            _check_start(f"bench: {board}/{name}", own, entry)
    return replace(suite, boards=written.boards)


def _parsed(content: Container) -> Suite:
    return cast(Suite, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Suite), content)))


def in_place(entry: Entry) -> Entry:
    """Put into an entry what the environment of this machine says."""
    return Entry(**here(asdict(entry)))


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


def _check_start(label: str, board: Board, entry: Entry) -> None:
    """Refuse a start that is no entry, or leads to no run, or back to itself."""
    passed: list[Entry] = []
    while entry.start is not None:
        if entry.start not in board.entries:
            raise ValueError(f"{label} starts from {entry.start!r}; the board has {', '.join(board.entries)}")
        if not entry.config or any(entry is one for one in passed):
            raise ValueError(f"{label}: only a config starts from an entry, and not from itself")
        passed.append(entry)
        entry = board.entries[entry.start]
    if passed and entry.backbone:
        raise ValueError(f"{label} starts from another project's backbone; name an entry with a config or a run")


def seeds_of(suite: Suite, entry: Entry) -> list[int]:
    """Return an entry's seeds: of what is not trained here only the first, since there is nothing to repeat."""
    seeds = suite.seeds if entry.seeds is None else entry.seeds
    return seeds if entry.config else seeds[:1]
