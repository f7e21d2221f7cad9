"""What a search varies: the weights of a config's tasks, and the mixtures that it makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from optuna.distributions import FloatDistribution

from pretext.jobs.trials import PlannedJob
from pretext.search.space.base import Choice, Choices, Space

Bounds = Mapping[str, tuple[float, float]]
"""A searched weight's name, which is its task's -> (low, high), 0 <= low < high <= 1."""
ZERO, EQUAL = "all zero", "all equal"
"""The names of two controls: a random network, and all weights equal. Any other is "NAME alone", one task."""


class WeightSpace(Space, Mapping[str, tuple[float, float]]):
    """The weights of a training config's tasks: a mapping from their names to their bounds."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = dict(bounds)

    def __getitem__(self, name: str) -> tuple[float, float]:
        return self.bounds[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.bounds)

    def __len__(self) -> int:
        return len(self.bounds)

    def choices(self) -> Choices:
        return {name: FloatDistribution(low, high) for name, (low, high) in self.bounds.items()}

    def configured(self, config: Mapping[str, Any], choice: Choice) -> dict[str, Any] | None:
        return mixture(config, choice)


def space_of(
    wanted: Sequence[str] | Mapping[str, tuple[float, float]] | None, config: Mapping[str, Any]
) -> WeightSpace:
    """Read which weights of a training config are searched, and in which bounds; None: all, from 0 to 1.

    Raises:
        ValueError: no such task, bounds outside [0, 1], no weight, or a weighting other than `Fixed`.

    """
    tasks = weights_in(config)
    wanted = list(tasks) if wanted is None else wanted
    space = dict(wanted) if isinstance(wanted, Mapping) else dict.fromkeys(wanted, (0.0, 1.0))
    if unknown := sorted(set(space) - set(tasks)):
        raise ValueError(f"evolve: weights of unknown tasks {unknown}; the tasks are {sorted(tasks)}")
    if not space:
        raise ValueError("evolve: no weight to search; name at least one task in `weights`, or leave it out for all")
    if wrong := outside(space):
        raise ValueError(f"evolve: bounds {wrong}; they are two numbers, 0 <= low < high <= 1")
    return WeightSpace({name: (float(low), float(high)) for name, (low, high) in space.items()})


def outside(space: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Find the bounds that are not within [0, 1] or not in order."""
    return {name: bounds for name, bounds in space.items() if not 0 <= bounds[0] < bounds[1] <= 1}


def weights_in(config: Mapping[str, Any]) -> dict[str, float]:
    """Return each task's weight as a training config has it.

    Raises:
        ValueError: its weighting is another than `Fixed`.

    """
    model = config["model"]
    weighting = model.get("weighting") or {}
    name = weighting if isinstance(weighting, str) else weighting.get("class_path", "Fixed")
    if str(name).rsplit(".", 1)[-1] != "Fixed":
        raise ValueError(f"evolve searches the weights of Fixed, but the config's weighting is {name}; leave it out")
    given = {} if isinstance(weighting, str) else (weighting.get("init_args") or {}).get("weights") or {}
    return {task: float(given.get(task, 1.0)) for task in model["tasks"]}


def plan(space: Bounds, config: Mapping[str, Any], system_attrs: Sequence[dict[str, Any]]) -> list[PlannedJob]:
    """Plan the candidates: controls first, then a searched one for each of `system_attrs`, which its trials have."""
    highs = {name: high for name, (_, high) in space.items()}
    nothing = dict.fromkeys(space, 0.0)
    controls = {ZERO: nothing, EQUAL: dict.fromkeys(highs, min(highs.values()))}
    if len(weights_in(config)) > 1:
        controls |= {f"{name} alone": {**nothing, name: high} for name, high in highs.items()}
    fixed = [PlannedJob({"control": name, "weights": weights}, {}) for name, weights in controls.items()]
    return fixed + [PlannedJob({}, own) for own in system_attrs]


def mixture(
    config: Mapping[str, Any], weights: Mapping[str, float], control: str | None = None
) -> dict[str, Any] | None:
    """Return a training config with these weights, its losses scaled by chance; None if there is nothing to train.

    In the controls "all zero" and "NAME alone" weights that are not searched are 0 too.
    """
    alone = control is not None and control != EQUAL
    whole = {name: 0.0 if alone else weight for name, weight in weights_in(config).items()} | dict(weights)
    if not any(whole.values()):
        return None
    weighting = {"class_path": "pretext.nn.weighting.Fixed", "init_args": {"weights": whole}}
    return {**config, "model": {**config["model"], "weighting": weighting, "scale_by_chance": True}}


def unweighted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a training config without its weighting, in which all weights may be 0: of a network to embed with."""
    return {**config, "model": {key: value for key, value in config["model"].items() if key != "weighting"}}
