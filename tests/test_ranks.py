"""Two processes train what one would. All tasks sit in one pair of real processes, because imports take seconds."""

import csv
import inspect
import json
import socket
from itertools import pairwise

import pytest
import torch
from every_task import cases
from forked import call, ended
from safetensors.torch import load_file
from two_ranks import both, evaluate, own, probe, train

import pretext
from pretext.core.types import Task

NAMES = list(cases())
# Their grades are means over items, of which each rank has as many: the mean of the ranks is that of all of them.
OF_ITEMS = {"rotation", "jigsaw", "position", "counting", "split brain", "arrow of time", "clip order", "odd one out"}
OF_ITEMS |= {"shuffle and learn", "alignment", "contrastive alignment"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The folder in which two processes did everything."""
    folder = tmp_path_factory.mktemp("two")
    places = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "NEXT_PORT": free_port(), "WORLD_SIZE": "2"}
    places |= {"TORCHELASTIC_RUN_ID": "test", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "OMP_NUM_THREADS": "1"}
    said = [folder / f"said.{rank}" for rank in range(2)]
    ranks = [call(said[rank], both, folder, **places, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(2)]
    codes = [ended(process, seconds=300) for process in ranks]
    assert codes == [0, 0], "".join(file.read_text() for file in said)
    return folder


@pytest.fixture(scope="module")
def found(two):
    """What both ranks report."""
    return [json.loads((two / f"found.{rank}").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder in which this process did the same alone, and what it found."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("one")
    found = {**train(folder, 1), "evaluated": evaluate(folder, 1), "own": own(1)}
    probe(folder)
    torch.set_num_threads(threads)
    return folder, found


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
    """The gradient of sum r^2 + sum r + mean r over all rows r is 2 r + 1 + 1/5, and counts once for each rank."""
    for rank, (result, rows) in enumerate(zip(found, ([0, 1], [0, 1, 2]), strict=True)):
        sums = result["sums"]
        assert sums["outside"] == [1, True, True]
        assert sums["rows"] == [0, 1, 0, 1, 2]
        assert sums["numbers"] == [0, 1, 2, 3, 4]
        assert sums["mean"] == pytest.approx(4 / 5)
        assert sums["gradient"] == pytest.approx([2 * (2 * r + 1 + 1 / 5) for r in rows])
        assert sums["none"] == [0, 1], f"rank {rank}: the other has rows, the first has none"


def columns(folder):
    """What metrics.csv says of validation and of features, but for the time that it took."""
    with (folder / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = [(name, value) for row in rows for name, value in row.items() if value and name != "online/seconds"]
    return {
        name: [float(v) for n, v in cells if n == name] for name, _ in cells if name.startswith(("val/", "online/"))
    }


def test_validation_and_online_have_the_numbers_of_one_process(two, one):
    """71 items are 5 batches: of two ranks one has three and the other two, and looks at the last once more."""
    ours, theirs = columns(two), columns(one[0])
    assert ours.keys() == theirs.keys() > {"val/turn/accuracy", "val/views/loss", "val/large/psnr_gain", "val/loss"}
    assert {"online/conv2/knn", "online/conv2/rankme"} < ours.keys()
    for name in ours:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5, abs=1e-6), name


def test_a_rank_without_a_batch_neither_waits_nor_counts(found, one):
    expected = one[1]["validated"]
    assert "val/views/ranking" in expected
    for rank in found:
        assert rank["validated"] == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_one_rank_whose_time_has_come_makes_all_save_after_the_same_step(found):
    first, second = (each["timed"] for each in found)
    assert first == second  # what each rank sees before each of its 10 steps
    saved = [step for step in dict.fromkeys(first) if step is not None]
    assert len(saved) >= 3
    assert all(later - one >= 2 for one, later in pairwise(saved))  # heard of a step late, once


def test_predictions_are_those_of_one_process_in_one_file(two, one):
    ours, theirs = (load_file(folder / "run" / "features.safetensors") for folder in (two, one[0]))
    assert len(ours["index"]) == 500
    assert torch.equal(ours["index"], theirs["index"])
    assert torch.equal(ours["pooled"], theirs["pooled"])
    assert not list(two.glob("run/features-*"))


@pytest.mark.parametrize("name", ["one label", "several labels", "stages", "masks", "numbers", "domains"])
def test_evaluators_have_the_scores_of_one_process(two, found, one, name):
    folder, alone = one
    for rank in found:
        assert rank["evaluated"][name] == pytest.approx(alone["evaluated"][name], rel=1e-6)
    ours, theirs = (json.loads((place / name / "score.json").read_text()) for place in (two, folder))
    assert ours == theirs  # intervals too, which depend on the order of the items


@pytest.mark.parametrize("name", ["counted", "one batch", "endless"])
def test_loaders_of_a_users_own_are_dealt_by_whole_batches(found, one, name):
    """Not as Lightning's sampler deals them: item by item, with some twice."""
    expected = one[1]["own"][name]
    for rank in found:
        assert rank["own"][name] == pytest.approx(expected, rel=1e-6)
    assert expected["items"] == {"counted": 35, "one batch": 4, "endless": 20}[name]
    assert expected["out of order"] == 0


def test_a_probe_in_shards_is_that_of_one_process_to_the_last_digit(two, found, one):
    assert [rank["exit"] for rank in found] == ["led", 0]
    ours, theirs = (json.loads((folder / "probe" / "probe.json").read_text()) for folder in (two, one[0]))
    for result in (ours, theirs):
        del result["seconds"], result["command"], result["step"]  # two processes took half as many
    assert len(ours["rows"]) > 4
    assert ours == theirs
    features = [{file.read_bytes() for file in folder.glob("probe/features/*/*.npy")} for folder in (two, one[0])]
    assert len(features[0]) > 8
    assert features[0] == features[1]
    assert not list(two.glob("probe/**/shards-*"))
