"""Recorded kernels: the forward and backward pass of a network as CUDA graphs, so that no step waits for Python."""

from __future__ import annotations

import gc
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
    evaluation, before the first step begins, and on several devices, whose batch norm asks the others; and, with a
    warning, where recording fails, as it does if the network asks the device for a number (`.item()`).

    Args:
        network: what is recorded. What changes in it from step to step has to lie in tensors that are written in place.

    Raises:
        RuntimeError: when called: recording failed, and this torch does not recover from that.

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
            return True
        except RuntimeError as error:
            first = str(error.__context__ or error)  # ending a recording that broke off raises anew
        # Only here does nothing hold what was half recorded any more, as the error's traceback did.
        self.refused = True
        self.recordings.clear()  # they hold memory that the plain passes need
        why = f"Execution: cuda_graphs cannot record {type(self.network).__name__}: {first.partition(chr(10))[0]}"
        _recover(why)
        rank_zero_warn(f"{why}. It runs as it is")
        return False

    def _state(self) -> tuple[Hashable, ...]:
        """Tell what trains, and where it lies: fine-tuning may thaw a network part by part."""
        parameters = ((p.requires_grad, p.data_ptr()) for p in self._parameters)
        return *parameters, *(module.training for module in self._modules)

    def _recordable(self, leaves: list[Any]) -> bool:
        alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
        learns = torch.is_grad_enabled() and self.network.training and self.step >= 0
        return learns and alone and all(isinstance(leaf, Tensor) and leaf.is_cuda for leaf in leaves)


