from functools import partial
from types import SimpleNamespace

import av
import numpy as np
import pytest
from media import beeps, faststart, numbered, onset, regular, silence, write

from datamodules.base import DataError
from datamodules.media import sound as audio
from datamodules.media.containers import open_media
from datamodules.media.sound import BLOCK
from datamodules.media.video import Video, read_sound

SECONDS = 5.0


def tone(rate, pitch=440.0, seconds=SECONDS):
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate))[None].astype(np.float32)


def film(path, sound, **options):
    return write(path, numbered(int(SECONDS * 10)), regular(int(SECONDS * 10), 10), sound, **options)


@pytest.mark.parametrize("native", [8_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("rate", [16_000, 22_050, 48_000])
def test_sample_n_is_the_sound_at_n_over_the_rate(tmp_path, native, rate):
    path = film(tmp_path / "film.mov", tone(native), rate=native, sound_codec="pcm_s16le")
    with Video(path) as video:
        for first, count in [(2_001, 700), (round(1.9 * rate), round(0.3 * rate))]:  # the second across two blocks
            samples = video.samples(first / rate, count, rate)
            wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(first, first + count) / rate) * 32768
            assert np.abs(samples - wanted).max() < 8  # of 16,384


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "ts"])
@pytest.mark.parametrize("native", [44_100, 48_000])
def test_windows_of_one_sound_agree_bit_for_bit(tmp_path, kind, native):
    noise = np.random.default_rng(0).normal(0, 0.1, (2, round(SECONDS * native))).astype(np.float32)
    path = film(tmp_path / f"film.{kind}", noise, rate=native)  # AAC codes noise as "some noise", made up anew
    rate = 16_000
    with Video(path) as video:
        whole = video.samples(0.0, round(SECONDS * rate), rate)
        assert whole.std() > 1000
    for begin, count in [(0.0, 100), (0.7, 9_000), (1.99, 700), (3.3, 20_000), (2.0, 32_000), (1.0, 60_001)]:
        with Video(path) as video:
            first = round(begin * rate)
            assert np.array_equal(video.samples(begin, count, rate), whole[first : first + count])


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts"])
def test_blocks_join_without_a_seam(tmp_path, kind):
    path = film(tmp_path / f"film.{kind}", tone(44_100), rate=44_100)
    with Video(path) as video:
        begin = video.sound[0]
        samples = video.samples(begin + 0.2, round(4.6 * 16_000), 16_000).astype(float)
    bend = np.abs(np.diff(samples, 2)).max() / np.abs(samples).max()
    assert bend == pytest.approx((2 * np.pi * 440 / 16_000) ** 2, rel=0.15)  # a sine's second derivative: nowhere more


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_there_is_silence_before_and_after_the_sound(tmp_path, kind):
    path = film(tmp_path / f"film.{kind}", tone(48_000, seconds=1.0), sound_at=1.5)
    with Video(path) as video:
        assert video.sound == pytest.approx((1.5, 2.5), abs=0.03)
        samples = video.samples(-1.0, 16_000 * 9, 16_000).astype(float) / 32768
    loud = np.abs(samples).reshape(-1, 160).max(1)  # every 10 ms, from -1 s on
    assert (loud[:245] == 0).all()
    assert (loud[252:348] > 0.4).all()
    assert (loud[355:] == 0).all()


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "flac"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_mono_is_the_mean_of_all_channels_in_every_format(tmp_path, codec, channels):
    level = np.linspace(0.2, 0.6, channels)[:, None]
    path = film(tmp_path / "film.mkv", (level * tone(48_000, 200, 1.0) * 2).astype(np.float32), sound_codec=codec)
    with Video(path) as video:
        samples = video.samples(0.2, 9_600, 48_000) / 32768
    wanted = level.mean() * np.sin(2 * np.pi * 200 * (0.2 + np.arange(9_600) / 48_000))
    assert np.abs(samples - wanted).max() < 0.01  # half a step of 8 bits is 0.004


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_sound_file_is_read_whole_from_its_first_sample(tmp_path, kind, channels, rate):
    path = write(tmp_path / f"sound.{kind}", sound=beeps(3.0, [1.25], channels=channels))
    samples = read_sound(path, rate)
    assert samples.dtype == np.int16
    assert len(samples) == pytest.approx(3.0 * rate, abs=0.002 * rate)
    assert onset(samples, rate) == pytest.approx(1.25, abs=0.001)
    assert np.abs(samples).max() == pytest.approx(0.8 * 32768, rel=0.1)


