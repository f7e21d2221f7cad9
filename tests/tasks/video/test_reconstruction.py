"""Reconstruction: clips and sounds are asked for as they are, a blind guess costs 1, and what was seen is learnt."""

from functools import partial

import pytest
import torch
from clips import TinySound, TinyVideo, av_batch, moving
from descent import descend
from nets import TinyNet

from pretext.backbones.audio import Sound
from pretext.core.rng import rng
from pretext.ops.drawing import film_strip, spectrogram
from pretext.ops.mel import LogMel
from pretext.tasks.video.reconstruction import Reconstruction
from pretext.testing import check_task

MEL = LogMel(rate=400, window=0.16, hop=0.04, bands=6, low=0.0)  # 240 samples: 6 bands x 12 moments
CLIPS = partial(Reconstruction, frames=3, width=8)
SOUNDS = partial(Reconstruction, mel=MEL, width=8)


def pose(task, x, *parts):
    return task.pose(x, rng("cpu", "reconstruction", *parts))


def sounds(n=8, key=0):
    return av_batch(n, key=key)["audio"]


# No content-free kinds: noise can rightly be drawn again by whoever sees it.
@pytest.mark.parametrize("channels", [3, 2, 1], ids=["rgb", "flow", "grey"])
def test_it_keeps_the_contract_on_clips(channels):
    check_task(partial(CLIPS, channels=channels), TinyVideo(channels), moving(8, 5)[:, :channels], kinds=())


def test_it_keeps_the_contract_on_whole_windows():
    check_task(partial(Reconstruction, width=8), TinyVideo(), moving(8, 3), kinds=(), random=False)


def test_it_keeps_the_contract_on_sound():
    check_task(SOUNDS, TinySound(), sounds(), kinds=(), random=False)


def test_it_keeps_the_contract_on_maps_with_pitch():
    net = Sound(TinyNet(), rate=400, bands=6, window=0.16, hop=0.04, low=0.0)
    check_task(SOUNDS, net, sounds(), kinds=(), random=False)


def test_a_clip_from_anywhere_in_its_window_is_asked_for_as_it_is_shown():
    x = torch.arange(7.0).view(1, 1, 7, 1, 1) + torch.rand(5, 3, 7, 6, 6, generator=rng("cpu", "clips")) / 2
    firsts = []
    for step in range(20):
        question, answer, given = pose(CLIPS(TinyVideo()), x, step)
        number = question[:, 0, :, 0, 0].floor()
        assert torch.equal(number, number[:, :1] + torch.arange(3))
        torch.testing.assert_close(answer, question.unflatten(4, (3, 2)).unflatten(3, (3, 2)).mean((4, 6)))
        assert given.picture.shape == (1, 3, 3, 3, 3)
        firsts.append(number[:, 0])
    assert torch.cat(firsts).unique().tolist() == [0, 1, 2, 3, 4]
    whole = pose(Reconstruction(TinyVideo(), shrink=1), x)
    assert torch.equal(whole.question, x)
    assert torch.equal(whole.answer, x)


def test_of_sound_its_log_mel_is_asked_for():
    x = sounds(4)
    question, answer, given = pose(SOUNDS(TinySound()), x)
    assert torch.equal(question, x)
    mel = MEL(x)
    assert mel.shape == (4, 1, 6, 12)
    torch.testing.assert_close(answer[:, :, 0], mel.unflatten(3, (6, 2)).unflatten(2, (3, 2)).mean((3, 5)))
    assert given.picture.shape == (1, 1, 1, 3, 6)


def test_a_shallower_stage_can_be_read():
    assert SOUNDS(TinySound(width=3), stage="conv1").decoder.layers[0].in_channels == 3
    assert SOUNDS(TinySound(width=3)).decoder.layers[0].in_channels == 6


def learnt(task, net, draw, steps=150):
    """Train on fresh batches, then give the loss on one never seen."""

    def loss(step):
        puzzle = pose(task, draw(step), step)
        return task.grade(task.solve(net(puzzle.question), puzzle.given), puzzle.answer).loss

    descend((net, task), loss, steps, 0.015)
    net.eval()
    return loss(steps).item()


