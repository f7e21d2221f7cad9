"""The processes that decode: what a file may do to them, and what is left of them."""

import os
import signal
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from folders import labelled_folder
from PIL import Image
from troublemakers import CAUSES, source

from datamodules import ImageFolder, Photos, Reading, Splitting
from datamodules.decoding.client import CLIENT
from datamodules.decoding.orders import share

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks /proc")


def numbers(batches):
    return [(batch["index"].tolist(), batch["x"][:, 0].tolist()) for batch in batches]


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def server():
    return CLIENT._server.pid


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("workers", "shared_out"), [(1, True), (3, False)], ids=["shared out", "one by one"])
def test_a_file_at_which_the_decoder_goes_down_costs_that_file_alone_and_is_named_with_its_cause(
    tmp_path, workers, shared_out
):
    texts = [str(k) for k in range(24)]
    bad = dict(zip((3, 4, 9, 16, 17, 23), CAUSES, strict=True))
    for k, text in bad.items():
        texts[k] = text
    told = {}
    files = source(tmp_path, texts, told, workers, shared_out=shared_out)
    good = [k for k in range(24) if k not in bad]
    (batch,) = numbers(files.read([torch.arange(24)]))
    assert batch == (good, good)
    assert told == {f"{k}.txt": CAUSES[text] for k, text in bad.items()}
    replaced = numbers(files.read([torch.tensor([3, 9, 23])], torch.arange(24)))
    assert replaced == [([5, 10, 0], [5, 10, 0])]


def test_a_file_that_takes_too_long_is_bad_and_the_others_of_its_job_are_decoded(tmp_path):
    told = {}
    files = source(tmp_path, ["0", "hang", "2", "slow 3", "4"], told, workers=1, seconds=1.0)
    assert numbers(files.read([torch.arange(5)])) == [([0, 2, 3, 4], [0, 2, 3, 4])]
    assert told == {"1.txt": "took longer than 1 s"}


def test_a_file_that_a_fresh_process_decodes_is_not_to_blame(tmp_path):
    told = {}
    files = source(tmp_path, ["0", "once 1", "2"], told, workers=1)
    assert numbers(files.read([torch.arange(3)])) == [([0, 1, 2], [0, 1, 2])]
    assert not told
    assert (tmp_path / "done").exists()


def test_rows_that_cannot_be_written_at_once_are_written_one_by_one_and_no_file_is_to_blame(tmp_path):
    told = {}
    files = source(tmp_path, ["0", "full 1", *map(str, range(2, 8))], told, workers=1)
    assert numbers(files.read([torch.arange(8)])) == [([*range(8)], [*range(8)])]
    assert not told
    assert (tmp_path / "done").exists()


def test_large_rows_are_shared_out_in_small_jobs():
    assert share(files=512, workers=16, size=3 * 32 * 32) == 16
    assert share(files=64, workers=16, size=3 * 32 * 32) == 4
    assert share(files=512, workers=16, size=3 * 1500 * 1500) == 1  # one file in memory, as many workers as there are
    assert share(files=4, workers=16, size=1) == 1


@linux
def test_a_worker_that_waits_has_no_batch_open(tmp_path):
    CLIENT.close()  # so that one is forked for this very job
    files = source(tmp_path, ["0", "1"], {}, workers=1)
    assert numbers(files.read([torch.arange(2)])) == [([0, 1], [0, 1])]
    (worker,) = children(server())
    opened = Path(f"/proc/{worker}/fd")
    # One is the lock by which large files are decoded one by one.
    wait_until(lambda: sum("datamodules" in str(file.readlink()) for file in opened.iterdir()) <= 1, 5)


@linux
@pytest.mark.parametrize("whom", ["a worker", "the server"])
def test_who_is_killed_from_outside_costs_no_file(tmp_path, whom):
    told = {}
    files = source(tmp_path, [f"slow {k}" for k in range(6)], told)
    batches = files.read([torch.tensor([k]) for k in range(6)])
    first = numbers([next(batches)])
    assert first == [([0], [0])]
    os.kill(children(server())[0] if whom == "a worker" else server(), signal.SIGKILL)
    assert numbers(batches) == [([k], [k]) for k in range(1, 6)]
    assert not told


