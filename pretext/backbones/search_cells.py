"""The search network of DARTS: every operation on every edge, weighted. https://arxiv.org/abs/1806.09055, section 2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pretext.backbones.cells import Place, Stem, Trunk, check_shape, entrances, places
from pretext.backbones.genotype import INPUTS, NONE, OPERATIONS, Edge, Genotype, checked
from pretext.backbones.image import IMAGENET_MEAN, IMAGENET_STD, RGB, Normalise, guard
from pretext.backbones.operations import Zero, operation
from pretext.core.errors import require
from pretext.core.types import Backbone, Features

START = 1e-3
"""Standard deviation of the first architecture parameters: all operations weigh nearly the same."""


class MixedOperation(nn.Module):
    """A weighted sum of operations on one input."""

    def __init__(self, operations: Sequence[nn.Module]) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operations)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Return the sum over operations, each times its entry of `weights` (O,)."""
        pairs = zip(weights, self.operations, strict=True)
        parts = [weight * made(x) for weight, made in pairs if not isinstance(made, Zero)]
        if not parts:
            parts = [self.operations[0](x)]  # `none` alone
        return added(parts)


def added(parts: Sequence[Tensor]) -> Tensor:
    """Add tensors one after the other, which holds no copy of them."""
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def every_operation(channels: int, stride: int) -> MixedOperation:
    """Make the mixture of all operations: batch norm without scale and shift, also behind pooling.

    With a scale, a layer could undo the weight of its operation.
    """
    made = []
    for name in OPERATIONS:
        one = operation(name, channels, stride, affine=False)
        made.append(nn.Sequential(one, nn.BatchNorm2d(channels, affine=False)) if "pool" in name else one)
    return MixedOperation(made)


class SearchCell(nn.Module):
    """A cell with a mixed operation on each edge: every node reads both inputs and all nodes before it."""

    def __init__(self, place: Place, nodes: int) -> None:
        super().__init__()
        self.kind = 1 if place.reduces else 0
        self.nodes = nodes
        self.inputs = entrances(place, affine=False)
        strides = (
            2 if place.reduces and source < INPUTS else 1 for node in range(nodes) for source in range(INPUTS + node)
        )
        self.edges = nn.ModuleList(every_operation(place.width, stride) for stride in strides)

    def forward(self, before: Tensor, last: Tensor, weights: Tensor) -> Tensor:
        """Look at the outputs of the two cells before; `weights` (2, E, O) of normal and reduction cells."""
        states = [self.inputs[0](before), self.inputs[1](last)]
        own = weights[self.kind]
        edge = 0
        for _ in range(self.nodes):
            parts = [self.edges[edge + i](state, own[edge + i]) for i, state in enumerate(states)]
            edge += len(states)
            states.append(added(parts))
        return torch.cat(states[INPUTS:], 1)


class SearchCells(Backbone):
    """The network in which cells are searched: as `Cells`, with all operations on all edges.

    `alphas` (2, E, O) are the architecture's parameters, of normal and of reduction cells, E = 14 edges for four nodes
    and O = 8 operations; every cell of a kind shares them. Their softmax over operations are the weights. `Bilevel`
    trains them; an ordinary trainer leaves them alone, since they ask for no gradient until they are searched.

    Args:
        width: channels of a node in the first cells; 16 in DARTS and UnNAS.
        cells: how many; 8 there, 12 for segmentation.
        nodes: of a cell.
        stem: "small", or "imagenet".
        reductions: 2, or 1 for segmentation.
        mean: of each colour in [0, 1], subtracted.
        std: standard deviation of each colour, divided by.

    Raises:
        ValueError: no node, or as in `Cells`.

    """

    axes = "hw"

    def __init__(
        self,
        width: int = 16,
        cells: int = 8,
        nodes: int = 4,
        stem: Stem = "small",
        reductions: int = 2,
        mean: RGB = IMAGENET_MEAN,
        std: RGB = IMAGENET_STD,
    ) -> None:
        super().__init__()
        check_shape(self, width, cells, stem, reductions)
        require(nodes >= 1, self, f"{nodes=}", "give one or more")
        self.nodes = nodes
        self.normalise = Normalise(mean, std)
        plan = list(places(width, cells, nodes, stem, reductions))
        self.net = Trunk(lambda place: SearchCell(place, nodes), plan, stem, nodes, tap_reductions=False)
        guard(self.net)
        edges = sum(INPUTS + node for node in range(nodes))
        self.alphas = nn.Parameter(START * torch.randn(2, edges, len(OPERATIONS)), requires_grad=False)
        self.stages, self.dim = self.net.stages, nodes * plan[-1].width

    def forward(self, x: Tensor) -> Features:
        stages = self.net(self.normalise(x), self.weights())
        return Features(stages, next(reversed(stages.values())).mean((-2, -1)))

    def weights(self) -> Tensor:
        """Weigh the operations of every edge, (2, E, O); they sum to 1 on each edge."""
        return self.alphas.softmax(-1)

    def genotype(self) -> Genotype:
        """Return the cells that the weights say now."""
        normal, reduce = (discretised(weights, self.nodes) for weights in self.weights().detach())
        return checked(Genotype(normal, reduce))


def discretised(weights: Tensor, nodes: int) -> tuple[Edge, ...]:
    """Keep of weights (E, O) the two edges into each node whose best operation weighs most, and that operation.

    `none` is never kept: an edge counts by its best other operation. The stronger edge comes first.
    """
    kept = [place for place, name in enumerate(OPERATIONS) if name != NONE]
    best = weights[:, kept].max(1)
    edges: list[Edge] = []
    first = 0
    for node in range(nodes):
        order = best.values[first : first + INPUTS + node].argsort(descending=True, stable=True)[:2]
        edges += [(OPERATIONS[kept[int(best.indices[first + source])]], source) for source in order.tolist()]
        first += INPUTS + node
    return tuple(edges)
