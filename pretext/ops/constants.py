"""Tables that are made once for each device: a step that made them anew would compute, and wait for a copy."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, ParamSpec

import torch
from torch import Tensor

P = ParamSpec("P")


def kept(make: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Keep what a function makes, by its arguments. Never write to it.

    The compiler cannot look tables up: it takes all that are marked constant in a function for one (torch 2.14). So it
    traces how they are made, and computes them in the step, where it fuses them.
    """
    cached = lru_cache(maxsize=None)(make)  # for good: a CUDA graph may read one without asking for it again

    def get(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_compiling():
            return make(*args, **kwargs)
        return cached(*args, **kwargs)  # type: ignore[arg-type]  # what is not hashable is an error at run time

    get.__doc__, get.__name__ = make.__doc__, make.__name__
    get.cache_clear = cached.cache_clear  # type: ignore[attr-defined]  # for tests
    return get


@kept
def constant(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Put numbers, or nested tuples of them, on a device."""
    with torch.inference_mode(False):  # a tensor born in inference mode could not take part in a backward pass later
        return torch.tensor(values, device=device, dtype=dtype)
