"""Matrix products of float32: the processor's fastest, or exact."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def products(*, fast: bool) -> Iterator[None]:
    """Set how precise products are meanwhile, for the whole process, and put back what was set before.

    Fast ones may round their factors: to TF32 on an accelerator, to bfloat16 on a CPU that has units for it. Other CPUs
    round nothing, but go to oneDNN instead of the BLAS library: a third of its time for a product of ten rows.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if fast else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
