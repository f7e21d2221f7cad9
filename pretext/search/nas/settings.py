"""The options of `pretext nas sample`: the section `nas` of a training config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytorch_lightning as pl

from pretext.evaluation.statistics.correlation import LEAST
from pretext.search.nas.results import ELSEWHERE
from pretext.search.section import read_section, shared
from pretext.search.space import ResNetSpace, Space, draw

SUPERVISED = "supervised"
"""The name of training on labels among the measures."""


@dataclass(frozen=True)
class Sampling:
    """A comparison of architectures by pretext tasks and by labels.

    Each drawn architecture is trained anew for each measure (a task of the config, or labels), all for as many steps,
    from the same batches in the same order; statistics of batch norm are then estimated again on fixed items. A task is
    scored on the validation share, labels on the test items.

    Args:
        space: what architectures are drawn from; none: `ResNetSpace()`.
        architectures: how many are drawn.
        steps: training steps of each measurement.
        tasks: names of the config's tasks that are measures; none: all.
        supervised: labels are a measure too, where the data has some.
        reference: the measure that the others are compared with; none: labels, or else the last one.
        seeds: how often each is trained, with seeds from --seed_everything on; scores are averaged.
        second: another set of data, for a comparison across sets; none: there is none.
        second_tasks: the measures that are taken there.
        items: how many held-out items are scored at most; none: all.
        calibration: training items on which statistics of batch norm are estimated; 0: those of training stay.
        seed: of the draw of architectures.
        storage: where the study is kept, sqlite:///FILE or postgresql://USER@HOST/DATABASE; none: study.db in the
            folder of results. It holds plain data alone.
        study: the study's name; none: the config's.
        heartbeat: seconds between a worker's signs of life; after three times as many it counts as dead.

    Raises:
        ValueError: too few architectures for a rank correlation, or a number below 1.

    """

    space: Space | None = None
    architectures: int = 24
    steps: int = 200
    tasks: list[str] | None = None
    supervised: bool = True
    reference: str | None = None
    seeds: int = 1
    second: pl.LightningDataModule | None = None
    second_tasks: tuple[str, ...] = (SUPERVISED,)
    items: int | None = None
    calibration: int = 1024
    seed: int = 0
    storage: str | None = None
    study: str | None = None
    heartbeat: int = 30

    def __post_init__(self) -> None:
        if self.architectures < LEAST:
            raise ValueError(
                f"nas got architectures={self.architectures}; a rank correlation wants at least {LEAST}, and an "
                "interval of any use 20 or more"
            )
        if min(self.steps, self.seeds, self.heartbeat, 1 if self.items is None else self.items) < 1:
            raise ValueError(
                f"nas got steps={self.steps}, seeds={self.seeds}, items={self.items}, heartbeat={self.heartbeat}; each "
                "is at least 1"
            )

    def drawn_from(self) -> Space:
        """Return the space, by default of ResNets."""
        return ResNetSpace() if self.space is None else self.space


class Comparison(NamedTuple):
    """A comparison as it was asked for."""

    settings: Sampling
    config: dict[str, Any]
    """The training config, whole, with the first drawn architecture as its backbone."""
    choices: list[dict[str, Any]]
    """The drawn architectures."""
    measures: list[str]
    """What each is trained for."""
    shared: dict[str, Any]
    """All that workers of one study must have in common, as plain data."""


def read_comparison(config: Mapping[str, Any], options: Sequence[str]) -> Comparison:
    """Read a training config with its section `nas`; `options` of the command line override both.

    The config's own backbone does not count, and may be left out.

    Raises:
        ValueError: no such option, task or reference, nothing to measure, or as in `draw`.

    """
    section = read_section("nas", Sampling, config, options, _with_first)
    settings = section.settings
    choices = draw(settings.drawn_from(), settings.architectures, settings.seed)
    measures = _measures(settings, list(section.training["model"]["tasks"]))
    everything = shared("nas", section.training, section.plain, ["second"])
    return Comparison(settings, section.training, choices, measures, everything)


def _with_first(settings: Sampling, training: dict[str, Any]) -> dict[str, Any]:
    """Give a config the backbone that is drawn first, so that it is whole."""
    space = settings.drawn_from()
    made = space.configured(training, draw(space, 1, settings.seed)[0])
    assert made is not None  # only weights leave nothing to train
    return made


def _measures(settings: Sampling, tasks: Sequence[str]) -> list[str]:
    """Name what is measured, the reference last."""
    own = list(tasks if settings.tasks is None else settings.tasks) + [SUPERVISED] * settings.supervised
    elsewhere = list(settings.second_tasks) if settings.second is not None else []
    if unknown := sorted({*own, *elsewhere} - {*tasks, SUPERVISED}):
        raise ValueError(f"nas: unknown tasks {unknown}; the tasks are {sorted(tasks)}, and labels are {SUPERVISED!r}")
    found = [*dict.fromkeys(own), *(name + ELSEWHERE for name in dict.fromkeys(elsewhere))]
    if len(found) < 2:
        raise ValueError(f"nas: only {found} to measure; name two or more tasks, or labels, to compare")
    reference = settings.reference or (SUPERVISED if SUPERVISED in found else found[-1])
    if reference not in found:
        raise ValueError(f"nas: no measure {reference!r} to compare with; there are {', '.join(found)}")
    return [*(name for name in found if name != reference), reference]
