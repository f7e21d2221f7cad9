import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from inspect import signature
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from grouped import grouped
from sklearn.linear_model import RidgeClassifier

from datamodules import Clips, DataError, Reading, Sampling, Videos, Windows
from datamodules.generated import balls
from datamodules.generated.balls import CLASSES, FPS, RATE, SECONDS, SIDE, Ball, Hit
from datamodules.generated.bouncing import Bouncing, make
from datamodules.generated.write import write, write_one
from datamodules.media.video import Video
from pretext.training.run import build

FRAMES = SECONDS * FPS


def thrown(name, number=0):
    return balls.throw(name, np.random.default_rng([7, CLASSES.index(name), *np.atleast_1d(number).tolist()]))


def many(count, key=0):
    """Balls of every class in turn, with their tracks and hits, and the numbers of their classes."""
    found = [thrown(CLASSES[k % 8], (key, k)) for k in range(count)]
    return found, [balls.motion(ball) for ball in found], np.arange(count) % 8


def bytes_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.mp4")}


# How it moves


def test_a_dropped_ball_falls_and_bounces_as_the_closed_form_says():
    ball = replace(
        thrown("drop_slow"), place=(0.5, 0.2), velocity=(0.0, 0.0), gravity=2.0, keeps=0.8, radius=0.1, pace=1.0
    )
    track, hits = balls.motion(ball)
    speed = (2 * 2.0 * 0.7) ** 0.5  # after 0.7 of the side
    assert [hit.time for hit in hits] == pytest.approx([speed / 2, speed / 2 * (1 + 2 * 0.8)], abs=0.01)
    assert [hit.force for hit in hits] == pytest.approx([speed / 1.8, 0.8 * speed / 1.8], rel=0.01)
    seconds = np.arange(FRAMES) / FPS
    falling = seconds < hits[0].time
    assert track[falling, 1] == pytest.approx(0.2 + seconds[falling] ** 2, abs=1e-9)
    again = (seconds > hits[0].time) & (seconds < hits[1].time)
    assert 0.9 - track[again, 1].min() == pytest.approx(0.7 * 0.8**2, abs=0.01)  # the height it keeps


def test_a_straight_ball_keeps_its_direction_until_a_wall_takes_some_of_its_speed():
    ball = replace(thrown("fly_slow"), place=(0.5, 0.5), velocity=(0.5, 0.25), keeps=0.9, radius=0.1)
    track, hits = balls.motion(ball)
    assert hits[0].time == pytest.approx(0.8)
    steps = np.diff(track, axis=0) * FPS
    assert steps[:19] == pytest.approx(np.broadcast_to([0.5, 0.25], (19, 2)), abs=1e-9)
    assert steps[21:28] == pytest.approx(np.broadcast_to([-0.45, 0.225], (7, 2)), abs=1e-9)


def test_a_level_ball_stays_level_and_a_curling_one_turns_evenly():
    for pace in ("fast", "slow"):
        assert np.ptp(balls.motion(thrown(f"slide_{pace}"))[0][:, 1]) == 0
        ball = replace(thrown(f"curl_{pace}"), place=(0.5, 0.5), velocity=(0.2, 0.0), curl=2.0, radius=0.1)
        track, hits = balls.motion(ball)
        assert not hits  # a circle of radius 0.1
        steps = np.diff(track @ [1, 1j])
        assert np.diff(np.unwrap(np.angle(steps))) == pytest.approx(np.full(FRAMES - 2, 2.0 / FPS), abs=1e-6)


@pytest.mark.parametrize("name", CLASSES)
def test_a_ball_stays_within_the_walls_and_touches_one_at_every_hit(name):
    for number in range(8):
        ball = thrown(name, number)
        track, hits = balls.motion(ball)
        assert track.shape == (FRAMES, 2)
        assert ball.radius <= track.min() <= track.max() <= 1 - ball.radius
        assert len(hits) >= 2
        assert hits == sorted(hits)
        assert all(0 <= hit.time < SECONDS and 0 < hit.force <= 1 for hit in hits)
        gap = np.minimum(track, 1 - track).min(1) - ball.radius
        step = np.abs(np.diff(track, axis=0)).max()
        for hit in hits:
            at = min(int(hit.time * FPS), FRAMES - 2)
            assert gap[at : at + 2].min() <= step


