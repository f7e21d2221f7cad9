"""Augmentation: torchvision is the reference, factor by factor; draws are per sample and from the key alone."""

import pytest
import torch
from torch.nn import functional
from torchvision.transforms.v2 import functional as reference

from pretext.core.rng import rng
from pretext.views.augment import Augment
from pretext.views.colour import brightness, contrast, hue, saturation
from pretext.views.crop import resized_crop


def key(*parts):
    return rng("cpu", "augment", *parts)


def photos(n=6, side=20):
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=key("photos"))


def coordinates(n, side):
    """Canvases that say where a pixel came from: its row in channel 0, its column in channel 1."""
    line = torch.arange(side, dtype=torch.uint8)
    rows, columns = line[:, None].expand(side, side), line.expand(side, side)
    return torch.stack((rows, columns, rows)).expand(n, -1, -1, -1).contiguous()


@pytest.mark.parametrize(
    ("mine", "theirs", "factors"),
    [
        (brightness, reference.adjust_brightness, [0.0, 0.4, 1.0, 1.3, 2.5]),
        (contrast, reference.adjust_contrast, [0.0, 0.4, 1.0, 1.3, 2.5]),
        (saturation, reference.adjust_saturation, [0.0, 0.4, 1.0, 1.3, 2.5]),
        (hue, reference.adjust_hue, [-0.5, -0.13, 0.0, 0.2, 0.5]),
    ],
)
def test_each_colour_change_is_torchvisions(mine, theirs, factors):
    x = torch.rand(len(factors), 3, 9, 9, generator=key())
    x[:, :, 0] = x[:, :1, 0]  # a grey row, which has no hue
    x[:, :, 1, :3] = torch.eye(3)  # pure colours
    out = mine(x, torch.tensor(factors).view(-1, 1, 1, 1))
    for image, before, factor in zip(out, x, factors, strict=True):
        torch.testing.assert_close(image, theirs(before, factor), rtol=0, atol=3e-6)


def test_a_third_of_a_turn_makes_red_green():
    red = torch.tensor([0.8, 0.1, 0.1]).view(1, 3, 1, 1)
    torch.testing.assert_close(hue(red, torch.tensor(1 / 3)).flatten(), torch.tensor([0.1, 0.8, 0.1]))


@pytest.mark.parametrize("side", [8, 20, 31])
@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("heights", [[24.0, 17, 8, 10, 20], [24.0, 5, 15, 3, 22]], ids=["square", "oblong"])
def test_a_resized_crop_is_torchvisions_antialiased_one(side, flipped, heights):
    x = torch.rand(5, 3, 24, 24, generator=key())
    top, left = torch.tensor([0, 5, 3, 14, 2]), torch.tensor([0, 1, 9, 14, 0])
    height, width = torch.tensor(heights), torch.tensor([24.0, 17, 8, 10, 20])
    out = resized_crop(x, top, left, height, width, side, torch.full((5,), flipped))
    for i in range(5):
        box = (int(top[i]), int(left[i]), int(height[i]), int(width[i]))
        wanted = reference.resized_crop(x[i], *box, [side, side], antialias=True)
        torch.testing.assert_close(out[i], wanted.flip(-1) if flipped else wanted, rtol=0, atol=1e-5)


def test_resizing_keeps_its_precision_under_autocast():
    x, zero, box = (
        torch.rand(2, 3, 16, 16, generator=key()),
        torch.zeros(2, dtype=torch.int64),
        torch.tensor([16.0, 11]),
    )
    arguments = (x, zero, zero, box, box.flip(0), 8, torch.zeros(2, dtype=torch.bool))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = resized_crop(*arguments)
    assert torch.equal(mixed, resized_crop(*arguments))


def test_a_native_crop_is_a_window_of_the_canvas_bit_for_bit():
    x = coordinates(200, 12)
    out = Augment(crop=8)(x, key())
    corners = (out[:, :2] * 255).round().long()
    seen = set()
    for image, where in zip(out, corners, strict=True):
        top, ends = int(where[0, 0, 0]), sorted((int(where[1, 0, 0]), int(where[1, 0, -1])))
        window = x[0, :, top : top + 8, ends[0] : ends[0] + 8] / 255
        flipped = where[1, 0, 0] > where[1, 0, -1]
        assert torch.equal(image, window.flip(-1) if flipped else window)
        seen.add((top, ends[0], bool(flipped)))
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(5))
    assert {flipped for _, _, flipped in seen} == {False, True}


