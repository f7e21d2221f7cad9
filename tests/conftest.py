"""Several test processes share the cores; Lightning is imported before anything else, as the command line does."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread each, also in processes that tests start. Before NumPy is imported: its BLAS reads this once, and the
    # threads of several processes would wait for one another (a fit of scikit-learn's took 50 times as long).
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# typing caches Optional[Union[...]] whatever the order of its members: where another package has asked for "float or
# int" before, Lightning's "int or float" becomes that, and jsonargparse reads `limit_predict_batches: 1` as 1.0: all.
import pytorch_lightning  # noqa: F401  # isort: skip

import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Skip what needs a CUDA device where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))
