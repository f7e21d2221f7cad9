import itertools
import os
from types import SimpleNamespace

import media
import numpy as np
import pytest
import torch
from films import FPS, RATE, clips, everything, hum, numbers, same, spoiled, write_films
from grouped import grouped
from jsonargparse import ArgumentParser
from test_loader_resume import Save, fit

from datamodules import DataError, Disk
from datamodules.videos.clips import Clips
from datamodules.videos.cutting import Cutting
from datamodules.videos.flow import central
from datamodules.videos.strips import Stored, luma
from pretext.training.run import build

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return write_films(tmp_path_factory.mktemp("films"))


def first_frames(data, epoch=0):
    """By item, the number of the first frame of its training window."""
    loader = data.train_dataloader()
    loader.set_epoch(epoch)
    batch = everything(loader)
    return {int(i): numbers(x)[0] for i, x in zip(batch["index"], batch["x"], strict=True)}


def test_each_modality_has_its_shape_and_one_alone_is_the_tensor_itself(films):
    batch = next(iter(clips(films, "rgb", "grey", "flow", "audio", window=6).train_dataloader()))
    shapes = {name: (x.dtype, tuple(x.shape)) for name, x in batch["x"].items()}
    assert shapes == {
        "rgb": (torch.uint8, (2, 3, 6, 32, 32)),
        "grey": (torch.uint8, (2, 1, 6, 32, 32)),
        "flow": (torch.uint8, (2, 2, 6, 32, 32)),
        "audio": (torch.int16, (2, 1, 6 * RATE // FPS)),
    }
    for name, (dtype, shape) in shapes.items():
        x = next(iter(clips(films, name, window=6).train_dataloader()))["x"]
        assert (x.dtype, tuple(x.shape)) == (dtype, shape)


def test_a_clip_is_successive_frames_at_the_rate_asked_for_with_the_label_of_its_folder(films):
    data = clips(films, clips=2)
    assert data.classes == ["a", "b"]
    batch = everything(data.ordered("train"))
    assert batch["index"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert batch["y"].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    lengths = [40, 50, 45, 55]  # a/0, a/2, b/1, b/3
    for k, x in enumerate(batch["x"]):
        start = (lengths[k // 2] - 4) * (k % 2)  # the first and the last clip of the video
        assert numbers(x) == list(range(start, start + 4))
    half = everything(clips(films, clips=1, fps=FPS / 2).ordered("train"))
    for x, length in zip(half["x"], lengths, strict=True):
        start = (length // 2 - 4) // 2 * 2  # the centre of a grid of every other frame
        assert numbers(x) == list(range(start, start + 8, 2))


def test_validation_and_test_take_the_window_in_the_centre(films):
    batch = everything(clips(films, window=8).test_dataloader())
    assert [numbers(x)[0] for x in batch["x"]] == [(60 - 8) // 2, (65 - 8) // 2]
    assert same(clips(films, window=8).test_dataloader(), clips(films, window=8, seed=5).test_dataloader())


def test_a_random_window_is_a_function_of_seed_epoch_and_item_alone(films):
    def starts(epoch, **options):
        return first_frames(clips(films, **options), epoch)

    assert starts(3) == starts(3, batch_size=1, workers=1)
    assert starts(3, batch_size=3).items() <= starts(3).items()
    assert len({str(starts(epoch, seed=seed)) for epoch in range(3) for seed in range(2)}) == 6


def strip(length, count, **options):
    how = Cutting(("rgb",), count, FPS, count, 8, RATE, 3, **({"motion": False} | options))
    return Stored({}, length, how)


def test_random_windows_begin_everywhere_equally_often():
    draws = [strip(10, 4).starts((seed, epoch), 5)[0] for seed in range(60) for epoch in range(70)]
    counts = np.bincount(draws)
    assert len(counts) == 7  # 0 to 6
    assert (((counts - 600) ** 2) / 600).sum() < 22.5  # chi-square, 6 degrees of freedom: exceeded once in 1,000


def test_motion_weighs_windows_by_the_motion_within_them():
    curve = np.zeros(9, np.float32)
    curve[[3, 7]] = [1, 3]  # between frames 3 and 4, and between 7 and 8
    moving = strip(10, 3, motion=True)
    draws = [moving.starts((0, epoch), 0, curve)[0] for epoch in range(4000)]
    shares = np.bincount(draws, minlength=8) / len(draws)  # windows {s, s + 1, s + 2} see differences s and s + 1
    wanted = np.array([0, 0, 1, 1, 0, 0, 3, 3]) / 8
    assert np.abs(shares - wanted).max() < 4 * 0.5 / len(draws) ** 0.5
    assert not shares[wanted == 0].any()
    still = [moving.starts((0, epoch), 0, 0 * curve)[0] for epoch in range(400)]
    assert set(still) == set(range(8))


def test_motion_finds_the_part_of_a_real_file_where_something_moves(tmp_path):
    pictures = media.plain([(90, 90, 90)] * 60)
    pictures[30:36] = media.numbered(6)
    for k in range(2):
        media.write(tmp_path / f"{k}.mp4", pictures, media.regular(60, FPS), options={"qp": "1"})
    data = clips(tmp_path, "grey", motion=True, layout="files", test=0.5)
    for epoch in range(8):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        x = everything(loader)["x"].float()
        assert (x.diff(dim=2).abs().mean((1, 3, 4)).amax(1) > 1).all()


def test_sound_and_picture_run_on_one_clock_in_every_window(tmp_path):
    moments = [0.4, 1.0, 1.6, 2.2, 2.8]
    for k, late in enumerate([0.0, 0.3, -0.2]):  # when the sound starts, against the picture
        begin = max(0.0, -late)
        times = media.regular(85, FPS, begin)
        media.write(
            tmp_path / f"{k}.mp4",
            media.flashes(times, [m + begin for m in moments]),
            times,
            media.beeps(3.5 - late, [m - late for m in moments]),
            sound_at=begin + late,
        )
    data = clips(tmp_path, "rgb", "audio", layout="files", test=0, window=32, rate=16_000)
    seen = 0
    for epoch in range(4):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        batch = everything(loader)
        for x, wave in zip(batch["rgb"].float(), batch["audio"].numpy(), strict=True):
            bright = x.mean((0, 2, 3)) > 128
            for flash in bright.nonzero()[:, 0].tolist():
                near = wave[0, max(0, round((flash - 5) * 640)) : round((flash + 5) * 640)]  # nothing else beeps there
                beep = media.onset(near, 16_000) * FPS + max(0, flash - 5)
                if flash < 27:  # or the beep may lie behind the end
                    assert abs(beep - flash) <= 1
                    seen += 1
    assert seen >= 12


def test_grey_is_the_luma_and_flow_the_central_flow_of_the_same_window_alone_or_together(films):
    together = everything(clips(films, "rgb", "grey", "flow", "audio").train_dataloader())
    red, green, blue = together["rgb"].double().unbind(1)
    assert (together["grey"][:, 0] - (0.299 * red + 0.587 * green + 0.114 * blue)).abs().max() <= 0.5 + 1e-9
    inner = central(together["grey"][0, 0].numpy())
    assert np.array_equal(together["flow"][0, :, 1:-1], inner)
    grey, both = clips(films, "grey", "audio"), clips(films, "rgb", "grey", "audio")
    assert torch.equal(everything(grey.train_dataloader())["grey"], everything(both.train_dataloader())["grey"])
    flow, all_but_sound = clips(films, "flow"), clips(films, "rgb", "flow")
    assert torch.equal(everything(flow.train_dataloader())["x"], everything(all_but_sound.train_dataloader())["flow"])


def test_luma_is_exact_at_the_corners_of_the_colour_cube():
    corners = np.array(list(itertools.product([0, 255], repeat=3)), np.uint8).reshape(8, 3, 1, 1)
    assert luma(corners).ravel().tolist() == [0, 29, 150, 179, 76, 105, 226, 255]


def test_bad_files_are_replaced_in_training_left_out_in_order_counted_and_listed(tmp_path):
    causes = spoiled(tmp_path / "data")
    data = clips(
        tmp_path / "data", "rgb", "audio", layout="files", test=0, batch_size=5, max_bad=0.2, clips=2, frames=8
    )
    (tmp_path / "run").mkdir(exist_ok=True)  # as a training does
    data.trainer = SimpleNamespace(default_root_dir=str(tmp_path / "run"), overfit_batches=0, current_epoch=0)
    whole = list(data.train_dataloader())
    assert [len(batch["index"]) for batch in whole] == [5] * 4
    assert not {3, 7, 11, 15} & set(everything(whole)["index"].tolist())
    assert everything(data.ordered("train"))["index"].tolist() == sorted(
        [k for k in range(20) if k % 4 != 3 or k > 15] * 2
    )
    found = {name: cause.split(":")[0] for name, cause in data.skipped.items()}
    assert causes.items() <= found.items()
    assert found.keys() == {*causes, "15.mp4"}
    listed = (tmp_path / "run/skipped.txt").read_text().splitlines()
    assert sorted(line.split("\t")[0] for line in listed) == sorted(found)
    for stop in range(len(whole)):  # a resumed pass is the same, replaced items included
        again = clips(tmp_path / "data", "rgb", "audio", layout="files", test=0, batch_size=5, max_bad=0.2, frames=8)
        loader = again.train_dataloader()
        loader.load_state_dict({"epoch": 0, "batch": stop})
        assert same(loader, whole[stop:])


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
@pytest.mark.parametrize("modalities", [("rgb",), ("rgb", "audio")])
def test_of_a_file_that_is_cut_off_the_good_part_is_used_everywhere_and_told_once(tmp_path, kind, modalities):
    path = media.write(tmp_path / f"data/cut.{kind}", media.numbered(75), media.regular(75, FPS), hum(3.0))
    if kind == "mp4":
        media.faststart(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    cached = tmp_path / "cache"
    for cache in (None, cached, cached):
        data = clips(tmp_path / "data", *modalities, layout="files", test=0, max_bad=0, frames=8, clips=5, cache=cache)
        (tmp_path / "run").mkdir(exist_ok=True)  # as a training does
        data.trainer = SimpleNamespace(default_root_dir=str(tmp_path / "run"))
        probed = everything(data.ordered("train"))
        frames = probed["x" if modalities == ("rgb",) else "rgb"]
        firsts = [numbers(clip)[0] for clip in frames]
        assert [numbers(clip) for clip in frames] == [list(range(first, first + 8)) for first in firsts]
        assert firsts[0] == 0
        assert 30 < firsts[-1] < 45
        source = data.open("train")
        for epoch in range(10):
            assert len(list(source.cut((0, epoch)).read([torch.tensor([0])]))) == 1
        ((name, cause),) = data.skipped.items()
        assert name == f"cut.{kind}"
        assert cause.startswith("in part: the file is cut off, and used up to ")
    assert len((tmp_path / "run/skipped.txt").read_text().splitlines()) == 1


def test_too_many_bad_files_stop_with_counts_a_list_and_what_to_do(tmp_path):
    for k in range(6):
        media.write(tmp_path / f"{k}.mp4", media.numbered(10), media.regular(10, FPS), 0 * hum(0.4) if k % 2 else None)
    data = clips(tmp_path, "rgb", "audio", layout="files", test=0, batch_size=6, max_bad=0.5)
    with pytest.raises(DataError) as caught:
        list(data.ordered("train"))
    message = str(caught.value)
    assert "of 6 files" in message
    assert "max_bad=0.5" in message
    assert 'leave "audio" out of modalities' in message
    assert "x no sound track\n" in message
    assert "1.mp4: silent: all samples are zero" in message
    assert len(everything(clips(tmp_path, layout="files", test=0).ordered("train"))["index"]) == 18  # pictures alone


@pytest.mark.parametrize("cached", [False, True])
def test_of_several_clips_some_may_be_silent_but_not_all(tmp_path, cached):
    quiet = np.concatenate([hum(0.8), 0 * hum(2.0)], 1)
    for k, sound in enumerate([hum(2.8), quiet, 0 * quiet]):
        media.write(tmp_path / f"{k}.mp4", media.numbered(70), media.regular(70, FPS), sound)
    options = {"layout": "files", "test": 0, "max_bad": 0.5, "cache": tmp_path / "cache" if cached else None}
    data = clips(tmp_path, "rgb", "audio", **options)
    batch = everything(data.ordered("train"))
    assert batch["index"].tolist() == [0, 0, 0, 1, 1, 1]
    assert batch["audio"].flatten(1).any(1).tolist() == [True] * 4 + [False] * 2
    assert data.skipped == {"2.mp4": "silent: all samples are zero"}
    only = clips(tmp_path, "rgb", "audio", clips=1, **{**options, "max_bad": 0.7})
    assert everything(only.ordered("train"))["index"].tolist() == [0]  # the one in the centre is silent


def test_a_test_set_is_divided_off_and_limit_and_val_are_shares_of_the_rest(films):
    data = clips(films, layout="files", limit=3, val=0.34)
    assert len(data.train_dataloader().items) == 2
    assert data.classes == []
    assert "y" not in next(iter(data.val_dataloader()))
    assert len(everything(data.test_dataloader())["index"]) == 2


def test_a_fingerprint_tells_what_decides_the_clips_and_nothing_else(films, tmp_path):
    first = clips(films).fingerprint("train")
    alike = {
        "batch_size": 7,
        "workers": 1,
        "window": 9,
        "seed": 3,
        "motion": True,
        "cache": tmp_path / "cache",
        "max_bad": 0.5,
    }
    assert clips(films, **alike).fingerprint("train") == first
    others = [{"frames": 5}, {"fps": 24}, {"canvas": 31}, {"clips": 1}, {"limit": 2}]
    prints = [clips(films, **other).fingerprint("train") for other in others]
    prints += [clips(films, "grey").fingerprint("train"), clips(films).fingerprint("test")]
    file, state = films / "train/a/0.mp4", (films / "train/a/0.mp4").stat()
    os.utime(file, (1, 1))
    prints.append(clips(films).fingerprint("train"))
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert len({first, *prints}) == len(prints) + 1


def test_a_real_trainer_resumed_from_any_checkpoint_sees_the_windows_of_the_uninterrupted_run(films, tmp_path):
    def data():
        return clips(films, frames=1, canvas=8, layout="files", test=0.1)

    save = Save(tmp_path)
    whole = fit(data(), tmp_path / "whole", callbacks=[save])
    for checkpoint in save.saved[::2]:
        resumed = fit(data(), tmp_path / "resumed", checkpoint)
        assert torch.equal(whole.net.weight, resumed.net.weight), checkpoint


def test_windows_lie_where_sound_and_picture_both_are(tmp_path):
    time_axis = np.arange(48_000) / 48_000
    tone = (0.5 * np.sin(2 * np.pi * 440 * time_axis)).astype(np.float32)[None]
    for k in range(2):
        media.write(tmp_path / f"{k}.mp4", media.numbered(50), media.regular(50, FPS), tone, sound_at=0.5)
    data = clips(tmp_path, "rgb", "audio", layout="files", test=0)
    first = set()
    for epoch in range(12):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)
        batch = everything(loader)
        first |= {numbers(x)[0] for x in batch["rgb"]}
        for end in (batch["audio"][..., 200:240], batch["audio"][..., -240:-200]):  # an AAC frame from either end
            assert (end.abs().amax(-1) > 10_000).all()
    assert min(first) >= 11  # on show when the sound begins
    assert max(first) <= 12 + 25 - 4
    assert len(first) > 8


def test_frames_without_a_fixed_rate_are_those_on_show_at_the_moments_of_the_grid(tmp_path):
    times = media.irregular(40)
    for k in range(2):
        media.write(tmp_path / f"{k}.mkv", media.numbered(40), times)
    data = clips(tmp_path, layout="files", test=0, clips=4)
    grid = np.arange(round((times[-1] + 0.04) * FPS)) / FPS
    on_show = np.searchsorted(times, grid + 1e-6, "right") - 1
    for k, x in enumerate(everything(data.ordered("train"))["x"]):
        free = int((times[-1] + 0.04) * FPS + 0.05) - 4
        start = round(k % 4 * free / 3)
        assert numbers(x) == on_show[start : start + 4].tolist()


def test_a_config_may_name_all_options(films):
    parser = ArgumentParser()
    parser.add_argument("--data", type=Clips)
    options = {"modalities": ["rgb", "audio"], "windows": {"fps": 25}, "disk": {"cache": "c"}}
    options["lists"] = {"columns": {"file": "file", "label": 1}}
    config = {"class_path": "datamodules.videos.clips.Clips", "init_args": {"root": str(films), **options}}
    data = parser.instantiate(parser.parse_object({"data": config})).data
    assert data.how.modalities == ("rgb", "audio")
    assert data.lists.columns == {"file": "file", "label": 1}
    assert (data.how.fps, data.how.frames) == (25, 16)
    assert data.disk == Disk(cache="c")


@pytest.mark.parametrize("name", ["Clips", "Bouncing"])
@pytest.mark.parametrize(
    ("given", "meant"), [("rgb", ("rgb",)), ("[rgb]", ("rgb",)), ("[grey, audio]", ("grey", "audio"))]
)
def test_one_modality_may_be_named_without_brackets(tmp_path, name, given, meant):
    net = {"class_path": "pretext.TorchVision", "init_args": {"name": "resnet18"}}
    config = {
        "model": {"backbone": net, "tasks": {"rotation": {"class_path": "pretext.Rotation"}}},
        "data": {"class_path": f"datamodules.{name}", "init_args": {"root": str(tmp_path)}},
    }
    _, data = build(config, ["--data.modalities", given])
    assert (data if name == "Clips" else data._clips).how.modalities == meant


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layout": "tree"}, "layout='tree'"),
        ({"modalities": ("rgb", "depth")}, "depth"),
        ({"modalities": ()}, r"modalities=\[\]"),
        ({"modalities": "depth"}, r"modalities=\['depth'\]"),
        ({"frames": 0}, "frames=0"),
        ({"fps": 0}, "fps=0"),
        ({"window": 3, "frames": 4}, "window=3"),
        ({"canvas": 8, "modalities": ("flow",)}, "canvas=8"),
        ({"test": 1.0}, "test=1.0"),
        ({"fold": 4}, "fold=4"),
        ({"max_bad": 2}, "max_bad=2"),
        ({"cache_gb": 0}, "cache_gb=0"),
        ({"workers": -1}, "workers=-1"),
    ],
)
def test_an_option_out_of_range_is_named(tmp_path, wrong, message):
    with pytest.raises(DataError, match=message) as caught:
        Clips(tmp_path, **grouped(Clips, **wrong))
    assert "wants" in str(caught.value) or "at least 1" in str(caught.value)