def test_zeros_pad_as_torchvisions_random_crop_does():
    x = photos()
    out = Augment(pad=3, flip=False, border="zero")(x, key())
    side = x.shape[-1]
    windows = functional.pad(x / 255, (3, 3, 3, 3)).unfold(2, side, 1).unfold(3, side, 1)  # (N, 3, 7, 7, side, side)
    same = (windows == out[:, :, None, None]).all(-1).all(-1).all(1)  # (N, 7, 7): which place a window is from
    assert same.flatten(1).any(1).all()
    assert len({int(place) for place in same.flatten(1).int().argmax(1)}) > 1
    flipped = Augment(pad=3, border="zero")(x, key())
    either = (flipped == out).flatten(1).all(1) | (flipped.flip(-1) == out).flatten(1).all(1)
    assert either.all()


def test_padding_reflects_as_torch_does():
    x = photos(50, 10)
    out = Augment(pad=3, flip=False)(x, key())
    assert out.shape == (50, 3, 10, 10)
    padded = functional.pad(x / 255, (3, 3, 3, 3), mode="reflect")
    windows = padded.unfold(2, 10, 1).unfold(3, 10, 1)  # (N, 3, 7, 7, 10, 10)
    hits = (windows == out[:, :, None, None]).all(dim=(1, 4, 5)).flatten(1)
    assert hits.any(1).all()
    assert len(hits.nonzero()[:, 1].unique()) > 25  # of 49 corners, in 50 draws


def test_offsets_are_uniform_and_half_are_mirrored():
    out = (Augment(crop=8)(coordinates(4000, 11), key()) * 255).round().long()
    tops, mirrored = out[:, 0, 0, 0], out[:, 1, 0, 0] > out[:, 1, 0, -1]
    expected, deviation = 4000 / 4, (4000 * 0.25 * 0.75) ** 0.5
    assert (tops.bincount(minlength=4) - expected).abs().max() < 4 * deviation
    assert abs(mirrored.float().mean() - 0.5) < 4 * 0.5 / 4000**0.5


def test_factors_fill_their_range_and_no_more():
    """A constant image's value is its factor."""
    x = torch.full((2000, 3, 1, 1), 0.5)
    factors = 2 * Augment(brightness=0.4)(x, key())[:, 0].flatten()
    assert 0.6 <= factors.min() < 0.61
    assert 1.39 < factors.max() <= 1.4
    assert abs(factors.mean() - 1) < 4 * 0.8 / 12**0.5 / 2000**0.5


def test_a_share_of_the_area_is_the_windows_size():
    """The step between result pixels says how large the window was."""
    out = Augment(crop=20, scale=(0.25, 1.0), flip=False)(coordinates(500, 40), key()) * 255
    box = (out[:, 1, 10, 15] - out[:, 1, 10, 5]) / 10 * 20
    shares = (box / 40) ** 2
    assert 0.24 < shares.min() < 0.27
    assert 0.98 < shares.max() < 1.01
    assert abs(shares.mean() - 0.625) < 4 * 0.75 / 12**0.5 / 500**0.5


def boxes(n=3000, **options):
    """Heights and widths of the boxes, as shares of the canvas's side: a step between result pixels tells them."""
    out = Augment(crop=20, flip=False, **options)(coordinates(n, 80), key()) * 255
    # Borders are left out: there the triangle is cut off.
    return (out[:, 0, 15, 10] - out[:, 0, 5, 10]) / 10 / 4, (out[:, 1, 10, 15] - out[:, 1, 10, 5]) / 10 / 4


def test_ratios_are_log_uniform_and_keep_the_area():
    height, width = boxes(scale=(0.3, 0.5), aspect=(0.5, 2.0))
    ratios, shares = (width / height).log2(), height * width
    assert -1.06 < ratios.min() < -0.9
    assert 0.9 < ratios.max() < 1.06
    assert abs(ratios.mean()) < 4 * 2 / 12**0.5 / 3000**0.5
    assert ratios.std() == pytest.approx(2 / 12**0.5, rel=0.05)
    assert abs(shares.mean() - 0.4) < 4 * 0.2 / 12**0.5 / 3000**0.5 + 0.002  # and the rounding to whole pixels


