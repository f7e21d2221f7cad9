"""The options of a search: the section `evolve` of a training config; each is also one of the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytorch_lightning as pl

from pretext.evaluation.fitness import Fitness, Zipf
from pretext.search.samplers import SamplerName
from pretext.search.section import read_section, shared
from pretext.search.space import Choice, Choices, Space, WeightSpace, space_of


@dataclass(frozen=True)
class Settings:
    """A search for the weights of a training config's tasks.

    Of the config's trainer its callbacks and loggers are left out, and candidates are trained on one device.

    Args:
        weights: which tasks' weights are searched, as a list of names, or as {name: [low, high]} within [0, 1]; none:
            all tasks, from 0 to 1. The others keep the weight that the config gives them.
        architecture: space of backbones, such as pretext.search.space.ResNetSpace, of which each searched candidate has
            one of its own beside its weights; none: all have the config's, as controls always do. For random and
            tournament.
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
        seed: of the searcher's random draws; networks and data take --seed_everything.
        storage: where the study is kept, sqlite:///FILE or postgresql://USER@HOST/DATABASE; none: study.db in the
            folder of results. It holds plain data alone.
        study: the study's name; none: the config's.
        heartbeat: seconds between a worker's signs of life; after three times as many it counts as dead.

    Raises:
        ValueError: fewer than 1 candidate, step or item, or a halving below 2.

    """

    weights: list[str] | dict[str, tuple[float, float]] | None = None
    architecture: Space | None = None
    candidates: int = 40
    steps: int = 100
    fitness: Fitness | None = None
    searcher: SamplerName = "cmaes"
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

    def criterion(self) -> Fitness:
        """Return the fitness, by default Zipf's law."""
        return Zipf() if self.fitness is None else self.fitness

    def halving_steps(self) -> tuple[int, ...]:
        """Return after which steps candidates are compared."""
        return () if self.halving is None else (self.steps // self.halving**2, self.steps // self.halving)


class Search(NamedTuple):
    """A search as it was asked for."""

    settings: Settings
    config: dict[str, Any]
    """The training config, whole: "model", "data", "trainer", "seed_everything"."""
    space: WeightSpace
    shared: dict[str, Any]
    """All that workers of one study must have in common, as plain data."""
    options: dict[str, Any]
    """The options of the search, as plain data."""

    @property
    def categories(self) -> Choices:
        """What is chosen of an architecture, and among what; nothing where all candidates have the config's."""
        return {} if self.settings.architecture is None else self.settings.architecture.choices()

    def built_on(self, choice: Choice) -> dict[str, Any]:
        """Return the training config with the chosen backbone, or with its own where nothing was chosen."""
        if self.settings.architecture is None or not choice:
            return self.config
        made = self.settings.architecture.configured(self.config, choice)
        assert made is not None  # only weights leave nothing to train
        return made


def read_search(config: Mapping[str, Any], options: Sequence[str]) -> Search:
    """Read a training config with its section `evolve`, if it has one; `options` of the command line override both.

    Raises:
        ValueError: no such option or task, bounds outside [0, 1], or a weighting other than `Fixed`.

    """
    section = read_section("evolve", Settings, config, options)
    space = space_of(section.settings.weights, section.training)
    own = section.plain | {"weights": dict(space)}
    everything = shared("evolve", section.training, own, ["probe_data"])
    return Search(section.settings, section.training, space, everything, own)
