"""Resampling: Pillow's numbers, sums of 1, and nothing that moves or repeats."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from pretext.ops.resample import KERNELS, resample, resample_any, resampling_matrix

PILLOW = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SIZES = [((20, 30), (10, 15)), ((17, 23), (9, 7)), ((32, 32), (96, 65)), ((64, 5), (63, 1)), ((1, 3), (8, 2))]
every_kernel = pytest.mark.parametrize("kernel", KERNELS)


def rand(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@every_kernel
@pytest.mark.parametrize(("size", "new"), SIZES)
def test_it_gives_pillows_numbers(kernel, size, new):
    x = rand(2, 3, *size)
    ours = resample(x, *new, kernel)
    for image, made in zip(x.flatten(0, 1), ours.flatten(0, 1), strict=True):
        theirs = Image.fromarray(image.numpy()).resize(new[::-1], PILLOW[kernel])  # one plane of floats: mode "F"
        assert theirs.mode == "F"
        np.testing.assert_allclose(made.numpy(), np.asarray(theirs), atol=1e-5, rtol=0)


@every_kernel
@pytest.mark.parametrize("sizes", [(32, 16), (30, 7), (7, 30), (5, 5), (9, 1), (1, 9)])
def test_rows_sum_to_one_so_that_a_constant_stays_constant(kernel, sizes):
    weights = resampling_matrix(*sizes, kernel)
    assert weights.shape == sizes[::-1]
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(1), torch.ones(sizes[1]))
    flat = resample(torch.full((1, 3, sizes[0], sizes[0]), 0.3), sizes[1], sizes[1], kernel)
    torch.testing.assert_close(flat, torch.full_like(flat, 0.3))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_area_by_a_whole_factor_is_the_mean_of_blocks_and_back_repeats_pixels(factor):
    x = rand(2, 3, 6 * factor, 4 * factor)
    small = resample(x, 6, 4, "area")
    torch.testing.assert_close(small, functional.avg_pool2d(x, factor))
    repeated = small.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    assert torch.equal(resample(small, 6 * factor, 4 * factor, "area"), repeated)


@every_kernel
def test_the_same_size_changes_nothing(kernel):
    torch.testing.assert_close(resampling_matrix(13, 13, kernel), torch.eye(13), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("sizes", "kernels"),
    [
        ((40, 20), KERNELS),
        ((42, 14), KERNELS),
        ((12, 36), ("bilinear", "bicubic")),
        ((13, 21), ("bilinear", "bicubic")),
    ],
)
def test_a_ramp_stays_where_it_is(sizes, kernels):
    """Half-pixel centres: pixel i of the new line lies at (i + 0.5) * scale, exactly, except near the border."""
    size, new = sizes
    stretch = max(1, size / new)
    at = (torch.arange(new) + 0.5) * size / new
    inside = (at > 3 * stretch) & (at < size - 3 * stretch)
    for kernel in kernels:
        moved = resampling_matrix(size, new, kernel) @ (torch.arange(size) + 0.5)
        torch.testing.assert_close(moved[inside], at[inside])


@every_kernel
def test_it_is_its_mirror_image_mirrored(kernel):
    for sizes in ((32, 16), (10, 40), (24, 8)):
        weights = resampling_matrix(*sizes, kernel)
        torch.testing.assert_close(weights.flip(0, 1), weights)


@every_kernel
def test_fine_stripes_do_not_alias_when_shrinking(kernel):
    """Stripes of one pixel hold nothing that 3 times fewer pixels could show but their mean."""
    stripes = (torch.arange(48) % 2).float()
    assert (
        (resampling_matrix(48, 16, kernel) @ stripes)[3:-3] - 0.5
    ).abs().max() < 0.17  # a block of 3 is off by 1/6 at most


def test_the_kernel_chosen_by_a_tensor_is_that_kernel():
    x = rand(2, 3, 12, 10)
    for i, kernel in enumerate(KERNELS):
        assert torch.equal(resample_any(x, 6, 25, torch.tensor(i)), resample(x, 6, 25, kernel))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_it_works_in_float32_and_answers_in_the_dtype_of_x(dtype):
    x = rand(2, 3, 12, 10).to(dtype)
    got = resample(x, 6, 5, "bicubic")
    assert got.dtype == dtype
    assert torch.equal(got, resample(x.float(), 6, 5, "bicubic").to(dtype))


def test_autocast_does_not_lower_its_precision():
    x = rand(2, 3, 12, 10)
    with torch.autocast("cpu", torch.bfloat16):
        got = resample(x, 6, 5, "lanczos")
    assert torch.equal(got, resample(x, 6, 5, "lanczos"))


def test_what_was_made_in_inference_mode_can_be_differentiated_later():
    with torch.inference_mode():
        resample(rand(1, 3, 11, 11), 4, 4, "bicubic")
        resample_any(rand(1, 3, 11, 11), 4, 4, torch.tensor(1))
    x = rand(1, 3, 11, 11).requires_grad_()
    resample(x, 4, 4, "bicubic").sum().backward()
    resample_any(x, 4, 4, torch.tensor(1)).sum().backward()
    assert x.grad.sum().item() == pytest.approx(2 * 3 * 4 * 4, rel=1e-5)  # all weights, as rows sum to 1


def test_a_changed_matrix_does_not_change_the_next_one():
    resampling_matrix(8, 4, "area").zero_()
    assert resampling_matrix(8, 4, "area").sum() == 4


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="no kernel 'cubic'; choose one of area, bilinear, bicubic, lanczos"):
        resampling_matrix(8, 4, "cubic")
    with pytest.raises(ValueError, match="8 pixels to 0 asked for"):
        resampling_matrix(8, 0, "area")
