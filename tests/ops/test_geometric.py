"""Pure moves: the laws of the group C4, and equality with numpy and torch."""

import numpy as np
import pytest
import torch

from pretext.ops.geometric import drawable, gather_pixels, grey, quarter_turn, reflect, uniform_to_int


@pytest.fixture
def x():
    return torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("k", range(-4, 6))
def test_quarter_turns_are_numpys(x, k):
    assert np.array_equal(quarter_turn(x, k).numpy(), np.rot90(x.numpy(), k, axes=(-2, -1)))


def test_one_turn_is_counter_clockwise():
    """The right edge goes to the top."""
    assert quarter_turn(torch.tensor([[1, 2], [3, 4]]), 1).tolist() == [[2, 4], [1, 3]]


@pytest.mark.parametrize("a", range(4))
@pytest.mark.parametrize("b", range(4))
def test_turns_form_the_cyclic_group_of_four(x, a, b):
    assert torch.equal(quarter_turn(quarter_turn(x, a), b), quarter_turn(x, (a + b) % 4))
    assert torch.equal(quarter_turn(quarter_turn(x, a), -a), x)


@pytest.mark.parametrize("k", range(4))
def test_a_turn_moves_pixels_and_makes_none(x, k):
    before, after = x.flatten(2).sort().values, quarter_turn(x, k).flatten(2).sort().values
    assert torch.equal(before, after)


def test_picking_is_indexing_by_rows_and_columns(x):
    rows, columns = torch.tensor([[4, 0], [1, 1]]), torch.tensor([[6, 0, 3], [2, 2, 5]])
    out = gather_pixels(x, rows[:, None], columns[:, None])
    for i in range(2):
        assert torch.equal(out[i], x[i][:, rows[i]][:, :, columns[i]])


def test_picking_all_rows_and_columns_changes_nothing_and_copies(x):
    out = gather_pixels(x, torch.arange(5)[None, None], torch.arange(7)[None, None])
    assert torch.equal(out, x)
    assert out.data_ptr() != x.data_ptr()


def test_picking_reads_channels_last_memory_too(x):
    rows, columns = torch.tensor([[[3, 1]]]), torch.tensor([[[0, 6]]])
    assert torch.equal(
        gather_pixels(x.to(memory_format=torch.channels_last), rows, columns), gather_pixels(x, rows, columns)
    )


def test_picking_keeps_bytes_bytes():
    assert gather_pixels(torch.zeros(4, 4, dtype=torch.uint8), torch.arange(2), torch.arange(2)).dtype == torch.uint8


@pytest.mark.parametrize("size", [2, 5, 8])
def test_reflection_is_torchs(size):
    pad = size - 1
    line = torch.arange(float(size))
    padded = torch.nn.functional.pad(line[None, None], (pad, pad), mode="reflect")[0, 0]
    assert torch.equal(line[reflect(torch.arange(-pad, size + pad), size)], padded)


def test_reflection_in_a_single_pixel_is_that_pixel():
    assert reflect(torch.arange(-3, 4), 1).tolist() == [0] * 7


def test_reflection_further_than_the_image_still_lands_inside():
    assert reflect(torch.arange(-50, 50), 6).unique().tolist() == list(range(6))


@pytest.mark.parametrize("below", [1, 2, 17, 97, 2**24 - 1])
def test_whole_numbers_never_reach_their_bound(below):
    largest = torch.tensor(1 - 2.0**-24)  # the largest that torch.rand draws
    assert uniform_to_int(largest, below) == below - 1
    assert uniform_to_int(torch.tensor(0.0), below) == 0


def test_grey_is_the_mean_of_the_channels_and_idempotent(x):
    drained = grey(x)
    assert torch.equal(drained[:, 0], drained[:, 2])
    torch.testing.assert_close(drained[:, 1], (x[:, 0] + x[:, 1] + x[:, 2]) / 3)
    torch.testing.assert_close(grey(drained), drained)


def test_a_picture_is_what_a_plot_wants():
    shown = drawable(torch.tensor([[[-1.0, 0.5, 2.0]]], dtype=torch.bfloat16, requires_grad=True))
    assert shown.tolist() == [[[0.0, 0.5, 1.0]]]
    assert shown.dtype == torch.float32
    assert not shown.requires_grad