def test_a_ratio_that_does_not_fit_is_brought_to_one_that_does():
    """Half of the canvas, wanted five to eight times as wide as high: as wide as the canvas, and half as high."""
    height, width = boxes(100, scale=(0.5, 0.5), aspect=(5.0, 8.0))
    torch.testing.assert_close(width, torch.ones(100), rtol=0, atol=0.01)
    torch.testing.assert_close(height, torch.full((100,), 0.5), rtol=0, atol=0.01)
    height, width = boxes(100, scale=(0.5, 1.0), aspect=(0.01, 100.0))
    assert max(height.max(), width.max()) < 1.01
    assert (height * width).min() > 0.48


def test_oblong_boxes_lie_anywhere_in_the_canvas():
    out = Augment(crop=1, scale=(0.2, 0.2), aspect=(0.8, 0.8), flip=False)(coordinates(3000, 10), key())
    centres = (out[:, :2] * 255).flatten(1)  # boxes of 5 x 4 (height x width): 6 rows, 7 columns to start from
    assert centres[:, 0].round(decimals=2).unique().tolist() == pytest.approx([2, 3, 4, 5, 6, 7], abs=0.01)
    assert centres[:, 1].round(decimals=2).unique().tolist() == pytest.approx(
        [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5], abs=0.01
    )


def test_a_share_of_the_images_loses_its_colour_and_keeps_its_luma():
    x = torch.rand(3000, 3, 2, 2, generator=key("colours"))
    out = Augment(flip=False, grey=0.2)(x, key())
    drained = (out == out[:, :1]).flatten(1).all(1)
    assert abs(drained.float().mean() - 0.2) < 4 * (0.2 * 0.8 / 3000) ** 0.5
    assert torch.equal(out[~drained], x[~drained])
    torch.testing.assert_close(out[drained], reference.rgb_to_grayscale(x[drained], 3))
    assert torch.equal(Augment(flip=False, grey=1.0)(x, key())[drained], out[drained])


def test_a_share_of_the_images_is_jittered_at_all():
    x = torch.rand(3000, 3, 2, 2, generator=key("colours"))
    every = Augment(flip=False, brightness=0.4, hue=0.1)(x, key())
    some = Augment(flip=False, brightness=0.4, hue=0.1, jitter=0.8)(x, key())
    touched = (some != x).flatten(1).any(1)
    assert abs(touched.float().mean() - 0.8) < 4 * (0.2 * 0.8 / 3000) ** 0.5
    assert torch.equal(some[touched], every[touched])


def test_the_first_draws_are_eight_uniforms_a_sample():
    """What a key drew once it always draws: flip, row, column, area, then four colours."""
    x, draws = torch.full((50, 3, 1, 1), 0.5), torch.rand(50, 8, generator=key())
    out = Augment(brightness=0.4)(x, key())
    torch.testing.assert_close(out[:, 0].flatten(), 0.5 * (0.6 + 0.8 * draws[:, 4]))
    tops = (Augment(crop=8, flip=False)(coordinates(50, 11), key())[:, 0, 0, 0] * 255).round()
    assert torch.equal(tops, (4 * draws[:, 1]).floor())


def test_new_draws_move_no_old_ones_and_are_apart_from_one_another():
    x = photos(200)
    plain = Augment(crop=12, scale=(0.3, 1.0), brightness=0.4)
    faint = Augment(crop=12, scale=(0.3, 1.0), brightness=0.4, aspect=(1 - 1e-7, 1.0), grey=1e-9, jitter=1 - 1e-7)
    torch.testing.assert_close(plain(x, key()), faint(x, key()), rtol=0, atol=1e-5)
    colours = torch.rand(3000, 3, 1, 1, generator=key("colours"))
    both = Augment(brightness=0.4, grey=0.5, jitter=0.5)(colours, key())
    drained = (both == both[:, :1]).flatten(1).all(1)
    touched = (Augment(brightness=0.4, jitter=0.5)(colours, key()) != colours).flatten(1).any(1)
    assert abs((drained & touched).float().mean() - 0.25) < 4 * (0.25 * 0.75 / 3000) ** 0.5


