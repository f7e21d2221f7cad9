"""Two processes train what one would. All tasks sit in one pair of real processes, because imports take seconds."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from every_task import cases

import pretext
from pretext.core.types import Task

ROOT = Path(__file__).parents[2]
NAMES = list(cases())
# Their grades are means over items, of which each rank has as many: the mean of the ranks is that of all of them.
OF_ITEMS = {"rotation", "jigsaw", "position", "counting", "split brain", "arrow of time", "clip order", "odd one out"}
OF_ITEMS |= {"shuffle and learn", "alignment", "contrastive alignment"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What both ranks report."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, str(ROOT / "tests" / "two_ranks.py")]
    place = {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}}
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(folder / "store"), str(folder / "out")], stderr=subprocess.PIPE, **place
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    return [json.loads((folder / f"out.{rank}").read_text()) for rank in range(2)]


def test_every_task_is_here():
    public = (value for name in pretext.__all__ if inspect.isclass(value := getattr(pretext, name)))
    tasks = {value for value in public if issubclass(value, Task) and not inspect.isabstract(value)}
    assert {case.factory.func if hasattr(case.factory, "func") else case.factory for case in cases().values()} == tasks


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_gradient_of_two_processes_is_that_of_one(found, name):
    for rank in found:
        assert rank[name]["together"] < 1e-6
        assert rank[name]["together, worst"] < 1e-6


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_ITEMS])
def test_of_what_ranks_do_not_share_the_gradient_is_another(found, name):
    """So the test above can fail, and the list of tasks that need nothing is complete."""
    assert found[0][name]["apart"] > 1e-3


@pytest.mark.parametrize(
    "name", ["contrast", "embed", "distillation", "colorization", "inpainting", "super-resolution"]
)
def test_where_items_or_normalisers_are_shared_every_rank_has_the_loss_of_the_whole(found, name):
    for rank in found:
        assert rank[name]["loss"][0] == pytest.approx(rank[name]["loss"][1], rel=1e-9)


def test_rows_and_sums_of_ranks_of_other_sizes(found):
    """Of rows r and their sum and mean: the gradient of sum r^2 + sum r + mean r is 2 r + 1 + 1/5, once for each rank."""
    for rank, (result, rows) in enumerate(zip(found, ([0, 1], [0, 1, 2]), strict=True)):
        sums = result["sums"]
        assert sums["outside"] == [1, True, True]
        assert sums["rows"] == [0, 1, 0, 1, 2]
        assert sums["numbers"] == [0, 1, 2, 3, 4]
        assert sums["mean"] == pytest.approx(4 / 5)
        assert sums["gradient"] == pytest.approx([2 * (2 * r + 1 + 1 / 5) for r in rows])
        assert sums["none"] == [0, 1], f"rank {rank}: the other has rows, the first has none"
