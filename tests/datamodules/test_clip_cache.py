import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from films import FPS, RATE, clips, everything, same, spoiled, write_films

from datamodules import DataError
from datamodules.decoder import anew
from datamodules.videos import windows
from datamodules.videos.cache import ClipCache
from datamodules.videos.cutting import Cutting
from datamodules.videos.strips import Live, Stored

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return write_films(tmp_path_factory.mktemp("films"))


def files(folder, kind="clip"):
    return sorted(Path(folder).glob(f"*/*.{kind}"))


def passes(data):
    """All that a data module yields, of two epochs of training and of the rest."""
    loader = data.train_dataloader()
    batches = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches += loader
    return [*batches, *data.test_dataloader(), *data.ordered("train")]


@pytest.fixture
def own_films(films, tmp_path):
    """Copy the films, for a test that spoils them."""
    return shutil.copytree(films, tmp_path / "own")


def make_undecodable(folder):
    """Replace all films by files that nothing can decode, but that look unchanged from outside."""
    for path in folder.rglob("*.mp4"):
        state = path.stat()
        path.write_bytes(bytes(state.st_size))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def rows_of(decoder, path, pick):
    """Decode a film in this process."""
    rows = decoder.blank(decoder.clips if pick == "spread" else 1, pick)
    decoder.load(path, 0, pick, rows, anew)
    return {name: part.copy() for name, part in rows.items()}


class Counter:
    """A video whose frames are their times, as ticks of 10 ms, and whose samples are their numbers on the clock."""

    def __init__(self, begin, end):
        self.begin, self.end, self.sound, self.cut_off = begin, end, (begin, end), False

    def frames(self, times, canvas):
        ticks = np.round(times * 100).astype(np.uint8)
        return np.broadcast_to(ticks[:, None, None, None], (len(ticks), 3, canvas, canvas))

    def samples(self, begin, count, rate):
        return (np.arange(count) + round(begin * rate)).astype(np.int16)


@pytest.mark.parametrize("fps", [FPS, 12.5, 29.97, 7.3])
@pytest.mark.parametrize("begin", [0.0, 0.5 / RATE, 1.5 / RATE, 0.123456])
def test_every_window_cut_from_the_whole_is_the_one_decoded_alone(fps, begin):
    how = Cutting(("rgb", "audio"), 3, fps, 5, 2, RATE, 1, False)
    live = Live(Counter(begin, begin + 2), how)
    kept = Stored(live.whole(), live.length, how)
    assert live.length == int(2 * fps + 0.05)
    for count in (3, 5, live.length):
        for start in range(live.length - count + 1):
            one, other = live.cut(start, count), kept.cut(start, count)
            assert np.array_equal(one["rgb"], other["rgb"])
            assert np.array_equal(one["audio"], other["audio"])
            assert len(one["audio"]) == round(count * RATE / fps)
            late = one["audio"][0] / RATE - (begin + start / fps)  # the sound that begins with the window
            assert abs(late) <= 1.001 / RATE


MODALITIES = [("rgb",), ("grey",), ("flow",), ("audio",), ("rgb", "grey", "flow", "audio"), ("grey", "flow")]


@pytest.mark.parametrize("modalities", MODALITIES, ids="+".join)
@pytest.mark.parametrize("motion", [False, True])
def test_batches_are_the_same_with_and_without_a_cache_bit_for_bit(
    own_films,
    tmp_path,
    modalities,
    motion,
):
    films = own_films
    pytest.importorskip("cv2")
    options = {"motion": motion, "fps": FPS * 0.77, "window": 6}  # a window that begins between two samples of sound
    plain, cache = passes(clips(films, *modalities, **options)), tmp_path / "c"
    assert same(passes(clips(films, *modalities, cache=cache, **options)), plain)
    assert len(files(cache)) == 6
    make_undecodable(films)
    assert same(passes(clips(films, *modalities, cache=cache, **options)), plain)


def test_a_bad_file_is_the_same_bad_file_with_a_cache(tmp_path):
    spoiled(tmp_path / "data")
    options = {"layout": "files", "test": 0.05, "max_bad": 0.5, "frames": 5}
    plain, kept = (clips(tmp_path / "data", "rgb", "audio", cache=cache, **options) for cache in (None, tmp_path / "c"))
    for _ in range(2):  # while the cache is filled, and from it
        assert same(passes(kept), passes(plain))
    assert plain.skipped == kept.skipped


def test_of_a_file_that_is_broken_in_one_place_the_good_windows_are_used_with_a_cache_too(films, tmp_path, monkeypatch):
    class Broken(windows.Video):
        def frames(self, times, canvas):
            if times[-1] > 1:
                raise DataError("broken here")
            return super().frames(times, canvas)

    monkeypatch.setattr(windows, "Video", Broken)
    plain, kept = (clips(films, cache=cache).source("train", print).decoder for cache in (None, tmp_path))
    film, good = films / "train/a/2.mp4", 0
    for pick in ("centre", "spread", *((0, epoch) for epoch in range(12))):
        try:
            wanted = rows_of(plain, film, pick)
        except DataError as error:
            with pytest.raises(DataError, match=str(error)):
                rows_of(kept, film, pick)
            continue
        good += 1
        assert np.array_equal(rows_of(kept, film, pick)["rgb"], wanted["rgb"])
    assert 2 <= good < 14
    assert not files(tmp_path)