def test_a_fast_ball_does_in_half_the_time_what_a_slow_one_does():
    for name in ("drop_slow", "curl_slow", "fly_slow", "slide_slow"):
        slow = thrown(name)
        across, down = slow.velocity
        fast = replace(
            slow, velocity=(2 * across, 2 * down), gravity=4 * slow.gravity, curl=2 * slow.curl, pace=2 * slow.pace
        )
        (track, hits), (double, more) = balls.motion(slow), balls.motion(fast)
        assert double[: FRAMES // 2] == pytest.approx(track[: 2 * (FRAMES // 2) : 2], abs=0.02)
        half = [hit for hit in more if hit.time < SECONDS / 2 - 0.01]
        assert [2 * hit.time for hit in half] == pytest.approx([hit.time for hit in hits[: len(half)]], abs=0.02)
        assert [hit.force for hit in half] == pytest.approx([hit.force for hit in hits[: len(half)]], rel=0.05)


# How it looks and sounds


def test_the_ball_is_where_its_track_says_and_flashes_from_a_hit_on():
    ball = thrown("slide_slow")
    track = np.full((FRAMES, 2), 0.5)
    frames = balls.look(ball, track, [Hit(1.0, 1.0)], np.random.default_rng(0)).astype(float)
    background = balls.scenery(np.random.default_rng(0))
    far = np.abs(frames[0] - background).sum(-1)
    seen = far > far.max() / 2
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    assert [x[seen].mean() / SIDE, y[seen].mean() / SIDE] == pytest.approx([0.5, 0.5], abs=0.01)
    assert seen.sum() == pytest.approx(np.pi * (ball.radius * SIDE) ** 2, rel=0.15)
    contrast = np.abs(frames[:, seen].mean((1, 2)) - background.mean())
    assert np.ptp(contrast[:25]) == 0  # the frame that is on show when it hits is the first that flashes
    assert contrast[25] > contrast[24] + 20
    assert (np.diff(contrast[25:40]) < 0).all()


@pytest.mark.parametrize("name", CLASSES)
def test_a_hit_sounds_at_its_very_time_and_dies_away(name):
    ball = replace(thrown(name), decay=0.15)
    wave = balls.sound(ball, [Hit(0.5, 1.0)], np.random.default_rng(0)) / 32768
    assert len(wave) == SECONDS * RATE
    assert 0 < np.abs(wave[:7999]).max() < 0.03  # the room alone
    assert np.abs(wave[8000:8080]).max() > 0.1
    loud = np.sqrt((wave[8000 + 800 : 8000 + 800 + 4800].reshape(3, 1600) ** 2).mean(1))
    assert loud[1:] / loud[:-1] == pytest.approx([np.exp(-0.1 / 0.15)] * 2, rel=0.15)


@pytest.mark.parametrize("kind", balls.KINDS)
def test_each_kind_has_its_timbre_and_fast_is_higher_than_slow(kind):
    lowest, highest = [], []
    for pace, ends in (("fast", lowest), ("slow", highest)):
        ball = thrown(f"{kind}_{pace}")
        power = np.abs(np.fft.rfft(balls.strike(ball, np.random.default_rng(0))[160:]))
        hertz = np.fft.rfftfreq(RATE - 160, 1 / RATE)
        for multiple, _ in balls._PARTIALS[kind]:
            near = np.abs(hertz - multiple * ball.pitch) < 60
            assert hertz[near][power[near].argmax()] == pytest.approx(multiple * ball.pitch, abs=4)
        ends.extend(thrown(f"{kind}_{pace}", number).pitch for number in range(50))
    assert min(lowest) > 1.2 * max(highest)


def test_one_picture_does_not_tell_the_class():
    def pictures(count, key):
        found, moves, y = many(count, key)
        chance = np.random.default_rng(key)
        return np.stack(
            [
                balls.look(ball, track[40:41], [], chance)[0, ::4, ::4].reshape(-1)
                for ball, (track, _) in zip(found, moves, strict=True)
            ]
        ) / 255.0, y

    score = RidgeClassifier(alpha=100).fit(*pictures(400, 0)).score(*pictures(240, 1))
    assert score < 0.125 + 4 * (0.125 * 0.875 / 240) ** 0.5


def test_motion_alone_and_sound_alone_tell_the_class():
    def motions(moves):
        """Mean size of velocity, acceleration and turning: what a network would have to see."""
        rows = []
        for track, _ in moves:
            speed = np.diff(track, axis=0)
            change = np.diff(speed, axis=0)
            change = change[np.abs(change).sum(1) < 0.02]  # without the hits
            turn = np.cross(np.pad(speed[:-1], ((0, 0), (0, 1))), np.pad(speed[1:], ((0, 0), (0, 1))))[:, 2]
            rows.append(
                [*np.abs(speed).mean(0), *change.mean(0), np.abs(change).mean(), np.median(np.abs(turn)) ** 0.5]
            )
        return np.log(np.abs(rows) + 1e-4)

    def sounds(found, moves):
        chance = np.random.default_rng(0)
        waves = [balls.sound(ball, hits, chance) / 32768 for ball, (_, hits) in zip(found, moves, strict=True)]
        power = np.abs(np.fft.rfft(np.stack(waves).reshape(len(waves), -1, 480) * np.hanning(480))) ** 2
        bands = np.geomspace(4, 240, 33).astype(int)
        bands = np.log(np.add.reduceat(power[..., :240], bands[:-1], -1) + 1e-5)
        return np.concatenate([bands.mean(1), bands.std(1)], 1)

    (found, moves, y), (others, theirs, wanted) = many(240, 0), many(160, 1)
    assert RidgeClassifier(1e-3).fit(motions(moves), y).score(motions(theirs), wanted) > 0.85
    assert RidgeClassifier(1.0).fit(sounds(found, moves), y).score(sounds(others, theirs), wanted) > 0.8


# The files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("bouncing")
    write(root, "train", 16)
    return root


def test_a_file_is_h264_and_aac_of_one_length_that_start_together(folder):
    path = folder / "train" / "curl_fast" / "00000.mp4"
    with av.open(str(path)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.pix_fmt) == (SIDE, SIDE, "yuv420p")
        assert (video.average_rate, video.frames, audio.rate) == (FPS, FRAMES, RATE)
        assert any(packet.pts != packet.dts for packet in file.demux(video) if packet.size)  # B-frames
    with Video(path) as video:
        assert (video.begin, video.end) == (0.0, SECONDS)
        assert video.sound == pytest.approx((0.0, SECONDS), abs=0.07)


def test_the_picture_and_sound_that_come_back_are_those_that_were_drawn(folder):
    for number in range(8):
        name = CLASSES[number]
        rng = np.random.default_rng([balls.VERSION, 0, 0, number])
        ball = balls.throw(name, rng)
        track, hits = balls.motion(ball)
        frames, wave = balls.look(ball, track, hits, rng), balls.sound(ball, hits, rng)
        with Video(folder / "train" / name / f"{number:05}.mp4") as video:
            seen = video.frames(np.arange(FRAMES) / FPS, SIDE)
            heard = video.samples(0.0, SECONDS * RATE, RATE)
        assert np.abs(seen.transpose(0, 2, 3, 1) - frames.astype(float)).mean() < 5
        assert np.corrcoef(heard, wave)[0, 1] > 0.98


def located(pictures):
    """Find the ball in decoded pictures (T, 3, S, S) alone, by what differs from their median: (T, 2)."""
    far = np.abs(pictures - np.median(pictures, 0)).sum(1)
    far = np.where(far > 60, far, 0)
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.stack([(far * x).sum((1, 2)), (far * y).sum((1, 2))], 1) / far.sum((1, 2))[:, None]


def onsets(wave, step=80):
    """Find in a decoded sound alone when tones begin: where the loudness of 5 ms rises by far."""
    loud = np.sqrt((wave.reshape(-1, step).astype(float) ** 2).mean(1)) / 32768
    found = []
    for k in range(3, len(loud)):
        if loud[k] > 0.02 and loud[k] > 1.7 * loud[k - 3 : k].max() and k * step / RATE > (found or [-1])[-1] + 0.05:
            found.append(k * step / RATE)
    return found


@pytest.mark.parametrize("number", [2, 3, 6, 7, 10, 11, 14, 15])  # twice falling and level, fast and slow
def test_a_hit_is_heard_in_the_frame_in_which_it_is_seen(folder, number):
    name = CLASSES[number % 8]
    with Video(folder / "train" / name / f"{number:05}.mp4") as video:
        place = located(video.frames(np.arange(FRAMES) / FPS, SIDE).astype(float))
        heard = np.array(onsets(video.samples(0.0, SECONDS * RATE, RATE)))
    axis = 0 if name.startswith("slide") else 1
    there = np.convolve(place[:, axis], [1, 1, 1], "valid")[1:-1]  # at frames 2 ... T - 3, with less noise
    walls = [k + 2 for k in range(1, len(there) - 1) if there[k] == there[k - 1 : k + 2].max()]  # down, or at the right
    if axis == 0:
        walls += [k + 2 for k in range(1, len(there) - 1) if there[k] == there[k - 1 : k + 2].min()]
    early = [k / FPS for k in walls if k < 2 * FPS]  # later bounces are too soft to be told from the last one's tone
    assert early
    for moment in early:
        assert np.abs(heard - moment).min() <= 1 / FPS
    if axis == 0:  # and nothing else is to be heard
        inner = heard[(heard > 0.15) & (heard < SECONDS - 0.2)]
        assert np.abs(inner[:, None] - np.array(walls) / FPS).min(1).max() <= 1 / FPS


def test_files_are_decided_by_their_number_and_content_whoever_writes_them(folder, tmp_path):
    write(tmp_path / "again", "train", 16, workers=4)
    assert bytes_of(tmp_path / "again") == bytes_of(folder)
    write(tmp_path / "fewer", "train", 9)
    fewer, all_of_them = bytes_of(tmp_path / "fewer"), bytes_of(folder)
    assert len(fewer) == 9
    assert fewer.items() < all_of_them.items()
    for split, content in (("train", 1), ("test", 0)):
        other = tmp_path / f"{split}{content}"
        (other / split / CLASSES[0]).mkdir(parents=True)
        assert write_one(other, split, 0, content).read_bytes() not in all_of_them.values()


def test_of_two_at_once_one_writes_and_the_other_waits(tmp_path, monkeypatch):
    calls = []

    def slowly(folder, split, count, content, workers):
        calls.append(split)
        time.sleep(0.2)
        write(folder, split, count, content, workers)

    monkeypatch.setattr("datamodules.generated.write.write", slowly)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: make(tmp_path / "set", 8, 8, 0), range(2)))
    assert calls == ["train", "test"]
    assert len(bytes_of(tmp_path / "set")) == 16
    assert not (tmp_path / "set.draft").exists()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # a new one imports for seconds