class Recording:
    """One look of a network, recorded on a batch like `x`. It takes some passes for that, which leave no trace.

    torch's `make_graphed_callables` does the like, but forbids every thread to touch CUDA meanwhile, as one that pins
    batches does, and gives gradients of zero to parameters that no head's loss reaches, which then decay.
    """

    def __init__(self, network: Backbone, x: Tree) -> None:
        self.x = pytree.tree_map(lambda leaf: leaf.detach().clone().requires_grad_(leaf.requires_grad), x)
        self.inputs = pytree.tree_leaves(self.x)
        self.sources = [p for p in network.parameters() if p.requires_grad]
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        self._unused = False  # is there a look whose gradients were not asked for yet
        self._reached: dict[tuple[bool, ...], list[bool]] = {}
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
        self._unused = True
        return tuple(out.detach() for out in self.outputs)

    def constant(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """Tell which outputs have no gradient."""
        return [out for out, grad in zip(outputs, self._grads, strict=True) if grad is None]

    def learn(self, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Replay the backward pass; return gradients of the inputs and of the parameters that train.

        Raises:
            RuntimeError: a second backward pass of one look.

        """
        if not self._unused:
            said = "recorded kernels have one backward pass a look; set model.execution.cuda_graphs false"
            raise RuntimeError(f"Execution: {said}")
        self._unused = False
        for own, grad in zip(self._grads, grads, strict=True):
            if own is not None and grad is not None:
                own.copy_(grad)
            elif own is not None:
                own.zero_()
        self._spare()
        self._backward.replay()
        reached = self.reached(tuple(grad is not None for grad in grads))
        return [
            grad.detach() if grad is not None and is_reached else None
            for grad, is_reached in zip(self._found, reached, strict=True)
        ]

    def _spare(self) -> None:
        """Move gradients that are kept from an earlier step out of the memory that is written now."""
        for parameter, own in zip(self.sources, self._found[len(self.inputs) :], strict=True):
            kept = parameter.grad
            if kept is not None and own is not None and kept.data_ptr() == own.data_ptr():
                parameter.grad = kept.clone()

    def reached(self, asked: tuple[bool, ...]) -> list[bool]:
        """Tell which parts the outputs with a gradient reach: others have none, or an optimiser would move them."""
        if asked not in self._reached:
            own = [way for way, is_asked in zip(self._ways, asked, strict=True) if is_asked]
            self._reached[asked] = [any(way[part] for way in own) for part in range(len(self._found))]
        return self._reached[asked]

    def _warm_up(self, network: Backbone) -> None:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                aliases = aliased(network)
                outputs = pytree.tree_leaves(functional_call(network, aliases, (self.x,)))
                if any(not isinstance(out, Tensor) for out in outputs):
                    raise RuntimeError("it returns more than tensors")
                with torch.autocast("cuda", enabled=False):  # as Lightning takes the backward pass
                    self._ways = ways(outputs, [*self.inputs, *aliases.values()])
        torch.cuda.current_stream().wait_stream(stream)

    def _record(self, network: Backbone) -> None:
        aliases = aliased(network)
        with torch.cuda.graph(self._forward, capture_error_mode="thread_local"):
            seen = functional_call(network, aliases, (self.x,))
        outputs, self._structure = pytree.tree_flatten(seen)
        grads = [torch.zeros_like(out) for out in outputs]
        self._grads = [grad if out.requires_grad else None for out, grad in zip(outputs, grads, strict=True)]
        parts = [*self.inputs, *aliases.values()]
        self._found: list[Tensor | None] = [None] * len(parts)
        if any(map(any, self._ways)):
            # In memory of its own: gradients are kept until after the next forward pass.
            graph = torch.cuda.graph(self._backward, capture_error_mode="thread_local")
            with graph, torch.autocast("cuda", enabled=False):
                self._found = apart(differentiated(outputs, grads, parts))
        self.outputs = [out.detach() for out in outputs]


def aliased(network: Backbone) -> dict[str, Tensor]:
    """Name the parameters that train, each as a new leaf on the same memory.

    Any graph of autograd that is still alive ties where the gradient of a parameter itself arrives to its stream, as
    that of an earlier look is; a recording that met it would break off.
    """
    return {name: p.detach().requires_grad_() for name, p in network.named_parameters() if p.requires_grad}


def differentiated(
    outputs: Sequence[Tensor], grads: Sequence[Tensor], parts: Sequence[Tensor], again: bool = False
) -> list[Tensor | None]:
    """Differentiate outputs with given gradients by parts; None for parts that ask for none or were not used."""
    differing = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if out.requires_grad]
    asked = [part for part in parts if part.requires_grad]
    if not differing or not asked:
        return [None] * len(parts)
    those, their = zip(*differing, strict=True)
    found = iter(torch.autograd.grad(those, asked, their, retain_graph=again, allow_unused=True))
    return [next(found) if part.requires_grad else None for part in parts]


def ways(outputs: Sequence[Tensor], parts: Sequence[Tensor]) -> list[list[bool]]:
    """Tell of each output which parts it depends on."""
    each = (differentiated([out], [torch.zeros_like(out)], parts, again=True) for out in outputs)
    return [[grad is not None for grad in grads] for grads in each]


def apart(grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Copy a gradient that another part has too: what is done to one would be done to both."""
    found: dict[int, Tensor] = {}
    for i, grad in enumerate(grads):
        if grad is not None:
            found[i] = grad.clone() if any(grad.data_ptr() == other.data_ptr() for other in found.values()) else grad
    return [found.get(i) for i in range(len(grads))]


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
    """Undo what passes leave behind: batch norm's statistics, how far chance has got, and where kernels are sent."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    chance, chance_here, stream = torch.cuda.get_rng_state(), torch.get_rng_state(), torch.cuda.current_stream()
    try:
        yield
    except BaseException:
        torch.cuda.set_stream(stream)  # torch leaves it to a recording that broke off
        torch.cuda.synchronize()
        raise
    finally:
        torch.cuda.set_rng_state(chance)
        torch.set_rng_state(chance_here)
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)


def _recover(why: str) -> None:
    """Try what would fail later if torch still thought that it records, as before torch 2.13 or so it may."""
    chance = torch.cuda.get_rng_state()
    gc.collect()  # graphs of autograd may hold each other
    try:
        torch.cuda.empty_cache()
        torch.rand(1, device="cuda")
        torch.cuda.synchronize()
    except RuntimeError as error:
        raise RuntimeError(f"{why}; this torch does not recover: set model.execution.cuda_graphs false") from error
    torch.cuda.set_rng_state(chance)


def _cast() -> tuple[bool, torch.dtype]:
    """Tell whether autocast is on, and to what."""
    return torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