def test_a_sound_file_of_the_same_rate_comes_back_bit_for_bit(tmp_path):
    wave = np.random.default_rng(0).integers(-(2**15), 2**15, 30_000)
    path = write(tmp_path / "sound.wav", sound=(wave[None] / 2**15).astype(np.float32), rate=16_000)
    assert np.array_equal(read_sound(path, 16_000), wave)


@pytest.mark.parametrize("codec", ["libopus", "vorbis", "flac"])
def test_of_chained_ogg_every_link_is_heard_as_if_alone(tmp_path, codec):
    seconds, alone = [1.1, 0.7, 1.6], []
    for k, length in enumerate(seconds):
        path = write(
            tmp_path / f"{k}.ogg", sound=np.repeat(tone(48_000, 300.0 + 200 * k, length), 2, 0), sound_codec=codec
        )
        alone.append(read_sound(path, 16_000))
    (tmp_path / "chain.ogg").write_bytes(b"".join((tmp_path / f"{k}.ogg").read_bytes() for k in range(3)))
    assert [len(wave) for wave in alone] == pytest.approx([16_000 * length for length in seconds], abs=400)
    assert np.array_equal(read_sound(tmp_path / "chain.ogg", 16_000), np.concatenate(alone))


def test_files_one_after_the_other_in_one_are_all_heard(tmp_path):
    for k in range(2):
        write(tmp_path / f"{k}.flac", sound=tone(16_000, 300.0 + 200 * k, 1.0), rate=16_000)
    path = tmp_path / "both.flac"
    path.write_bytes((tmp_path / "0.flac").read_bytes() + (tmp_path / "1.flac").read_bytes())
    both = [read_sound(tmp_path / f"{k}.flac", 16_000) for k in range(2)]
    assert np.array_equal(read_sound(path, 16_000), np.concatenate(both))


@pytest.mark.parametrize("kind", ["wav", "flac", "m4a", "aac", "mp3"])
def test_of_a_sound_that_is_cut_off_the_good_part_is_heard_and_told(tmp_path, kind):
    path = write(tmp_path / f"sound.{kind}", sound=tone(48_000, seconds=3.0))
    if kind == "m4a":
        faststart(path)
    told = []
    whole = read_sound(path, 16_000, told.append)
    assert not told
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3 + 1])
    part = read_sound(path, 16_000, told.append)
    assert 1.7 * 16_000 < len(part) < 2.3 * 16_000
    assert np.array_equal(part[:-2000], whole[: len(part) - 2000])
    assert told in ([len(part) / 16_000], [] if kind in ("aac", "mp3") else None)  # whose headers promise nothing


