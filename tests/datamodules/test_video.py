import av
import numpy as np
import pytest
from media import beeps, faststart, flashes, irregular, number, numbered, onset, plain, regular, rotate, write
from PIL import Image

from datamodules.base import DataError
from datamodules.media.video import Video

OPEN_GOP = {"x264-params": "open-gop=1:keyint=8:min-keyint=8:scenecut=0:bframes=3:b-pyramid=normal"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=8:bframes=2:scenecut=0"}
FILES = {
    "reordered.mp4": {},
    "reordered.mkv": {},
    "one keyframe.mp4": {"options": {"g": "100"}},
    "open groups.mp4": {"options": OPEN_GOP},
    "open groups.mkv": {"options": OPEN_GOP},
    "no keyframes.mkv": {"options": REFRESH},
    "old.mkv": {"codec": "mpeg4"},
    "stream.ts": {},
    "ten bits.mp4": {"pix_fmt": "yuv420p10le"},
    "newer.mkv": {"codec": "libx265", "options": {"x265-params": "keyint=10:bframes=3:open-gop=1:log-level=none"}},
    "hidden frames.webm": {"codec": "libvpx-vp9", "options": {"g": "10", "auto-alt-ref": "1", "cpu-used": "8"}},
    "newest.mp4": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "keyint=12"}},
    "newest.mkv": {"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "keyint=100"}},
}
"""Files of one clip; none of them has a fixed frame rate."""


def video(path, kind="mp4", count=40, **options):
    """Write a film of numbered pictures without a fixed rate; return the file and its times."""
    times = irregular(count, begin=options.pop("begin", 0.0))
    return write(path / f"film.{kind}", numbered(count), times, **options), times


