from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from grouped import grouped
from media import write

from datamodules import DataError
from datamodules.draws import uniform
from datamodules.sounds.sounds import Sounds

RATE = 8000


def ramp(number, seconds):
    """Samples that tell where they are: 1, 2, 3 ..., then a step of 1000 for each number; as floats of int16."""
    return ((np.arange(round(seconds * RATE)) % 20000 + 1 + number) / 32768).astype(np.float32)[None]


@pytest.fixture
def sounds(tmp_path):
    """Write wav files, root/<split>/<class>/<fold>-<k>.wav of three folds; return the root."""

    def make(count=6, classes=("cat", "dog"), splits=("train", "test"), seconds=1.0):
        root, number = tmp_path / "sounds", 0
        for split in splits:
            for name in classes:
                for k in range(count):
                    write(
                        root / split / name / f"{3 * k // count + 1}-{k:02}.wav",
                        sound=ramp(100 * number, seconds),
                        rate=RATE,
                    )
                    number += 1
        return root

    return make


def everything(batches):
    batches = list(batches)
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def same(left, right):
    return len(left) == len(right) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        for a, b in zip(left, right, strict=True)
    )


def starts(x, batch):
    """Where each window of a `ramp` begins."""
    return [int(row[0, 0]) - 1 - 100 * int(index) for row, index in zip(x, batch["index"], strict=True)]


def data(root, **options):
    return Sounds(root, **grouped(Sounds, **({"seconds": 0.25, "rate": RATE, "batch_size": 4} | options)))


# Windows


def test_windows_are_the_very_samples_of_the_files_with_their_labels(sounds):
    module = data(sounds(3), clips=1, val=0.0)
    assert module.classes == ["cat", "dog"]
    test = everything(module.test_dataloader())
    assert (test["x"].shape, test["x"].dtype) == ((6, 1, 2000), torch.int16)
    assert test["y"].tolist() == [0, 0, 0, 1, 1, 1]
    assert test["index"].tolist() == list(range(6))
    for k in range(6):  # the centre: 3000 samples before, 3000 after; the six before are of the training set
        assert torch.equal(test["x"][k, 0], torch.arange(3001, 5001, dtype=torch.int16) + 100 * (6 + k))


