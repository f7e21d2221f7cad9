"""What a search varies: weights of tasks, cells of a network, widths, depths and kernels of a ResNet."""

from pretext.search.space.architecture import CellSpace, ResNetSpace
from pretext.search.space.base import Choice, Choices, Space, draw, suggest
from pretext.search.space.weights import (
    EQUAL,
    ZERO,
    Bounds,
    WeightSpace,
    mixture,
    outside,
    plan,
    space_of,
    unweighted,
    weights_in,
)

__all__ = [
    "EQUAL",
    "ZERO",
    "Bounds",
    "CellSpace",
    "Choice",
    "Choices",
    "ResNetSpace",
    "Space",
    "WeightSpace",
    "draw",
    "mixture",
    "outside",
    "plan",
    "space_of",
    "suggest",
    "unweighted",
    "weights_in",
]
