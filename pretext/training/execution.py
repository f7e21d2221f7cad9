"""How a network is run: its memory layout and the compiler. Neither changes what is learned."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretext.core.tree import mapped
from pretext.core.types import Tree


@dataclass(frozen=True)
class Execution:
    """The options of running a network.

    Args:
        channels_last: lay images and clips out channel by channel last, which is faster on many devices.
        compile: compile the network with `torch.compile`.

    """

    channels_last: bool = False
    compile: bool = False

    def prepare(self, network: nn.Module) -> None:
        """Lay out the weights of a network and compile it, where this is asked for."""
        if self.channels_last:
            for parameter in network.parameters():
                parameter.data = _channels_last(parameter.data)
        if self.compile:
            network.compile()

    def lay_out(self, x: Tree) -> Tree:
        """Lay out what the network reads."""
        return mapped(_channels_last, x) if self.channels_last else x


PLAIN = Execution()


def _channels_last(x: Tensor) -> Tensor:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.ndim]) if x.ndim in formats else x
