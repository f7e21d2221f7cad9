"""Where in a backbone each weight sits: the first stage that depends on it, asked of autograd, so of any backbone."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pretext.core.types import Backbone
from pretext.evaluation.embed import evaluating

POOLED = "pooled"
"""What lies behind the last stage, such as the fully connected layers of AlexNet, or is in no one's way."""


class Places(NamedTuple):
    """The first stage, shallow to deep, whose output depends on a thing; `POOLED` where no stage does."""

    parameters: dict[str, str]
    """Parameter's name -> stage."""
    modules: dict[str, str]
    """Name of a module that returns tensors -> stage. What was not called, or is the whole backbone, is missing."""


def places(backbone: Backbone, x: Tensor) -> Places:
    """Find the stage of every parameter and module by showing the backbone `x` (N, C, *S), one item is enough.

    A stage depends on a parameter where its gradient can arrive there. Modules are found alike: to what each returns a
    zero is added that asks for its own gradient. So no name is guessed, and batch norm and dropout without a parameter
    are found too. The backbone is left as it was.
    """
    marks: dict[str, Tensor] = {}
    handles = [module.register_forward_hook(_mark(name, marks)) for name, module in backbone.named_modules() if name]
    asked = {p: p.requires_grad for p in backbone.parameters()}
    try:
        with evaluating(backbone), torch.enable_grad():  # in eval mode: no statistics are touched, nothing is dropped
            for parameter in asked:
                parameter.requires_grad_(True)
            stages = backbone.forward(x).stages  # not called, or it might be compiled with these hooks
            leaves = {f"parameter {n}": p for n, p in backbone.named_parameters()}
            first = _first(stages, leaves | {f"module {name}": mark for name, mark in marks.items()})
    finally:
        for handle in handles:
            handle.remove()
        for parameter, was in asked.items():
            parameter.requires_grad_(was)
    kinds = ("parameter ", "module ")
    return Places(*({n.removeprefix(kind): s for n, s in first.items() if n.startswith(kind)} for kind in kinds))


def _first(stages: dict[str, Tensor], leaves: dict[str, Tensor]) -> dict[str, str]:
    """Name for each leaf the first stage whose gradient reaches it."""
    first: dict[str, str] = {}
    for name, stage in stages.items():
        left = {key: leaf for key, leaf in leaves.items() if key not in first}
        if not left or not stage.requires_grad:
            continue
        gradients = torch.autograd.grad(stage.sum(), list(left.values()), retain_graph=True, allow_unused=True)
        first |= {key: name for key, gradient in zip(left, gradients, strict=True) if gradient is not None}
    return {key: first.get(key, POOLED) for key in leaves}


def _mark(name: str, marks: dict[str, Tensor]) -> Any:
    """Make a hook that adds a zero of its own to all tensors that a module returns."""

    def hook(module: nn.Module, given: Any, returned: Any) -> Any:
        several = type(returned) is tuple  # as attention does; not Features, which belong to no one stage
        parts = returned if several else (returned,)
        if not all(isinstance(part, Tensor) or part is None for part in parts):
            return None
        device = next(part.device for part in parts if part is not None)
        mark = marks.setdefault(name, torch.zeros((), device=device, requires_grad=True))
        marked = tuple(p + mark.to(p.dtype) if p is not None and p.is_floating_point() else p for p in parts)
        return marked if several else marked[0]

    return hook
