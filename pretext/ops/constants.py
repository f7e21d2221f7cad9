"""Small tables of numbers, put on a device once: a step that made them anew would wait for each copy."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=256)
def constant(values: tuple[Any, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Put numbers, or nested tuples of them, on a device and keep them there. Never write to it."""
    with torch.inference_mode(False):  # a tensor born in inference mode could not take part in a backward pass later
        return torch.tensor(values, device=device, dtype=dtype)
