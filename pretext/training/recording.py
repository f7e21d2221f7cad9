"""Recorded kernels: the forward and backward pass of a network as CUDA graphs, so that no step waits for Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.utils import _pytree as pytree

from pretext.core.types import Backbone, Seen, Tree

MOST = 16
"""Recordings of a network: each holds its activations for good. Further ones run unrecorded."""
WARM_UP = 3
"""Passes before the recording, in which libraries choose and load kernels."""


class Recorded:
    """A network that replays what was recorded when it first saw a batch of the same shape.

    A network that looks several times in a step is recorded as often, since what one look keeps for its backward pass
    no other may write over. It runs as it is where nothing can or need be recorded: on a CPU, without gradient, in
    evaluation, and on several devices, whose batch norm asks the others; and, with a warning, where recording fails, as
    it does if the network asks the device for a number (`.item()`).

    Args:
        network: what is recorded; its parameters may change, but no new ones may take their place.

    """

    def __init__(self, network: Backbone) -> None:
        self.network = network
        self.step = -1
        self.refused = False
        self.looks: Counter[Hashable] = Counter()  # of this step, by what they look at
        self.recordings: dict[Hashable, Recording] = {}
        self._modules = [*network.modules()]
        self._parameters = [*network.parameters()]

    def __reduce__(self) -> tuple[Any, ...]:
        return Recorded, (self.network,)  # a copy would replay the original's weights

    def begin(self, step: int) -> None:
        """Say which step a batch belongs to: the recordings of the last one may be written over, gradients and all."""
        if step != self.step:
            self.step = step
            self.looks.clear()

    def __call__(self, x: Tree) -> Seen:
        leaves, structure = pytree.tree_flatten(x)
        if not self._recordable(leaves):
            return self.network(x)
        facts = tuple((leaf.shape, leaf.dtype, leaf.requires_grad) for leaf in leaves)
        kind = (structure, facts, _cast(), self._state())
        key = (kind, self.looks[kind])
        self.looks[kind] += 1
        if key not in self.recordings and (self.refused or len(self.recordings) == MOST or not self._record(key, x)):
            return self.network(x)
        return self.recordings[key](leaves)

    def _record(self, key: Hashable, x: Tree) -> bool:
        """Record; what cannot be recorded is told once, and runs as it is from then on: speed alone is at stake."""
        try:
            self.recordings[key] = Recording(self.network, x)
        except RuntimeError as error:
            self.refused = True
            why = str(error).splitlines()[0]
            rank_zero_warn(
                f"Execution: cuda_graphs cannot record {type(self.network).__name__}, which runs as it is: {why}"
            )
        return not self.refused

    def _state(self) -> tuple[bool, ...]:
        """Tell what trains: fine-tuning may thaw a network part by part."""
        return *(p.requires_grad for p in self._parameters), *(m.training for m in self._modules)

    def _recordable(self, leaves: list[Tensor]) -> bool:
        alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        learns = torch.is_grad_enabled() and self.network.training
        return learns and alone and all(leaf.is_cuda for leaf in leaves)


class Recording:
    """One look of a network, recorded on a batch like `x`. It takes some steps for that, which leave no trace.

    torch's `make_graphed_callables` does the like, but forbids every thread to touch CUDA meanwhile, as one that pins
    batches does, and computes with gradients of stages that no head asks for.
    """

    def __init__(self, network: Backbone, x: Tree) -> None:
        self.x = pytree.tree_map(lambda leaf: leaf.detach().clone().requires_grad_(leaf.requires_grad), x)
        self.inputs = pytree.tree_leaves(self.x)
        self.sources = [p for p in network.parameters() if p.requires_grad]
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        enabled, dtype = _cast()
        # A weight that autocast keeps would stay this step's.
        with _traceless(network), torch.autocast("cuda", dtype, enabled, cache_enabled=False):
            self._warm_up(network)
            self._record(network)

    def __call__(self, leaves: Sequence[Tensor]) -> Seen:
        return pytree.tree_unflatten(_Replay.apply(self, len(leaves), *leaves, *self.sources), self._structure)

    def look(self, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Replay the forward pass."""
        for own, leaf in zip(self.inputs, leaves, strict=True):
            own.copy_(leaf)
        self._forward.replay()
        return tuple(out.detach() for out in self.outputs)

    def constant(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Tell which outputs have no gradient."""
        return [out for out, grad in zip(outputs, self._grads, strict=True) if grad is None]

    def learn(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Replay the backward pass; return gradients of the inputs and of the parameters that train."""
        for own, grad in zip(self._grads, grads, strict=True):
            if own is not None and grad is not None:
                own.copy_(grad)
                self._asked.add(id(own))
            elif own is not None and id(own) in self._asked:  # in the last step, and not in this one
                own.zero_()
                self._asked.remove(id(own))
        if self._learns:
            self._backward.replay()
        return [None if grad is None else grad.detach() for grad in self._found]

    def _warm_up(self, network: Backbone) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                aliases = aliased(network)
                outputs = pytree.tree_leaves(functional_call(network, aliases, (self.x,)))
                differentiated(outputs, [torch.zeros_like(out) for out in outputs], [*self.inputs, *aliases.values()])
        torch.cuda.current_stream().wait_stream(stream)

    def _record(self, network: Backbone) -> None:
        aliases = aliased(network)
        with torch.cuda.graph(self._forward, capture_error_mode="thread_local"):
            seen = functional_call(network, aliases, (self.x,))
        outputs, self._structure = pytree.tree_flatten(seen)
        # Zeros until a head asks: most look at one stage.
        grads = [torch.zeros_like(out) for out in outputs]
        self._grads = [grad if out.requires_grad else None for out, grad in zip(outputs, grads, strict=True)]
        self._asked: set[int] = set()
        asked = [*self.inputs, *aliases.values()]
        self._found: list[Tensor | None] = [None] * len(asked)
        self._learns = any(out.requires_grad for out in outputs) and any(part.requires_grad for part in asked)
        if self._learns:
            pool = self._forward.pool()
            with torch.cuda.graph(self._backward, pool=pool, capture_error_mode="thread_local"):
                self._found = differentiated(outputs, grads, asked)
        self.outputs = [out.detach() for out in outputs]


def aliased(network: Backbone) -> dict[str, Tensor]:
    """Name the parameters that train, each as a new leaf on the same memory.

    Any graph of autograd that is still alive ties where the gradient of a parameter itself arrives to its stream, as
    that of an earlier look is; a recording that met it would break off.
    """
    return {name: p.detach().requires_grad_() for name, p in network.named_parameters() if p.requires_grad}


def differentiated(outputs: list[Tensor], grads: list[Tensor], parts: list[Tensor]) -> list[Tensor | None]:
    """Differentiate outputs with given gradients by parts; None for parts that ask for none or were not used."""
    differing = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if out.requires_grad]
    asked = [part for part in parts if part.requires_grad]
    if not differing or not asked:
        return [None] * len(parts)
    those, their = zip(*differing, strict=True)
    found = iter(torch.autograd.grad(those, asked, their, allow_unused=True))
    return [next(found) if part.requires_grad else None for part in parts]


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recording: Recording, inputs: int, *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.recording = recording
        ctx.set_materialize_grads(False)
        outputs = recording.look(parts[:inputs])
        ctx.mark_non_differentiable(*recording.constant(outputs))
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.recording.learn(grads)


@contextmanager
def _traceless(network: Backbone) -> Iterator[None]:
    """Undo what passes leave behind: batch norm's statistics, and how far chance has got."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    chance = torch.cuda.get_rng_state()
    try:
        yield
    finally:
        torch.cuda.set_rng_state(chance)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def _cast() -> tuple[bool, torch.dtype]:
    """Tell whether autocast is on, and to what."""
    return torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
