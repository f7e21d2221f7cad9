"""Spaces of architectures: the backbones that UnNAS draws, and ResNets small enough for a small machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from optuna.distributions import CategoricalDistribution

from pretext.backbones.cells import Stem
from pretext.backbones.genotype import INPUTS, OPERATIONS, checked, genotype_of
from pretext.backbones.operations import DropRate
from pretext.core.errors import require
from pretext.search.space.base import Choice, Choices, Space

CELLS = ("normal", "reduce")
SLOTS = ("first", "second")


class CellSpace(Space):
    """Networks of cells, as UnNAS samples them (https://arxiv.org/abs/2003.12056, section 4): all by chance.

    Each node has two edges, and each edge an operation and an input of its own, all equally likely: `none` is among the
    operations, and both edges may be the same. A searched genotype is never so poor; in the paper's 500 samples half of
    the cells hold `none`. The paper's networks for CIFAR-10 have width 16 and 20 cells.

    Args:
        width: channels of a node in the first cells.
        cells: how many.
        nodes: of a cell.
        stem: "small", or "imagenet".
        operations: that are drawn from.
        drop_path: probability that an operation is dropped, or two between which it grows, see `Cells`.

    Raises:
        ValueError: no operation, an unknown one, or no node.

    """

    def __init__(
        self,
        width: int = 16,
        cells: int = 20,
        nodes: int = 4,
        stem: Stem = "small",
        operations: Sequence[str] = OPERATIONS,
        drop_path: DropRate = 0.0,
    ) -> None:
        require(len(operations) > 0, self, f"operations={list(operations)}", "an empty space; name one or more")
        unknown = [name for name in operations if name not in OPERATIONS]
        require(not unknown, self, f"unknown operations {unknown}", f"choose among {', '.join(OPERATIONS)}")
        require(nodes >= 1, self, f"{nodes=}", "give one or more")
        self.nodes, self.operations = nodes, tuple(operations)
        self.options = {"width": width, "cells": cells, "stem": stem, "drop_path": drop_path}

    def choices(self) -> Choices:
        found: Choices = {}
        for cell, node, slot in product(CELLS, range(INPUTS, INPUTS + self.nodes), SLOTS):
            found[f"{cell} {node} {slot} operation"] = CategoricalDistribution(self.operations)
            found[f"{cell} {node} {slot} input"] = CategoricalDistribution(tuple(range(node)))
        return found

    def configured(self, config: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
        edges = {
            cell: [
                [choice[f"{cell} {node} {slot} operation"], choice[f"{cell} {node} {slot} input"]]
                for node, slot in product(range(INPUTS, INPUTS + self.nodes), SLOTS)
            ]
            for cell in CELLS
        }
        genotype = checked(genotype_of(edges)).plain()
        return with_backbone(config, "pretext.Cells", {"genotype": genotype, **self.options})


class ResNetSpace(Space):
    """ResNets of basic blocks whose width, blocks and kernels vary, for images of 16 to 64 px on a small machine.

    Args:
        widths: channels of the first stage; each further stage has twice as many.
        depths: numbers of blocks of a stage.
        kernels: sides of a stage's kernels.
        stages: how many.

    Raises:
        ValueError: nothing to choose among, or no stage.

    """

    def __init__(
        self,
        widths: Sequence[int] = (4, 8, 12, 16),
        depths: Sequence[int] = (1, 2, 3),
        kernels: Sequence[int] = (1, 3, 5),
        stages: int = 3,
    ) -> None:
        got = f"widths={list(widths)}, depths={list(depths)}, kernels={list(kernels)}"
        require(bool(widths and depths and kernels), self, got, "an empty space; give each at least one value")
        require(stages >= 1, self, f"{stages=}", "give one or more")
        self.widths, self.depths, self.kernels, self.stages = tuple(widths), tuple(depths), tuple(kernels), stages

    def choices(self) -> Choices:
        found: Choices = {"width": CategoricalDistribution(self.widths)}
        for stage in range(1, self.stages + 1):
            found[f"blocks {stage}"] = CategoricalDistribution(self.depths)
            found[f"kernel {stage}"] = CategoricalDistribution(self.kernels)
        return found

    def configured(self, config: Mapping[str, Any], choice: Choice) -> dict[str, Any]:
        each = range(1, self.stages + 1)
        options = {"width": choice["width"], "blocks": [choice[f"blocks {stage}"] for stage in each]}
        options["kernels"] = [choice[f"kernel {stage}"] for stage in each]
        return with_backbone(config, "pretext.ResNet", options)


def with_backbone(config: Mapping[str, Any], path: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a training config with another backbone."""
    backbone = {"class_path": path, "init_args": dict(options)}
    return {**config, "model": {**config["model"], "backbone": backbone}}
