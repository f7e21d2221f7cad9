"""LogMel, held against torchaudio's, pure tones and what a fixed scale must keep."""

import copy
import math
import pickle

import pytest
import torch
from tolerance import DECIBELS
from torchaudios import needs_torchaudio, torchaudio

from pretext.core.rng import rng
from pretext.ops.mel import LogMel

RATE = 16000


def noise(n=2, samples=4000, level=0.1):
    return level * torch.randn(n, 1, samples, generator=rng("cpu", "mel")).clamp(-3, 3)


def tone(hertz, samples=4000, level=1.0, rate=RATE):
    time = torch.arange(samples, dtype=torch.float64) / rate
    return (level * torch.sin(2 * math.pi * hertz * time)).float()[None, None]


def decibels(x, **options):
    return LogMel(mean=0, spread=1, **options)(x)


def mel_of(hertz):
    return 2595 * math.log10(1 + hertz / 700)


@needs_torchaudio
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rate": 8000, "window": 0.032, "hop": 0.016, "bands": 40, "low": 0.0},
        {"rate": 44100, "window": 0.0464, "bands": 128},
    ],
    ids=str,
)
def test_it_is_torchaudios_in_decibels_of_a_full_scale_sine(options):
    net, x = LogMel(mean=0, spread=1, **options), noise()
    theirs = torchaudio.transforms.MelSpectrogram(
        net.rate, net.window, hop_length=net.hop, f_min=net.low, f_max=net.rate / 2, n_mels=net.bands, center=False
    )(x)
    torch.testing.assert_close(net(x), 10 * torch.log10(theirs / (net.window / 4) ** 2 + 1e-8), rtol=0, atol=DECIBELS)


@pytest.mark.parametrize("hertz", [200, 440, 1000, 2500, 5000, 7500])
def test_a_pure_tone_is_loudest_in_its_own_band(hertz):
    loudness, bands = decibels(tone(hertz)), 64
    step = (mel_of(RATE / 2) - mel_of(60)) / (bands + 1)  # band i is centred i + 1 steps above the lowest pitch
    position = (mel_of(hertz) - mel_of(60)) / step - 1
    found = loudness[0, 0].argmax(0)
    assert len(found.unique()) == 1, "the same in every frame"
    assert abs(found[0].item() - position) <= 1
    far = [i for i in range(bands) if abs(i - position) > 6]
    assert (loudness[0, 0, far] < loudness.max() - 40).all()


def test_a_full_scale_sine_is_about_0_decibels_and_silence_80_below():
    assert decibels(tone(1000)).max().item() == pytest.approx(0, abs=2)  # its peak is spread over three pitches
    torch.testing.assert_close(decibels(torch.zeros(1, 1, 4000)), torch.full((1, 1, 64, 23), -80.0))


def test_the_default_scale_is_fixed_and_affine():
    torch.testing.assert_close(LogMel()(noise()) * 18 - 55, decibels(noise()), rtol=0, atol=DECIBELS)


def test_a_tenth_of_the_loudness_is_a_hundredth_of_the_power_wherever_it_is():
    """Nothing is normalised by item: the scale is the same for all waveforms, down to the floor of -80 dB."""
    x = noise().double()
    power, less = (10 ** (decibels(level * x) / 10) - 1e-8 for level in (1.0, 0.1))
    torch.testing.assert_close(power, 100 * less, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("samples", [400, 559, 560, 561, 16000])
def test_the_frames_are_the_windows_that_fit(samples):
    assert LogMel()(noise(samples=samples)).shape == (2, 1, 64, 1 + (samples - 400) // 160)


def test_a_frame_sees_its_own_samples_alone():
    net, x = LogMel(), noise()
    changed = x.clone()
    changed[:, :, 1600:1700] = 0
    moved = (net(x) != net(changed)).any(0).any(0).any(0).nonzero().flatten().tolist()
    assert moved == [i for i in range(23) if i * 160 + 400 > 1600 and i * 160 < 1700]


def test_moved_by_whole_hops_the_frames_are_the_same():
    """So the ends of a waveform look like any other place: nothing tells where in a recording it was cut."""
    net, x = LogMel(), noise()
    torch.testing.assert_close(net(x[:, :, 5 * 160 :]), net(x)[..., 5:], rtol=0, atol=DECIBELS / 18)


def test_an_item_is_seen_alone():
    net, x = LogMel(), noise(3)
    torch.testing.assert_close(net(x)[1:2], net(x[1:2]), rtol=0, atol=DECIBELS / 18)


def test_full_precision_inside_whatever_surrounds_it():
    net, x = LogMel(), noise()
    with torch.autocast("cpu", torch.bfloat16):
        inside = net(x)
    assert torch.equal(inside, net(x))
    coarse = net(x.bfloat16())
    assert coarse.dtype == torch.bfloat16
    assert torch.equal(coarse, net(x.bfloat16().float()).bfloat16())
    exact = LogMel().double()(x.double())
    assert exact.dtype == torch.float64
    torch.testing.assert_close(exact.float(), net(x), rtol=0, atol=DECIBELS / 18)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["copy", "pickle"])
def test_a_copy_hears_the_same_and_nothing_is_saved(how):
    net = LogMel(bands=40)
    assert torch.equal(how(net)(noise()), net(noise()))
    assert net.state_dict() == {}


def test_the_gradient_reaches_the_sound():
    x = noise().requires_grad_()
    LogMel()(x).sum().backward()
    assert x.grad.isfinite().all()
    assert x.grad.any()


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(2, 1, 399), ValueError, r"at least 400 samples \(0.025 s at 16000 Hz\), got \(2, 1, 399\)"),
        (torch.zeros(2, 2, 4000), ValueError, r"reads waveforms \(N, 1, L\).*mix channels down"),
        (torch.zeros(2, 4000), ValueError, r"got \(2, 4000\)"),
        (torch.zeros(2, 1, 4000, dtype=torch.int16), TypeError, "got torch.int16; divide 16-bit samples by 32768"),
    ],
)
def test_what_is_no_waveform_is_refused(x, error, message):
    with pytest.raises(error, match=f"LogMel: .*{message}"):
        LogMel()(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 0.0}, r"hop=0.0 \(0\)"),
        ({"window": 0.0}, r"window=0.0 \(0 samples\)"),
        ({"bands": 0}, "bands=0"),
        ({"spread": 0.0}, "spread=0.0"),
        ({"low": 8000.0}, "low=8000.0, rate=16000"),
        ({"bands": 128}, "40 Hz apart, which may leave some of 128 bands from 60 to 8000 Hz empty; take fewer"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"LogMel: .*{message}"):
        LogMel(**options)


def test_no_band_is_empty_where_none_is_refused():
    for bands in (8, 16, 40, 64, 80):
        assert (LogMel(bands=bands).filters.sum(0) > 0).all()


def test_it_tells_its_settings():
    assert "rate=16000, window=0.025, hop=0.01, bands=64, low=60.0, mean=-55.0, spread=18.0" in repr(LogMel())
