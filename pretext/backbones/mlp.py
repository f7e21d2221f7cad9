"""A network of linear layers for rows of numbers, such as the points of a curve."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pretext.core.errors import require, require_input
from pretext.core.types import Backbone, Features


class MLP(Backbone):
    """Linear layers with ReLU for rows (N, inputs), which are read as they are. Each layer is a stage.

    Args:
        inputs: numbers in a row.
        widths: of the layers.

    Raises:
        ValueError: no layer, or a width below 1.

    """

    axes = ""

    def __init__(self, inputs: int = 1, widths: Sequence[int] = (40, 40)) -> None:
        super().__init__()
        sound = inputs >= 1 and len(widths) > 0 and min(widths, default=0) >= 1
        require(sound, self, f"{inputs=}, {widths=}", "give one layer or more, each of at least one unit")
        self.inputs, self.dim = inputs, widths[-1]
        self.stages = {f"layer{n}": width for n, width in enumerate(widths, 1)}
        sides = (inputs, *widths)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sides, widths, strict=False))

    def forward(self, x: Tensor) -> Features:
        require_input(x.ndim == 2 and x.shape[1] == self.inputs, self, f"rows (N, {self.inputs})", x, "give such data")
        stages: dict[str, Tensor] = {}
        for name, layer in zip(self.stages, self.layers, strict=True):
            x = stages[name] = layer(x).relu()
        return Features(stages, x)
