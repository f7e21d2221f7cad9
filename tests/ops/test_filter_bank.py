"""The filter bank that serves where torchaudio cannot be loaded, held against torchaudio's."""

import sys

import pytest
import torch
from tolerance import assert_rounded
from torchaudios import needs_torchaudio, torchaudio

from pretext.ops.filter_bank import melscale_fbanks, own_fbanks
from pretext.ops.mel import LogMel

BANKS = [
    (201, 60.0, 8000.0, 64, 16000),
    (1024, 20.0, 22050.0, 128, 44100),
    (129, 0.0, 4000.0, 40, 8000),
    (257, 300.0, 3400.0, 23, 16001),
]


@needs_torchaudio
@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
@pytest.mark.parametrize("norm", [None, "slaney"])
@pytest.mark.parametrize("bank", BANKS, ids=str)
def test_it_is_torchaudios(bank, norm, mel_scale):
    theirs = torchaudio.functional.melscale_fbanks(*bank, norm, mel_scale)
    # Corners up to the highest pitch are rounded by ten operations, and no half of a band here is narrower than 10 Hz.
    error = bank[2] / 10 * float(theirs.max())
    assert_rounded(own_fbanks(*bank, norm, mel_scale), theirs, operations=10, magnitude=error)


@pytest.mark.parametrize("mel_scale", ["htk", "slaney"])
def test_bands_are_triangles_of_height_1_or_of_one_area(mel_scale):
    """Between the highest points of the first and the last band the weights of a pitch add up to 1."""
    bank = own_fbanks(20001, 100.0, 8000.0, 30, 16000, None, mel_scale)
    peaks = bank.argmax(0)
    assert (peaks.diff() > 0).all()
    between = bank[peaks[0] + 1 : peaks[-1]].sum(1)
    torch.testing.assert_close(between, torch.ones_like(between))
    areas = own_fbanks(20001, 100.0, 8000.0, 30, 16000, "slaney", mel_scale).sum(0) * (8000 / 20000)
    torch.testing.assert_close(areas, torch.ones(30), rtol=1e-3, atol=0)  # of a triangle, by sums over a grid of 0.4 Hz


@pytest.fixture(params=["ImportError", "OSError", "RuntimeError"])
def broken(request, tmp_path, monkeypatch):
    """Put a torchaudio first that refuses to load, in one of the ways in which the real one does."""
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise {request.param}('built for another torch')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)


def test_sound_is_seen_without_torchaudio(broken):
    net = LogMel()
    assert torch.equal(net.filters, own_fbanks(*BANKS[0]))
    time = torch.arange(4000) / 16000
    picture = net(torch.sin(2 * torch.pi * 1000 * time)[None, None])
    assert picture.shape == (1, 1, 64, 23)
    assert len(picture[0, 0].argmax(0).unique()) == 1


@needs_torchaudio
def test_torchaudios_is_taken_where_it_can_be_loaded(monkeypatch):
    monkeypatch.setattr(torchaudio.functional, "melscale_fbanks", lambda *options: options)
    assert melscale_fbanks(*BANKS[0]) == (*BANKS[0], None, "htk")
