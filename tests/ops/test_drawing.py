"""Drawings of clips and sounds say what they show."""

import math

import torch

from pretext.ops.drawing import GAP, film_strip, numbers, spectrogram, written
from pretext.ops.temporal import STILL


def test_a_film_shows_first_to_last_frame_from_left_to_right():
    clip = torch.linspace(0, 1, 9).view(1, 9, 1, 1).expand(3, 9, 4, 6)
    strip = film_strip(clip, frames=3)
    assert strip.shape == (3, 4, 3 * 6 + 2 * GAP)
    step = 6 + GAP
    assert [strip[0, 0, k * step].item() for k in range(3)] == [0.0, 0.5, 1.0]
    assert (strip[..., 6 : 6 + GAP] == 1).all()


def test_a_short_clip_shows_what_it_has_and_grey_has_no_colour():
    strip = film_strip(torch.rand(1, 2, 5, 5))
    assert strip.shape == (3, 5, 2 * 5 + GAP)
    assert torch.equal(strip[0], strip[1])
    assert film_strip(torch.rand(3, 1, 5, 5)).shape == (3, 5, 5)


def test_motion_has_colour_where_it_is_and_opposite_motions_opposite_colours():
    still = torch.full((2, 1, 2, 2), STILL)
    assert (film_strip(still) == 1).all()
    for speed in (0.05, 0.3):  # the fastest of what is drawn together has full colour
        right, left = still.clone(), still.clone()
        right[0, :, 0, 0] += speed
        right[0, :, 0, 1] += speed / 2
        left[0] -= speed
        torch.testing.assert_close(film_strip(right)[:, 0, 0], torch.tensor([1.0, 0.25, 0.25]))
        torch.testing.assert_close(film_strip(right)[:, 0, 1], torch.tensor([1.0, 0.625, 0.625]))
        assert (film_strip(right)[:, 1] == 1).all()
        torch.testing.assert_close(film_strip(left)[:, 0, 0], torch.tensor([0.0, 0.75, 0.75]))


def test_a_high_tone_stands_above_a_low_one_and_later_sound_to_the_right():
    time = torch.arange(8000) / 16000
    low, high = (torch.sin(2 * math.pi * pitch * time) for pitch in (500, 6000))
    silence = torch.zeros(8000)
    picture = spectrogram(torch.cat((low, silence, high))[None])
    bright = picture.sum(0)
    third = bright.shape[1] // 3
    rows = [bright[:, k * third + 5 : (k + 1) * third - 5].mean(1) for k in range(3)]
    assert rows[0].argmax() > rows[2].argmax()  # row 0 is the highest pitch
    assert rows[1].max() < 0.5 * min(rows[0].max(), rows[2].max())


def test_silence_and_a_click_can_be_drawn():
    for wave in (torch.zeros(1, 16000), torch.zeros(1, 10), torch.ones(1, 100)):
        picture = spectrogram(wave)
        assert picture.isfinite().all()
        assert 0 <= picture.min() <= picture.max() <= 1


def test_numbers_of_a_grid_have_a_picture_each_wherever_they_stand():
    order = torch.tensor([11, 0, 3, 2, 1, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15])

    def cells(order):
        picture = numbers(order, 4)[0, 1:, 1:]
        return [picture[12 * (k // 4) :, 12 * (k % 4) :][:11, :11] for k in range(16)]

    drawn = dict(zip(order.tolist(), cells(order), strict=True))
    again = dict(zip(order.flip(0).tolist(), cells(order.flip(0)), strict=True))
    assert all(torch.equal(drawn[number], again[number]) for number in drawn)
    assert len({tuple(cell.flatten().tolist()) for cell in drawn.values()}) == 16
    assert [int((1 - drawn[number]).sum()) for number in (0, 6, 7)] == [8, 7, 13]  # ink of 1, 7 and 8


def test_texts_are_written_in_boxes_of_one_size_and_none_runs_over_its_edge():
    texts = ["a red ring", "a blue ring", "a ring " * 30, "W" * 200, ""]
    boxes = [written(text) for text in texts]
    assert len({box.shape for box in boxes}) == 1
    ink = [float((box < 0.5).float().mean()) for box in boxes]
    assert ink[4] == 0 < ink[0] < ink[2]
    assert not torch.equal(boxes[0], boxes[1])
    for box in boxes:
        assert min(float(edge.min()) for edge in (box[0, 0], box[0, -1], box[0, :, 0], box[0, :, -1])) > 0.9