def test_clips_are_learnt():
    torch.manual_seed(0)
    net = TinyVideo()
    assert learnt(CLIPS(net), net, lambda step: moving(16, 4, key=step)) < 0.4


def test_sounds_are_learnt():
    torch.manual_seed(0)
    net = TinySound()
    assert learnt(SOUNDS(net), net, lambda step: sounds(16, key=step)) < 0.4


@pytest.mark.parametrize("net", [TinyVideo(), TinySound()], ids=["clips", "sound"])
def test_the_truth_costs_nothing_and_the_mean_1(net):
    task = (CLIPS if net.axes == "thw" else SOUNDS)(net)
    _, answer, given = pose(task, moving(4, 4) if net.axes == "thw" else sounds(4))
    assert task.grade(answer, answer).loss == 0
    blind = given.picture.expand_as(answer)
    assert task.grade(blind, answer).loss.item() == pytest.approx(1, abs=1e-4) == task.chance().loss


def test_networks_for_images_are_refused():
    with pytest.raises(ValueError, match="Reconstruction needs a backbone with an axis 't', but TinyNet reads 'hw'"):
        Reconstruction(TinyNet())


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        (TinyVideo(), {"frames": 0}, "frames=0"),
        (TinyVideo(), {"channels": 0}, "channels=0"),
        (TinyVideo(), {"shrink": 0}, "shrink=0"),
        (TinyVideo(), {"mel": MEL}, "mel belongs to sound"),
        (TinySound(), {"frames": 4}, "frames=4 belongs to clips"),
    ],
)
def test_options_out_of_range_or_of_the_other_kind_are_errors(net, options, message):
    with pytest.raises(ValueError, match=f"Reconstruction: .*{message}"):
        Reconstruction(net, **options)


def test_what_does_not_fit_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"wants clips \(N, 3, W, H, W\), got \(2, 1, 4, 8, 8\); set channels"):
        pose(CLIPS(TinyVideo()), torch.rand(2, 1, 4, 8, 8))
    with pytest.raises(ValueError, match="frames=3, but the windows have 2; lower it, or raise window"):
        pose(CLIPS(TinyVideo()), torch.rand(2, 3, 2, 8, 8))
    with pytest.raises(ValueError, match=r"wants waveforms \(N, 1, L\), got \(2, 3, 4, 8, 8\)"):
        pose(SOUNDS(TinySound()), torch.rand(2, 3, 4, 8, 8))


def test_the_drawing_of_clips_shows_strips():
    x, task = moving(2, 3), CLIPS(TinyVideo())
    puzzle = pose(task, x)
    rows = task.draw(puzzle, puzzle.answer)
    for i, (asked, answer, predicted) in enumerate(rows):
        assert torch.equal(asked.image, film_strip(puzzle.question[i]))
        assert torch.equal(answer.image, film_strip(puzzle.answer[i]))
        assert torch.equal(predicted.image, answer.image)
        assert predicted.caption.startswith("prediction: 0.00")
    assert [len(row) for row in task.draw(puzzle, None)] == [2, 2]


def test_the_drawing_of_sounds_has_the_low_pitch_at_the_bottom_and_one_scale():
    time = torch.arange(240) / 400
    low, high = (torch.sin(2 * torch.pi * pitch * time) for pitch in (25, 150))
    x, task = torch.stack((low, 0.01 * high)).unsqueeze(1), SOUNDS(TinySound(), shrink=1)
    puzzle = pose(task, x)
    (first, second) = task.draw(puzzle, puzzle.answer)
    assert torch.equal(first[0].image, spectrogram(x[0]))
    assert first[1].image.shape == (3, 6, 12)
    assert first[1].image[0].mean(1).argmax() >= 4  # of 6 rows, the highest is 0
    assert second[1].image[0].mean(1).argmax() <= 2
    assert first[1].image.max() == 1
    assert second[1].image.max() < 0.9
    assert all(torch.equal(row[1].image, row[2].image) for row in (first, second))