CLOCKS = {  # Matroska rounds stamps to milliseconds, of packets of 20, 21.33, 32, 24 and 23.22 ms
    "opus": ("libopus", 48_000, 0.0),
    "opus later": ("libopus", 48_000, 0.2),
    "aac": ("aac", 48_000, 0.0),
    "aac in whole milliseconds": ("aac", 32_000, 0.0),
    "mp3": ("libmp3lame", 48_000, 0.0),
    "aac of CDs, between milliseconds": ("aac", 44_100, 0.3373),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_sound_is_on_the_clock_to_half_a_sample_where_stamps_are_rounded(tmp_path, case):
    codec, rate, begin = CLOCKS[case]
    noise = np.random.default_rng(0).standard_normal(round(SECONDS * rate))
    smooth = np.convolve(noise, np.hanning(33) / 17, "same")[None]
    path = film(tmp_path / "film.mkv", (smooth / 4).astype(np.float32), rate=rate, sound_codec=codec, sound_at=begin)
    heard, first = audio.read_samples(path, 0, round(4.8 * rate), rate), round(begin * rate)
    for start in range(first, len(heard) - rate // 2, rate // 2):  # blocks begin every two seconds
        late = lag(heard[start : start + rate // 2], smooth[0, start - first : start - first + rate // 2])
        assert abs(late) <= 0.5, start / rate


def lag(heard, wanted):
    """By how many samples a sound is late: the top of the cross-correlation, of a parabola through three points."""
    size = 1 << (2 * len(wanted)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)), size)
    top = int(cross.argmax())
    before, here, after = cross[[top - 1, top, (top + 1) % size]]
    return (top + size // 2) % size - size // 2 + (before - after) / (2 * (before - 2 * here + after))


def test_gaps_in_the_sound_are_silence_and_shift_nothing(tmp_path):
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16_000)
        track.layout = "mono"
        for start in (0, 1_600, 20_000):  # three pieces, the last after a gap
            frame = av.AudioFrame.from_ndarray(np.full((1, 1_600), 1_000, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    samples = read_sound(path, 16_000)
    assert len(samples) == 21_600
    assert (samples[:3_200] == 1_000).all()
    assert (samples[3_200:20_000] == 0).all()
    assert (samples[20_000:] == 1_000).all()


class Unstamped:
    """A container of which so many packets, the first after each seek, and all of their frames have no time stamps."""

    def __init__(self, container, count):
        self.container, self.count = container, count

    def __getattr__(self, name):
        return getattr(self.container, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.container.close()

    def demux(self, track):
        for number, packet in enumerate(self.container.demux(track)):
            frames, stamped = packet.decode(), number >= self.count
            for frame in [] if stamped else frames:
                frame.pts = None
            yield SimpleNamespace(pts=packet.pts if stamped else None, duration=None, decode=partial(list, frames))


@pytest.mark.parametrize("count", [1, 3, 10**9])
def test_first_frames_without_time_stamps_are_where_the_track_begins(tmp_path, monkeypatch, count):
    wave = np.random.default_rng(0).integers(-(2**15), 2**15, 80_000)
    path = write(tmp_path / "sound.wav", sound=(wave[None] / 2**15).astype(np.float32), rate=16_000)
    monkeypatch.setattr(audio, "open_media", lambda path, pictures: Unstamped(open_media(path, pictures), count))
    assert np.array_equal(read_sound(path, 16_000), wave)
    whole = audio.read_samples(path, 0, 80_000, 16_000)  # of several blocks, the later ones after a seek
    assert np.array_equal(whole, wave)


def test_what_is_no_sound_says_so(tmp_path):
    (tmp_path / "empty.ogg").touch()
    (tmp_path / "letter.ogg").write_text("Dear reader, " * 100)
    with pytest.raises(DataError, match="empty file"):
        read_sound(tmp_path / "empty.ogg", 16_000)
    with pytest.raises(av.error.FFmpegError):
        read_sound(tmp_path / "letter.ogg", 16_000)
    with pytest.raises(DataError, match="no sound track"):
        read_sound(write(tmp_path / "mute.mp4", numbered(3), regular(3, 25)), 16_000)


def test_damaged_sound_is_an_error(tmp_path):
    path = write(tmp_path / "sound.mp3", sound=beeps(3.0, [1.0, 2.0]))
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 3000] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises((DataError, av.error.FFmpegError)):
        read_sound(path, 16_000)


def test_a_silent_track_is_zeros(tmp_path):
    path = film(tmp_path / "film.mp4", silence(SECONDS))
    with Video(path) as video:
        assert not video.samples(0.5, 16_000 * BLOCK, 16_000).any()
