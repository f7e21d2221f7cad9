"""What a search is told: the section `evolve` of a training config, each option also one of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytorch_lightning as pl
from jsonargparse import ArgumentParser
from omegaconf import OmegaConf

from pretext.evaluation.fitness import Fitness, Zipf
from pretext.search.samplers import Name, Space
from pretext.search.trials import Slot
from pretext.training.run import resolved

TRAINING = ("--model", "--data", "--trainer", "--seed_everything")
"""Options that override the training config; all others are the search's own."""
OWN_TO_WORKER = ("storage", "study")  # what workers of one study may say differently
PLACES = ("root", "cache", "workers", "download")  # options of data that belong to a machine, as those
MACHINE = ("accelerator", "devices", "num_nodes", "strategy", "default_root_dir")  # of the trainer do


@dataclass(frozen=True)
class Settings:
    """A search for the weights of a training config's tasks.

    Of the config's trainer its callbacks and loggers are left out, and candidates are trained on one device.

    Args:
        weights: which tasks' weights are searched, as a list of names, or as {name: [low, high]} within [0, 1]; none:
            all tasks, from 0 to 1. The others keep the weight that the config gives them.
        candidates: how many mixtures are tried; controls come on top: all weights 0 (a random network), all equal, and
            each searched task alone.
        steps: training steps of each candidate.
        fitness: the class that judges a candidate's features; it sees no test item, and labels only if it says so.
        searcher: random, grid, tournament or cmaes.
        population: of cmaes and tournament; none: follows the number of workers.
        levels: values of each weight that grid tries.
        items: training items whose features the fitness sees, always the same; none: all.
        stage: of the network whose features, averaged over the grid, are judged; none: the last.
        modality: which network of several is judged; none: the first.
        probe: also fit a linear probe and nearest neighbours on the labels of these items and score them on as many
            test items, for the page alone: the search never sees it. Where the data has no labels there is none.
        probe_data: labelled data for the probe; none: the data that candidates are trained on.
        halving: of this many candidates only the fittest goes on, after a ninth (or 1 / halving^2) and again after a
            third (1 / halving) of the steps (successive halving); none: all take every step.
        seed: of the searcher's chance; networks and data take --seed_everything.
        storage: where the study is kept, sqlite:///FILE or postgresql://USER@HOST/DATABASE; none: study.db in the
            folder of results. It must be trusted: who can write to it can run code in every worker.
        study: the study's name; none: the config's.
        heartbeat: seconds between a worker's signs of life; after three times as many it counts as dead.

    Raises:
        ValueError: fewer than 1 candidate, step or item, or a halving below 2.

    """

    weights: list[str] | dict[str, tuple[float, float]] | None = None
    candidates: int = 40
    steps: int = 100
    fitness: Fitness | None = None
    searcher: Name = "cmaes"
    population: int | None = None
    levels: int = 3
    items: int | None = 2000
    stage: str | None = None
    modality: str | None = None
    probe: bool = True
    probe_data: pl.LightningDataModule | None = None
    halving: int | None = None
    seed: int = 0
    storage: str | None = None
    study: str | None = None
    heartbeat: int = 30

    def __post_init__(self) -> None:
        if min(self.candidates, self.steps, self.heartbeat, 1 if self.items is None else self.items) < 1:
            raise ValueError(
                f"evolve got candidates={self.candidates}, steps={self.steps}, items={self.items}, "
                f"heartbeat={self.heartbeat}; each is at least 1"
            )
        if self.halving is not None and not 2 <= self.halving <= self.steps**0.5:
            raise ValueError(
                f"evolve got halving={self.halving} of {self.steps} steps; it is a whole number from 2, and its "
                "square at most the steps"
            )

    def judge(self) -> Fitness:
        """Return the fitness, by default Zipf's law."""
        return Zipf() if self.fitness is None else self.fitness

    def rungs(self) -> tuple[int, ...]:
        """Return after which steps candidates are compared."""
        return () if self.halving is None else (self.steps // self.halving**2, self.steps // self.halving)


class Search(NamedTuple):
    """A search as it was asked for."""

    settings: Settings
    config: dict[str, Any]
    """The training config, whole: "model", "data", "trainer", "seed_everything"."""
    space: Space
    agreed: dict[str, Any]
    """All that workers of one study must agree on, as plain data."""


def read_search(config: Mapping[str, Any], options: Sequence[str]) -> Search:
    """Read a training config with its section `evolve`, if it has one; `options` of the command line override both.

    Raises:
        ValueError: no such option or task, bounds outside [0, 1], or a weighting other than `Fixed`.

    """
    training, own = _parted(options)
    parser = _parser()
    section = config.get("evolve") or {}
    if not isinstance(section, Mapping):
        raise ValueError(f"evolve: the config's section `evolve` is {section!r}; it holds options, such as steps: 100")
    parsed = parser.parse_args(own, namespace=parser.parse_object(dict(section)))
    settings = Settings(**parser.instantiate(parsed).as_dict())
    whole = {key: value for key, value in config.items() if key != "evolve"}
    whole |= resolved(whole, training)
    space = _space(settings, _weights(whole))
    told = OmegaConf.to_container(OmegaConf.create(parser.dump(parsed, skip_none=False)))
    assert isinstance(told, dict)
    mine = {str(key): value for key, value in told.items() if key not in OWN_TO_WORKER}
    mine |= {"weights": space, "probe_data": _unplaced(mine.get("probe_data"))}
    trainer = {key: value for key, value in whole["trainer"].items() if key not in MACHINE}
    agreed = {**whole, "data": _unplaced(whole.get("data")), "trainer": trainer, "evolve": mine}
    return Search(settings, whole, space, agreed)


def options_help() -> str:
    """Describe every option of a search."""
    text: str = _parser().format_help()
    return text[text.index("A search for") :]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(parser_mode="omegaconf", exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(Settings)
    return parser


def slots_of(search: Search, attrs: Sequence[dict[str, Any]]) -> list[Slot]:
    """Make the candidates: controls first; `attrs` are the system attributes of the searched ones."""
    highs = {name: high for name, (_, high) in search.space.items()}
    equal = dict.fromkeys(highs, min(highs.values()))
    nothing = dict.fromkeys(search.space, 0.0)
    controls = [Slot("all zero", nothing, {}), Slot("all equal", equal, {})]
    if len(_weights(search.config)) > 1:
        controls += [Slot(f"{name} alone", {**nothing, name: high}, {}) for name, high in highs.items()]
    return controls + [Slot(None, {}, own) for own in attrs]


def mixed(search: Search, weights: Mapping[str, float], control: str | None = None) -> dict[str, Any] | None:
    """Return the training config with these weights, its losses scaled by chance; none if there is nothing to train.

    In the controls "all zero" and "NAME alone" weights that are not searched are 0 too.
    """
    alone = control is not None and control != "all equal"
    whole = {name: 0.0 if alone else weight for name, weight in _weights(search.config).items()} | dict(weights)
    if not any(whole.values()):
        return None
    weighting = {"class_path": "pretext.nn.weighting.Fixed", "init_args": {"weights": whole}}
    return {**search.config, "model": {**search.config["model"], "weighting": weighting, "scale_by_chance": True}}


def unweighted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a training config without its weighting, in which all weights may be 0: of a network to look at."""
    return {**config, "model": {key: value for key, value in config["model"].items() if key != "weighting"}}


def _parted(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part options into those of the training config and those of the search."""
    parts: tuple[list[str], list[str]] = ([], [])
    side = 1
    for word in options:
        if word.startswith("--"):
            side = 0 if word.partition("=")[0].split(".")[0] in TRAINING else 1
        parts[side].append(word)
    return parts


def _weights(config: Mapping[str, Any]) -> dict[str, float]:
    """Return each task's weight as the training config has it."""
    model = config["model"]
    weighting = model.get("weighting") or {}
    name = weighting if isinstance(weighting, str) else weighting.get("class_path", "Fixed")
    if str(name).rsplit(".", 1)[-1] != "Fixed":
        raise ValueError(f"evolve searches the weights of Fixed, but the config's weighting is {name}; leave it out")
    given = {} if isinstance(weighting, str) else (weighting.get("init_args") or {}).get("weights") or {}
    return {task: float(given.get(task, 1.0)) for task in model["tasks"]}


def _space(settings: Settings, weights: Mapping[str, float]) -> Space:
    wanted = settings.weights if settings.weights is not None else list(weights)
    space = dict(wanted) if isinstance(wanted, dict) else dict.fromkeys(wanted, (0.0, 1.0))
    if unknown := sorted(set(space) - set(weights)):
        raise ValueError(f"evolve: weights of unknown tasks {unknown}; the tasks are {sorted(weights)}")
    if not space:
        raise ValueError("evolve: no weight to search; name at least one task in `weights`, or leave it out for all")
    if wrong := {name: bounds for name, bounds in space.items() if not 0 <= bounds[0] < bounds[1] <= 1}:
        raise ValueError(f"evolve: bounds {wrong}; they are two numbers, 0 <= low < high <= 1")
    return {name: (float(low), float(high)) for name, (low, high) in space.items()}


def _unplaced(data: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Leave out of a data module's config where its files lie."""
    if not data:
        return None
    args = {key: value for key, value in (data.get("init_args") or {}).items() if key not in PLACES}
    return {**data, "init_args": args}
