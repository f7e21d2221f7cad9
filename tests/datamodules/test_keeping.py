"""What is kept of decoded files on disk: found again, never wrongly believed, and within its limit."""

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from datamodules import ImageFolder, Reading, Sampling, Sounds, Splitting
from datamodules.keeping.records import ENTRY, HEADER, Records, believed, entry, key_of
from datamodules.keeping.shelf import Shelf
from datamodules.keeping.store import DATA, INDEX, folder_of, open_store

ROOT = Path(__file__).parents[2]


def everything(batches):
    batches = list(batches)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def spoil(root, suffix=".png"):
    """Replace all files by ones that nothing can decode, but that look unchanged from outside."""
    for path in root.rglob(f"*{suffix}"):
        state = path.stat()
        path.write_bytes(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def pictures(root, cache, **options):
    return ImageFolder(root, 12, 8, cache=cache, reading=Reading(2, 0.1), split=Splitting(val=0), **options)


def test_the_second_run_decodes_nothing_and_has_the_same_batches(photos, tmp_path):
    root, cache = photos(20), tmp_path / "c"
    plain = [list(pictures(root, 0).train_dataloader()), list(pictures(root, 0).ordered("test"))]
    first, second = (pictures(root, cache) for _ in range(2))
    assert all(map(same, first.train_dataloader(), plain[0]))
    assert all(map(same, first.ordered("test"), plain[1]))
    spoil(root)
    assert all(map(same, second.train_dataloader(), plain[0]))
    assert all(map(same, second.ordered("test"), plain[1]))
    assert not second.skipped
    assert pictures(root, cache).fingerprint("train") == pictures(root, 0).fingerprint("train")


def test_whole_sounds_are_kept_on_disk_and_windows_cut_from_them(tmp_path):
    import media

    for k in range(6):
        sound = np.random.default_rng(k).normal(0, 0.1, (1, 3000 + 100 * k)).astype(np.float32)
        media.write(tmp_path / "data" / "ab"[k % 2] / f"{k}.wav", sound=sound, rate=8000)

    def sounds(cache):
        few = {"split": Splitting(test=0, val=0), "sampling": Sampling(8000, 2)}
        return Sounds(tmp_path / "data", seconds=0.2, batch_size=2, cache=cache, **few)

    plain = everything(sounds(0).ordered("train"))
    assert same(everything(sounds(tmp_path / "c").ordered("train")), plain)
    spoil(tmp_path / "data", ".wav")
    assert same(everything(sounds(tmp_path / "c").ordered("train")), plain)


def test_a_file_that_changed_or_other_settings_are_decoded_anew(photos, tmp_path):
    root, cache = photos(5), tmp_path / "c"
    everything(pictures(root, cache).ordered("train"))
    Image.fromarray(picture(99)).save(root / "train/cat/003.png")
    data = pictures(root, cache)
    assert same(everything(data.ordered("train")), everything(pictures(root, 0).ordered("train")))
    wide = ImageFolder(root, 14, cache=cache)
    assert same(everything(wide.ordered("train")), everything(ImageFolder(root, 14, cache=0).ordered("train")))
    assert len(list(cache.glob(f"*/{DATA}"))) == 2


@pytest.mark.parametrize("damage", ["data cut short", "index cut short", "foreign data", "foreign index", "no data"])
def test_what_is_cut_short_or_foreign_is_not_believed_but_made_anew(photos, tmp_path, damage):
    root, cache = photos(10), tmp_path / "c"
    plain = everything(pictures(root, cache).ordered("train"))
    (data,), (index,) = cache.glob(f"*/{DATA}"), cache.glob(f"*/{INDEX}")
    if damage == "data cut short":
        os.truncate(data, HEADER + 5 * 3 * 12 * 12 + 7)
    elif damage == "index cut short":
        os.truncate(index, 5 * ENTRY + 7)
    elif damage == "no data":
        data.unlink()
    else:
        file = data if "data" in damage else index
        file.write_bytes(np.random.default_rng(0).bytes(file.stat().st_size))
    for _ in range(2):  # while it is made anew, and from it
        assert same(everything(pictures(root, cache).ordered("train")), plain)
    spoil(root)
    assert same(everything(pictures(root, cache).ordered("train")), plain)


def test_an_entry_counts_whole_and_within_the_data_and_after_a_restart_only_if_sealed():
    def keys(index, size=10**6):
        return [int(number) for number in believed(index, size)[:, 0]]

    def key(k):
        return k.to_bytes(8, "little") + bytes(8)

    head = entry(key(99), 0, 0, 0)
    now = [entry(key(k), HEADER + 100 * k, 100) for k in range(1, 5)]
    before = [entry(key(k), HEADER + 100 * k, 100, boot=5) for k in range(1, 5)]
    seal = entry(bytes(16), 3 * ENTRY, 0, boot=5)
    assert keys(head + b"".join(now)) == [1, 2, 3, 4]
    assert keys(head + b"".join(now), HEADER + 300) == [1, 2]  # the data are shorter
    assert keys(head + b"".join(now)[:-1]) == [1, 2, 3]  # the last one is not whole
    assert keys(head + b"".join(before)) == []
    assert keys(head + b"".join(before) + seal) == [1, 2]  # those in the first three entries, the head among them
    for place in range(ENTRY):
        torn = bytearray(now[1])
        torn[place] ^= 1
        assert keys(head + now[0] + bytes(torn) + now[2]) == [1, 3]


def test_a_pass_seals_what_it_kept(photos, tmp_path):
    root, cache = photos(10), tmp_path / "c"
    everything(pictures(root, cache).ordered("train"))
    (index,) = cache.glob(f"*/{INDEX}")
    end = time.monotonic() + 30
    while True:
        entries = np.frombuffer(index.read_bytes(), np.uint64).reshape(-1, ENTRY // 8)
        seals = entries[(entries[:, :2] == 0).all(1), 2]
        if len(seals) and seals.max() >= 20 * ENTRY:
            break
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_folder_stays_within_its_limit_and_others_go_the_least_recently_used_first(photos, tmp_path):
    root, cache = photos(50, splits=("train",)), tmp_path / "c"

    def data(canvas, cache, **options):
        return ImageFolder(root, canvas, cache=cache, split=Splitting(test=0), **options)

    def size(folder):
        return sum(file.stat().st_size for file in folder.rglob("kept.*"))

    homes = [folder_of(cache, data(canvas, 0).open("train").decoder.kept()) for canvas in (10, 11, 12)]
    for canvas in (10, 11, 12, 10):  # the last one was used, but nothing new was kept
        everything(data(canvas, cache).ordered("train"))
        for home in homes:  # clocks are too coarse to tell them apart
            if (home / DATA).exists():
                os.utime(home / DATA, ns=((home / DATA).stat().st_mtime_ns - 10**9,) * 2)
    limit = size(homes[0]) + 3 * 20 * 20 * 100 + 104 * ENTRY + HEADER
    new = data(20, cache, cache_gb=limit / 1e9)
    assert same(everything(new.ordered("train")), everything(data(20, 0).ordered("train")))
    assert size(cache) <= limit
    assert [(home / DATA).exists() for home in homes] == [True, False, False]
    assert int((new._source("train")._keeping.shelf().offsets >= 0).sum()) == 100
    few = data(20, tmp_path / "few", cache_gb=50 * 1200 / 1e9)  # for half of the files
    assert same(everything(few.ordered("train")), everything(data(20, 0).ordered("train")))
    assert 40 < (few._source("train")._keeping.shelf().offsets >= 0).sum() < 50
    assert size(tmp_path / "few") <= 50 * 1200


WRITER = """
import os, sys
from pathlib import Path
import numpy as np
from datamodules.keeping.records import Records
from datamodules.keeping.store import open_store
folder, first = Path(sys.argv[1]), int(sys.argv[2])
records = Records(*open_store(folder), 10**10)
print("ready", flush=True)
for k in range(first, first + 2000):
    key = k.to_bytes(8, "little") + bytes(7) + b"x"
    records.append([np.full(1000 + k, k % 251, np.uint8)], [key])
"""


def start_writer(folder, first):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-c", WRITER, str(folder), str(first)]
    return subprocess.Popen(call, env=environment, stdout=subprocess.PIPE)


def test_two_writers_of_whom_one_is_killed_leave_only_whole_records(tmp_path):
    (tmp_path / "c").mkdir()
    with start_writer(tmp_path / "c", 0) as one, start_writer(tmp_path / "c", 10_000) as other:
        assert one.stdout.readline() == other.stdout.readline() == b"ready\n"
        index = tmp_path / "c" / INDEX
        while index.stat().st_size < 300 * ENTRY:
            time.sleep(0.0005)
        os.kill(one.pid, signal.SIGKILL)
        assert other.wait(60) == 0
    data, index = open_store(tmp_path / "c")
    records = Records(data, index, 0)
    found = believed((tmp_path / "c" / INDEX).read_bytes(), os.fstat(data).st_size)
    numbers = found[:, 0].tolist()
    assert len(set(numbers)) == len(numbers)
    assert set(range(10_000, 12_000)) <= set(numbers)
    for number, offset, size in found[:, [0, 2, 3]].tolist():
        record = records.read(offset, size)
        assert len(record) == 1000 + number
        assert (record == number % 251).all()
    spans = sorted(found[:, 2:4].tolist())
    assert all(a + size <= b for (a, size), (b, _) in pairwise(spans))
    for file in (data, index):
        os.close(file)


def test_of_several_arrays_as_many_are_kept_as_there_is_room_for(tmp_path):
    (tmp_path / "c").mkdir()
    data, index = open_store(tmp_path / "c")
    arrays = [np.full(size, size, np.uint8) for size in (100, 50, 200, 10)]
    records = Records(data, index, HEADER + 200)
    offsets = records.append(arrays, [bytes([k]) * 16 for k in range(1, 5)])
    assert offsets == [HEADER, HEADER + 100]
    assert [(records.read(HEADER, 100) == 100).all(), (records.read(HEADER + 100, 50) == 50).all()] == [True, True]
    found = believed((tmp_path / "c" / INDEX).read_bytes(), os.fstat(data).st_size)
    assert found[:, 2:4].tolist() == [[HEADER, 100], [HEADER + 100, 50]]
    assert records.append(arrays[:1], [bytes(16)]) == []
    assert not records.failure
    for file in (data, index):
        os.close(file)


def test_a_disk_that_is_full_keeps_no_more_and_stops_nothing(photos, tmp_path, caplog):
    import resource

    shelf = Shelf.in_memory(3, 10**6)
    records = Records(shelf.files[0], None, shelf.limit)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HEADER + 1500, hard))
    try:
        assert records.append([np.zeros(1000, np.uint8)], [b""]) == [HEADER]
        assert records.append([np.zeros(1000, np.uint8)], [b""]) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert records.failure
    shelf.give_up(records.failure)
    shelf.give_up(records.failure)
    assert [record.message for record in caplog.records] == [f"decoded files can no longer be kept: {records.failure}"]


def test_keys_tell_files_and_their_states_apart(tmp_path):
    paths = [str(tmp_path / name) for name in "ab"]
    for path in paths:
        Path(path).write_text("1")
        os.utime(path, (1, 1))
    one, other = map(key_of, paths)
    os.utime(paths[0], (2, 2))
    later = key_of(paths[0])
    Path(paths[0]).write_text("12")
    os.utime(paths[0], (2, 2))
    assert len({one, other, later, key_of(paths[0]), key_of(str(tmp_path / "nowhere"))}) == 5
