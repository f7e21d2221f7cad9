"""Import Lightning before anything else, as the command line does."""

# typing caches Optional[Union[...]] whatever the order of its members: where another package has asked for "float or
# int" before, Lightning's "int or float" becomes that, and jsonargparse reads `limit_predict_batches: 1` as 1.0: all.
import pytorch_lightning  # noqa: F401  # isort: skip

import os

import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # several test processes share the cores
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # of processes that tests start