def array(value, size=1000):
    return {"rgb": np.full((size,), value, np.uint8)}


@pytest.fixture
def videos(tmp_path):
    """Five files to be keys."""
    paths = [tmp_path / f"{k}.mp4" for k in range(5)]
    for path in paths:
        path.write_text("a video")
    return paths


def held(cache, paths):
    """The value of each file that a cache holds."""
    found = {path.stem: cache.find(path) for path in paths}
    return {name: int(hit[0]["rgb"][0]) for name, hit in found.items() if hit is not None}


def test_arrays_come_back_with_their_types_shapes_and_length(videos, tmp_path):
    rng = np.random.default_rng(0)
    parts = {
        "rgb": rng.integers(0, 256, (7, 3, 5, 5), dtype=np.uint8),
        "audio": rng.integers(-9, 9, 33, dtype=np.int16),
        "motion": rng.random(6, np.float32),
        "flow": np.asfortranarray(rng.integers(0, 256, (5, 2, 3, 3), dtype=np.uint8)),
    }
    ClipCache(tmp_path / "c", "settings", 10**6).store(videos[0], parts, 7)
    found, length = ClipCache(tmp_path / "c", "settings", 10**6).find(videos[0])
    assert length == 7
    assert found.keys() == parts.keys()
    for name, part in parts.items():
        assert isinstance(found[name], np.memmap)
        assert found[name].dtype == part.dtype
        assert np.array_equal(found[name], part)


def test_another_file_another_state_of_it_or_other_settings_are_never_found(videos, tmp_path):
    cache = ClipCache(tmp_path / "c", "settings", 10**6)
    cache.store(videos[0], array(1), 1)
    assert held(cache, videos) == {"0": 1}
    assert not held(ClipCache(tmp_path / "c", "others", 10**6), videos)
    os.utime(videos[0], (1, 1))
    assert not held(cache, videos)
    cache.store(videos[0], array(2), 1)
    assert held(cache, videos) == {"0": 2}
    videos[0].write_text("longer than before")
    os.utime(videos[0], (1, 1))
    assert not held(cache, videos)


def test_settings_that_decide_the_bytes_have_folders_of_their_own(films, tmp_path):
    def folder(*modalities, **options):
        return clips(films, *modalities, cache=tmp_path, **options)._cache.folder

    first = folder()
    assert folder(frames=7, window=9, clips=1, batch_size=9, seed=2, rate=9000) == first  # no sound: no rate
    others = [folder(fps=24), folder(canvas=31), folder("grey"), folder("rgb", "audio"), folder(motion=True)]
    others.append(folder("rgb", "audio", rate=9000))
    assert len({first, *others}) == 7


def test_a_full_cache_stores_no_more_but_keeps_what_it_has(videos, tmp_path):
    size = 2 * 10**5
    cache = ClipCache(tmp_path / "c", "settings", round(2.5 * size))
    for k, path in enumerate(videos):
        cache.store(path, array(k, size), 1)
    assert held(cache, videos) == {"0": 0, "1": 1}
    assert not cache.wants(videos[2])
    assert sum(file.stat().st_size for file in files(tmp_path / "c")) <= cache.limit


def test_files_of_other_settings_go_first_the_oldest_before_the_others(videos, tmp_path):
    size = 2 * 10**5
    limit = round(3.5 * size)
    old = ClipCache(tmp_path / "c", "old", limit)
    for k in range(3):
        old.store(videos[k], array(k, size), 1)
        os.utime(files(old.folder.parent)[0])
    for path, age in zip(videos, (300, 100, 200), strict=False):
        os.utime(old._place(path), (time.time() - age,) * 2)
    new = ClipCache(tmp_path / "c", "new", limit)
    new.store(videos[3], array(3, size), 1)
    assert held(old, videos) == {"1": 1, "2": 2}
    assert held(new, videos) == {"3": 3}
    new.store(videos[4], array(4, size), 1)
    assert held(old, videos) == {"1": 1}
    assert held(new, videos) == {"3": 3, "4": 4}


def test_a_mapped_window_outlives_its_file(videos, tmp_path):
    cache = ClipCache(tmp_path / "c", "settings", 10**6)
    cache.store(videos[0], array(7), 1)
    parts, _ = cache.find(videos[0])
    files(tmp_path / "c")[0].unlink()
    assert (parts["rgb"] == 7).all()


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * 5000, b"\xff" * 9000])
def test_a_damaged_file_is_not_read_but_written_anew(films, tmp_path, damage):
    plain = passes(clips(films))
    passes(clips(films, cache=tmp_path))
    damaged, cut, *_ = files(tmp_path)
    damaged.write_bytes(damage)
    cut.write_bytes(cut.read_bytes()[:-1])
    assert same(passes(clips(films, cache=tmp_path)), plain)
    assert min(file.stat().st_size for file in files(tmp_path)) > 9000