def test_a_killed_writer_leaves_nothing_that_another_would_take_for_whole(tmp_path):
    writer = os.fork()
    if writer == 0:
        try:
            make(tmp_path / "set", 5000, 8, 0)
        finally:
            os._exit(0)
    try:
        deadline = time.monotonic() + 60
        while len(list(tmp_path.rglob("*.mp4"))) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
    assert not (tmp_path / "set").exists()
    make(tmp_path / "set", 8, 8, 0)
    whole = bytes_of(tmp_path / "set")
    assert len(whole) == 16
    assert len(bytes_of(tmp_path)) == 16  # the draft is gone
    write(tmp_path / "other", "train", 8)
    assert bytes_of(tmp_path / "other").items() < whole.items()


# The data module


def test_batches_are_those_of_clips_with_pictures_sound_and_labels(tmp_path):
    data = Bouncing(tmp_path, videos=Videos(16, 8), batch_size=6)
    assert data.classes == list(CLASSES)
    batches = list(data.ordered("test"))
    x = {name: torch.cat([batch["x"][name] for batch in batches]) for name in ("rgb", "audio")}
    assert (x["rgb"].shape, x["rgb"].dtype) == ((24, 3, 16, SIDE, SIDE), torch.uint8)
    assert (x["audio"].shape, x["audio"].dtype) == ((24, 1, 20480), torch.int16)
    assert torch.cat([batch["index"] for batch in batches]).tolist() == [k // 3 for k in range(24)]
    assert torch.cat([batch["y"] for batch in batches]).tolist() == [k // 3 for k in range(24)]
    with Video(data.folder / "test" / "fly_slow" / "00005.mp4") as video:
        assert np.array_equal(x["rgb"][15].transpose(0, 1), video.frames(np.arange(16) / 12.5, SIDE))
    longer = Bouncing(tmp_path, videos=Videos(16, 8), modalities=["grey"], batch_size=6, windows=Windows(window=30))
    batch = next(iter(longer.train_dataloader()))
    assert batch["x"].shape == (6, 1, 30, SIDE, SIDE)
    assert sum(len(batch["index"]) for batch in longer.val_dataloader()) == 2


def test_it_writes_once_into_the_users_cache_and_other_contents_beside(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data = Bouncing(videos=Videos(8, 8))
    data.prepare_data()
    assert data.folder.parent == tmp_path / "pretext"
    before = {path: path.stat().st_mtime_ns for path in data.folder.rglob("*.mp4")}
    Bouncing(videos=Videos(8, 8), seed=3).prepare_data()
    assert {path: path.stat().st_mtime_ns for path in data.folder.rglob("*.mp4")} == before
    assert Bouncing(videos=Videos(8, 8, content=1)).folder != data.folder != Bouncing(videos=Videos(9, 8)).folder


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match=r"Bouncing cannot write its videos to .*file.*name another folder as root"):
        Bouncing(tmp_path / "file", videos=Videos(8, 8)).prepare_data()


def test_bad_files_are_listed_with_the_run_and_max_bad_says_how_many_may_be(tmp_path):
    parts = {"windows": Windows(frames=4), "sampling": Sampling(clips=1)}
    options = {"videos": Videos(8, 8), "modalities": ["grey"], **parts}
    data = Bouncing(tmp_path / "data", **options, reading=Reading(max_bad=0.125))
    (tmp_path / "run").mkdir(exist_ok=True)  # as a training does
    data.trainer = SimpleNamespace(default_root_dir=str(tmp_path / "run"))
    data.prepare_data()
    broken = data.folder / "test" / "fly_slow" / "00005.mp4"
    broken.write_bytes(broken.read_bytes()[:400])
    indices = torch.cat([batch["index"] for batch in data.ordered("test")])
    assert len(indices) == 7
    assert list(data.skipped) == ["test/fly_slow/00005.mp4"]
    assert (tmp_path / "run" / "skipped.txt").read_text().startswith("test/fly_slow/00005.mp4\t")
    with pytest.raises(DataError, match=r"max_bad=0.12 of them.*raise max_bad"):
        list(Bouncing(tmp_path / "data", **options, reading=Reading(max_bad=0.12)).ordered("test"))


def test_what_it_has_in_common_with_clips_by_name_means_the_same():
    mine, theirs = signature(Bouncing).parameters, signature(Clips).parameters
    common = (mine.keys() & theirs.keys()) - {"root"}  # which it can make up
    assert {"modalities", "canvas", "windows", "sampling", "reading", "split", "disk", "batch_size"} <= common
    assert {name: mine[name].annotation for name in common} == {name: theirs[name].annotation for name in common}


GREY = {"videos": {"train_videos": 8, "test_videos": 8}, "modalities": "grey", "windows": {"window": 30}}


@pytest.mark.parametrize("given", [{}, GREY])
def test_a_config_is_brought_to_other_videos_with_all_that_both_have(given, tmp_path):
    net = {"class_path": "pretext.TorchVision", "init_args": {"name": "resnet18"}}
    config = {
        "model": {"backbone": net, "tasks": {"rotation": {"class_path": "pretext.Rotation"}}},
        "data": {
            "class_path": "datamodules.Bouncing",
            "init_args": {"root": str(tmp_path), "split": {"val": 0.3}, **given},
        },
    }
    assert isinstance(build(config)[1], Bouncing)
    _, data = build(config, ["--data", "datamodules.Clips"])
    assert isinstance(data, Clips)
    assert (data.test, data.val) == (0.2, 0.3)
    assert data.how.modalities == (("grey",) if "modalities" in given else ("rgb", "audio"))
    assert data.how.window == (30 if "windows" in given else 16)


@pytest.mark.parametrize(
    "wrong", [{"train_videos": 7}, {"test_videos": 7}, {"content": -1}, {"batch_size": 0}, {"val": 1.0}]
)
def test_an_argument_out_of_range_is_named(wrong, tmp_path):
    with pytest.raises(DataError, match=f"Bouncing got .*{next(iter(wrong))}="):
        Bouncing(tmp_path, **grouped(Bouncing, **wrong))


def test_a_ball_is_what_was_thrown():
    assert isinstance(thrown("fly_fast"), Ball)
    assert thrown("fly_fast") == thrown("fly_fast") != thrown("fly_fast", 1)