def test_a_png_whose_damage_kills_torchvisions_decoder_is_one_skipped_file(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{i:03}.png")
    data = bytearray((tmp_path / "007.png").read_bytes())
    data[len(data) // 2] ^= 255
    begin = data.index(b"IDAT")
    end = begin + 4 + int.from_bytes(data[begin - 4 : begin])
    data[end : end + 4] = zlib.crc32(data[begin:end]).to_bytes(4)  # its checksum is right, what it holds is not
    (tmp_path / "007.png").write_bytes(data)
    photos = Photos(tmp_path, 40, reading=Reading(max_bad=0.05), split=Splitting(test=0, val=0))
    assert sum(len(batch["index"]) for batch in photos.ordered("train")) == 39
    assert list(photos.skipped) == ["007.png"]


@linux
def test_hundred_passes_leave_no_process_no_open_file_and_no_memory_behind(tmp_path):
    told = {}
    files = source(tmp_path, ["kill", *map(str, range(1, 12))], told)

    def held():
        pids = [os.getpid(), server()]
        open_files = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids]
        maps = Path("/proc/self/maps").read_text().count("memfd:datamodules")
        workers = children(server())
        assert not any(gone(pid) for pid in workers)  # no zombie
        return *open_files, maps, len(workers)

    def go_through(passes):
        for k in range(passes):
            batches = files.read(list(torch.arange(12).split(2)))
            assert next(batches)["x"].shape[1:] == (2,)
            if k % 2:
                batches.close()  # left early
            else:
                assert len(list(batches)) == 5
        assert len(list(files.read([torch.arange(12)]))) == 1  # what was dropped has been answered now

    go_through(5)
    before = held()
    go_through(100)
    after = held()
    assert all(late <= early + 2 for early, late in zip(before, after, strict=True)), (before, after)


def test_memory_is_used_again_only_when_nothing_looks_at_it_any_more(tmp_path):
    files = source(tmp_path, [str(k) for k in range(50)], {})
    kept = list(files.read([torch.tensor([k]) for k in range(50)]))
    assert numbers(kept) == [([k], [k]) for k in range(50)]
    (batch,) = files.read([torch.tensor([7])])
    part = batch["x"][:, 1:]
    del batch, kept
    list(files.read([torch.tensor([k]) for k in range(20)]))
    assert part.tolist() == [[7]]


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
from troublemakers import source
from datamodules.decoding.client import CLIENT
print("begin", flush=True)
batches = source(Path({folder!r}), ["0", "1", "hang", "hang"], dict()).read([torch.tensor([k]) for k in range(4)])
print(next(batches)["x"].tolist(), CLIENT._server.pid, flush=True)
next(batches)
next(batches)
"""


@linux
@pytest.mark.parametrize(
    "how", ["a script without a guard, killed", pytest.param("python -c, interrupted", marks=pytest.mark.slow)]
)
def test_no_process_outlives_the_training_process_and_none_but_it_answers_to_ctrl_c(tmp_path, how):
    (tmp_path / "files").mkdir()
    script = SCRIPT.format(tests=str(ROOT / "tests"), folder=str(tmp_path / "files"))
    (tmp_path / "train.py").write_text(script)
    call = [str(tmp_path / "train.py")] if "script" in how else ["-c", script]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    # These tests may themselves run in the background of a shell, which lets its jobs ignore Ctrl-C.
    pipes["preexec_fn"] = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen([sys.executable, *call], start_new_session=True, **pipes) as training:
        assert training.stdout.readline() == "begin\n"  # once: no other process runs the script
        row, _, pid = training.stdout.readline().rpartition(" ")
        assert row == "[[0, 0]]"
        wait_until(lambda: len(children(int(pid))) == 2)
        everyone = [int(pid), *children(int(pid))]
        os.killpg(training.pid, signal.SIGKILL if "killed" in how else signal.SIGINT)
        out, said = training.communicate(timeout=60)
    assert not out
    assert said.count("Traceback") == ("interrupted" in how)
    wait_until(lambda: all(map(gone, everyone)), 20)  # also those that hang


def test_a_relative_root_is_meant_from_where_the_training_process_is(tmp_path, monkeypatch):
    """The server was begun in another folder, and the training process may change its own."""
    for name in ("a", "b"):
        labelled_folder(tmp_path / name / "images")
        monkeypatch.chdir(tmp_path / name)
        data = ImageFolder("images", canvas=8, batch_size=4)
        data.setup("fit")
        assert len(next(iter(data.train_dataloader()))["index"]) == 4
        assert data.skipped == {}