def test_a_folder_that_cannot_be_written_stores_nothing_and_stops_nothing(films, tmp_path, monkeypatch):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    plain, kept = (clips(films, cache=cache).source("train", print).decoder for cache in (None, tmp_path))
    for film in sorted(films.rglob("*.mp4")):
        assert np.array_equal(rows_of(kept, film, "spread")["rgb"], rows_of(plain, film, "spread")["rgb"])
    assert not files(tmp_path) + files(tmp_path, "draft")


HELPER = """
import os, signal, sys
from pathlib import Path
import numpy as np
from datamodules.videos.cache import ClipCache
from datamodules import Clips, Disk, Reading, Sampling, Windows
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            exec(line)
        finally:
            os._exit(0)
    print(pid, flush=True)
"""


@pytest.fixture(scope="module")
def fork():
    """Run a line of code in a process of its own, and return its number; importing takes seconds, and is done once."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HELPER], env=environment, **pipes) as helper:

        def start(line):
            helper.stdin.write(line + "\n")
            helper.stdin.flush()
            return int(helper.stdout.readline())

        yield start


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.0005)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_writer_killed_at_any_moment_leaves_whole_files_only_and_a_draft_that_goes(videos, tmp_path, fork):
    folder = tmp_path / "c"
    paths = [str(path) for path in videos]
    line = (
        f"c = ClipCache(Path({str(folder)!r}), 'settings', 10**10)\n"
        "arrays = [{'rgb': np.full(1_000_000, k, np.uint8)} for k in range(5)]\n"
        f"for _ in range(500): [c.store(Path(path), a, 1) for path, a in zip({paths}, arrays)]"
    )
    caught, sizes = 0, set()
    while caught < 2:  # until two were killed in the middle of writing, which most are
        stale = set(files(folder, "draft"))
        writer = fork(f"exec({line!r})")
        end = time.monotonic() + 0.1
        while not sizes or time.monotonic() < end:  # what others see meanwhile
            with suppress(FileNotFoundError):
                sizes |= {file.stat().st_size for file in files(folder)}
        wait_until(lambda stale=stale: set(files(folder, "draft")) - stale)
        os.kill(writer, signal.SIGKILL)
        wait_until(lambda writer=writer: gone(writer))
        caught += bool(set(files(folder, "draft")) - stale)
        cache = ClipCache(folder, "settings", 10**10)
        for path in videos:
            found = cache.find(path)
            assert found is None or np.array_equal(found[0]["rgb"], np.full(1_000_000, int(path.stem)))
    assert len(sizes) == 1
    drafts = files(folder, "draft")  # they may be somebody's who is still writing
    for draft in drafts:
        os.utime(draft, (1, 1))
    ClipCache(folder, "another", 10**10)
    assert not files(folder, "draft")


def test_several_processes_fill_one_cache_together(own_films, tmp_path, fork):
    films, folder = own_films, tmp_path / "c"
    groups = f"windows=Windows(frames=4, fps={FPS}), reading=Reading(workers=2), disk=Disk({str(folder)!r})"
    shape = f"canvas=32, sampling=Sampling({RATE}), {groups}"
    call = f"list(Clips({str(films)!r}, modalities=('rgb', 'audio'), {shape}).ordered('train'))"
    others = [fork(call) for _ in range(2)]
    mine = list(clips(films, "rgb", "audio", cache=folder, workers=4).ordered("train"))
    wait_until(lambda: all(map(gone, others)))
    assert len(files(folder)) == 4
    assert not files(folder, "draft")
    make_undecodable(films)
    assert same(clips(films, "rgb", "audio", cache=folder).ordered("train"), mine)


def test_a_video_too_large_to_keep_is_decoded_window_by_window(films, tmp_path, monkeypatch):
    monkeypatch.setattr("datamodules.videos.cache._LARGEST", 50 * 3 * 32 * 32)
    plain, kept = (clips(films, cache=cache).source("train", print).decoder for cache in (None, tmp_path))
    paths = sorted(films.rglob("*.mp4"), key=lambda path: path.stem)
    for film in paths:
        assert np.array_equal(rows_of(kept, film, "centre")["rgb"], rows_of(plain, film, "centre")["rgb"])
    assert len(files(tmp_path)) == 3  # those of 40, 45 and 50 frames
    wanted = [kept.cache.wants(path) for path in paths]
    assert wanted == [True, True, True, False, False, False]  # nor looked at again


def test_cached_windows_are_copies_that_may_be_written_to(films, tmp_path):
    passes(clips(films, cache=tmp_path))
    batch = next(iter(clips(films, cache=tmp_path).train_dataloader()))
    before = everything(clips(films, cache=tmp_path).ordered("train"))
    batch["x"].zero_()
    assert torch.equal(everything(clips(films, cache=tmp_path).ordered("train"))["x"], before["x"])
