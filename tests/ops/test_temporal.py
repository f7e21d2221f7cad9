"""Moves in time: frames by number, clips and the sound that belongs to them, time reversed."""

from fractions import Fraction

import pytest
import torch

from pretext.core.rng import rng
from pretext.ops.temporal import (
    STILL,
    cut_clips,
    cut_sounds,
    opposite,
    random_clip,
    random_starts,
    reverse,
    same_moment,
    sample_span,
    take_frames,
)


def numbered(n=3, channels=2, window=10, side=4):
    """Clips each pixel of which tells its item, channel, frame and place."""
    return torch.arange(n * channels * window * side**2).float().view(n, channels, window, side, side)


def test_frames_are_taken_by_number():
    x, index = numbered(), torch.tensor([[0, 9, 3], [5, 5, 1], [2, 0, 8]])
    picked = take_frames(x, index)
    for i in range(3):
        for k in range(3):
            assert torch.equal(picked[i, :, k], x[i, :, index[i, k]])


def test_clips_are_windows_of_their_own_item():
    x, starts = numbered(), torch.tensor([0, 4, 7])
    for i, one in enumerate(cut_clips(x, starts, 3)):
        assert torch.equal(one, x[i, :, starts[i] : starts[i] + 3])


def test_several_clips_of_an_item_come_item_by_item():
    x, starts = numbered(), torch.tensor([[0, 7], [4, 1], [2, 2]])
    parts = cut_clips(x, starts, 3)
    assert parts.shape == (6, 2, 3, 4, 4)
    for row in range(6):
        i, k = divmod(row, 2)
        assert torch.equal(parts[row], x[i, :, starts[i, k] : starts[i, k] + 3])


@pytest.mark.parametrize(("window", "samples"), [(12, 240), (24, 15360), (30, 16016), (7, 100), (25, 8000), (16, 17)])
def test_frame_i_begins_at_sample_round_i_l_over_w(window, samples):
    for frames in range(1, window + 1):
        starts = torch.arange(window - frames + 1)
        first, count = sample_span(starts, frames, window, samples)
        assert count == int(Fraction(frames * samples, window) + Fraction(1, 2))  # a half is rounded up
        exact = [int(Fraction(i * samples, window) + Fraction(1, 2)) for i in starts.tolist()]
        assert all(at <= samples - count + 1 for at in exact)
        assert first.tolist() == [min(at, samples - count) for at in exact]  # by one at most, and never beyond the end


def test_the_sound_of_a_clip_is_that_of_its_frames():
    x = torch.arange(240.0).view(1, 1, -1).repeat(2, 1, 1)  # each sample tells its number
    cut = cut_sounds(x, torch.tensor([0, 5]), frames=4, window=12)
    assert torch.equal(cut[0, 0], torch.arange(80.0))
    assert torch.equal(cut[1, 0], torch.arange(100.0, 180.0))
    several = cut_sounds(x, torch.tensor([[0, 5], [8, 1]]), frames=4, window=12)
    assert several[:, 0, 0].tolist() == [0, 100, 160, 20]


def test_reversing_twice_changes_nothing_and_once_turns_the_order():
    for x in (torch.rand(2, 3, 5, 4, 4), torch.rand(2, 1, 5, 4, 4), torch.rand(2, 1, 50)):
        assert torch.equal(reverse(reverse(x)), x)
        last = -1 if x.ndim == 3 else 2
        assert torch.equal(reverse(x).select(last, 0), x.select(last, -1))


def test_flow_is_also_negated_exactly_as_its_bytes_would_be():
    values = torch.arange(1, 256).float().view(1, 1, -1, 1, 1).expand(1, 2, -1, 2, 2)
    backward = reverse(values / 255)
    expected = (256 - values.flip(2)) / 255
    torch.testing.assert_close(backward, expected, rtol=0, atol=2e-7)
    torch.testing.assert_close(reverse(backward), values / 255, rtol=0, atol=2e-7)
    assert opposite(torch.tensor(STILL)) == torch.tensor(STILL)  # what stands still does so backwards


def test_starts_are_uniform_over_all_that_fit_and_on_no_other():
    starts = random_starts(9000, window=10, frames=8, rng=rng("cpu", "starts"))
    counts = starts.bincount(minlength=3)
    assert len(counts) == 3
    assert (counts - 3000).abs().max() < 4 * (9000 * 2 / 9) ** 0.5
    assert random_starts(5, window=8, frames=8, rng=rng("cpu")).tolist() == [0] * 5


class Asker:
    """Who asks; errors name it."""


def test_the_same_moment_is_cut_out_of_pictures_and_sound():
    frames = torch.arange(12.0).view(1, 1, -1, 1, 1).repeat(50, 3, 1, 2, 2)
    x = {"rgb": frames, "audio": torch.arange(12.0).repeat_interleave(20).repeat(50, 1, 1)}  # both tell the moment
    cut = same_moment(Asker(), x, "rgb", "audio", 5, rng("cpu", "moment"))
    assert torch.equal(cut["rgb"][:, 0, :, 0, 0].repeat_interleave(20, 1), cut["audio"][:, 0])
    assert len(set(cut["audio"][:, 0, 0].tolist())) == 8  # every start that fits is drawn
    whole = same_moment(Asker(), x, "rgb", "audio", None, rng("cpu", "moment"))
    assert torch.equal(whole["audio"], x["audio"])


def test_what_is_missing_or_too_short_is_said():
    x = {"rgb": torch.rand(2, 3, 6, 4, 4), "audio": torch.rand(2, 1, 60)}
    with pytest.raises(ValueError, match=r"Asker: wants a batch of 'rgb' and 'flow', got one of rgb, audio; set mod"):
        same_moment(Asker(), x, "rgb", "flow", 3, rng("cpu"))
    with pytest.raises(ValueError, match=r"Asker: clips of 7 frames do not fit windows of 6; raise `window`"):
        same_moment(Asker(), x, "rgb", "audio", 7, rng("cpu"))
    with pytest.raises(ValueError, match=r"Asker: frames=7, but the windows have 6; lower it, or raise window"):
        random_clip(Asker(), x["rgb"], 7, rng("cpu"))