def test_items_are_drawn_apart_and_do_not_see_one_another():
    colour = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "grey": 0.2, "jitter": 0.8}
    everything = Augment(crop=16, scale=(0.3, 1.0), aspect=(0.75, 4 / 3), **colour)
    x = photos(6)
    out = everything(x, key())
    other = x.clone()
    other[3] = 255 - other[3]
    again = everything(other, key())
    changed = [not torch.equal(a, b) for a, b in zip(out, again, strict=True)]
    assert changed == [False, False, False, True, False, False]
    same = everything(x[:1].expand(6, -1, -1, -1), key())
    assert len(same.flatten(1).unique(dim=0)) == 6


def test_the_key_decides_and_the_input_stays():
    x = photos()
    before, augment = x.clone(), Augment(crop=16, brightness=0.4, hue=0.1)
    out = augment(x, key("a"))
    assert torch.equal(out, augment(x, key("a")))
    assert not torch.equal(out, augment(x, key("b")))
    assert torch.equal(x, before)


def test_colour_does_not_move_the_crops():
    x = photos()
    plain, faint = Augment(crop=12)(x, key()), Augment(crop=12, brightness=1e-7)(x, key())
    torch.testing.assert_close(plain, faint, rtol=0, atol=1e-6)


def test_bytes_and_floats_give_the_same():
    x = photos()
    for augment in (Augment(crop=12, pad=2), Augment(crop=12, scale=(0.2, 0.9), saturation=0.5)):
        out = augment(x, key())
        assert out.dtype == torch.float32
        assert torch.equal(out, augment(x / 255, key()))
        assert 0 <= out.min() <= out.max() <= 1


def test_nothing_asked_for_changes_nothing():
    x = photos()
    assert torch.equal(Augment(flip=False)(x, key()), x / 255)


def test_one_colour_stays_that_colour_when_resized():
    x = torch.full((8, 3, 30, 30), 0.7)
    torch.testing.assert_close(Augment(crop=11, scale=(0.1, 1.0))(x, key()), x[..., :11, :11])


@pytest.mark.parametrize(
    "augment", [Augment(crop=12), Augment(crop=12, scale=(0.2, 1.0), hue=0.2), Augment(crop=20, pad=4)]
)
def test_the_centre_is_torchvisions_and_takes_no_chance(augment):
    x = photos()
    assert torch.equal(augment.centre(x), reference.center_crop(x, [augment.crop] * 2) / 255)


def test_grey_images_of_one_channel_can_be_cropped():
    x = photos()[:, :1]
    assert Augment(crop=8)(x, key()).shape == (6, 1, 8, 8)
    with pytest.raises(ValueError, match="Augment: colour jitter wants RGB, got 1 channels"):
        Augment(crop=8, hue=0.1)(x, key())
    with pytest.raises(ValueError, match="set its four options and grey to 0"):
        Augment(crop=8, grey=0.1)(x, key())


@pytest.mark.parametrize("call", [lambda a, x: a(x, key()), lambda a, x: a.centre(x)], ids=["forward", "centre"])
def test_what_does_not_fit_is_an_error(call):
    with pytest.raises(ValueError, match=r"Augment: a crop of 25 does not fit a canvas of 20 with pad=2"):
        call(Augment(crop=25, pad=2), photos())
    with pytest.raises(ValueError, match=r"Augment wants square canvases .* got \(6, 3, 20, 10\)"):
        call(Augment(crop=8), photos()[..., :10])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": 0}, "crop is 0"),
        ({"pad": -1}, "pad is -1"),
        ({"scale": (0.0, 1.0)}, "scale is"),
        ({"scale": (0.8, 0.2)}, "scale is"),
        ({"scale": (0.5, 1.0), "pad": 4}, "pad=4 belongs to native crops"),
        ({"hue": 0.6}, "hue=0.6"),
        ({"contrast": -0.1}, "contrast=-0.1"),
        ({"aspect": (0.0, 1.0), "scale": (0.5, 1.0)}, "aspect is"),
        ({"aspect": (2.0, 1.0), "scale": (0.5, 1.0)}, "aspect is"),
        ({"aspect": (0.5, 2.0)}, r"aspect=\(0.5, 2.0\) belongs to resized crops"),
        ({"grey": 1.1}, "grey=1.1"),
        ({"jitter": -0.1}, "jitter=-0.1"),
    ],
)
def test_options_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        Augment(**options)