def decoded(path):
    """Decode a whole film in order, with nothing but PyAV: times, and (F, 3, 48, 48)."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.video[0]))
    pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    return np.array([frame.time for frame in frames]), pictures[:, :, 8:56].transpose(0, 3, 1, 2)


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("begin", [0.0, 0.3])
def test_the_frame_on_show_is_the_last_whose_stamp_has_come(tmp_path, kind, begin):
    path, times = video(tmp_path, kind, begin=begin)
    asked = np.concatenate([times, times + 0.004, times[1:] - 0.002])
    asked.sort()
    with Video(path) as film:
        assert film.begin == pytest.approx(begin, abs=1e-3)
        assert film.end > times[-1] + 0.04 - 1e-3  # the header may say that the last frame stays longer
        assert film.sound is None
        asked = np.append(asked, film.end - 0.001)
        shown = [number(picture) for picture in film.frames(asked, 48)]
    assert shown == (np.searchsorted(times, asked + 1e-6, "right") - 1).tolist()


def test_stamps_rounded_to_milliseconds_drop_and_double_no_frame(tmp_path):
    path = write(tmp_path / "ntsc.mkv", numbered(60), regular(60, 30000 / 1001))  # 0, 33, 67, 100 ms: some come late
    with Video(path) as film:
        assert [number(picture) for picture in film.frames(np.arange(60) * 1001 / 30000, 48)] == list(range(60))


@pytest.mark.parametrize("name", FILES)
def test_frames_from_any_start_are_those_of_decoding_from_the_first_bit_for_bit(tmp_path, name):
    write(tmp_path / name, numbered(40), irregular(40), **FILES[name])
    times, pictures = decoded(tmp_path / name)
    assert len(times) == 40
    with Video(tmp_path / name) as film:
        for start in np.random.default_rng(0).permutation(39):
            chosen = np.arange(start, 40, 3)[:4]  # frames between are not asked for
            assert np.array_equal(film.frames(times[chosen], 48), pictures[chosen]), start


@pytest.mark.parametrize(("kind", "codec"), [("avi", "mpeg4"), ("flv", "libx264"), ("flv", "flv")])
def test_every_frame_is_found_where_seeking_to_the_begin_is_refused(tmp_path, kind, codec):
    options = {"g": "12"} if codec == "flv" else {"g": "12", "bf": "2"}
    path = write(tmp_path / f"film.{kind}", numbered(38), regular(38, 25), codec=codec, options=options)
    times, pictures = decoded(path)
    for k in range(37):  # an AVI's last two frames have the same stamp
        with Video(path) as film:  # what was read before could have built an index
            assert np.array_equal(film.frames(times[k : k + 1], 48), pictures[k : k + 1]), k


def test_an_avi_begins_when_its_first_frame_is_shown(tmp_path):
    path = write(tmp_path / "film.avi", numbered(20), regular(20, 25), codec="mpeg4", options={"bf": "2"})
    times, pictures = decoded(path)
    with Video(path) as film:
        assert film.begin == pytest.approx(times[0])
        assert np.array_equal(film.frames(film.begin + np.arange(19) / 25, 48), pictures[:19])


def test_stamps_out_of_order_are_refused(tmp_path):
    path = write(tmp_path / "film.avi", numbered(20), regular(20, 25))  # AVI has no place for presentation stamps
    with Video(path) as film, pytest.raises(DataError, match="out of order"):
        film.frames(film.begin + np.arange(10) / 25, 48)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (61, 95), (120, 90)])
@pytest.mark.parametrize("canvas", [16, 48, 70])
def test_a_canvas_is_the_antialiased_centre_square_of_ffmpegs_picture(tmp_path, size, canvas):
    noise = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    path = write(tmp_path / "film.mkv", noise, regular(3, 25), codec="ffv1", pix_fmt="yuv444p")
    with Video(path) as film:
        pictures = film.frames(regular(3, 25), canvas)
    with av.open(str(path)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    side, (height, width) = min(size), size
    left, top = (width - side) // 2, (height - side) // 2
    for picture, frame in zip(pictures, frames, strict=True):
        square = frame.crop((left, top, left + side, top + side))
        reference = np.asarray(square.resize((canvas, canvas), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.abs(picture.astype(int) - reference).max() <= 1


@pytest.mark.parametrize("size", [48, 24])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("matrix", ["itu601 mpeg", "itu709 mpeg", "itu601 jpeg", "itu709 jpeg"])
def test_colours_follow_the_declared_matrix_and_range(tmp_path, size, pix_fmt, matrix):
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 150, 30), (0, 0, 0), (255, 255, 255), (90, 90, 90)]
    path = write(
        tmp_path / "film.mp4", plain(colours), regular(7, 25), matrix=matrix, pix_fmt=pix_fmt, options={"crf": "1"}
    )
    with Video(path) as film:
        pictures = film.frames(regular(7, 25), size)
    assert np.abs(pictures.astype(int) - np.array(colours)[:, :, None, None]).max() <= 4


@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("size", [48, 20])
def test_rotated_films_stand_upright(tmp_path, degrees, size):
    path, times = video(tmp_path, count=5)
    with Video(path) as film:
        lying = film.frames(times, size)
    rotate(path, degrees)
    with Video(path) as film:
        assert np.array_equal(film.frames(times, size), np.rot90(lying, -degrees // 90, (-2, -1)))


def test_one_film_gives_the_same_clip_whatever_was_read_before(tmp_path):
    path, times = video(tmp_path)
    with Video(path) as film:
        first = film.frames(times[5:9], 32)
        film.frames(times[30:], 48)
        film.frames(times[:1], 20)
        assert np.array_equal(film.frames(times[5:9], 32), first)
        with pytest.raises(DataError, match="too short"):
            film.frames(times + 1, 48)
        assert np.array_equal(film.frames(times[5:9], 32), first)


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_times_without_a_frame_are_refused(tmp_path, kind):
    path, _ = video(tmp_path, kind, begin=0.3)
    with Video(path) as film:
        film.frames(np.array([film.end - 0.001]), 48)
        with pytest.raises(DataError, match=rf"too short: ends at {film.end:.3f} s, before {film.end + 0.01:.3f} s"):
            film.frames(np.array([film.begin, film.end + 0.01]), 48)
        with pytest.raises(DataError, match=r"begins too late: 0.300 s, after 0.290 s"):
            film.frames(np.array([0.29, 0.35]), 48)


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("fps", [25, None])
@pytest.mark.parametrize(("begin", "sound_at"), [(0.0, 0.0), (0.0, 0.37), (0.41, 0.0), (0.3, 0.15)])
def test_a_beep_and_a_flash_are_found_at_the_same_time(tmp_path, kind, fps, begin, sound_at):
    moments, rate = [0.8, 2.1], 16_000
    times = irregular(50, begin) if fps is None else regular(70, fps, begin)
    moments = [times[np.searchsorted(times, moment)] for moment in moments]
    sound = beeps(3.0, [moment - sound_at for moment in moments], channels=2)
    path = write(tmp_path / f"film.{kind}", flashes(times, moments), times, sound, sound_at=sound_at)
    with Video(path) as film:
        assert film.sound is not None
        for moment in moments:
            start = moment - 0.3127  # a window between frames
            grid = start + np.arange(120) / 200
            bright = film.frames(grid, 16).mean((1, 2, 3)) > 100
            heard = onset(film.samples(start, round(0.6 * rate), rate), rate)
            assert heard == pytest.approx(moment - start, abs=0.0015)
            assert np.argmax(bright) / 200 == pytest.approx(heard, abs=0.0065)  # the grid, and the above


def test_no_sound_track_is_said(tmp_path):
    path, _ = video(tmp_path, count=5)
    with Video(path) as film, pytest.raises(DataError, match="no sound track"):
        film.samples(0, 100, 16_000)


def test_what_is_no_video_says_so(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "letter.mp4").write_text("Dear reader, " * 100)
    with pytest.raises(DataError, match="empty file"):
        Video(tmp_path / "empty.mp4")
    with pytest.raises(av.error.FFmpegError):
        Video(tmp_path / "letter.mp4")
    with pytest.raises(DataError, match="no video stream"):
        Video(write(tmp_path / "song.mp4", sound=beeps(1.0, [0.5])))


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_film_is_an_error_where_it_is_broken_off(tmp_path, kind, share):
    path, times = video(tmp_path, kind)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises((DataError, av.error.FFmpegError)), Video(path) as film:
        film.frames(film.begin + times - times[0], 48)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "flv"])
def test_a_film_that_is_cut_off_ends_where_the_first_frame_is_missing(tmp_path, kind):
    path = write(tmp_path / f"film.{kind}", numbered(100), regular(100, 25), options={"g": "20", "bf": "3"})
    if kind == "mp4":
        faststart(path)
    with Video(path) as film:
        assert not film.cut_off
        whole = film.frames(film.begin + np.arange(99) / 25, 48)
    data = path.read_bytes()
    index = max(0, data.find(b"mdat"))  # in an mp4 it comes first
    for share in (0.3, 0.5, 0.7):
        path.write_bytes(data[: index + int(share * (len(data) - index))])
        with Video(path) as film:
            count = round((film.end - film.begin) * 25)
            assert film.cut_off
            assert 5 < count < 90
            assert np.array_equal(film.frames(film.begin + np.arange(count) / 25, 48), whole[:count])


def test_damage_is_noticed_where_it_matters_only(tmp_path):
    path, times = video(tmp_path, options={"g": "10", "x264-params": "scenecut=0:keyint=10:min-keyint=10"})
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    where, size = packets[keys[2]].pos, packets[keys[2]].size
    with Video(path) as film:
        sound = film.frames(times[:8], 48)
    data = bytearray(path.read_bytes())
    data[where + size // 3 : where + size] = bytes(size - size // 3)
    path.write_bytes(data)
    with Video(path) as film:
        assert np.array_equal(film.frames(times[:8], 48), sound)
        with pytest.raises((DataError, av.error.FFmpegError)):
            film.frames(times[20:25], 48)
