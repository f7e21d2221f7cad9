"""How networks and tasks are run: memory layout, the compiler, recorded kernels. None of it changes what is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from pretext.core.tree import mapped
from pretext.core.types import Backbone, Tree
from pretext.training.recording import Recorded

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Execution:
    """The options of running a network, and the tasks around it.

    Args:
        channels_last: lay images and clips out channel by channel last, which is faster on many devices.
        compile: compile the network with `torch.compile` (True or "backbone"), or beside it what each task poses,
            solves and grades ("step"), whose many small kernels it fuses. Compiled code may round otherwise, and
            parameters keep their names. The first step takes minutes.
        cuda_graphs: record the kernels of the network, or of each compiled part, and replay them, for nets so small
            that the device waits for Python. It costs memory (`recording.Recorded`), or of compiled parts one shape for
            all batches. Nothing is recorded without CUDA, nor of a network that is not compiled on several devices.

    Raises:
        ValueError: an unknown word for `compile`.

    """

    channels_last: bool = False
    compile: bool | Literal["backbone", "step"] = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        if self.compile not in (False, True, "backbone", "step"):
            raise ValueError(f"Execution: compile={self.compile!r}; choose false, true, backbone or step")

    def prepare(self, network: nn.Module) -> None:
        """Lay out the weights of a network and compile it, where this is asked for."""
        if self.channels_last:
            for parameter in network.parameters():
                parameter.data = _channels_last(parameter.data)
        if self.compile:
            network.compile(mode=self._mode)

    def recorded(self, network: Backbone) -> Recorded | None:
        """Record what is not compiled, where this is asked for (compiled kernels are recorded by the compiler)."""
        return Recorded(network) if self.cuda_graphs and not self.compile else None

    def lay_out(self, x: Tree) -> Tree:
        """Lay out what the network reads."""
        return mapped(_channels_last, x) if self.channels_last else x

    def compiled(self, function: Function) -> Function:
        """Compile a part of the step beside the network, where this is asked for."""
        return cast(Function, torch.compile(function, mode=self._mode)) if self.compile == "step" else function

    def begin_step(self) -> None:
        """Say that a step begins: what was recorded for the last one may be written over."""
        if self.cuda_graphs and self.compile:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]  # torch's

    @property
    def _mode(self) -> str | None:
        return "reduce-overhead" if self.cuda_graphs else None


PLAIN = Execution()


def _channels_last(x: Tensor) -> Tensor:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=formats[x.ndim]) if x.ndim in formats else x
