"""Several test processes share the cores; Lightning is imported before anything of ours, as the command line does."""

import gc
import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread each, also in processes that tests start. Before NumPy is imported: its BLAS reads this once, and the
    # threads of several processes would wait for one another (a fit of scikit-learn's took 50 times as long).
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import pytest

# Files of 20 s and more, the longest first: one that starts last would leave the other processes idle.
LONG = [
    "test_configs.py",
    "test_bench.py",
    "test_workers.py",
    "test_command_line.py",
    "test_preemption.py",
    "test_old_runs.py",
    "test_probe_verb.py",
    "test_resume.py",
    "test_ranks.py",
    "test_torchvision_backbone.py",
    "test_relative_position.py",
    "test_study.py",
]


def pytest_configure(config):
    """Let xdist keep the order below (its own is by the number of tests in a file), and import what tests need."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    if "PYTEST_XDIST_WORKER" not in os.environ and getattr(config.option, "numprocesses", None):
        return  # this process deals tests out and runs none
    gc.disable()  # until all is imported, of which nothing is garbage: looking for some takes 3 s

    # typing caches Optional[Union[...]] whatever the order of its members: where another package has asked for "float
    # or int" before, Lightning's "int or float" becomes that, and jsonargparse reads `limit_predict_batches: 1` as 1.0:
    # all.
    import pytorch_lightning  # noqa: F401  # isort: skip

    import torch

    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Put long files first, and skip what needs a CUDA device where there is none."""
    import torch

    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


def pytest_collection_finish():
    """Let no collection of garbage look at what was imported, which would take 0.3 s each."""
    gc.freeze()
    gc.enable()
