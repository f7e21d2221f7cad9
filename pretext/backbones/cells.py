"""Networks of searched cells: DARTS (https://arxiv.org/abs/1806.09055), UnNAS (https://arxiv.org/abs/2003.12056)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from pretext.backbones.genotype import INPUTS, Edge, Genotype, genotype_of
from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD, RGB, Normalise, guard
from pretext.backbones.operations import DropPath, DropRate, FactorisedReduction, ends_of, operation, relu_conv_norm
from pretext.core.errors import require
from pretext.core.types import Backbone, Features

Stem = Literal["imagenet", "small"]
LEAST_CELLS = 3  # with fewer, a third of them is none, and no cell lies between two reductions


class Place(NamedTuple):
    """Where a cell stands in its network."""

    inputs: tuple[int, int]
    """Channels of the output of the cell before the last one, and of the last one."""
    width: int
    """Channels of each of its own nodes."""
    reduces: bool
    """Does it halve the map?"""
    follows: bool
    """Did the cell before it halve the map?"""


class Cell(nn.Module):
    """A cell of a genotype: each node is the sum of two operations, the output all nodes side by side."""

    def __init__(self, edges: tuple[Edge, ...], place: Place, drop_path: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.inputs = entrances(place, affine=True)
        self.sources = [source for _, source in edges]
        strides = (2 if place.reduces and source < INPUTS else 1 for source in self.sources)
        pairs = zip(edges, strides, strict=True)
        self.operations = nn.ModuleList(operation(name, place.width, stride) for (name, _), stride in pairs)
        self.drop = DropPath(drop_path[0]) if any(drop_path) else nn.Identity()

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        """Look at the outputs of the two cells before."""
        states = [self.inputs[0](before), self.inputs[1](last)]
        for node in range(0, len(self.sources), 2):
            states.append(self._through(node, states) + self._through(node + 1, states))
        return torch.cat(states[INPUTS:], 1)

    def _through(self, edge: int, states: list[Tensor]) -> Tensor:
        made, x = self.operations[edge], states[self.sources[edge]]
        done: Tensor = made(x)
        return done if isinstance(made, nn.Identity) else self.drop(done)


def entrances(place: Place, affine: bool) -> nn.ModuleList:
    """Make what a cell's two inputs pass first, which brings them to its width and to one size."""
    first = FactorisedReduction if place.follows else relu_conv_norm
    return nn.ModuleList(
        [first(place.inputs[0], place.width, affine), relu_conv_norm(place.inputs[1], place.width, affine)]
    )