class TestClips:
    """One draw for all frames of a clip and all modalities of an item."""

    @staticmethod
    def everything():
        """A clip whose frames are all the same coordinates, with grey, flow to the lower right, and sound."""
        still = coordinates(8, 20)
        flow = torch.tensor([160, 144], dtype=torch.uint8).view(1, 2, 1, 1, 1).expand(8, 2, 4, 20, 20)
        return {
            "rgb": still.unsqueeze(2).expand(-1, -1, 4, -1, -1).contiguous(),
            "grey": still[:, 1:2].unsqueeze(2).expand(-1, -1, 4, -1, -1).contiguous(),
            "flow": flow.contiguous(),
            "audio": torch.randint(-(2**15), 2**15, (8, 1, 100), dtype=torch.int16, generator=key("sound")),
        }

    def test_every_frame_is_cut_alike_and_as_an_image_is(self):
        x, augment = self.everything(), Augment(crop=14)
        clips, images = augment(x["rgb"], key("one")), augment(x["rgb"][:, :, 0], key("one"))
        for t in range(4):
            assert torch.equal(clips[:, :, t], images)

    @pytest.mark.parametrize("how", [{}, {"scale": (0.3, 0.9), "aspect": (0.8, 1.2)}])
    def test_modalities_are_cut_and_mirrored_alike(self, how):
        seen = Augment(crop=14, **how)(self.everything(), key("two"))
        torch.testing.assert_close(seen["grey"][:, 0], seen["rgb"][:, 1])

    def test_a_dict_is_seen_as_its_parts_are(self):
        x, augment = self.everything(), Augment(crop=14)
        seen = augment(x, key("three"))
        for name, part in x.items():
            assert torch.equal(seen[name], augment(part, key("three")))
        assert torch.equal(seen["audio"] * 2**15, x["audio"].float())

    def test_a_mirrored_picture_moves_to_the_other_side(self):
        seen = Augment(crop=20)(self.everything(), key("four"))
        mirrored = seen["rgb"][:, 1, 0, 0, 0] > 0  # its first column is the last one of the canvas
        assert 0 < mirrored.sum() < 8
        sideways = torch.where(mirrored, 96 / 255, 160 / 255)
        torch.testing.assert_close(seen["flow"][:, 0], sideways.view(-1, 1, 1, 1).expand(-1, 4, 20, 20))
        torch.testing.assert_close(seen["flow"][:, 1], torch.full((8, 4, 20, 20), 144 / 255))

    def test_a_stretched_picture_moves_further(self):
        seen = Augment(crop=20, scale=(0.25, 0.25), flip=False)(self.everything(), key("five"))
        torch.testing.assert_close(seen["flow"][:, 0], torch.full((8, 4, 20, 20), (128 + 2 * 32) / 255))
        torch.testing.assert_close(seen["flow"][:, 1], torch.full((8, 4, 20, 20), (128 + 2 * 16) / 255))

    def test_colours_change_alike_in_all_frames_and_in_rgb_alone(self):
        x, augment = self.everything(), Augment(flip=False, brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3)
        seen, plain = augment(x, key("six")), Augment(flip=False)(x, key("six"))
        assert not torch.allclose(seen["rgb"], plain["rgb"])
        for t in range(4):
            torch.testing.assert_close(seen["rgb"][:, :, 0], seen["rgb"][:, :, t])
        assert all(torch.equal(seen[name], plain[name]) for name in ("grey", "flow", "audio"))

    def test_evaluation_takes_the_centre_of_everything(self):
        x = self.everything()
        seen = Augment(crop=14).centre(x)
        assert torch.equal(seen["rgb"] * 255, x["rgb"][..., 3:17, 3:17].float())
        assert seen["flow"].shape == (8, 2, 4, 14, 14)
        assert torch.equal(seen["audio"] * 2**15, x["audio"].float())

    def test_oblong_clips_are_refused(self):
        with pytest.raises(
            ValueError, match=r"Augment wants square canvases .* or clips of them .* got \(2, 3, 4, 8, 9\)"
        ):
            Augment()(torch.rand(2, 3, 4, 8, 9), key())

    def test_flow_is_not_padded_by_reflection(self):
        with pytest.raises(ValueError, match="pad=2 would mirror pictures of flow"):
            Augment(crop=14, pad=2)(self.everything(), key())