def test_ordered_takes_evenly_spaced_windows_as_rows_with_one_index(sounds):
    batch = everything(data(sounds(2), clips=4).ordered("train"))
    assert batch["x"].shape == (16, 1, 2000)
    assert batch["index"].tolist() == [k // 4 for k in range(16)]
    assert batch["y"].tolist() == [0] * 8 + [1] * 8
    assert starts(batch["x"], batch) == [0, 2000, 4000, 6000] * 4


def test_validation_takes_the_centre_and_training_every_place(sounds):
    module = data(sounds(20), val=0.25)
    val = everything(module.val_dataloader())
    assert starts(val["x"], val) == [3000] * 10
    loader = module.train_dataloader()
    found = []
    for epoch in range(12):
        loader.set_epoch(epoch)
        batch = everything(loader)
        assert not set(batch["index"].tolist()) & set(val["index"].tolist())
        found += starts(batch["x"], batch)
    assert 0 <= min(found) < 200  # uniform on 0 ... 6000: the mean of n deviates by 6001 / sqrt(12 n)
    assert 5800 < max(found) <= 6000
    assert abs(np.mean(found) - 3000) < 4 * 6001 / (12 * len(found)) ** 0.5


def test_a_window_in_training_is_decided_by_seed_epoch_and_item_alone(sounds):
    root = sounds(8)
    loader = data(root, seed=5, workers=3).train_dataloader()
    loader.set_epoch(2)
    batches = list(loader)
    for batch in batches:
        wanted = [int(uniform("window", 5, 2, int(index)) * 6001) for index in batch["index"]]
        assert starts(batch["x"], batch) == wanted
    resumed = data(root, seed=5, workers=1, cache=0).train_dataloader()
    resumed.load_state_dict({"epoch": 2, "batch": 2})
    assert same(list(resumed), batches[2:])


def test_a_short_sound_lies_in_the_middle_and_zeros_at_the_ends_of_a_file_are_cut_off(sounds, tmp_path):
    root = sounds(1, seconds=0.2)
    padded = np.concatenate([np.zeros((1, 777), np.float32), ramp(9000, 0.2), np.zeros((1, 12345), np.float32)], 1)
    write(root / "train" / "cat" / "padded.wav", sound=padded, rate=RATE)
    batch = everything(data(root).ordered("train"))
    for row, first in zip(batch["x"], [0] * 3 + [9000] * 3 + [100] * 3, strict=True):
        assert torch.equal(row[0, 200:1800], torch.arange(1, 1601, dtype=torch.int16) + first)
        assert not row[0, :200].any()
        assert not row[0, 1800:].any()


@pytest.mark.parametrize("length", [1600, 1601])
def test_the_zeros_around_short_sounds_do_not_tell_which_way_time_runs(sounds, length):
    module = data(sounds(50, seconds=length / RATE), val=0.0)
    loud = everything(module.ordered("train"))["x"][:, 0] != 0
    assert (loud.sum(1) == length).all()
    before, after = (side.int().argmax(1) for side in (loud, loud.flip(1)))
    more = (before - after)[::3]  # three rows of each item, which are the same
    assert torch.equal(more.repeat_interleave(3), before - after)
    if length % 2 == 0:
        assert not more.any()
    else:  # of 100 either sign equally often: a sum's deviation is 10
        assert set(more.tolist()) == {-1, 1}
        assert abs(int(more.sum())) <= 40


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".m4a"])
def test_every_format_and_rate_becomes_mono_at_one_rate(tmp_path, suffix):
    t = np.arange(48_000) / 48_000
    for k in range(2):
        tone = 0.5 * np.sin(2 * np.pi * 440 * t)
        path = tmp_path / "tone" / f"{k}{suffix}"
        write(path, sound=np.stack([tone, 0 * tone]).astype(np.float32), rate=48_000)
    x = everything(data(tmp_path, seconds=0.5, test=0.5, clips=1).ordered("train"))["x"]
    assert x.shape == (1, 1, 4000)
    wave = x[0, 0].double()
    assert wave.abs().max() == pytest.approx(8192, rel=0.05)  # the mean of the two channels
    power = torch.fft.rfft(wave * torch.hann_window(4000)).abs()
    assert int(power.argmax()) * 2 == pytest.approx(440, abs=2)


# Files


def test_kept_and_streamed_batches_are_the_same_in_every_epoch(sounds):
    root = sounds(10)
    (root / "train" / "cat" / "1-03.wav").write_bytes(b"RIFF")
    size = 2 * RATE
    modules = [data(root, cache=cache, workers=2, max_bad=0.1) for cache in (10**9, 5 * size + 1, 0)]
    loaders = [module.train_dataloader() for module in modules]
    for epoch in range(3):
        for loader in loaders:
            loader.set_epoch(epoch)
        first, *others = map(list, loaders)
        assert all(same(first, other) for other in others)
    shelves = [module._source("train")._keeping.shelf() for module in modules]
    assert [0 if shelf is None else int((shelf.offsets >= 0).sum()) for shelf in shelves] == [17, 5, 0]  # 2 held, 1 bad


def test_a_kept_sound_is_decoded_once(sounds):
    root = sounds(4)
    kept, streamed = (data(root, cache=cache) for cache in (10**9, 0))
    before = [everything(module.ordered("train"))["x"] for module in (kept, streamed)]
    for path in (root / "train").rglob("*.wav"):
        write(path, sound=ramp(11111, 1.0), rate=RATE)
    after = [everything(module.ordered("train"))["x"] for module in (kept, streamed)]
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def test_bad_files_are_left_out_in_order_replaced_in_training_and_listed(sounds, tmp_path):
    root = sounds(12)
    (root / "train" / "cat" / "1-00.wav").write_bytes(b"")
    (root / "train" / "cat" / "2-04.wav").write_bytes(b"no sound at all" * 100)
    write(root / "train" / "dog" / "3-08.wav", sound=np.zeros((1, RATE), np.float32), rate=RATE)
    (root / "train" / "dog" / "4-20.wav").symlink_to(root / "nowhere.wav")
    module = data(root, max_bad=0.2, val=0.0)
    (tmp_path / "run").mkdir(exist_ok=True)  # as a training does
    module.trainer = SimpleNamespace(default_root_dir=str(tmp_path / "run"))
    in_order = everything(module.ordered("train"))
    bad = {0, 4, 20, 24}
    assert in_order["index"].tolist() == [k for k in range(25) for _ in range(3) if k not in bad]
    names = ["train/cat/1-00.wav", "train/cat/2-04.wav", "train/dog/3-08.wav", "train/dog/4-20.wav"]
    assert sorted(module.skipped) == names
    assert module.skipped[names[2]] == "silent: all samples are zero"
    assert "empty" in module.skipped[names[0]]
    listed = (tmp_path / "run" / "skipped.txt").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == names
    module.trainer.overfit_batches, module.trainer.current_epoch = 0, 0
    batches = list(module.train_dataloader())
    assert {len(batch["x"]) for batch in batches} == {4}
    train = everything(batches)
    assert not set(train["index"].tolist()) & bad
    assert not set(starts(train["x"], train)) - set(range(6001))  # each replaced by that very item's own sound