def reductions_of(cells: int, reductions: int) -> list[int]:
    """Tell which of `cells` halve the map: one third and two thirds of the way, or the first of these."""
    return [cells // 3, 2 * cells // 3][:reductions]


def places(width: int, cells: int, nodes: int, stem: Stem, reductions: int) -> Iterator[Place]:
    """Go through the cells of a network; a reduction doubles the width."""
    first = width if stem == "imagenet" else 3 * width
    inputs, follows = (first, first), stem == "imagenet"
    for index in range(cells):
        reduces = index in reductions_of(cells, reductions)
        width = 2 * width if reduces else width
        yield Place(inputs, width, reduces, follows)
        inputs, follows = (inputs[1], nodes * width), reduces


class Stems(nn.Module):
    """What comes before the cells: one convolution for small images, three of stride 2 for others."""

    def __init__(self, stem: Stem, width: int) -> None:
        super().__init__()
        if stem == "small":
            self.first: nn.Module = nn.Sequential(*_conv_norm(3, 3 * width, 1))
            self.second: nn.Module = nn.Identity()
            return
        half = max(1, width // 2)
        self.first = nn.Sequential(*_conv_norm(3, half, 2), nn.ReLU(), *_conv_norm(half, width, 2))
        self.second = nn.Sequential(nn.ReLU(), *_conv_norm(width, width, 2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two inputs of the first cell."""
        first = self.first(x)
        return first, self.second(first)


def _conv_norm(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]


class Trunk(nn.Module):
    """Stem and cells, of a genotype or of a search: the stages of a network of cells.

    A stage is the output of the last cell of each resolution, `cells1`, `cells2` ...; before them comes `stem`. With
    `tap_reductions`, `reduction1` ... are what the reduction cells return, which auxiliary classifiers read.
    """

    def __init__(
        self, make: Callable[[Place], nn.Module], plan: list[Place], stem: Stem, nodes: int, tap_reductions: bool
    ) -> None:
        super().__init__()
        self.stems = Stems(stem, plan[0].width)  # the first cell never reduces
        self.cells = nn.ModuleList(make(place) for place in plan)
        self.stages = {"stem": plan[0].inputs[0]}
        self.taps: list[tuple[str, ...]] = []  # of each cell
        level = 1
        for index, place in enumerate(plan):
            level += place.reduces
            ends = index + 1 == len(plan) or plan[index + 1].reduces
            taps = [f"reduction{level - 1}"] * (place.reduces and tap_reductions) + [f"cells{level}"] * ends
            self.taps.append(tuple(taps))
            self.stages |= dict.fromkeys(taps, nodes * place.width)

    def forward(self, x: Tensor, *shared: Any) -> dict[str, Tensor]:
        """Return the stages of a normalised picture; `shared` is what all cells get beside their inputs."""
        before, last = self.stems(x)
        stages = {"stem": before}
        for cell, taps in zip(self.cells, self.taps, strict=True):
            before, last = last, cell(before, last, *shared)
            stages |= dict.fromkeys(taps, last)
        return stages


class Cells(Backbone):
    """A network of searched cells, as in DARTS and UnNAS: normal ones, and two that halve the map and double the width.

    Stages are `stem`, `cells1`, `cells2` and `cells3`, the last cell of each resolution (at 224 px 56, 28, 14 and 7 px;
    with the small stem the first two have the size of the picture). `pooled` is the mean over the last one, of
    (number of nodes) x 4 x width channels: 16 width for published genotypes.

    The published networks for ImageNet have 14 cells and the widths of `genotype.published()`, those for Cityscapes 12
    cells, one reduction and its own widths; in CIFAR-10's sample 20 cells of width 16. Drop path (a whole operation is
    dropped for an item while training, identities excepted) grows over training in DARTS and UnNAS, epoch by epoch: at
    epoch e of E it has e / E of its rate. Here it grows step by step. DARTS trains with [0, 0.2] on CIFAR-10, and
    without it on ImageNet, as does UnNAS.

    Args:
        genotype: a published one by name, such as imagenet_rot, a JSON file by `pretext nas search`, or its cells:
            {"normal": [[operation, input], ...], "reduce": ...}, two for each node.
        width: channels of a node in the first cells.
        cells: how many.
        stem: "imagenet" has three convolutions of stride 2, "small" one of stride 1, for images up to 64 px.
        reductions: 2, or 1 for segmentation.
        drop_path: probability that an operation is dropped; of two, such as [0, 0.2], it grows from the one at the
            first step to the other at the end.
        tap_reductions: the outputs of the reduction cells are stages too, for an auxiliary classifier.
        mean: of each colour in [0, 1], subtracted.
        std: standard deviation of each colour, divided by.

    Raises:
        ValueError: as in `genotype_of`, fewer than 3 cells, or an option out of its range; later, training without a
            known end where drop path grows.
        OSError: there is no such file.

    """

    axes = "hw"

    def __init__(
        self,
        genotype: str | dict[str, list[tuple[str, int]]] = "darts_v2",
        width: int = 48,
        cells: int = 14,
        stem: Stem = "imagenet",
        reductions: int = 2,
        drop_path: DropRate = 0.0,
        tap_reductions: bool = False,
        mean: RGB = IMAGENET_MEAN,
        std: RGB = IMAGENET_STD,
    ) -> None:
        super().__init__()
        wiring: Genotype = genotype_of(genotype)
        check_shape(self, width, cells, stem, reductions)
        self.rates = ends_of(drop_path)
        require(
            all(0 <= rate < 1 for rate in self.rates), self, f"{drop_path=}", "give a probability in [0, 1), or two"
        )
        self.genotype, self.width, self.cells, self.stem = wiring.plain(), width, cells, stem
        self.reductions, self.drop_path, self.tap_reductions = reductions, drop_path, tap_reductions
        self.normalise = Normalise(mean, std)
        plan = list(places(width, cells, wiring.nodes, stem, reductions))
        make = lambda place: Cell(wiring.reduce if place.reduces else wiring.normal, place, self.rates)  # noqa: E731
        self.net = Trunk(make, plan, stem, wiring.nodes, tap_reductions)
        guard(self.net)
        self.stages = self.net.stages
        self.dim = wiring.nodes * plan[-1].width

    def forward(self, x: Tensor) -> Features:
        stages = self.net(self.normalise(x))
        return Features(stages, next(reversed(stages.values())).mean((-2, -1)))

    def advance(self, progress: float) -> None:
        first, last = self.rates
        if first == last or not self.training:
            return
        wanted = "set trainer.max_epochs or trainer.max_steps, or give one probability"
        require(math.isfinite(progress), self, "the end of training is not known, but drop_path grows to it", wanted)
        for cell in self.net.cells:
            if isinstance(cell, Cell) and isinstance(cell.drop, DropPath):
                cell.drop.rate.fill_(first + (last - first) * progress)


def check_shape(asker: object, width: int, cells: int, stem: str, reductions: int) -> None:
    """Refuse a network of cells that cannot be built.

    Raises:
        ValueError: no width, too few cells, an unknown stem, or another number of reductions than 1 and 2.

    """
    fits = width >= 1 and cells >= LEAST_CELLS and reductions in (1, 2)
    wanted = f"give a width of at least 1, at least {LEAST_CELLS} cells, and 1 or 2 reductions"
    require(fits, asker, f"{width=}, {cells=}, {reductions=}", wanted)
    require(stem in ("imagenet", "small"), asker, f"{stem=}", "choose imagenet or small")
