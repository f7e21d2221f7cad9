"""A section of a training config that holds the options of a search; each is also one of the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from jsonargparse import ArgumentParser
from omegaconf import OmegaConf

from pretext.training.options import todays
from pretext.training.renamed import current
from pretext.training.run import resolved

TRAINING = ("--model", "--data", "--trainer", "--seed_everything")
"""Options that override the training config; all others are the section's own."""
SECTIONS = ("evolve", "nas")
"""The sections that searches have; training leaves them alone."""
OWN_TO_WORKER = ("storage", "study")  # what workers of one study may say differently
PLACES = ("root", "cache", "workers", "download")  # options of data that belong to a machine, as these
MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "default_root_dir")  # of the trainer do

Options = TypeVar("Options")


class Section(NamedTuple, Generic[Options]):
    """A section as it was read."""

    settings: Options
    training: dict[str, Any]
    """The training config, whole: "model", "data", "trainer", "seed_everything"."""
    plain: dict[str, Any]
    """The options of the section, as plain data."""


def read_section(
    name: str,
    kind: type[Options],
    config: Mapping[str, Any],
    options: Sequence[str],
    complete: Callable[[Options, dict[str, Any]], dict[str, Any]] = lambda settings, training: training,
) -> Section[Options]:
    """Read a training config with its section `name`, if it has one; `options` of the command line override both.

    `complete` may add to a training config what the section says of it, before it is checked.

    Raises:
        ValueError: no such option, or a section that is no mapping; or as `kind` raises.

    """
    for_training, own = _parted(options)
    parser = _parser(kind)
    section = current(config).get(name) or {}
    if not isinstance(section, Mapping):
        raise ValueError(f"{name}: the config's section `{name}` is {section!r}; it holds options, such as steps: 100")
    parsed = parser.parse_args(todays(own, section), namespace=parser.parse_object(dict(section)))
    settings = kind(**parser.instantiate(parsed).as_dict())
    training = {key: value for key, value in config.items() if key not in SECTIONS}
    training = complete(settings, training)
    training |= resolved(training, for_training)
    plain = OmegaConf.to_container(OmegaConf.create(parser.dump(parsed, skip_none=False)))
    assert isinstance(plain, dict)
    return Section(settings, training, {str(key): value for key, value in plain.items()})


def shared(name: str, training: Mapping[str, Any], own: Mapping[str, Any], data: Sequence[str] = ()) -> dict[str, Any]:
    """Leave out of a training config and of a section's options what belongs to a machine or to one worker.

    `data` are the options of the section that hold data modules.
    """
    search = {key: value for key, value in own.items() if key not in OWN_TO_WORKER}
    search |= {key: without_places(own.get(key)) for key in data}
    trainer = {key: value for key, value in training["trainer"].items() if key not in MACHINE}
    return {**training, "data": without_places(training.get("data")), "trainer": trainer, name: search}


def without_places(data: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Leave out of a data module's config what belongs to a machine: where files lie, how many are read at once.

    Such options may also stand in a group, such as reading.workers.
    """
    if not data:
        return None
    args = {key: value for key, value in (data.get("init_args") or {}).items() if key not in PLACES}
    groups = {key: value for key, value in args.items() if isinstance(value, Mapping) and "class_path" not in value}
    common = {key: {k: v for k, v in group.items() if k not in PLACES} for key, group in groups.items()}
    return {**data, "init_args": args | common}


def _parser(kind: type[Any]) -> ArgumentParser:
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(kind)
    return parser


def _parted(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part options into those of the training config and those of the section."""
    parts: tuple[list[str], list[str]] = ([], [])
    side = 1
    for word in options:
        if word.startswith("--"):
            side = 0 if word.partition("=")[0].split(".")[0] in TRAINING else 1
        parts[side].append(word)
    return parts