def test_too_many_bad_files_stop_with_a_list(sounds):
    root = sounds(10)
    for k in (0, 1, 2):
        (root / "train" / "cat" / f"1-{k:02}.wav").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"of 20 files .* max_bad=0.1 of them; repair(.|\n)*train/cat/1-00.wav: "):
        list(data(root, max_bad=0.1).ordered("train"))


def test_of_a_sound_that_is_cut_off_the_good_part_is_used_and_told_once(sounds, tmp_path):
    root = sounds(2)
    cut = root / "train/cat/1-00.wav"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    for cache in (10**9, 0):
        module = data(root, cache=cache, max_bad=0, val=0.0)
        (tmp_path / "run").mkdir(exist_ok=True)  # as a training does
        module.trainer = SimpleNamespace(default_root_dir=str(tmp_path / "run"), overfit_batches=0, current_epoch=0)
        for _ in range(2):
            in_order = everything(module.ordered("train"))
            assert in_order["index"].tolist() == [k for k in range(4) for _ in range(3)]
            last = starts(in_order["x"][2:3], {"index": [0]})[0]
            assert 3300 <= last < 3334  # 2/3 of 8000, less a window
            assert sum(len(batch["x"]) for batch in module.train_dataloader()) == 4
        assert list(module.skipped) == ["train/cat/1-00.wav"]
        assert module.skipped["train/cat/1-00.wav"].startswith("in part: the file is cut off, and used up to 0.66")
    assert len((tmp_path / "run/skipped.txt").read_text().splitlines()) == 1


def test_the_fingerprint_tells_all_that_decides_ordered_and_nothing_else(sounds):
    root = sounds(3)
    prints = {data(root).fingerprint("train"), data(root, seed=1, batch_size=2, cache=0).fingerprint("train")}
    assert len(prints) == 1
    prints |= {data(root, **{name: new}).fingerprint("train") for name, new in (("clips", 2), ("seconds", 0.1))}
    prints |= {data(root, rate=4000, seconds=0.5).fingerprint("train"), data(root).fingerprint("test")}
    write(root / "train" / "dog" / "1-00.wav", sound=ramp(1, 0.9), rate=RATE)
    assert len(prints | {data(root).fingerprint("train")}) == 6


# Splits


def names_of(module, split):
    return list(module._source(split).names)


def test_a_pattern_finds_the_folds_and_one_of_them_is_the_test_set(sounds):
    root = sounds(6, splits=("",))
    module = data(root, fold_pattern=r"^(\d)-", fold=2)
    assert names_of(module, "test") == ["cat/2-02.wav", "cat/2-03.wav", "dog/2-02.wav", "dog/2-03.wav"]
    train = names_of(module, "train")
    assert len(train) == 8
    assert not any("/2-" in name for name in train)
    assert module.classes == ["cat", "dog"]
    with pytest.raises(DataError, match=r"fold=7 names none of the folds \['1', '2', '3'\]"):
        data(root, fold_pattern=r"^(\d)-", fold=7).open("test")
    with pytest.raises(DataError, match=r"finds no fold in 'cat/1-00.wav' and 11 other files"):
        data(root, fold_pattern=r"^x(\d)", fold=1).open("test")


