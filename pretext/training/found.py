"""What a search of cells has found: its genotype, and the training config of the network that is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pretext.backbones.cells import Cells
from pretext.backbones.cost import Cost, cost
from pretext.backbones.genotype import Genotype
from pretext.training.bilevel import Bilevel
from pretext.training.run import CONFIG, build, find, read, restore

GROWING = [0.0, 0.2]
"""Drop path of DARTS' networks for CIFAR-10, which learn labels with the small stem."""
SHAPE = ("width", "cells", "stem", "reductions", "mean", "std")
"""The options that a network shares with that in which it was searched."""


class Found(NamedTuple):
    """What a run of `Bilevel` has found so far."""

    run: Path
    genotype: Genotype
    steps: list[int]
    """After how many steps the weights of the operations were noted."""
    weights: list[Tensor]
    """Each (2, E, O), of normal and of reduction cells."""
    network: dict[str, Any]
    """The training config of the network."""
    cost: Cost | None
    """Of the network, for pictures of the size of the search; none where that is not known."""
    side: int | None
    config: dict[str, Any]
    """Of the search."""


def found(path: str | Path) -> Found:
    """Read what a run has found.

    Raises:
        FileNotFoundError: no such run, or no checkpoint in it.
        ValueError: it is no search of cells.

    """
    run = find(path)
    config = read(run / CONFIG)
    module, _ = build({key: value for key, value in config.items() if key != "data"})
    if not isinstance(module, Bilevel):
        raise ValueError(f"{run} is no search of cells; its model is {type(module).__name__}, not Bilevel")
    restore(module, run)
    genotype = module.backbone.genotype()
    network = network_config(config, genotype)
    side = (module.augment.crop if module.augment else None) or module.inputs.canvas
    made = Cells(**_cells(config, genotype))
    price = None if side is None else cost(made, side)
    return Found(run, genotype, module.trace.steps, module.trace.weights, network, price, side, config)


def network_config(config: Mapping[str, Any], genotype: Genotype) -> dict[str, Any]:
    """Make of the config of a search the training config of what it found, on all training items.

    The network has the width and the cells of the search, and learns the same tasks, or the same classes. Drop path
    grows as in DARTS where it learns classes with the small stem; DARTS on ImageNet, and UnNAS throughout, have none.
    """
    args = config["model"]["init_args"]
    options = _cells(config, genotype)
    if options["stem"] == "small" and not args.get("tasks"):
        options["drop_path"] = GROWING
    model = {
        "backbone": {"class_path": "pretext.Cells", "init_args": options},
        **{key: args[key] for key in ("augment", "optim") if args.get(key)},
    }
    if args.get("tasks"):
        model |= {key: args[key] for key in ("tasks", "weighting") if args.get(key)}
    else:
        model = {"class_path": "pretext.FineTune", "init_args": model}
    data = deepcopy(config["data"])
    data["init_args"].get("split", {}).pop("halves", None)
    trainer = {key: value for key, value in (config.get("trainer") or {}).items() if key in ("max_epochs", "max_steps")}
    trainer = {key: value for key, value in trainer.items() if value is not None}
    return {"seed_everything": config.get("seed_everything", 0), "model": model, "data": data, "trainer": trainer}


def _cells(config: Mapping[str, Any], genotype: Genotype) -> dict[str, Any]:
    """Return the options of the found network."""
    backbone = config["model"]["init_args"]["backbone"]
    shape = {key: value for key, value in (backbone.get("init_args") or {}).items() if key in SHAPE}
    return {"genotype": genotype.plain(), "width": 16, "cells": 8, "stem": "small"} | shape