def test_class_folders_alone_hold_out_a_fixed_share(sounds):
    root = sounds(10, splits=("",))
    one, other = (data(root, test=0.3, seed=seed) for seed in (0, 1))
    assert names_of(one, "test") == names_of(other, "test")
    assert len(names_of(one, "test")) == 6
    assert len({*names_of(one, "test"), *names_of(one, "train")}) == 20
    limited = data(root, test=0.3, limit=5)
    assert set(names_of(limited, "train")) < set(names_of(one, "train"))
    assert len(names_of(limited, "train")) == 5


@pytest.mark.parametrize("name", ["test", "val", "valid", "Validate"])
def test_the_test_folder_may_be_called_otherwise_and_deeper_folders_belong_to_the_class(sounds, name):
    root = sounds(2, splits=("train", name))
    write(root / "train" / "cat" / "old" / "tape" / "9.wav", sound=ramp(0, 1.0), rate=RATE)
    write(root / "9.wav", sound=ramp(0, 1.0), rate=RATE)  # beside the splits
    module = data(root)
    assert module.classes == ["cat", "dog"]
    assert len(names_of(module, "train")) == 5
    assert len(names_of(module, "test")) == 4
    assert everything(module.ordered("train"))["y"].tolist() == [0] * 9 + [1] * 6


def test_sounds_beside_the_training_set_that_nobody_would_use_are_refused(sounds):
    root = sounds(2, splits=("train", "test", "extra"))
    for layout in ("folders", "files"):
        with pytest.raises(
            DataError, match=r"extra holds sounds beside .* train, .* call it one of test, testing, val"
        ):
            data(root, layout=layout).open("train")


def test_files_of_any_folder_have_no_labels(sounds):
    root = sounds(4, splits=("",))
    write(root / "loose.wav", sound=ramp(0, 1.0), rate=RATE)
    (root / "notes.txt").write_text("no sound")
    module = data(root, layout="files", test=0.0)
    assert module.classes == []
    assert len(names_of(module, "train")) == 9
    assert "y" not in next(iter(module.train_dataloader()))
    with pytest.raises(DataError, match=r"loose\.wav lies in no class folder; without labels use layout=\"files\""):
        data(root).open("train")


def test_lists_tell_files_labels_and_splits(sounds):
    root = sounds(3, splits=("",))
    lines = ["file,animal,part", "cat/1-00.wav,miaow,train", "cat/2-01.wav,miaow,test", "dog/1-00.wav,bark,train"]
    (root / "list.csv").write_text("\n".join(lines))
    columns = {"file": "file", "label": "animal", "split": "part"}
    module = data(root, layout="lists", train_list="list.csv", columns=columns)
    assert module.classes == ["bark", "miaow"]
    assert names_of(module, "train") == ["cat/1-00.wav", "dog/1-00.wav"]
    assert names_of(module, "test") == ["cat/2-01.wav"]
    assert everything(module.ordered("train"))["y"].tolist() == [1] * 3 + [0] * 3


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*nowhere"):
        data(tmp_path / "nowhere").open("train")
    with pytest.raises(DataError, match=r"holds no sounds \(.wav, .flac, .ogg"):
        data(tmp_path).open("train")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seconds": 0}, "Sounds got seconds=0"),
        ({"layout": "esc"}, "Sounds got layout='esc'"),
        ({"test": 1.0}, "Sounds got test=1.0"),
        ({"fold_pattern": r"^\d"}, r"Sounds got fold_pattern=.* but wants one group"),
        ({"fold_pattern": "("}, "Sounds got fold_pattern='\\('"),
        ({"fold_pattern": "(.)", "layout": "lists"}, "Sounds got fold_pattern and lists"),
        ({"rate": 0}, "Sounds got rate=0"),
        ({"clips": 0}, "Sounds got clips=0"),
        ({"cache": -1}, "Sounds got cache=-1"),
        ({"max_bad": 2.0}, "Sounds got max_bad=2.0"),
    ],
)
def test_an_argument_out_of_range_is_named(wrong, message, tmp_path):
    with pytest.raises(DataError, match=message):
        data(tmp_path, **wrong)


def test_a_video_file_is_no_sound_but_a_sound_track_alone_is(tmp_path):
    """An m4a is the container of an mp4 with sound alone."""
    write(tmp_path / "a" / "tone.m4a", sound=ramp(0, 1.0), rate=48_000)
    with av.open(str(tmp_path / "a" / "tone.m4a")) as file:
        assert not file.streams.video
    assert data(tmp_path, test=0.0).open("train").names == ["a/tone.m4a"]
